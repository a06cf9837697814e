/* What the tape promises besides lifetimes and gradients (test_tape.c): regions, draws, and how it ends a program that breaks its rules. */
#include "common/nn/layers.h"
#include "support/tape_test.h"

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
    Tensor *y =
        drop_path(t, tensor_from(t, F32, SHAPE(4, 1), ((float[]){1, 1, 1, 1})), 0.4f, 1); /* floor(0.6 + u) / 0.6 */
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
    Tape *t = tape_for_children();
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
    Tape *t = tape_for_children();
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
    Tape *t = tape_for_children();
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
        cmocka_unit_test(regions_nest),
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
