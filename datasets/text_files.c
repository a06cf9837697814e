#include "datasets/text_files.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "datasets/gzip.h"

#include <string.h>

enum { GZIP_HEAD = 18 }; /* bytes of the shortest gzip file: header and trailer */
static const size_t largest_packed = ((size_t)1 << 32) - 1;

typedef struct TextDocument {
    char *path;
    TextSpan span;
    bool whole_lines;
} TextDocument;

typedef struct TextFiles {
    ARRAY(TextDocument) parts[CORPUS_PARTS];
    size_t (*head)(const char *text, size_t size);
} TextFiles;

static bool is_gzip(const FileMap *map)
{
    return map->size >= GZIP_HEAD && map->bytes[0] == 0x1f && map->bytes[1] == 0x8b;
}

static size_t gzip_said_size(const FileMap *map)
{
    const unsigned char *p = map->bytes + map->size - 4;
    return p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

bool text_file_size(const char *path, size_t *size, Error *e)
{
    FileMap map;
    if (!file_map(&map, path, e))
        return false;
    *size = is_gzip(&map) ? gzip_said_size(&map) : map.size;
    file_unmap(&map);
    return true;
}

/* The whole text of a file. */
static bool read_whole(const char *path, Document *d, Error *e)
{
    if (!file_map(&d->map, path, e))
        return false;
    d->text = d->map.bytes ? (const char *)d->map.bytes : "";
    d->size = d->map.size;
    if (!is_gzip(&d->map))
        return true;
    size_t said = gzip_said_size(&d->map);
    d->memory = gzip_read(path, largest_packed, &d->size, e);
    d->text = d->memory;
    if (d->memory && d->size != said)
        return error_set(e, "%s: unpacks to %zu bytes, its end says %zu: unpack it yourself", path, d->size, said);
    return d->memory != NULL;
}

/* The start of the line, or of the character, that the byte at `at` belongs to. */
static size_t line_start(const Document *d, size_t at)
{
    enum { FARTHEST = 1 << 16 };
    if (at == 0 || at >= d->size)
        return at;
    size_t left = MIN(at, (size_t)FARTHEST);
    const char *line_end = memrchr(d->text + at - left, '\n', left);
    if (line_end)
        return (size_t)(line_end + 1 - d->text);
    while (at > 0 && (d->text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

static bool text_files_read(const Corpus *c, CorpusPart part, int64_t i, Document *d, Error *e)
{
    const TextFiles *own = c->own;
    const TextDocument *wanted = &own->parts[part].items[i];
    if (!read_whole(wanted->path, d, e))
        return false;
    size_t from = wanted->span.from, to = wanted->span.to;
    if (to > d->size)
        return error_set(e, "%s: %zu bytes of text, expected at least %zu", wanted->path, d->size, to);
    if (wanted->whole_lines) {
        from = line_start(d, from);
        to = line_start(d, to);
    }
    if (from == 0 && own->head)
        from = MIN(own->head(d->text, d->size), to);
    d->text += from;
    d->size = to - from;
    return true;
}

static void text_files_close(Corpus *c)
{
    TextFiles *own = c->own;
    for (int part = 0; part < CORPUS_PARTS; part++) {
        for (size_t i = 0; i < own->parts[part].count; i++)
            mem_free(own->parts[part].items[i].path);
        array_free(&own->parts[part]);
    }
    mem_free(own);
}

Corpus *text_files_new(const char *name, size_t (*head)(const char *text, size_t size))
{
    Corpus *c = corpus_new(name);
    c->read = text_files_read;
    c->close = text_files_close;
    c->own = mem_copy(&(TextFiles){.head = head}, sizeof(TextFiles));
    return c;
}

bool text_files_add(Corpus *c, CorpusPart part, const char *path, TextSpan span, bool whole_lines, Error *e)
{
    if (!corpus_stamp(c, path, e))
        return false;
    size_t facts[4] = {(size_t)part, span.from, span.to, whole_lines};
    c->stamp = bytes_hash(c->stamp, facts, sizeof facts);
    TextFiles *own = c->own;
    *array_add(&own->parts[part]) = (TextDocument){str_copy(path), span, whole_lines};
    c->documents[part]++;
    return true;
}

bool text_files_add_whole(Corpus *c, CorpusPart part, const char *path, Error *e)
{
    size_t size;
    return text_file_size(path, &size, e) && text_files_add(c, part, path, (TextSpan){0, size}, false, e);
}
