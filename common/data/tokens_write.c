#include "common/data/tokens_file.h"
#include "common/data/tokenizer_kind.h"
#include "common/data/utf8.h"

#include <libdeflate.h>
#include <string.h>

enum { PIECE = 1 << 20 }; /* bytes of text that are tokenised at once, up to the end of a line */

/* A stream on its way into the file. */
typedef struct Writing {
    FileWriter file;
    const Tokenizer *tokenizer;
    TokensEnd end;
    ARRAY(int64_t) starts;
    TokenIds ids; /* not yet in the file */
    bool line_ends_count;
    CorpusPass pass;
} Writing;

int tokens_width(int64_t vocabulary)
{
    return vocabulary <= 1 << 8 ? 1 : vocabulary <= 1 << 16 ? 2 : 4;
}

static void add(Writing *w, const void *bytes, size_t size)
{
    w->end.checksum = libdeflate_crc32(w->end.checksum, bytes, size);
    file_writer_add(&w->file, bytes, size);
}

/* Narrows the ids in place: an id never lies behind where it goes. */
static void add_ids(Writing *w)
{
    uint8_t *bytes = (uint8_t *)w->ids.items;
    uint16_t *shorts = (uint16_t *)w->ids.items;
    for (size_t i = 0; i < w->ids.count; i++) {
        int32_t id;
        memcpy(&id, w->ids.items + i, sizeof id);
        if (w->end.token_bytes == 1)
            bytes[i] = (uint8_t)id;
        else if (w->end.token_bytes == 2)
            memcpy(shorts + i, &(uint16_t){(uint16_t)id}, 2);
    }
    add(w, w->ids.items, w->ids.count * w->end.token_bytes);
    w->end.count += (int64_t)w->ids.count;
    w->ids.count = 0;
}

static void count_words(Writing *w, const char *text, size_t bytes)
{
    size_t start, size;
    for (size_t at = 0; utf8_word(text, bytes, &at, &start, &size);)
        w->end.words++;
    for (size_t at = 0; w->line_ends_count && at < bytes; at++)
        w->end.words += text[at] == '\n';
}

/* How many bytes to take next: all, or whole lines where ids do not depend on what is around a line. */
static size_t piece_of(const Tokenizer *t, const char *text, size_t bytes)
{
    if (!t->kind->by_line || bytes <= PIECE)
        return bytes;
    const char *line_end = memchr(text + PIECE, '\n', bytes - PIECE);
    return line_end ? (size_t)(line_end + 1 - text) : bytes;
}

static bool add_document(Writing *w, const Document *d, Error *e)
{
    *array_add(&w->starts) = w->end.count + (int64_t)w->ids.count;
    for (size_t at = 0, piece; at < d->size; at += piece) {
        piece = piece_of(w->tokenizer, d->text + at, d->size - at);
        if (!tokenizer_encode(w->tokenizer, d->text + at, piece, &w->ids, e))
            return false;
        count_words(w, d->text + at, piece);
        w->end.bytes += (int64_t)piece;
        if (w->ids.count >= PIECE)
            add_ids(w);
        corpus_pass_tell(&w->pass, w->end.bytes);
    }
    return true;
}

static void add_end(Writing *w)
{
    static const char zeros[8];
    add_ids(w);
    add(w, zeros, -((size_t)w->end.count * w->end.token_bytes) % 8);
    *array_add(&w->starts) = w->end.count;
    add(w, w->starts.items, w->starts.count * sizeof *w->starts.items);
    uint32_t checksum = libdeflate_crc32(w->end.checksum, &w->end, offsetof(TokensEnd, checksum));
    w->end.checksum = checksum;
    file_writer_add(&w->file, &w->end, sizeof w->end);
}

bool tokens_write(const char *path, const Corpus *corpus, CorpusPart part, const Tokenizer *tokenizer, Error *e)
{
    Writing w = {.tokenizer = tokenizer,
                 .pass = corpus_pass(corpus, part, "tokenizing"),
                 .line_ends_count = corpus->line_ends_count,
                 .end = {.corpus = corpus->stamp,
                         .tokenizer = tokenizer_stamp(tokenizer),
                         .vocabulary = tokenizer_vocabulary(tokenizer),
                         .documents = corpus->documents[part],
                         .token_bytes = (uint32_t)tokens_width(tokenizer_vocabulary(tokenizer))}};
    memcpy(w.end.magic, tokens_magic, sizeof w.end.magic);
    file_writer_open(&w.file, path);
    bool good = true;
    for (int64_t i = 0; good && i < corpus->documents[part]; i++) {
        Document document;
        good = corpus_read(corpus, part, i, &document, e) && add_document(&w, &document, e);
        document_free(&document);
    }
    if (good) {
        add_end(&w);
        good = file_writer_close(&w.file, e);
    } else {
        file_writer_drop(&w.file);
    }
    array_free(&w.starts);
    array_free(&w.ids);
    return good;
}
