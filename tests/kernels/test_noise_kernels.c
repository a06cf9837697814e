#include "tests/kernels/check.h"

static const int64_t counts[] = {0, 1, 3, 63, 1027, 100003};
/* Where a draw begins: in a block, inside one, and where the block's number needs more than 32 bits. */
static const int64_t firsts[] = {0, 1, 6, 1000003, (INT64_C(1) << 34) - 5};
static const PhiloxDraw draw = {.seed = 7, .stream = 2, .site = 0xDEADBEEF, .step = 41};

/* Word `number` of the draw, from the scalar definition. */
static uint32_t word_at(uint64_t number)
{
    uint32_t words[4];
    philox_block(draw, number / 4, words);
    return words[number % 4];
}

/* The test of Random123 (Salmon et al.): kat_vectors, philox4x32 10. */
static void philox_is_the_published_one(void **state)
{
    (void)state;
    uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
    philox(0, 0, zero);
    philox(~0u, ~0u, ones);
    philox(0xa4093822, 0x299f31d0, pi);
    assert_memory_equal(zero, ((uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}), sizeof zero);
    assert_memory_equal(ones, ((uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}), sizeof ones);
    assert_memory_equal(pi, ((uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}), sizeof pi);
}

/* The layout of key and counter: a run of last year must be repeatable, so these words never change. */
static void known_words(void **state)
{
    (void)state;
    static const uint32_t known[32] = {
        0x7e2ef45f, 0x9264985c, 0x1fc98b0f, 0xfba7494e, 0x9b5126d5, 0xd30ed454, 0x6782d4fa, 0x9189e4da,
        0x38a4fa2e, 0xc362625b, 0xe6be1938, 0x474a6417, 0xf0923927, 0x6146e7fd, 0x6053a179, 0x3415a69f,
        0xd8d9bcfd, 0x6fd171f6, 0x6b17404b, 0x2adb04bc, 0x484a2b3d, 0x28847e25, 0x1a7903ac, 0x6413e6ae,
        0x19157714, 0x50581fcd, 0xab0226fa, 0x7f9fba69, 0x1b170d62, 0xc104a822, 0xb5b8b036, 0xb69e773c};
    uint32_t words[32];
    for (uint64_t block = 0; block < 4; block++)
        philox_block((PhiloxDraw){1, 2, 3, 4}, block, words + 4 * block);
    for (uint64_t block = 0; block < 4; block++)
        philox_block((PhiloxDraw){0xCAFE, 0, 0x12345678, 1000}, (UINT64_C(1) << 32) - 2 + block,
                     words + 16 + 4 * block);
    for (int i = 0; i < 32; i++)
        if (words[i] != known[i])
            fail_msg("word %d is %08x, not %08x", i, words[i], known[i]);
}

static void dropout_at(Trial *t, int64_t first, int64_t n, float rate, DType in, DType out, bool add)
{
    Matrix x = matrix_random(t, 1, n, 2, in, -1, 1), y = matrix_random(t, 1, n, 1, out, -1, 1);
    Matrix before = matrix_copy(&y);
    t->backend->noise.dropout(&t->exec, draw, first, n, rate, x.rows, add, y.rows);
    for (int64_t i = 0; i < checked_rows(t, n); i++) {
        bool keep = philox_uniform(word_at((uint64_t)(first + i))) >= rate;
        double want = (keep ? matrix_get(&x, 0, i) / (1 - rate) : 0) + (add ? matrix_get(&before, 0, i) : 0);
        check_near(matrix_get(&y, 0, i), want, 1e-6 + rounding(out, want), "dropout", first, i);
        if (!keep && !add)
            assert_true(matrix_get(&y, 0, i) == 0);
    }
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y), matrix_free(&before);
}

static void check_dropout(Trial *t)
{
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int f = 0; f < COUNT_OF(firsts); f++) {
            dropout_at(t, firsts[f], counts[i], 0.3f, F32, F32, false);
            dropout_at(t, firsts[f], counts[i], 0.1f, BF16, F32, true);
            dropout_at(t, firsts[f], counts[i], 0.0f, F32, BF16, false);
        }
}

static void check_uniform(Trial *t)
{
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int f = 0; f < COUNT_OF(firsts); f++) {
            Matrix y = matrix_new(1, counts[i], 3, F32);
            t->backend->noise.uniform(&t->exec, draw, firsts[f], counts[i], y.rows.data);
            for (int64_t c = 0; c < checked_rows(t, counts[i]); c++)
                assert_true(matrix_get(&y, 0, c) == philox_uniform(word_at((uint64_t)(firsts[f] + c))));
            record_matrix(t, &y);
            matrix_free(&y);
        }
}

static void check_normal(Trial *t)
{
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int f = 0; f < COUNT_OF(firsts); f++) {
            Matrix y = matrix_new(1, counts[i], 3, F32);
            t->backend->noise.normal(&t->exec, draw, firsts[f], counts[i], y.rows.data);
            double sum = 0, squares = 0;
            for (int64_t c = 0; c < checked_rows(t, counts[i]); c++) {
                uint64_t pair = 2 * (uint64_t)(firsts[f] + c);
                assert_true(matrix_get(&y, 0, c) == philox_normal(word_at(pair), word_at(pair + 1)));
                sum += matrix_get(&y, 0, c);
                squares += matrix_get(&y, 0, c) * matrix_get(&y, 0, c);
            }
            if (checked_rows(t, counts[i]) > 10000) { /* five standard errors */
                double n = (double)counts[i];
                check_near(sum / n, 0, 5 / sqrt(n), "mean of normal numbers", 0, 0);
                check_near(squares / n, 1, 5 * sqrt(2 / n), "variance of normal numbers", 0, 0);
            }
            record_matrix(t, &y);
            matrix_free(&y);
        }
}

static const Case cases[] = {
    CASE(noise, dropout, check_dropout),
    CASE(noise, uniform, check_uniform),
    CASE(noise, normal, check_normal),
};
CHECK_FAMILY(noise)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(philox_is_the_published_one), cmocka_unit_test(known_words),
                                       cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
