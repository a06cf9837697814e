/* The filters against sums done by hand, and draws against the cumulated probabilities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/memory.h"
#include "common/nn/sampling.h"
#include "common/tensor/random.h"

#include <math.h>
#include <string.h>

enum { N = 5 };

/* log of .1 .4 .15 .05 .3 */
static void fill(float *logits)
{
    const double p[N] = {0.1, 0.4, 0.15, 0.05, 0.3};
    for (int i = 0; i < N; i++)
        logits[i] = (float)log(p[i]) + 3;
}

static void assert_kept(const float *logits, const char *kept)
{
    for (int i = 0; i < N; i++)
        assert_int_equal(isfinite(logits[i]) != 0, kept[i] == 'x');
}

static void top_k_keeps_the_k_largest(void **state)
{
    (void)state;
    const char *kept[] = {"xxxxx", ".x...", ".x..x", ".xx.x", "xxx.x", "xxxxx", "xxxxx"};
    for (int k = 0; k < COUNT_OF(kept); k++) {
        float logits[N];
        fill(logits);
        sampling_top_k(logits, N, k);
        assert_kept(logits, kept[k]);
    }
    float equal[N] = {1, 2, 2, 2, 0};
    sampling_top_k(equal, N, 2);
    assert_kept(equal, ".xx..");
}

static void top_p_keeps_while_the_sum_before_is_within_p(void **state)
{
    (void)state;
    const struct {
        double p;
        const char *kept;
    } cases[] = {{0, ".x..."},    {0.39, ".x..."}, {0.41, ".x..x"}, {0.69, ".x..x"},
                 {0.71, ".xx.x"}, {0.86, "xxx.x"}, {0.96, "xxxxx"}, {1, "xxxxx"}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        float logits[N];
        fill(logits);
        sampling_top_p(logits, N, cases[i].p);
        assert_kept(logits, cases[i].kept);
    }
    float logits[N];
    fill(logits);
    sampling_top_k(logits, N, 2); /* of the renormalised .4 / .7 and .3 / .7 */
    sampling_top_p(logits, N, 0.5);
    assert_kept(logits, ".x...");
}

static void a_draw_is_the_first_whose_cumulated_probability_exceeds_u(void **state)
{
    (void)state;
    const struct {
        double u;
        int64_t token;
    } cases[] = {{0, 0},     {0.099, 0}, {0.101, 1}, {0.499, 1},    {0.501, 2},
                 {0.649, 2}, {0.651, 3}, {0.701, 4}, {0.9999999, 4}};
    float logits[N];
    fill(logits);
    for (int i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(sampling_draw(logits, N, 1, cases[i].u), cases[i].token);
    assert_int_equal(sampling_draw(logits, N, 0, 0.99), 1);
    assert_int_equal(sampling_draw(logits, N, 1e-3, 0.99), 1);
    sampling_top_k(logits, N, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(sampling_draw(logits, N, 2, i / 10.0), 1);
}

/* Temperature 2 takes the square root of every probability. */
static void frequencies_follow_the_temperature(void **state)
{
    (void)state;
    float logits[N];
    double expected[N], sum = 0;
    int counts[N] = {0}, draws = 20000;
    fill(logits);
    for (int i = 0; i < N; i++)
        sum += expected[i] = exp(logits[i] / 2);
    Random random = random_at(1, STREAM_SAMPLE, 2, 3);
    for (int i = 0; i < draws; i++)
        counts[sampling_draw(logits, N, 2, random_uniform(&random))]++;
    for (int i = 0; i < N; i++)
        assert_true(fabs(counts[i] / (double)draws - expected[i] / sum) < 0.015);
}

static void thresholds_and_probabilities(void **state)
{
    (void)state;
    float logits[N];
    fill(logits);
    const int order[N] = {1, 4, 2, 0, 3};
    for (int k = 1; k <= N + 2; k++)
        assert_true(sampling_kth_largest(logits, N, k) == logits[order[k < N ? k - 1 : N - 1]]);
    sampling_lower(logits, N, logits[2], -50);
    assert_true(logits[0] == -50 && logits[2] == -50 && logits[3] == -50 && logits[1] > logits[4] && logits[4] > 0);
    fill(logits);
    sampling_softmax(logits, N, 0.5); /* the squares of the probabilities, which add up to 0.285 */
    assert_true(fabs((double)logits[1] - 0.16 / 0.285) < 1e-6 && fabs((double)logits[3] - 0.0025 / 0.285) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_k_keeps_the_k_largest),
        cmocka_unit_test(top_p_keeps_while_the_sum_before_is_within_p),
        cmocka_unit_test(a_draw_is_the_first_whose_cumulated_probability_exceeds_u),
        cmocka_unit_test(frequencies_follow_the_temperature),
        cmocka_unit_test(thresholds_and_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
