/* Every word between spaces is a token, and every line's end: the word level of WikiText. The vocabulary counts as
 * Transformer-XL's does (Dai et al. 2019): <eos> first, then by frequency in the training part, of equals the one that
 * occurred first. */
#include "common/data/tokenizer_kind.h"
#include "common/data/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char end_of_line[] = "<eos>", unknown[] = "<unk>";

typedef struct Words {
    int64_t most; /* ids; 0: as many as there are words */
    int32_t unknown;
} Words;

static bool words_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    (void)e;
    const Words *own = t->own;
    for (size_t line = 0; line < bytes;) {
        const char *end = memchr(text + line, '\n', bytes - line);
        size_t line_bytes = end ? (size_t)(end - text) - line : bytes - line, start, size;
        for (size_t at = 0; utf8_word(text + line, line_bytes, &at, &start, &size);) {
            int32_t id = vocabulary_find(t->tokens, text + line + start, size);
            *array_add(ids) = id < 0 ? own->unknown : id;
        }
        if (end)
            *array_add(ids) = 0;
        line += line_bytes + 1;
    }
    return true;
}

static void words_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    for (int64_t i = 0; i < count; i++) {
        size_t size;
        const char *word = vocabulary_text(t->tokens, (int32_t)ids[i], &size);
        if (ids[i] == 0) {
            str_add(text, "\n");
            continue;
        }
        if (i > 0 && ids[i - 1] != 0)
            str_add(text, " ");
        str_add_bytes(text, word, size);
    }
}

static bool words_adopt(Tokenizer *t, Vocabulary *v, Error *e)
{
    Words *own = t->own;
    own->unknown = vocabulary_find(v, unknown, strlen(unknown));
    if (vocabulary_find(v, end_of_line, strlen(end_of_line)) != 0 || own->unknown < 0)
        return error_set(e, "expected %s as the first word, and somewhere %s", end_of_line, unknown);
    return true;
}

/* Words with their counts; ids are in the order of first appearance. */
typedef struct Counts {
    Vocabulary *words;
    ARRAY(int64_t) counts;
    CorpusPass pass;
    int64_t bytes; /* read */
} Counts;

static bool count_document(Counts *counts, const Corpus *corpus, int64_t i, Error *e)
{
    Document d;
    Str repaired = {0};
    bool good = corpus_read(corpus, CORPUS_TRAIN, i, &d, e);
    if (good && !utf8_valid(d.text, d.size)) {
        utf8_add_repaired(&repaired, d.text, d.size);
        d.text = repaired.text;
        d.size = repaired.length;
    }
    size_t start, size;
    for (size_t at = 0; good && utf8_word(d.text, d.size, &at, &start, &size);) {
        size_t id = (size_t)vocabulary_add(counts->words, d.text + start, size);
        if (id == counts->counts.count)
            *array_add(&counts->counts) = 0;
        counts->counts.items[id]++;
    }
    counts->bytes += (int64_t)d.size;
    corpus_pass_tell(&counts->pass, counts->bytes);
    str_free(&repaired);
    document_free(&d);
    return good;
}

static int compare_counts(const void *a, const void *b, void *counts)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    int64_t more = ((int64_t *)counts)[y] - ((int64_t *)counts)[x];
    return more ? (more > 0 ? 1 : -1) : (x > y) - (x < y);
}

/* <eos>, then the words by frequency, `most` ids in all (0: every word); <unk> is always among them. */
static Vocabulary *most_frequent(const Counts *counts, int64_t most)
{
    int32_t words = vocabulary_count(counts->words), *order = mem_new((size_t)words * sizeof *order);
    for (int32_t i = 0; i < words; i++)
        order[i] = i;
    qsort_r(order, (size_t)words, sizeof *order, compare_counts, counts->counts.items);
    Vocabulary *v = vocabulary_new();
    vocabulary_add(v, end_of_line, strlen(end_of_line));
    int32_t i = 0;
    for (; i < words && (!most || vocabulary_count(v) < most - 1); i++) {
        size_t size;
        const char *word = vocabulary_text(counts->words, order[i], &size);
        vocabulary_add(v, word, size);
    }
    bool has_unknown = vocabulary_find(v, unknown, strlen(unknown)) >= 0;
    if (!has_unknown) {
        vocabulary_add(v, unknown, strlen(unknown));
    } else if (i < words) {
        size_t size;
        const char *word = vocabulary_text(counts->words, order[i], &size);
        vocabulary_add(v, word, size);
    }
    mem_free(order);
    return v;
}

static Vocabulary *words_learn(const Tokenizer *t, const Corpus *corpus, Error *e)
{
    Counts counts = {.words = vocabulary_new(), .pass = corpus_pass(corpus, CORPUS_TRAIN, "counting the words of")};
    bool good = true;
    for (int64_t i = 0; good && i < corpus->documents[CORPUS_TRAIN]; i++)
        good = count_document(&counts, corpus, i, e);
    Vocabulary *v = good ? most_frequent(&counts, ((const Words *)t->own)->most) : NULL;
    vocabulary_free(counts.words);
    array_free(&counts.counts);
    return v;
}

static void words_close(Tokenizer *t)
{
    mem_free(t->own);
}

static const TokenizerKind words_kind = {
    .name = "words",
    .by_line = true,
    .encode = words_encode,
    .decode = words_decode,
    .learn = words_learn,
    .adopt = words_adopt,
    .close = words_close,
};

Tokenizer *tokenizer_words(int64_t most)
{
    Words *own = mem_new(sizeof *own);
    own->most = most;
    Tokenizer *t = tokenizer_new(&words_kind, own);
    t->stamp = bytes_hash(t->stamp, &most, sizeof most);
    return t;
}
