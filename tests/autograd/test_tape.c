/* What the tape promises: whose memory lives how long, and where gradients go. */
#include "common/nn/layers.h"
#include "support/param_values.h"
#include "support/tape_test.h"

static size_t used(Tape *t)
{
    return pool_used(tape_pool(t));
}

static Region grad(Tape *t)
{
    return region_open(t, TRAIN, GRAD);
}

/* ---- Scopes */

static void a_scope_gives_back_what_was_made_in_it(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Tensor *x = random_tensor(t, "x", SHAPE(100, 100));
    size_t before = used(t);
    Scope s = scope_open(t);
    Tensor *y = square(t, gelu(t, exponential(t, x)));
    size_t one = used(t) - before;
    y = scope_close(t, s, y);
    assert_true(y->data && used(t) - before <= one / 3);
    Scope empty = scope_open(t);
    scope_close(t, empty, square(t, y));
    tape_reset(t);
    assert_true(used(t) < before);
    tape_free(t);
}

static void several_tensors_survive_a_scope(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Tensor *x = random_tensor(t, "x", SHAPE(10, 10));
    Scope s = scope_open(t);
    Tensor *keep[] = {square(t, x), NULL, scale(t, x, 2)}, *gone = relu(t, x);
    (void)gone;
    size_t before = used(t);
    scope_close_n(t, s, keep, 3);
    assert_true(keep[0]->data && keep[2]->data);
    assert_true(before - used(t) >= 400 && before - used(t) < 600);
    tape_free(t);
}

/* Evaluation through 2 and through 50 blocks needs the same memory. */
static size_t peak_of_depth(int depth)
{
    Tape *t = test_tape(1);
    Params *p = params_new();
    VitBlock b = vit_block_new(
        p, "block", &(VitBlockShape){.width = 8, .hidden = 16, .heads = 2, .eps = 1e-6f, .weight = {INIT_NORMAL, 0.1}});
    params_allocate(p, true, 1, test_backend());
    Tensor *x = random_tensor(t, "x", SHAPE(2, 30, 8));
    pool_peak_reset(tape_pool(t));
    Scope s = scope_open(t);
    for (int i = 0; i < depth; i++)
        x = scope_close(t, s, vit_block(t, &b, x));
    size_t peak = pool_peak(tape_pool(t));
    tape_free(t);
    params_free(p);
    return peak;
}

static void the_peak_of_an_evaluation_does_not_grow_with_depth(void **state)
{
    (void)state;
    assert_int_equal(peak_of_depth(3), peak_of_depth(50));
}

static void a_scope_may_return_what_is_older(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Params *p = params_new();
    Tensor *w = params_add(p, "w", SHAPE(4), INIT_ONES), *x = random_tensor(t, "x", SHAPE(5, 4));
    params_allocate(p, true, 1, test_backend());
    size_t before = used(t);
    for (int i = 0; i < 3; i++) {
        Scope s = scope_open(t);
        square(t, x);
        assert_ptr_equal(scope_close(t, s, x), x);
        s = scope_open(t);
        assert_ptr_equal(scope_close(t, s, w), w);
    }
    assert_int_equal(used(t), before);
    assert_true(x->data && w->data);
    tape_reset(t);
    assert_non_null(w->data);
    tape_free(t);
    params_free(p);
}

static void a_window_keeps_its_storage(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Scope s = scope_open(t);
    Tensor *x = random_tensor(t, "x", SHAPE(5, 4)), *w = narrow(t, x, 1, 1, 2);
    float *expected = floats_of(t, w);
    w = scope_close(t, s, w);
    random_tensor(t, "another", SHAPE(5, 4));
    assert_floats(t, w, expected);
    mem_free(expected);
    tape_free(t);
}

static void kept_tensors_live_until_the_reset(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    size_t before = used(t);
    Region r = grad(t);
    Scope outer = scope_open(t), inner = scope_open(t);
    Tensor *x = random_leaf(t, "x", SHAPE(5, 4)), *y = tape_keep(t, square(t, x)), *loss = sum_all(t, y);
    float *expected = floats_of(t, y);
    loss = scope_close(t, inner, loss);
    tape_backward(t, &loss, NULL, 1);
    scope_close_n(t, outer, NULL, 0);
    assert_floats(t, y, expected);
    region_close(t, r);
    tape_reset(t);
    assert_int_equal(used(t), before);
    mem_free(expected);
    tape_free(t);
}

/* After backward only what can still be looked at has memory. */
static void backward_gives_activations_back(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    size_t before = used(t);
    Region r = grad(t);
    Scope s = scope_open(t);
    Tensor *x = random_tensor(t, "x", SHAPE(100, 100)), *w = random_leaf(t, "w", SHAPE(100, 100));
    Tensor *y = affine(t, x, w, NULL);
    for (int i = 0; i < 10; i++)
        y = square(t, y);
    Tensor *loss = scope_close(t, s, sum_all(t, y));
    size_t recorded = used(t);
    pool_peak_reset(tape_pool(t));
    tape_backward(t, &loss, NULL, 1);
    assert_true(recorded - before > 10 * 40000);
    assert_true(used(t) - before < 1000);
    assert_true(pool_peak(tape_pool(t)) - recorded < 4 * 40100);
    region_close(t, r);
    tape_reset(t);
    assert_int_equal(used(t), before);
    tape_free(t);
}

static void a_reset_gives_everything_back(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    size_t before = used(t);
    for (int i = 0; i < 3; i++) {
        grad(t);
        Tensor *x = random_leaf(t, "x", SHAPE(3, 5, 4));
        Tensor *parts[] = {narrow(t, x, 2, 1, 2), tape_keep(t, square(t, x))};
        Tensor *y = concat(t, 2, 2, parts);
        if (i == 1) { /* also in the middle of things: no backward, or one of two roots */
            Tensor *loss = sum_all(t, y);
            tape_backward(t, &loss, NULL, 1);
        }
        softmax(t, y);
        tape_reset(t);
        assert_int_equal(used(t), before);
    }
    tape_free(t);
}

/* ---- Gradients */

typedef struct Weights {
    Params *params;
    Tensor *a, *b, *unused, *frozen;
} Weights;

static Weights weights_new(void)
{
    Weights w = {.params = params_new()};
    w.a = params_add(w.params, "a", SHAPE(3, 4), (Init){INIT_UNIFORM, 1});
    w.b = params_add(w.params, "b", SHAPE(3, 4), (Init){INIT_UNIFORM, 1});
    w.unused = params_add(w.params, "unused", SHAPE(3, 4), (Init){INIT_UNIFORM, 1});
    w.frozen = params_add_buffer(w.params, "frozen", SHAPE(3, 4), INIT_ONES);
    params_allocate(w.params, true, 3, test_backend());
    return w;
}

static void backward_of(Tape *t, Tensor *y)
{
    Tensor *loss = sum_all(t, y);
    tape_backward(t, &loss, NULL, 1);
}

static void assert_gradient(Tape *t, const Tensor *x, int64_t count, const float *expected, float factor)
{
    const Tensor *g = tensor_gradient(x);
    assert_non_null(g);
    float *values = floats_of(t, g);
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(values[i] - expected[i] * factor) <= 1e-6f))
            fail_msg("gradient %ld is %.9g, not %.9g", (long)i, (double)values[i], (double)(expected[i] * factor));
    mem_free(values);
}

static void gradients_accumulate_until_they_are_zeroed(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Weights w = weights_new();
    for (int round = 0; round < 2; round++) {
        params_zero_gradients(w.params);
        assert_null(tensor_gradient(w.a));
        for (int pass = 1; pass <= 3; pass++) {
            grad(t);
            backward_of(t, multiply(t, w.a, multiply(t, w.b, w.frozen)));
            tape_reset(t); /* is not zero_grad */
            assert_gradient(t, w.a, 12, param_values(w.params, w.b), (float)pass);
            assert_gradient(t, w.b, 12, param_values(w.params, w.a), (float)pass);
        }
    }
    assert_null(tensor_gradient(w.unused)); /* an absent gradient is not a gradient of zero */
    assert_false(w.unused->param->touched);
    assert_null(tensor_gradient(w.frozen));
    tape_free(t);
    params_free(w.params);
}

static void a_gradient_of_zero_is_not_absent(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Weights w = weights_new();
    grad(t);
    backward_of(t, scale(t, narrow(t, w.a, 0, 1, 1), 2)); /* rows 0 and 2 receive nothing */
    assert_gradient(t, w.a, 12, (const float[12]){0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0}, 1);
    backward_of(t, scale(t, w.b, 0));
    assert_gradient(t, w.b, 12, (const float[12]){0}, 1);
    tape_free(t);
    params_free(w.params);
}

static const float ones[24] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* x gets the very storage of y's gradient from the first add; the second must not write into what others still read. */
static void shared_gradients_do_not_alias(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    grad(t);
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4)), *a = random_leaf(t, "a", SHAPE(3, 4));
    backward_of(t, add(t, x, x));
    assert_gradient(t, x, 12, ones, 2);
    tape_reset(t);

    grad(t); /* a residual chain: x + a, + a, + x, with every intermediate used once more */
    x = random_leaf(t, "x", SHAPE(3, 4)), a = random_leaf(t, "a", SHAPE(3, 4));
    Tensor *u = add(t, x, a), *v = add(t, u, a), *y = add(t, add(t, v, x), add(t, u, v));
    backward_of(t, y);
    assert_gradient(t, x, 12, ones, 4); /* y = 4 x + 5 a */
    assert_gradient(t, a, 12, ones, 5);
    tape_reset(t);

    grad(t); /* reshapes and windows of one tensor, each in the sum */
    x = random_leaf(t, "x", SHAPE(3, 4));
    Tensor *flat = reshape(t, x, SHAPE(12)), *rows = reshape(t, x, SHAPE(4, 3));
    Tensor *sum = add(t, add(t, flat, reshape(t, rows, SHAPE(12))), reshape(t, x, SHAPE(12)));
    backward_of(t, sum);
    assert_gradient(t, x, 12, ones, 3);
    tape_reset(t);

    grad(t); /* the cotangent itself stays as it was */
    x = random_leaf(t, "x", SHAPE(3, 4));
    Tensor *cotangent = random_tensor(t, "cotangent", SHAPE(3, 4)), *root = add(t, x, x), *again = add(t, root, x);
    float *expected = floats_of(t, cotangent);
    tape_backward(t, (Tensor *[]){root, again, x}, (Tensor *[]){cotangent, cotangent, cotangent}, 3);
    assert_floats(t, cotangent, expected);
    assert_gradient(t, x, 12, expected, 6);
    mem_free(expected);
    tape_free(t);
}

/* q, k, v as windows of one projection: the parts of its gradient do not disturb each other, used or not. */
static void windows_of_a_projection_share_its_gradient(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    for (int parts = 1; parts <= 3; parts++) {
        grad(t);
        Tensor *qkv = random_leaf(t, "qkv", SHAPE(1, 4, 6)), *y = NULL;
        for (int i = 0; i < parts; i++) {
            Tensor *part = scale(t, narrow(t, qkv, 2, 2 * i, 2), (float)(i + 1));
            y = y ? add(t, y, part) : part;
        }
        backward_of(t, add(t, y, narrow(t, qkv, 2, 0, 2)));
        float expected[24];
        for (int i = 0; i < 24; i++)
            expected[i] = (float)(i % 6 / 2 < parts ? i % 6 / 2 + 1 : 0) + (float)(i % 6 < 2);
        assert_gradient(t, qkv, 24, expected, 1);
        tape_reset(t);
    }
    tape_free(t);
}

/* A buffer of a model as cotangent: the tape must neither share nor give back memory that is not its own. */
static void a_parameter_as_cotangent(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    grad(t);
    Params *p = params_new();
    Tensor *cotangent = params_add_buffer(p, "c", SHAPE(3, 4), (Init){INIT_UNIFORM, 1});
    params_allocate(p, true, 3, test_backend());
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4)), *root = scale(t, x, 2);
    float *expected = floats_of(t, cotangent);
    tape_backward(t, &root, &cotangent, 1);
    assert_gradient(t, x, 12, expected, 2);
    assert_floats(t, cotangent, expected);
    mem_free(expected);
    tape_free(t);
    params_free(p);
}

/* Cotangents as a user has them: a window, and [B,C,H,W] for a map that lies channels-last. */
static void cotangents_of_any_layout(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    grad(t);
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4)), *wide = random_tensor(t, "wide", SHAPE(3, 9));
    Tensor *root = scale(t, x, 2), *cotangent = narrow(t, wide, 1, 3, 4);
    float *expected = floats_of(t, cotangent);
    tape_backward(t, &root, &cotangent, 1);
    assert_gradient(t, x, 12, expected, 2);
    mem_free(expected);
    tape_reset(t);
    grad(t);
    Tensor *tokens = random_leaf(t, "tokens", SHAPE(2, 6, 3)), *map = scale(t, map_from_tokens(t, tokens, 2, 3), 1);
    cotangent = random_tensor(t, "cotangent", SHAPE(2, 3, 2, 3));
    tape_backward(t, &map, &cotangent, 1);
    float *c = floats_of(t, cotangent), *g = floats_of(t, tensor_gradient(tokens));
    for (int b = 0; b < 2; b++)
        for (int p = 0; p < 6; p++)
            for (int k = 0; k < 3; k++)
                assert_true(g[(b * 6 + p) * 3 + k] == c[(b * 3 + k) * 6 + p]);
    mem_free(c);
    mem_free(g);
    tape_free(t);
}

static void every_root_counts(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    grad(t);
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4)), *y = scale(t, x, 2), *window = narrow(t, y, 1, 1, 2);
    tape_backward(t, (Tensor *[]){y, window, y}, NULL, 3); /* cotangents of one each */
    static const float expected[12] = {4, 6, 6, 4, 4, 6, 6, 4, 4, 6, 6, 4};
    assert_gradient(t, x, 12, expected, 1);
    tape_free(t);
}

static void a_region_without_gradients_cuts_the_way_back(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    grad(t);
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4));
    Region r = region_open(t, TRAIN, NO_GRAD);
    Tensor *constant = reshape(t, x, SHAPE(3, 4));
    region_close(t, r);
    float *values = floats_of(t, constant);
    backward_of(t, multiply(t, x, constant));
    assert_gradient(t, x, 12, values, 1);
    mem_free(values);
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scope_gives_back_what_was_made_in_it),
        cmocka_unit_test(several_tensors_survive_a_scope),
        cmocka_unit_test(the_peak_of_an_evaluation_does_not_grow_with_depth),
        cmocka_unit_test(a_scope_may_return_what_is_older),
        cmocka_unit_test(a_window_keeps_its_storage),
        cmocka_unit_test(kept_tensors_live_until_the_reset),
        cmocka_unit_test(backward_gives_activations_back),
        cmocka_unit_test(a_reset_gives_everything_back),
        cmocka_unit_test(gradients_accumulate_until_they_are_zeroed),
        cmocka_unit_test(a_gradient_of_zero_is_not_absent),
        cmocka_unit_test(shared_gradients_do_not_alias),
        cmocka_unit_test(windows_of_a_projection_share_its_gradient),
        cmocka_unit_test(cotangents_of_any_layout),
        cmocka_unit_test(a_parameter_as_cotangent),
        cmocka_unit_test(every_root_counts),
        cmocka_unit_test(a_region_without_gradients_cuts_the_way_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
