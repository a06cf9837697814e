/* What the tables of tests/autograd cannot say of local windows: many tiles, memory, threads, and broken contracts. */
#include "common/attention/windowed.h"
#include "common/autograd/ops.h"
#include "support/tape_test.h"

#include <math.h>

enum { TOKENS = 384, BLOCK = 96, HEADS = 4, WIDTH = 24, CLIP = 50 };

/* q, k, v as windows of one projection; R_k and R_v. Values and gradients of all three leaves. */
typedef struct Outcome {
    float *values, *gradients[3];
} Outcome;

static Tensor *through_windows(Tape *t, const Windowed *w, Tensor *const *part)
{
    return windowed_attention(t, w, part[0], part[1], part[2]);
}

/* Dense attention under a mask that shows each query its window: what windows save. */
static Tensor *through_a_mask(Tape *t, const Windowed *w, Tensor *const *part)
{
    uint8_t *keep = mem_new(TOKENS * TOKENS);
    for (int64_t n = 0; n < TOKENS * TOKENS; n++) {
        int64_t i = n / TOKENS, j = n % TOKENS, apart = j / w->block - i / w->block;
        keep[n] = apart >= -w->back && apart <= w->forward;
    }
    AttentionSpec spec = {.mask = {.causal = w->causal, .keep = tensor_from(t, U8, SHAPE(1, 1, TOKENS, TOKENS), keep)}};
    mem_free(keep);
    return relative_attention(t, &spec, &w->relative, part[0], part[1], part[2]);
}

static Outcome outcome_of(int threads, const Windowed *given, bool tables,
                          Tensor *(*attention)(Tape *, const Windowed *, Tensor *const *))
{
    Tape *t = test_tape(threads);
    region_open(t, TRAIN, GRAD);
    Tensor *leaves[3] = {random_leaf(t, "qkv", SHAPE(2, TOKENS, 3 * HEADS * WIDTH)),
                         random_leaf(t, "R_k", SHAPE(2 * CLIP + 1, WIDTH)),
                         random_leaf(t, "R_v", SHAPE(2 * CLIP + 1, WIDTH))};
    Tensor *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = reshape(t, narrow(t, leaves[0], 2, i * HEADS * WIDTH, HEADS * WIDTH), SHAPE(2, TOKENS, HEADS, WIDTH));
    Windowed w = *given;
    if (tables)
        w.relative = (RelativeTables){leaves[1], leaves[2]};
    Tensor *y = attention(t, &w, part);
    Outcome o = {.values = floats_of(t, y)};
    Tensor *cotangent = random_tensor(t, "cotangent", y->shape);
    tape_backward(t, &y, &cotangent, 1);
    for (int i = 0; i < (tables ? 3 : 1); i++)
        o.gradients[i] = floats_of(t, tensor_gradient(leaves[i]));
    tape_free(t);
    return o;
}

static void outcome_free(Outcome *o)
{
    mem_free(o->values);
    for (int i = 0; i < 3; i++)
        mem_free(o->gradients[i]);
}

static void assert_near(const float *a, const float *b, int64_t count, float tolerance)
{
    for (int64_t i = 0; a && i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= tolerance))
            fail_msg("element %ld: %.9g and %.9g", (long)i, (double)a[i], (double)b[i]);
}

static const int64_t leaf_counts[] = {2 * TOKENS * 3 * HEADS * WIDTH, (2 * CLIP + 1) * WIDTH, (2 * CLIP + 1) * WIDTH};

static const Windowed several[] = {
    {.block = BLOCK, .back = 1, .causal = true},
    {.block = BLOCK, .back = 1, .forward = 1},
    {.block = TOKENS / 16, .back = 2, .causal = true, .outside = -1, .blocked = BLOCKED_FINITE_MIN},
};

static void windows_are_a_mask(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(several); i += testing_once() ? 2 : 1) {
        Outcome a = outcome_of(2, &several[i], false, through_windows);
        Outcome b = outcome_of(2, &several[i], false, through_a_mask);
        assert_near(a.values, b.values, 2 * TOKENS * HEADS * WIDTH, 1e-5f);
        assert_near(a.gradients[0], b.gradients[0], leaf_counts[0], 1e-5f);
        outcome_free(&a);
        outcome_free(&b);
    }
}

/* With tables too: a distance within a window is one in the sequence. */
static void distances_are_those_of_the_sequence(void **state)
{
    (void)state;
    Outcome a = outcome_of(2, &several[0], true, through_windows);
    Outcome b = outcome_of(2, &several[0], true, through_a_mask);
    assert_near(a.values, b.values, 2 * TOKENS * HEADS * WIDTH, 1e-5f);
    for (int i = 0; i < 3; i++)
        assert_near(a.gradients[i], b.gradients[i], leaf_counts[i], 2e-4f);
    outcome_free(&a);
    outcome_free(&b);
}

static void the_same_bits_for_any_threads(void **state)
{
    (void)state;
    for (int tables = 0; tables < 2; tables++) {
        Outcome one = outcome_of(1, &several[0], tables, through_windows);
        for (int threads = 2; threads <= (testing_once() ? 2 : 3); threads++) {
            Outcome more = outcome_of(threads, &several[0], tables, through_windows);
            assert_memory_equal(one.values, more.values, 2 * TOKENS * HEADS * WIDTH * sizeof(float));
            for (int i = 0; i < (tables ? 3 : 1); i++)
                assert_memory_equal(one.gradients[i], more.gradients[i], (size_t)leaf_counts[i] * sizeof(float));
            outcome_free(&more);
        }
        outcome_free(&one);
    }
}

/* Twice the tokens ask for twice the memory, tables or not. */
static size_t peak_of_tokens(int64_t n, bool tables)
{
    Tape *t = test_tape(1);
    region_open(t, TRAIN, GRAD);
    Tensor *x = random_leaf(t, "x", SHAPE(1, n, 2, 8)), *table = random_leaf(t, "table", SHAPE(41, 8));
    size_t before = peak_begin(t);
    Windowed w = {.block = 20, .back = 1, .causal = true};
    if (tables)
        w.relative = (RelativeTables){table, table};
    size_t peak = peak_of_backward(t, before, windowed_attention(t, &w, x, x, x));
    tape_free(t);
    return peak;
}

static void memory_grows_with_the_tokens(void **state)
{
    (void)state;
    for (int tables = 0; tables < 2; tables++) {
        int64_t n = testing_once() ? 500 : 2000;
        size_t one = peak_of_tokens(n, tables), two = peak_of_tokens(2 * n, tables);
        assert_true(two < 2 * one + 4096 && two < (tables ? 12 : 6) * (size_t)(2 * n) * 2 * 40 * sizeof(float));
    }
}

static void ends_within_a_block(void *argument)
{
    Tensor *x = random_tensor(argument, "x", SHAPE(2, 10, 2, 3));
    windowed_attention(argument, &(Windowed){.block = 4}, x, x, x);
}

static void has_an_even_table(void *argument)
{
    Tensor *x = random_tensor(argument, "x", SHAPE(2, 8, 2, 3));
    Windowed w = {.block = 4, .relative.keys = random_tensor(argument, "table", SHAPE(6, 3))};
    windowed_attention(argument, &w, x, x, x);
}

static void broken_contracts(void **state)
{
    (void)state;
    Tape *t = tape_for_children();
    expect_broken_contract(ends_within_a_block, t, "[2, 10, 2, 3] is not a number of blocks of 4 tokens");
    expect_broken_contract(has_an_even_table, t, "a table [6, 3], not [2M+1,3]");
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_a_mask),
        cmocka_unit_test(distances_are_those_of_the_sequence),
        cmocka_unit_test(the_same_bits_for_any_threads),
        cmocka_unit_test(memory_grows_with_the_tokens),
        cmocka_unit_test(broken_contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
