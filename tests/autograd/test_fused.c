/* The fused halves of a block over many panels of rows, and in bf16, against the ops that they fuse. */
#include "common/autograd/ops.h"
#include "support/tape_test.h"

#include <math.h>

enum { LEAVES = 7 };

/* Wide enough for panels of 256 rows, and rows that do not fill the last one. */
enum { ROWS = 600, IN = 24, WIDTH = 4096, OUT = 40 };

static const Shape shapes[LEAVES] = {
    {3, {2, ROWS / 2, IN}}, {1, {IN}}, {1, {IN}}, {2, {WIDTH, IN}}, {1, {WIDTH}}, {2, {OUT, WIDTH}}, {1, {OUT}},
};

/* x, norm's weight and bias, up's, down's. */
static Tensor *fused(Tape *t, Tensor *const *in)
{
    return feed_forward(t, in[0], &(LayerNorm){in[1], in[2], 1e-3f}, &(Linear){in[3], in[4]}, UNARY_GELU,
                        &(Linear){in[5], in[6]});
}

static Tensor *apart(Tape *t, Tensor *const *in)
{
    Tensor *normal = standardize(t, in[0], in[1], in[2], 1e-3f);
    return affine(t, gelu(t, affine(t, normal, in[3], in[4])), in[5], in[6]);
}

static Tensor *norm_and_product(Tape *t, Tensor *const *in)
{
    return norm_affine(t, in[0], &(LayerNorm){in[1], in[2], 1e-3f}, &(Linear){in[3], in[4]});
}

static Tensor *norm_then_product(Tape *t, Tensor *const *in)
{
    return affine(t, standardize(t, in[0], in[1], in[2], 1e-3f), in[3], in[4]);
}

/* A result, and the gradients of the leaves. */
typedef struct Outcome {
    int leaves;
    int64_t count[LEAVES + 1];
    float *values[LEAVES + 1];
} Outcome;

static Outcome outcome_of(Tensor *(*run)(Tape *, Tensor *const *), int leaves, DType inner, int threads)
{
    Tape *t = tape_new(&(TapeOptions){.backend = test_backend(), .threads = threads, .seed = 7, .inner = inner});
    region_open(t, TRAIN, GRAD);
    Tensor *in[LEAVES];
    for (int i = 0; i < leaves; i++) {
        char name[16];
        snprintf(name, sizeof name, "leaf%d", i);
        in[i] = random_leaf(t, name, shapes[i]);
    }
    Tensor *y = convert(t, run(t, in), F32);
    Outcome o = {.leaves = leaves, .count = {tensor_count(y)}, .values = {floats_of(t, y)}};
    Tensor *cotangent = random_tensor(t, "cotangent", y->shape);
    tape_backward(t, &y, &cotangent, 1);
    for (int i = 0; i < leaves; i++) {
        o.count[i + 1] = tensor_count(in[i]);
        o.values[i + 1] = floats_of(t, tensor_gradient(in[i]));
    }
    tape_free(t);
    return o;
}

static void outcome_free(Outcome *o)
{
    for (int i = 0; i <= o->leaves; i++)
        mem_free(o->values[i]);
}

/* Of each tensor's largest value. */
static void compare_outcomes(const Outcome *got, const Outcome *expected, double tolerance)
{
    for (int i = 0; i <= got->leaves; i++) {
        double largest = 0;
        for (int64_t j = 0; j < got->count[i]; j++)
            largest = fmax(largest, fabs((double)expected->values[i][j]));
        for (int64_t j = 0; j < got->count[i]; j++)
            if (!(fabs((double)got->values[i][j] - (double)expected->values[i][j]) <= tolerance * largest))
                fail_msg("tensor %d, element %ld is %.9g, not %.9g (the largest is %.9g)", i, (long)j,
                         (double)got->values[i][j], (double)expected->values[i][j], largest);
    }
}

static void check_fused(DType inner, double tolerance)
{
    Outcome got = outcome_of(fused, LEAVES, inner, 1), expected = outcome_of(apart, LEAVES, F32, 1);
    compare_outcomes(&got, &expected, tolerance);
    outcome_free(&got);
    outcome_free(&expected);
    got = outcome_of(norm_and_product, 5, inner, 1);
    expected = outcome_of(norm_then_product, 5, F32, 1);
    compare_outcomes(&got, &expected, tolerance);
    outcome_free(&got);
    outcome_free(&expected);
}

static void many_panels(void **state)
{
    (void)state;
    check_fused(F32, 2e-6);
}

/* bf16 keeps 8 bits: each rounding is off by up to 2^-9 of a number, and a result has been through a few. */
static void many_panels_in_bf16(void **state)
{
    (void)state;
    check_fused(BF16, 0x1p-6);
}

static void any_number_of_threads(void **state)
{
    (void)state;
    for (DType inner = F32; inner <= BF16; inner++) {
        Outcome one = outcome_of(fused, LEAVES, inner, 1), three = outcome_of(fused, LEAVES, inner, 3);
        for (int i = 0; i <= LEAVES; i++)
            assert_memory_equal(one.values[i], three.values[i], (size_t)one.count[i] * sizeof(float));
        outcome_free(&one);
        outcome_free(&three);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_panels),
        cmocka_unit_test(many_panels_in_bf16),
        cmocka_unit_test(any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
