#include "common/hosts/language_model/baseline.h"

#include "common/hosts/language_model/ngram.h"
#include "common/run/machine.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* Where the crops of a run begin, sorted; free them. */
static int64_t *crops_of(const Sequences *crops, uint32_t seed, int64_t steps, int64_t batch)
{
    int64_t count = steps * batch, of_epoch = MAX(crops->count / batch, (int64_t)1) * batch;
    int64_t *starts = mem_new((size_t)count * sizeof *starts);
    for (int64_t i = 0; i < count; i++) {
        Random random = sequence_random(seed, i / of_epoch, i % of_epoch);
        starts[i] = sequences_crop(crops, &random);
    }
    qsort(starts, (size_t)count, sizeof *starts, by_value);
    return starts;
}

/* Counts what lies under the crops, once where they overlap; returns how many bytes, or -1. */
static int64_t count_crops(Ngram *n, const Tokens *tokens, const int64_t *starts, int64_t count, int64_t length)
{
    const uint8_t *text = tokens->ids;
    int64_t bytes = 0;
    for (int64_t i = 0; i < count;) {
        int64_t from = starts[i], to = from + length;
        for (i++; i < count && starts[i] <= to; i++)
            to = starts[i] + length;
        if (!ngram_count(n, text + from, to - from))
            return -1;
        bytes += to - from;
    }
    return bytes;
}

static double bits_per_byte(const Ngram *n, TokenRange range)
{
    const uint8_t *text = (const uint8_t *)range.tokens->ids + range.first;
    double bits = 0;
    for (int64_t i = 0; i < range.count; i++)
        bits -= log2(ngram_probability(n, text, i, text[i]));
    return bits / (double)range.count;
}

LanguageBaseline language_baseline(const LanguageData *d, int order, uint32_t seed, int64_t steps, int64_t batch)
{
    const Tokens *train = d->train_range.tokens;
    size_t room = (size_t)machine_describe("").memory / 4;
    LanguageBaseline b = {.order = order, .all_bytes = train->count, .seen = NAN, .all = NAN};
    contract(d->bytes && train->token_bytes == 1, "language_baseline: a token is no byte");

    Ngram *n = ngram_new(order, room);
    int64_t *starts = crops_of(d->train, seed, steps, batch);
    b.seen_bytes = count_crops(n, train, starts, steps * batch, d->train->length);
    if (b.seen_bytes >= 0)
        b.seen = bits_per_byte(n, d->test_range);
    mem_free(starts);
    ngram_free(n);

    n = ngram_new(order, room);
    if (ngram_count(n, train->ids, train->count))
        b.all = bits_per_byte(n, d->test_range);
    ngram_free(n);
    return b;
}
