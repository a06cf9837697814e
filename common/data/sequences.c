#include "common/data/sequences.h"

#include <string.h>

void sequences_close(Sequences *s)
{
    if (!s)
        return;
    if (s->close)
        s->close(s);
    mem_free(s);
}

/* Where sequences are cut out of a stream. */
typedef struct Cut {
    TokenRange range;
    int64_t stride;
    int ahead;
} Cut;

static void close_cut(Sequences *s)
{
    mem_free(s->own);
}

static Sequences *cut_new(Sequences made, Cut cut)
{
    Sequences *s = mem_new(sizeof *s);
    *s = made;
    s->vocabulary = cut.range.tokens->vocabulary;
    s->close = close_cut;
    s->own = mem_copy(&cut, sizeof cut);
    return s;
}

static bool holds(TokenRange range, int64_t length, Error *e)
{
    return range.count >= length || error_set(e, "%lld tokens of text, fewer than one sequence of %lld",
                                              (long long)range.count, (long long)length);
}

/* ---- Crops */

int64_t sequences_crop(const Sequences *crops, Random *random)
{
    const Cut *c = crops->own;
    return c->range.first + random_integer(random, c->range.count - crops->length + 1);
}

static void read_crop(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks)
{
    const Cut *c = s->own;
    (void)i;
    tokens_read(c->range.tokens, sequences_crop(s, random), s->length, ids);
    memset(marks, MARK_TOKEN, (size_t)s->length);
}

Sequences *sequences_crops(TokenRange range, int64_t length, Error *e)
{
    if (!holds(range, length, e))
        return NULL;
    return cut_new((Sequences){.count = range.count / length, .length = length, .fresh = true, .read = read_crop},
                   (Cut){.range = range});
}

/* ---- Windows */

/* The place of window i in the range. */
static int64_t window_at(const Sequences *s, const Cut *c, int64_t i)
{
    return MIN(i * c->stride, c->range.count - s->length);
}

static void read_window(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks)
{
    const Cut *c = s->own;
    (void)random;
    int64_t at = window_at(s, c, i), before = i ? window_at(s, c, i - 1) + s->length - at : c->ahead;
    tokens_read(c->range.tokens, c->range.first + at, s->length, ids);
    memset(marks, MARK_NONE, (size_t)before);
    memset(marks + before, MARK_TOKEN, (size_t)(s->length - before));
}

Sequences *sequences_windows(TokenRange range, int64_t length, int64_t stride, int ahead, Error *e)
{
    contract(stride > 0 && stride <= length - ahead, "windows of %lld tokens, %lld apart", (long long)length,
             (long long)stride);
    if (!holds(range, length, e))
        return NULL;
    return cut_new(
        (Sequences){.count = 1 + (range.count - length + stride - 1) / stride, .length = length, .read = read_window},
        (Cut){range, stride, ahead});
}

/* ---- Documents; the range holds which ones */

static void read_document(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks)
{
    const Cut *c = s->own;
    (void)random;
    tokens_read(c->range.tokens, c->range.tokens->starts[c->range.first + i], s->length, ids);
    memset(marks, MARK_TOKEN, (size_t)s->length);
}

Sequences *sequences_documents(const Tokens *tokens, int64_t first, int64_t count, Error *e)
{
    contract(first >= 0 && count >= 0 && first + count <= tokens->documents, "documents %lld to %lld of %lld",
             (long long)first, (long long)(first + count), (long long)tokens->documents);
    if (!count)
        return error_null(e, "no document is left");
    const int64_t *starts = tokens->starts + first;
    int64_t length = starts[1] - starts[0];
    for (int64_t i = 1; i < count; i++)
        if (starts[i + 1] - starts[i] != length)
            return error_null(e, "document %lld has %lld tokens, those before it %lld", (long long)(first + i),
                              (long long)(starts[i + 1] - starts[i]), (long long)length);
    return cut_new((Sequences){.count = count, .length = length, .read = read_document},
                   (Cut){.range = {tokens, first, count}});
}
