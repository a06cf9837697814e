/* The n-gram model against the definition counted naively, its sum over all bytes, and the room that it may take. */
#include "support/tape_test.h"

#include "common/hosts/language_model/ngram.h"

#include <math.h>

enum { ROOM = 1 << 30 };

/* c(gram) and what followed it, by looking at every place of the text. */
static void look(const uint8_t *text, int64_t bytes, const uint8_t *history, int length, int *followers, int *kinds,
                 int counts[256])
{
    *followers = *kinds = 0;
    memset(counts, 0, 256 * sizeof *counts);
    for (int64_t i = length; i < bytes; i++)
        if (!memcmp(text + i - length, history, (size_t)length)) {
            *kinds += counts[text[i]]++ == 0;
            ++*followers;
        }
}

static double reference(const uint8_t *text, int64_t bytes, const uint8_t *end, int before, uint8_t byte)
{
    double shorter = before ? reference(text, bytes, end, before - 1, byte) : 1.0 / 256;
    int followers, kinds, counts[256];
    look(text, bytes, end - before, before, &followers, &kinds, counts);
    return followers ? (counts[byte] + kinds * shorter) / (followers + kinds) : shorter;
}

static int64_t make_text(uint8_t *text, int64_t bytes, int letters)
{
    Random random = random_at(3, STREAM_DATA, 4, (uint32_t)letters);
    for (int64_t i = 0; i < bytes; i++)
        text[i] = (uint8_t)(random_keep(&random, 0.3) && i > 2 ? text[i - 2] : random_integer(&random, letters) * 51);
    return bytes;
}

static void it_is_the_definition(void **state)
{
    (void)state;
    uint8_t text[3000], other[64];
    for (int letters = 2; letters <= 6; letters += 2)
        for (int order = 1; order <= NGRAM_HIGHEST; order++) {
            int64_t bytes = make_text(text, sizeof text, letters);
            make_text(other, sizeof other, letters + 1);
            Ngram *n = ngram_new(order, ROOM);
            assert_true(ngram_count(n, text, bytes));
            for (int64_t i = 0; i < (int64_t)sizeof other; i++) {
                double p = ngram_probability(n, other, i, other[i]);
                double expected = reference(text, bytes, other + i, (int)MIN((int64_t)order - 1, i), other[i]);
                assert_true(fabs(p - expected) < 1e-12);
            }
            ngram_free(n);
        }
}

static void all_bytes_together_are_certain(void **state)
{
    (void)state;
    uint8_t text[5000];
    Ngram *n = ngram_new(5, ROOM);
    const uint8_t never[] = "ZZZZ";
    double sum = 0;
    for (int byte = 0; byte < 256; byte++)
        sum += ngram_probability(n, never, 4, (uint8_t)byte); /* nothing counted: all alike */
    assert_true(fabs(sum - 1) < 1e-12 && ngram_probability(n, never, 0, 7) == 1.0 / 256);
    make_text(text, sizeof text, 5);
    assert_true(ngram_count(n, text, sizeof text));
    for (int64_t at = 0; at < 200; at += 20) {
        sum = 0;
        for (int byte = 0; byte < 256; byte++)
            sum += ngram_probability(n, text, at, (uint8_t)byte);
        assert_true(fabs(sum - 1) < 1e-12);
    }
    ngram_free(n);
}

/* What lies in two pieces is counted in both, but no gram crosses the border. */
static void pieces_are_counted_apart(void **state)
{
    (void)state;
    const uint8_t text[] = "abab";
    Ngram *apart = ngram_new(2, ROOM), *whole = ngram_new(2, ROOM);
    assert_true(ngram_count(apart, text, 2) && ngram_count(apart, text + 2, 2) && ngram_count(whole, text, 4));
    /* p(a): 2 of 4, two kinds; after b nothing was seen in the pieces, and one a in the whole */
    double a = (2 + 2 / 256.0) / (4 + 2);
    assert_true(fabs(ngram_probability(apart, text, 2, 'a') - a) < 1e-15);
    assert_true(fabs(ngram_probability(whole, text, 2, 'a') - (1 + 1 * a) / (1 + 1)) < 1e-15);
    ngram_free(apart);
    ngram_free(whole);
}

static void it_says_when_it_would_take_too_much(void **state)
{
    (void)state;
    enum { BYTES = 200000 };
    uint8_t *text = mem_new(BYTES);
    Random random = random_at(9, STREAM_DATA, 1, 1);
    for (int i = 0; i < BYTES; i++)
        text[i] = (uint8_t)random_integer(&random, 256);
    Ngram *small = ngram_new(5, 1 << 20), *enough = ngram_new(5, 64 << 20);
    assert_false(ngram_count(small, text, BYTES));
    assert_true(ngram_bytes(small) <= 1 << 20);
    assert_true(ngram_count(enough, text, BYTES));
    assert_true(ngram_bytes(enough) <= 64 << 20);
    ngram_free(small);
    ngram_free(enough);
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_definition),
        cmocka_unit_test(all_bytes_together_are_certain),
        cmocka_unit_test(pieces_are_counted_apart),
        cmocka_unit_test(it_says_when_it_would_take_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
