/* What the tape promises: whose memory lives how long, and where gradients go. */
#include "common/nn/layers.h"
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
            assert_gradient(t, w.a, 12, w.b->data, (float)pass);
            assert_gradient(t, w.b, 12, w.a->data, (float)pass);
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
    assert_memory_equal(cotangent->data, expected, 12 * sizeof(float));
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

/* ---- Regions */

static void regions_nest(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    assert_false(tape_training(t));
    Region outer = region_open(t, TRAIN, GRAD);
    Tensor *x = random_leaf(t, "x", SHAPE(3, 4));
    assert_true(tape_training(t) && square(t, x)->needs_gradient);
    Region inner = region_open(t, EVAL, NO_GRAD);
    assert_false(tape_training(t) || square(t, x)->needs_gradient);
    assert_false(narrow(t, x, 0, 0, 1)->needs_gradient || reshape(t, x, SHAPE(12))->needs_gradient);
    region_close(t, inner);
    assert_true(tape_training(t) && square(t, x)->needs_gradient);
    region_close(t, outer);
    assert_false(tape_training(t));
    tape_free(t);
}

/* What is made without gradients is a constant to what comes later, windows included. */
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

/* ---- Draws: a function of seed, site, call and step, and of nothing else. */

static float *dropped(Tape *t, uint32_t site, uint32_t step, int calls_before)
{
    tape_set_step(t, step);
    Region r = region_open(t, TRAIN, NO_GRAD);
    Tensor *x = random_tensor(t, "x", SHAPE(10, 10));
    for (int i = 0; i < calls_before; i++)
        dropout(t, x, 0.5f, site);
    float *values = floats_of(t, dropout(t, x, 0.5f, site));
    region_close(t, r);
    tape_reset(t);
    return values;
}

static void draws_depend_on_site_step_and_call(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    float *first = dropped(t, 1, 0, 0), *same = dropped(t, 1, 0, 0);
    float *others[] = {dropped(t, 2, 0, 0), dropped(t, 1, 1, 0), dropped(t, 1, 0, 1)};
    assert_memory_equal(first, same, 400);
    for (int i = 0; i < COUNT_OF(others); i++) {
        assert_memory_not_equal(first, others[i], 400);
        mem_free(others[i]);
    }
    mem_free(first);
    mem_free(same);
    tape_free(t);
}

static void drop_path_can_be_replayed(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    RandomReplay replay = {.values = (const float[]){0.1f, 0.9f, 0.39f, 0.41f}, .count = 4};
    tape_replay(t, &replay);
    Region r = region_open(t, TRAIN, NO_GRAD);
    Tensor *y = drop_path(t, tensor_from(t, F32, SHAPE(4, 1), ones), 0.4f, 1); /* floor(0.6 + u) / 0.6 */
    region_close(t, r);
    tape_replay(t, NULL);
    const float kept = (float)(1 / (1.0 - (double)0.4f));
    assert_floats(t, y, (const float[]){0, kept, 0, kept});
    assert_true(replay.used == 4 && !replay.overrun);
    tape_free(t);
}

/* ---- Broken contracts */

static void adds_two_shapes(void *argument)
{
    Tape *t = argument;
    add(t, random_tensor(t, "a", SHAPE(2, 3)), random_tensor(t, "b", SHAPE(3, 2)));
}

static void narrows_too_far(void *argument)
{
    Tape *t = argument;
    narrow(t, random_tensor(t, "a", SHAPE(2, 3)), 1, 2, 2);
}

static void goes_back_from_a_constant(void *argument)
{
    Tape *t = argument;
    Tensor *x = random_tensor(t, "a", SHAPE(2, 3));
    tape_backward(t, &x, NULL, 1);
}

static void closes_out_of_order(void *argument)
{
    Tape *t = argument;
    Scope outer = scope_open(t);
    random_tensor(t, "a", SHAPE(2, 3));
    Scope inner = scope_open(t);
    scope_close_n(t, outer, NULL, 0);
    scope_close_n(t, inner, NULL, 0);
}

static void reads_after_the_scope(void *argument)
{
    Tape *t = argument;
    Scope s = scope_open(t);
    Tensor *x = random_tensor(t, "a", SHAPE(1));
    scope_close_n(t, s, NULL, 0);
    tensor_scalar(t, x);
}

static void uses_a_parameter_too_early(void *argument)
{
    Params *p = params_new();
    square(argument, params_add(p, "w", SHAPE(3), INIT_ONES));
}

static void broken_contracts_end_the_program(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    expect_broken_contract(adds_two_shapes, t, "add: [2, 3] and [3, 2]");
    expect_broken_contract(narrows_too_far, t, "narrow: axis 1, 2 + 2, of [2, 3]");
    expect_broken_contract(goes_back_from_a_constant, t, "tape_backward");
    expect_broken_contract(closes_out_of_order, t, "a scope was closed after the one around it");
    expect_broken_contract(reads_after_the_scope, t, "its scope has closed");
    expect_broken_contract(uses_a_parameter_too_early, t, "never allocated");
    char message[512];
    int status = child_status(adds_two_shapes, t, true, message);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    tape_free(t);
}

#ifndef NDEBUG
/* Debug builds never give a released tensor's place to another within a step, so that every late use is noticed. */
static void uses_it_after_others_were_made(void *argument)
{
    Tape *t = argument;
    Scope s = scope_open(t);
    Tensor *x = random_tensor(t, "a", SHAPE(2, 3));
    scope_close_n(t, s, NULL, 0);
    for (int i = 0; i < 5; i++)
        random_tensor(t, "b", SHAPE(2, 3));
    square(t, x);
}

static void debug_builds_notice_late_use(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    expect_broken_contract(uses_it_after_others_were_made, t, "its scope has closed");
    tape_free(t);
}
#endif

static void asks_for_too_much(void *argument)
{
    Tape *t = argument;
    expand(t, tensor_make(t, F32, SHAPE(1, 1 << 20)), (int64_t)1 << 20);
}

static void memory_that_runs_out_is_one_line(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    char message[512];
    int status = child_status(asks_for_too_much, t, false, message);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    assert_non_null(strstr(message, "out of memory in expand"));
    assert_non_null(strstr(message, "train.batch_size"));
    assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
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
        cmocka_unit_test(regions_nest),
        cmocka_unit_test(a_region_without_gradients_cuts_the_way_back),
        cmocka_unit_test(draws_depend_on_site_step_and_call),
        cmocka_unit_test(drop_path_can_be_replayed),
        cmocka_unit_test(broken_contracts_end_the_program),
#ifndef NDEBUG
        cmocka_unit_test(debug_builds_notice_late_use),
#endif
        cmocka_unit_test(memory_that_runs_out_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
