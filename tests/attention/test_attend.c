/* What the tables of tests/autograd cannot say of attention: probabilities alone, memory, and sizes of many tiles. */
#include "common/attention/attention.h"
#include "common/autograd/ops.h"
#include "common/nn/layers.h"
#include "support/references.h"
#include "support/tape_test.h"

static void check_probabilities(Tape *t, const Tensor *p, const AttentionOf *a, const double *q, const double *k)
{
    int64_t batch = batch_of(a), heads = a->q.dim[2], queries = a->q.dim[1], keys = a->k.dim[1];
    assert_true(shape_equal(p->shape, SHAPE(batch, heads, queries, keys)));
    float *values = floats_of(t, p);
    double *expected = mem_new((size_t)keys * sizeof *expected);
    for (int64_t row = 0; row < batch * heads * queries; row++) {
        probabilities_of(a, q, k, row / queries / heads, row / queries % heads, row % queries, expected);
        for (int64_t j = 0; j < keys; j++)
            if (!(fabs((double)values[row * keys + j] - expected[j]) <= 1e-6))
                fail_msg("p[%ld,%ld] is %.9g, not %.9g", (long)row, (long)j, (double)values[row * keys + j],
                         expected[j]);
    }
    mem_free(values);
    mem_free(expected);
}

static double *doubles_of(Tape *t, const Tensor *x)
{
    float *values = floats_of(t, x);
    double *wide = mem_new((size_t)tensor_count(x) * sizeof *wide);
    for (int64_t i = 0; i < tensor_count(x); i++)
        wide[i] = (double)values[i];
    mem_free(values);
    return wide;
}

static bool later(int64_t b, int64_t h, int64_t i, int64_t j)
{
    (void)b, (void)h;
    return j > i - 2;
}

/* Causal, with a bias, shared heads, and two first queries that see nothing. */
static void probabilities_alone(void **state)
{
    (void)state;
    for (int uniform = 0; uniform < 2; uniform++) {
        Tape *t = test_tape(2);
        size_t before = pool_used(tape_pool(t));
        Tensor *q = random_tensor(t, "q", SHAPE(3, 19, 4, 5)), *k = random_tensor(t, "k", SHAPE(3, 70, 2, 5));
        Tensor *wide = random_tensor(t, "bias", SHAPE(3, 1, 19, 90)), *bias = narrow(t, wide, 3, 7, 70);
        AttentionSpec spec = {
            .scale = 1.25f,
            .mask = {
                .causal = true, .causal_offset = -2, .bias = bias, .empty_row = uniform ? EMPTY_UNIFORM : EMPTY_ZEROS}};
        tensor_needs_gradient(q);
        Region r = region_open(t, TRAIN, GRAD);
        Tensor *p = attention_probabilities(t, &spec, q, k);
        assert_true(tape_training(t));
        region_close(t, r);
        assert_false(p->needs_gradient);
        double *wide_q = doubles_of(t, q), *wide_k = doubles_of(t, k), *wide_bias = doubles_of(t, bias);
        AttentionOf a = {.q = q->shape,
                         .k = k->shape,
                         .v = k->shape,
                         .scale = 1.25,
                         .bias = wide_bias,
                         .bias_shape = bias->shape,
                         .blocked = later,
                         .uniform_rows = uniform};
        check_probabilities(t, p, &a, wide_q, wide_k);
        mem_free(wide_q);
        mem_free(wide_k);
        mem_free(wide_bias);
        tape_reset(t);
        assert_int_equal(pool_used(tape_pool(t)), before);
        tape_free(t);
    }
}

/* With dropout every probability of the masked softmax is 0 or 1 / keep of itself, as dropout draws for [B,H,Q,K]: seen
 * through values that tell the keys apart. */
static void dropout_under_masks(void **state)
{
    (void)state;
    enum { BATCH = 2, QUERIES = 6, KEYS = 9, HEADS = 4 };
    Tape *t = test_tape(2), *draws = test_tape(1); /* a site's second draw on one tape is another */
    region_open(t, TRAIN, NO_GRAD);
    region_open(draws, TRAIN, NO_GRAD);
    Tensor *q = random_tensor(t, "q", SHAPE(BATCH, QUERIES, HEADS, 5));
    Tensor *k = random_tensor(t, "k", SHAPE(BATCH, KEYS, 2, 5));
    float one_hot[KEYS * KEYS] = {0}, ones[BATCH * HEADS * QUERIES * KEYS];
    for (int j = 0; j < KEYS; j++)
        one_hot[j * KEYS + j] = 1;
    for (int i = 0; i < COUNT_OF(ones); i++)
        ones[i] = 1;
    AttentionSpec spec = {.dropout = 0.4f,
                          .site = 11,
                          .mask = {.causal = true,
                                   .causal_offset = -2,
                                   .bias = random_tensor(t, "bias", SHAPE(1, 2, QUERIES, 1)),
                                   .empty_row = EMPTY_UNIFORM}};
    float *p = floats_of(t, attention_probabilities(t, &spec, q, k));
    Tensor *all = tensor_from(draws, F32, SHAPE(BATCH, HEADS, QUERIES, KEYS), ones);
    float *kept = floats_of(draws, dropout(draws, all, 0.4f, 11));
    float *y = floats_of(t, attend(t, &spec, q, k, tensor_from(t, F32, SHAPE(1, KEYS, 1, KEYS), one_hot)));
    int dropped = 0;
    for (int n = 0; n < COUNT_OF(ones); n++) {
        int j = n % KEYS, i = n / KEYS % QUERIES, h = n / KEYS / QUERIES % HEADS, b = n / KEYS / QUERIES / HEADS;
        float got = y[((b * QUERIES + i) * HEADS + h) * KEYS + j];
        assert_true(fabsf(got - p[n] * kept[n]) <= 1e-6f);
        dropped += p[n] > 0 && got == 0;
    }
    assert_true(dropped > 20);
    mem_free(p);
    mem_free(kept);
    mem_free(y);
    tape_free(t);
    tape_free(draws);
}

/* The map of a layer is the one it attends with: applied to its values and projected, it gives the layer's result. */
static void the_map_of_a_layer(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Params *p = params_new();
    SelfAttention l = self_attention_new(p, "attn", 12, 3, true, (Init){INIT_NORMAL, 0.5});
    params_allocate(p, true, 1, test_backend());
    Tensor *x = random_tensor(t, "x", SHAPE(2, 7, 12));
    Tensor *map = self_attention_map(t, &l, NULL, x);
    Tensor *v = split_heads(t, narrow(t, linear(t, &l.qkv, x), 2, 24, 12), 3);
    float *expected = floats_of(t, linear(t, &l.proj, join_heads(t, attention_apply(t, map, v))));
    float *got = floats_of(t, self_attention(t, &l, NULL, x));
    for (int i = 0; i < 2 * 7 * 12; i++)
        assert_true(fabsf(got[i] - expected[i]) < 1e-5f);
    mem_free(expected);
    mem_free(got);
    params_free(p);
    tape_free(t);
}

/* Fused and in three parts over many tiles: values and gradients. */
static float *both_ways(Tape *t, bool fused, Tensor *gradients[3])
{
    static const char *const names[] = {"q", "k", "v"};
    Tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = random_leaf(t, names[i], SHAPE(2, i ? 301 : 203, i ? 2 : 4, 24));
    region_open(t, TRAIN, GRAD);
    const AttentionSpec spec = {0};
    Tensor *y = fused
                    ? attend(t, &spec, in[0], in[1], in[2])
                    : attention_apply(t, attention_softmax(t, &spec, attention_scores(t, &spec, in[0], in[1])), in[2]);
    float *values = floats_of(t, y);
    Tensor *cotangent = random_tensor(t, "cotangent", y->shape);
    tape_backward(t, &y, &cotangent, 1);
    for (int i = 0; i < 3; i++)
        gradients[i] = in[i];
    return values;
}

static void assert_near(const float *a, const float *b, int64_t count, float tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= tolerance))
            fail_msg("element %ld: %.9g and %.9g", (long)i, (double)a[i], (double)b[i]);
}

static void fused_and_in_parts(void **state)
{
    (void)state;
    Tape *fused = test_tape(2), *parts = test_tape(2);
    Tensor *fused_in[3], *parts_in[3];
    float *a = both_ways(fused, true, fused_in), *b = both_ways(parts, false, parts_in);
    assert_near(a, b, 2 * 203 * 4 * 24, 1e-5f);
    for (int i = 0; i < 3; i++) {
        float *x = floats_of(fused, tensor_gradient(fused_in[i])), *y = floats_of(parts, tensor_gradient(parts_in[i]));
        assert_near(x, y, tensor_count(fused_in[i]), 1e-5f);
        mem_free(x);
        mem_free(y);
    }
    mem_free(a);
    mem_free(b);
    tape_free(fused);
    tape_free(parts);
}

/* Twice the tokens ask for twice the memory, forward and backward: no table of N x N anywhere. */
static size_t peak_of_tokens(int64_t n)
{
    Tape *t = test_tape(1);
    region_open(t, TRAIN, GRAD);
    Tensor *qkv = random_leaf(t, "qkv", SHAPE(1, n, 12)), *part[3];
    size_t before = peak_begin(t);
    for (int i = 0; i < 3; i++)
        part[i] = split_heads(t, narrow(t, qkv, 2, 4 * i, 4), 1);
    size_t peak = peak_of_backward(t, before, attend(t, &(AttentionSpec){0}, part[0], part[1], part[2]));
    tape_free(t);
    return peak;
}

static void memory_grows_with_the_tokens(void **state)
{
    (void)state;
    int64_t n = testing_once() ? 500 : 1000;
    size_t one = peak_of_tokens(n), two = peak_of_tokens(2 * n);
    assert_true(two < 2 * one + 4096 && two < (size_t)(2 * n) * 200 * sizeof(float));
}

static void attends_to_other_heads(void *argument)
{
    Tape *t = argument;
    attend(t, &(AttentionSpec){0}, random_tensor(t, "q", SHAPE(2, 3, 4, 5)), random_tensor(t, "k", SHAPE(2, 3, 3, 5)),
           random_tensor(t, "v", SHAPE(2, 3, 3, 5)));
}

static void masks_another_size(void *argument)
{
    Tape *t = argument;
    Tensor *x = random_tensor(t, "x", SHAPE(2, 3, 4, 5));
    attend(t, &(AttentionSpec){.mask.bias = random_tensor(t, "bias", SHAPE(2, 4, 3, 4))}, x, x, x);
}

static void masks_with_floats(void *argument)
{
    Tape *t = argument;
    Tensor *x = random_tensor(t, "x", SHAPE(2, 3, 4, 5));
    attend(t, &(AttentionSpec){.mask.keep = random_tensor(t, "keep", SHAPE(2, 4, 3, 3))}, x, x, x);
}

static void broken_contracts(void **state)
{
    (void)state;
    Tape *t = tape_for_children();
    expect_broken_contract(attends_to_other_heads, t, "attend: q [2, 3, 4, 5], k [2, 3, 3, 5]");
    expect_broken_contract(masks_another_size, t, "a mask [2, 4, 3, 4] of float32 for 2 x 4 x 3 x 3 scores");
    expect_broken_contract(masks_with_floats, t, "of float32");
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_alone),          cmocka_unit_test(dropout_under_masks),
        cmocka_unit_test(the_map_of_a_layer),           cmocka_unit_test(fused_and_in_parts),
        cmocka_unit_test(memory_grows_with_the_tokens), cmocka_unit_test(broken_contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
