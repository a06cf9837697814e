/* What the tables of tests/autograd cannot say of routing: the way from scores to results, many members, memory, threads. */
#include "common/attention/kmeans.h"
#include "common/attention/routed.h"
#include "common/autograd/ops.h"
#include "support/tape_test.h"

#include <math.h>

enum { SAMPLES = 2, HEADS = 2, WIDTH = 12, CLUSTERS = 4, CLIP = 20 };

/* x is query and key, and the router's token; values apart. */
typedef struct Leaves {
    Tensor *x, *v, *key_table, *value_table, *means;
} Leaves;

static Leaves leaves_new(Tape *t, int64_t tokens, int64_t clusters)
{
    return (Leaves){
        random_leaf(t, "x", SHAPE(SAMPLES, tokens, HEADS, WIDTH)),
        random_leaf(t, "v", SHAPE(SAMPLES, tokens, HEADS, WIDTH)), random_leaf(t, "R_k", SHAPE(2 * CLIP + 1, WIDTH)),
        random_leaf(t, "R_v", SHAPE(2 * CLIP + 1, WIDTH)), random_tensor(t, "means", SHAPE(HEADS, clusters, WIDTH))};
}

static Tensor *routed_by_means(Tape *t, const Leaves *l, Routed r, int64_t window)
{
    r.clusters = l->means->shape.dim[1];
    Tensor *members = top_rows(t, cluster_scores(t, l->x, l->means), window);
    return routed_attention(t, &r, l->x, l->x, l->v, members, members);
}

static void assert_near(const float *a, const float *b, int64_t count, float factor, float tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - factor * b[i]) <= tolerance))
            fail_msg("element %ld: %.9g and %.9g", (long)i, (double)a[i], (double)(factor * b[i]));
}

/* One cluster of all tokens is dense attention, over one more than eps. */
static void one_cluster_is_dense(void **state)
{
    (void)state;
    enum { TOKENS = 150 };
    for (int causal = 0; causal < 2; causal++) {
        Tape *t = test_tape(2), *other = test_tape(2);
        region_open(t, TRAIN, GRAD), region_open(other, TRAIN, GRAD);
        Leaves a = leaves_new(t, TOKENS, 1), b = leaves_new(other, TOKENS, 1);
        Tensor *y =
            routed_by_means(t, &a, (Routed){.eps = 0.25f, .causal = causal ? SEES_LOWER_RANKS : SEES_ALL}, TOKENS);
        Tensor *z = attend(other, &(AttentionSpec){.mask.causal = causal}, b.x, b.x, b.v);
        float *got = floats_of(t, y), *want = floats_of(other, z);
        assert_near(got, want, tensor_count(y), 0.8f, 1e-5f);
        tape_backward(t, &y, NULL, 1), tape_backward(other, &z, NULL, 1);
        float *dx = floats_of(t, tensor_gradient(a.x)), *dense_dx = floats_of(other, tensor_gradient(b.x));
        assert_near(dx, dense_dx, tensor_count(a.x), 0.8f, 1e-4f);
        mem_free(got), mem_free(want), mem_free(dx), mem_free(dense_dx);
        tape_free(t), tape_free(other);
    }
}

/* Of values and gradients, the bits. */
static uint64_t bits_of(int threads, bool tables)
{
    Tape *t = test_tape(threads);
    region_open(t, TRAIN, GRAD);
    Leaves l = leaves_new(t, 400, CLUSTERS);
    Routed r = {.eps = 1e-2f, .causal = SEES_LOWER_RANKS, .hide_zeros = true, .blocked = BLOCKED_1E9};
    if (tables)
        r.relative = (RelativeTables){l.key_table, l.value_table};
    Tensor *y = routed_by_means(t, &l, r, 100), *cotangent = random_tensor(t, "cotangent", y->shape);
    const Tensor *read[] = {y, NULL, NULL, NULL, NULL};
    uint64_t bits = 0;
    for (int i = 0; i < (tables ? 5 : 3); i++) {
        if (i == 1) {
            tape_backward(t, &y, &cotangent, 1);
            read[1] = tensor_gradient(l.x), read[2] = tensor_gradient(l.v);
            read[3] = tensor_gradient(l.key_table), read[4] = tensor_gradient(l.value_table);
        }
        uint32_t *words = (uint32_t *)floats_of(t, read[i]);
        for (int64_t n = 0; n < tensor_count(read[i]); n++)
            bits = bits * 6364136223846793005u + words[n] + 1;
        mem_free(words);
    }
    tape_free(t);
    return bits;
}

static void the_same_bits_for_any_threads(void **state)
{
    (void)state;
    for (int tables = 0; tables < 2; tables++) {
        uint64_t one = bits_of(1, tables);
        assert_true(bits_of(2, tables) == one && bits_of(3, tables) == one);
    }
    assert_true(bits_of(1, false) != bits_of(1, true));
}

/* Four times the tokens and twice the clusters ask for less than eight times the memory and a little: N^1.5. */
static size_t peak_of_tokens(int64_t n, int64_t clusters)
{
    Tape *t = test_tape(1);
    region_open(t, TRAIN, GRAD);
    Leaves l = leaves_new(t, n, clusters);
    size_t before = peak_begin(t);
    size_t peak = peak_of_backward(t, before, routed_by_means(t, &l, (Routed){.eps = 1}, n / clusters));
    tape_free(t);
    return peak;
}

static void memory_grows_with_the_clusters(void **state)
{
    (void)state;
    size_t one = peak_of_tokens(1024, 32), four = peak_of_tokens(4096, 64);
    assert_true(four < 8 * one);
    assert_true(four < (size_t)SAMPLES * HEADS * 4096 * 4096 * sizeof(float) / 8);
}

static void has_clusters_that_do_not_fit(void *argument)
{
    Tape *t = argument;
    Tensor *x = random_tensor(t, "x", SHAPE(1, 8, 1, 3)), *index = tensor_make(t, I32, SHAPE(1, 7, 1));
    routed_attention(t, &(Routed){.clusters = 2}, x, x, x, index, index);
}

static void remembers_distances(void *argument)
{
    Tape *t = argument;
    Tensor *x = random_tensor(t, "x", SHAPE(1, 8, 1, 3)), *index = tensor_make(t, I32, SHAPE(1, 8, 1));
    Tensor *memory = random_tensor(t, "memory", SHAPE(1, 2, 1, 3)), *table = random_tensor(t, "table", SHAPE(3, 3));
    Routed r = {.clusters = 2, .memory_keys = memory, .memory_values = memory, .relative.keys = table};
    routed_attention(t, &r, x, x, x, index, index);
}

static void broken_contracts(void **state)
{
    (void)state;
    Tape *t = tape_for_children();
    expect_broken_contract(has_clusters_that_do_not_fit, t, "an index [1, 7, 1] of 2 clusters");
    expect_broken_contract(remembers_distances, t, "the memory has no rank");
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_cluster_is_dense),
        cmocka_unit_test(the_same_bits_for_any_threads),
        cmocka_unit_test(memory_grows_with_the_clusters),
        cmocka_unit_test(broken_contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
