#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/memory.h"
#include "common/tensor/random.h"

#include <math.h>

enum { DRAWS = 200000 };

static Random source(const char *name)
{
    return random_at(1, STREAM_DATA, random_site(name), 3);
}

/* Within five standard errors. */
static void check_mean(double sum, double mean, double deviation)
{
    double got = sum / DRAWS, error = deviation / sqrt(DRAWS);
    if (fabs(got - mean) > 5 * error)
        fail_msg("mean %g, not %g +- %g", got, mean, error);
}

static void uniform_is_uniform(void **state)
{
    (void)state;
    Random r = source("uniform");
    int bins[64] = {0};
    double sum = 0, product = 0, last = 0.5;
    for (int i = 0; i < DRAWS; i++) {
        double u = random_uniform(&r);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * 64)]++;
        sum += u;
        product += (u - 0.5) * (last - 0.5);
        last = u;
    }
    double expected = DRAWS / 64.0, chi = 0;
    for (int i = 0; i < 64; i++)
        chi += (bins[i] - expected) * (bins[i] - expected) / expected;
    assert_true(chi > 25 && chi < 120); /* 63 degrees of freedom: 63 +- 11 */
    check_mean(sum, 0.5, sqrt(1 / 12.0));
    check_mean(product, 0, 1 / 12.0); /* neighbours know nothing of each other */
}

static void draws_repeat_and_differ(void **state)
{
    (void)state;
    Random a = source("a"), again = source("a"), other = source("b"), later = source("a");
    later.draw.step++;
    int same_other = 0, same_later = 0;
    for (int i = 0; i < 1000; i++) {
        double u = random_uniform(&a);
        assert_true(u == random_uniform(&again));
        same_other += u == random_uniform(&other);
        same_later += u == random_uniform(&later);
    }
    assert_int_equal(same_other, 0);
    assert_int_equal(same_later, 0);
}

/* The elements of a scalar source are the words of Philox in order, so host and kernels draw alike. */
static void scalars_are_the_words(void **state)
{
    (void)state;
    Random r = source("words");
    uint32_t words[4];
    for (uint64_t i = 0; i < 13; i++) {
        philox_block(r.draw, i / 4, words);
        assert_true(random_uniform(&r) == words[i % 4] * 0x1p-32);
    }
}

static void between_and_keep(void **state)
{
    (void)state;
    Random r = source("between");
    double sum = 0, kept = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = random_between(&r, -3, 5);
        assert_true(x >= -3 && x < 5);
        sum += x;
        kept += random_keep(&r, 0.3);
    }
    check_mean(sum, 1, 8 * sqrt(1 / 12.0));
    check_mean(kept, 0.3, sqrt(0.3 * 0.7));
    assert_false(random_keep(&r, 0));
    assert_true(random_keep(&r, 1));
}

static void normal_moments(void **state)
{
    (void)state;
    Random r = source("normal");
    double sum = 0, squares = 0, cubes = 0, fourths = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = random_normal(&r);
        assert_true(isfinite(x));
        sum += x, squares += x * x, cubes += x * x * x, fourths += x * x * x * x;
    }
    check_mean(sum, 0, 1);
    check_mean(squares, 1, sqrt(2));
    check_mean(cubes, 0, sqrt(15));
    check_mean(fourths, 3, sqrt(96));
}

static void integers_cover_their_range(void **state)
{
    (void)state;
    Random r = source("integer");
    int counts[7] = {0};
    for (int i = 0; i < DRAWS; i++) {
        int64_t n = random_integer(&r, 7);
        assert_in_range(n, 0, 6);
        counts[n]++;
    }
    for (int i = 0; i < 7; i++)
        check_mean(counts[i], 1 / 7.0, sqrt(1 / 7.0 * 6 / 7));
    assert_int_equal(random_integer(&r, 1), 0);
}

static void beta_moments(void **state)
{
    (void)state;
    static const double shapes[][2] = {{0.8, 0.8}, {1, 1}, {0.2, 0.2}, {2, 5}};
    for (int s = 0; s < COUNT_OF(shapes); s++) {
        double a = shapes[s][0], b = shapes[s][1], mean = a / (a + b);
        double variance = a * b / ((a + b) * (a + b) * (a + b + 1)), sum = 0, squares = 0;
        Random r = random_at(5, STREAM_DATA, random_site("beta"), (uint32_t)s);
        for (int i = 0; i < DRAWS; i++) {
            double x = random_beta(&r, a, b);
            assert_true(x >= 0 && x <= 1);
            sum += x;
            squares += (x - mean) * (x - mean);
        }
        check_mean(sum, mean, sqrt(variance));
        check_mean(squares, variance, sqrt(variance)); /* squares of at most 1 deviate by no more than their roots */
    }
}

static void categorical_follows_p(void **state)
{
    (void)state;
    static const double p[] = {0.1, 0, 0.6, 0.3};
    Random r = source("categorical");
    int counts[4] = {0};
    for (int i = 0; i < DRAWS; i++)
        counts[random_categorical(&r, p, 4)]++;
    assert_int_equal(counts[1], 0);
    for (int i = 0; i < 4; i++)
        check_mean(counts[i], p[i], sqrt(p[i] * (1 - p[i])) + 1e-9);
}

static void permutations_are_fair(void **state)
{
    (void)state;
    Random r = source("permutation");
    int64_t order[5];
    int at[5][5] = {{0}};
    for (int i = 0; i < DRAWS / 10; i++) {
        int seen = 0;
        random_permutation(&r, 5, order);
        for (int k = 0; k < 5; k++) {
            assert_in_range(order[k], 0, 4);
            seen |= 1 << order[k];
            at[k][order[k]]++;
        }
        assert_int_equal(seen, 31);
    }
    for (int k = 0; k < 5; k++)
        for (int v = 0; v < 5; v++)
            assert_true(fabs(at[k][v] - DRAWS / 50.0) < 5 * sqrt(DRAWS / 50.0));
    random_permutation(&r, 0, order);
    random_permutation(&r, 1, order);
    assert_int_equal(order[0], 0);
}

static void replay_answers_in_order(void **state)
{
    (void)state;
    static const float values[] = {0.25f, 0.75f, -1.5f, 0.5f};
    RandomReplay replay = {.values = values, .count = COUNT_OF(values)};
    Random r = source("replay");
    r.replay = &replay;
    assert_true(random_uniform(&r) == 0.25);
    assert_true(random_keep(&r, 0.8));
    assert_true(random_normal(&r) == -1.5);
    assert_int_equal(replay.used, 3);
    assert_int_equal(random_integer(&r, 10), 5);
    assert_false(replay.overrun);
    random_uniform(&r);
    assert_true(replay.overrun);
    assert_int_equal(replay.used, replay.count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_is_uniform),    cmocka_unit_test(draws_repeat_and_differ),
        cmocka_unit_test(scalars_are_the_words), cmocka_unit_test(between_and_keep),
        cmocka_unit_test(normal_moments),        cmocka_unit_test(integers_cover_their_range),
        cmocka_unit_test(beta_moments),          cmocka_unit_test(categorical_follows_p),
        cmocka_unit_test(permutations_are_fair), cmocka_unit_test(replay_answers_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
