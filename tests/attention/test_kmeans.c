/* The router's centres: scores, sums, and the two rules by which centres follow. Its kernels have tests of their own. */
#include "common/attention/kmeans.h"
#include "support/param_values.h"
#include "support/tape_test.h"

#include <math.h>

enum { SAMPLES = 2, TOKENS = 6, HEADS = 2, CENTRES = 3, WIDTH = 4 };

/* Tokens of which one is zeros; the third centre is nobody's. */
typedef struct Fixture {
    Tape *tape;
    Params *params;
    Tensor *x, *means, *sum, *count, *nearest;
    float values[SAMPLES * TOKENS * HEADS * WIDTH], centres[HEADS * CENTRES * WIDTH];
} Fixture;

static const int32_t assigned[SAMPLES * HEADS * TOKENS] = {0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1,
                                                           0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1};

static Fixture fixture_new(void)
{
    Fixture f = {.tape = test_tape(2), .params = params_new()};
    f.means = params_add_buffer(f.params, "means", SHAPE(HEADS, CENTRES, WIDTH), (Init){INIT_NORMAL, 1});
    f.sum = params_add_buffer(f.params, "ema_means", SHAPE(HEADS, CENTRES, WIDTH), (Init){INIT_NORMAL, 1});
    f.count = params_add_buffer(f.params, "ema_count", SHAPE(HEADS, CENTRES), INIT_ONES);
    params_allocate(f.params, true, 3, test_backend());
    param_read(f.params, f.means, f.centres);
    random_floats("x", COUNT_OF(f.values), -1, 1, f.values);
    memset(f.values + 2 * HEADS * WIDTH, 0, HEADS * WIDTH * sizeof(float));
    f.x = tensor_from(f.tape, F32, SHAPE(SAMPLES, TOKENS, HEADS, WIDTH), f.values);
    f.nearest = tensor_from(f.tape, I32, SHAPE(SAMPLES, HEADS, TOKENS), assigned);
    return f;
}

static void fixture_free(Fixture *f)
{
    tape_free(f->tape);
    params_free(f->params);
}

static float x_at(const Fixture *f, int b, int n, int h, int c)
{
    return f->values[((b * TOKENS + n) * HEADS + h) * WIDTH + c];
}

static void scores_are_products(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    tensor_needs_gradient(f.x);
    region_open(f.tape, TRAIN, GRAD);
    Tensor *scores = cluster_scores(f.tape, f.x, f.means);
    assert_true(shape_equal(scores->shape, SHAPE(SAMPLES, HEADS, TOKENS, CENTRES)) && !scores->needs_gradient);
    float *got = floats_of(f.tape, scores);
    for (int i = 0; i < SAMPLES * HEADS * TOKENS * CENTRES; i++) {
        int c = i % CENTRES, n = i / CENTRES % TOKENS, h = i / CENTRES / TOKENS % HEADS,
            b = i / CENTRES / TOKENS / HEADS;
        double want = 0;
        for (int w = 0; w < WIDTH; w++)
            want += (double)x_at(&f, b, n, h, w) * (double)f.centres[(h * CENTRES + c) * WIDTH + w];
        assert_true(fabs((double)got[i] - want) < 1e-6);
    }
    mem_free(got);
    fixture_free(&f);
}

/* Two directions, five clusters of which the last stays empty. */
static void tokens_fall_into_buckets(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    Tensor *directions = random_tensor(f.tape, "directions", SHAPE(HEADS, 2, WIDTH));
    float *along = floats_of(f.tape, cluster_scores(f.tape, f.x, directions));
    float *hot = floats_of(f.tape, hash_scores(f.tape, f.x, directions, 5));
    for (int row = 0; row < SAMPLES * HEADS * TOKENS; row++)
        for (int c = 0; c < 5; c++)
            assert_true(hot[row * 5 + c] == (c == (along[2 * row] > 0) + 2 * (along[2 * row + 1] > 0)));
    mem_free(along);
    mem_free(hot);
    hot = floats_of(f.tape, hash_scores(f.tape, f.x, tensor_make(f.tape, F32, SHAPE(HEADS, 0, WIDTH)), 1));
    for (int row = 0; row < SAMPLES * HEADS * TOKENS; row++)
        assert_true(hot[row] == 1);
    mem_free(hot);
    fixture_free(&f);
}

/* Of head h and centre c: how many tokens, zeros apart, and their sum. */
static double batch_of(const Fixture *f, int h, int c, double sum[WIDTH])
{
    double count = 0;
    memset(sum, 0, WIDTH * sizeof *sum);
    for (int b = 0; b < SAMPLES; b++)
        for (int n = 0; n < TOKENS; n++) {
            if (assigned[(b * HEADS + h) * TOKENS + n] != c)
                continue;
            count += !(b == 0 && n == 2);
            for (int w = 0; w < WIDTH; w++)
                sum[w] += (double)x_at(f, b, n, h, w);
        }
    return count;
}

/* B's rule: where a batch has a centre the mean goes a tenth of the way to it. */
static void means_follow_their_centres(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    KmeansSums batch = kmeans_sums(f.tape, f.x, f.nearest, CENTRES);
    Tensor *centres = kmeans_centres(f.tape, &batch, f.means);
    uint64_t version = f.means->param->version;
    kmeans_follow(f.tape, 0.9f, centres, f.means);
    assert_true(f.means->param->version > version);
    const float *means = param_values(f.params, f.means);
    for (int row = 0; row < HEADS * CENTRES; row++) {
        double sum[WIDTH], norm = 0, count = batch_of(&f, row / CENTRES, row % CENTRES, sum);
        for (int w = 0; w < WIDTH; w++)
            norm += sum[w] * sum[w];
        for (int w = 0; w < WIDTH; w++) {
            double old = (double)f.centres[row * WIDTH + w], centre = count > 0 ? sum[w] / sqrt(norm) : old;
            double got = (double)means[row * WIDTH + w];
            assert_true(fabs(got - (0.9 * old + 0.1 * centre)) < 1e-6);
        }
    }
    fixture_free(&f);
}

/* A's rule, whose counts the heads share: all its buffers move. */
static void smoothed_means(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    float sums[HEADS * CENTRES * WIDTH];
    param_read(f.params, f.sum, sums);
    KmeansSums batch = kmeans_sums(f.tape, f.x, f.nearest, CENTRES);
    batch.counts = kmeans_mixed_counts(f.tape, f.x, f.nearest, CENTRES);
    kmeans_smooth(f.tape, &batch, 0.75f, f.sum, f.count, f.means);
    const float *new_sum = param_values(f.params, f.sum), *new_count = param_values(f.params, f.count);
    const float *mean = param_values(f.params, f.means);
    for (int h = 0; h < HEADS; h++) {
        double count[CENTRES] = {0}, n = 0;
        for (int r = h; r < SAMPLES * HEADS * TOKENS; r += HEADS)
            count[assigned[r]] += !(r / TOKENS / HEADS == 0 && r % TOKENS == 2);
        for (int c = 0; c < CENTRES; c++) {
            count[c] = 0.75 + 0.25 * count[c];
            n += count[c];
        }
        for (int c = 0; c < CENTRES; c++) {
            double sum[WIDTH], smoothed = (count[c] + 1e-5) / (n + CENTRES * 1e-5) * n;
            batch_of(&f, h, c, sum);
            assert_true(fabs((double)new_count[h * CENTRES + c] - count[c]) < 1e-5);
            for (int w = 0; w < WIDTH; w++) {
                int at = (h * CENTRES + c) * WIDTH + w;
                double want = 0.75 * (double)sums[at] + 0.25 * sum[w];
                assert_true(fabs((double)new_sum[at] - want) < 1e-6);
                assert_true(fabs((double)mean[at] - want / smoothed) < 1e-5);
            }
        }
    }
    fixture_free(&f);
}

static void assigns_in_another_order(void *argument)
{
    (void)argument;
    Fixture f = fixture_new();
    kmeans_sums(f.tape, f.x, tensor_from(f.tape, I32, SHAPE(SAMPLES, TOKENS, HEADS), assigned), CENTRES);
}

static void follows_another_shape(void *argument)
{
    (void)argument;
    Fixture f = fixture_new();
    kmeans_follow(f.tape, 0.9f, f.count, f.means);
}

static void broken_contracts(void **state)
{
    (void)state;
    expect_broken_contract(assigns_in_another_order, NULL, "k-means: nearest [2, 6, 2] of x [2, 6, 2, 4]");
    expect_broken_contract(follows_another_shape, NULL, "kmeans_follow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_products),        cmocka_unit_test(tokens_fall_into_buckets),
        cmocka_unit_test(means_follow_their_centres), cmocka_unit_test(smoothed_means),
        cmocka_unit_test(broken_contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
