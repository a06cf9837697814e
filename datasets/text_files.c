#include "datasets/text_files.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/tensor/zip_archive.h"
#include "datasets/gzip.h"

#include <string.h>

enum { GZIP_HEAD = 18 }; /* bytes of the shortest gzip file: header and trailer */
static const size_t largest_packed = ((size_t)1 << 32) - 1;

typedef struct TextDocument {
    char *path, *member; /* as in TextFile */
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

/* The entry of a mapped zip: its size, and its bytes if `bytes` is wanted. */
static bool zip_member(const FileMap *map, const char *member, size_t *size, void **bytes, Error *e)
{
    ZipArchive zip;
    uint64_t said;
    if (!zip_archive_open(&zip, map->bytes, map->size, e))
        return false;
    int64_t entry = zip_archive_find(&zip, member);
    bool good = entry >= 0 ? zip_archive_size(&zip, entry, &said, e) : error_set(e, "the zip has no '%s'", member);
    if (good && bytes)
        good = (*bytes = zip_archive_read(&zip, entry, said, e)) != NULL;
    if (good)
        *size = said;
    zip_archive_close(&zip);
    return good;
}

bool text_file_size(TextFile file, size_t *size, Error *e)
{
    FileMap map;
    if (!file_map(&map, file.path, e))
        return false;
    bool good = true;
    if (file.member)
        good = zip_member(&map, file.member, size, NULL, e) || error_prefix(e, "%s", file.path);
    else if (map.size >= 4 && memcmp(map.bytes, "PK\3\4", 4) == 0)
        good = error_set(e, "%s: a zip archive, not text: unpack it", file.path);
    else
        *size = is_gzip(&map) ? gzip_said_size(&map) : map.size;
    file_unmap(&map);
    return good;
}

/* The whole text of a file. */
static bool read_whole(const TextDocument *file, Document *d, Error *e)
{
    if (!file_map(&d->map, file->path, e))
        return false;
    d->text = d->map.bytes ? (const char *)d->map.bytes : "";
    d->size = d->map.size;
    if (file->member) {
        bool good = zip_member(&d->map, file->member, &d->size, &d->memory, e) || error_prefix(e, "%s", file->path);
        d->text = d->memory;
        return good;
    }
    if (!is_gzip(&d->map))
        return true;
    size_t said = gzip_said_size(&d->map);
    d->memory = gzip_read(file->path, largest_packed, &d->size, e);
    d->text = d->memory;
    if (d->memory && d->size != said)
        return error_set(e, "%s: unpacks to %zu bytes, its end says %zu: unpack it yourself", file->path, d->size,
                         said);
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
    if (!read_whole(wanted, d, e))
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
        for (size_t i = 0; i < own->parts[part].count; i++) {
            mem_free(own->parts[part].items[i].path);
            mem_free(own->parts[part].items[i].member);
        }
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

bool text_files_add(Corpus *c, CorpusPart part, TextFile file, TextSpan span, bool whole_lines, Error *e)
{
    if (!corpus_stamp(c, file.path, e))
        return false;
    size_t facts[4] = {(size_t)part, span.from, span.to, whole_lines};
    c->stamp = bytes_hash(c->stamp, facts, sizeof facts);
    TextDocument document = {.path = str_copy(file.path), .span = span, .whole_lines = whole_lines};
    if (file.member) {
        c->stamp = bytes_hash(c->stamp, file.member, strlen(file.member));
        document.member = str_copy(file.member);
    }
    TextFiles *own = c->own;
    *array_add(&own->parts[part]) = document;
    c->documents[part]++;
    return true;
}

bool text_files_add_whole(Corpus *c, CorpusPart part, TextFile file, Error *e)
{
    size_t size;
    return text_file_size(file, &size, e) && text_files_add(c, part, file, (TextSpan){0, size}, false, e);
}
