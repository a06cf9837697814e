/* Long-range recall, generated: pairs of a key and a value early in the sequence, noise, and at the end the keys again, each
 * followed by its value, which is the answer (routing.md, small-scale experiment). Ids: 1..63 noise, 64..127 keys,
 * 128..191 values; 0 does not occur. Chance is right at one answer in 64. */
#include "datasets/formats.h"

#include "common/base/memory.h"

enum { KINDS = 64, FIRST_KEY = 64, FIRST_VALUE = 128, VOCABULARY = 192 };

/* Sequences of a pass. */
static const int64_t counts[CORPUS_PARTS] = {[CORPUS_TRAIN] = 4096, [CORPUS_VALID] = 128, [CORPUS_TEST] = 512};

typedef struct Recall {
    CorpusPart part;
    int64_t pairs;
} Recall;

static void put_pair(int64_t *ids, int64_t key, int64_t value)
{
    ids[0] = FIRST_KEY + key;
    ids[1] = FIRST_VALUE + value;
}

/* Pairs stand at random even places of the first quarter (or of twice their own length, where that is more). */
static void read_recall(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks)
{
    const Recall *own = s->own;
    Random fixed = random_at(0, STREAM_DATA, random_site("recall") + (uint32_t)own->part, (uint32_t)i);
    Random *r = s->fresh ? random : &fixed;
    int64_t places = MAX(s->length / 8, 2 * own->pairs), queries = s->length - 2 * own->pairs;
    int64_t keys[KINDS], values[KINDS], order[KINDS], place = 0;
    for (int64_t at = 0; at < s->length; at++) {
        ids[at] = 1 + random_integer(r, FIRST_KEY - 1);
        marks[at] = MARK_TOKEN;
    }
    random_permutation(r, KINDS, keys);
    random_permutation(r, own->pairs, order);
    for (int64_t p = 0; p < own->pairs; p++) {
        values[p] = random_integer(r, KINDS);
        int64_t last = places - (own->pairs - p); /* leaves a place for each of the rest */
        place += random_integer(r, (last - place) / (own->pairs - p) + 1);
        put_pair(ids + 2 * place++, keys[p], values[p]);
    }
    for (int64_t q = 0; q < own->pairs; q++) {
        put_pair(ids + queries + 2 * q, keys[order[q]], values[order[q]]);
        marks[queries + 2 * q + 1] = MARK_ANSWER;
    }
}

static void close_recall(Sequences *s)
{
    mem_free(s->own);
}

static Sequences *recall_open(CorpusPart part, const SequenceOptions *o, Error *e)
{
    int64_t least = 6 * o->pairs; /* the pairs in twice their length, and the queries */
    if (o->pairs > KINDS)
        return error_null(e, "data.pairs is %lld, but there are %d keys", (long long)o->pairs, KINDS);
    if (o->length < least)
        return error_null(e, "data.length is %lld, but %lld pairs and their queries take %lld", (long long)o->length,
                          (long long)o->pairs, (long long)least);
    Sequences *s = mem_new(sizeof *s);
    *s = (Sequences){.count = counts[part],
                     .length = o->length,
                     .vocabulary = VOCABULARY,
                     .fresh = part == CORPUS_TRAIN,
                     .answers = true,
                     .read = read_recall,
                     .close = close_recall,
                     .own = mem_copy(&(Recall){part, o->pairs}, sizeof(Recall))};
    return s;
}

const DatasetFormat recall_format = {
    .name = "recall",
    .generated = true,
    .source = "generated",
    .licence = "none needed",
    .layout = "nothing: it is generated",
    .open_sequences = recall_open,
};
