/* States: they outlive steps and scopes, are written in place along any axis, and never under a recorded op's feet. */
#include "common/autograd/state.h"
#include "common/nn/params.h"
#include "support/tape_test.h"

typedef struct Fixture {
    Tape *tape;
    States *owner;
    Tensor *state; /* [2,5,3], zeros */
} Fixture;

static Fixture fixture_new(void)
{
    Fixture f = {.tape = test_tape(2), .owner = states_new()};
    f.state = state_new(f.owner, SHAPE(2, 5, 3), F32);
    states_allocate(f.owner, test_backend());
    return f;
}

static void fixture_free(Fixture *f)
{
    tape_free(f->tape);
    states_free(f->owner);
}

/* Along each axis, from windows too, and the rest stays; steps and scopes that it went through leave it alone. */
static void parts_are_written(void **state)
{
    (void)state;
    for (int axis = 0; axis < 3; axis++) {
        Fixture f = fixture_new();
        Shape part = f.state->shape;
        part.dim[axis] = 1;
        Shape wide = part;
        wide.dim[1] += 2;
        Tensor *x = narrow(f.tape, random_tensor(f.tape, "x", wide), 1, 1, part.dim[1]); /* a window */
        float expected[30] = {0}, *values = floats_of(f.tape, x);
        for (int i = 0, from = 0; i < 30; i++) {
            int at[] = {i / 15, i / 3 % 5, i % 3};
            if (at[axis] == 1)
                expected[i] = values[from++];
        }
        state_write(f.tape, f.state, axis, 1, x);
        assert_floats(f.tape, f.state, expected);
        Scope s = scope_open(f.tape);
        assert_ptr_equal(scope_close(f.tape, s, f.state), f.state);
        tape_reset(f.tape);
        assert_floats(f.tape, f.state, expected);
        assert_floats(f.tape, reshape(f.tape, narrow(f.tape, f.state, 0, 1, 1), SHAPE(15)), expected + 15);
        tape_reset(f.tape);
        mem_free(values);
        fixture_free(&f);
    }
}

static void whole_states_are_set_added_to_and_cleared(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    Tensor *x = random_leaf(f.tape, "x", SHAPE(2, 5, 3));
    Region before = region_open(f.tape, TRAIN, GRAD);
    float *once = floats_of(f.tape, x), twice[30];
    for (int i = 0; i < 30; i++)
        twice[i] = once[i] + once[i];
    state_set(f.tape, f.state, x);
    state_add(f.tape, f.state, x);
    assert_floats(f.tape, f.state, twice);
    assert_false(f.state->needs_gradient);
    assert_false(multiply(f.tape, f.state, f.state)->needs_gradient); /* nor does what is made of it */
    state_set(f.tape, f.state, convert(f.tape, x, F32));
    assert_floats(f.tape, f.state, once);
    state_clear(f.tape, f.state);
    assert_floats(f.tape, f.state, (float[30]){0});
    region_close(f.tape, before);
    mem_free(once);
    fixture_free(&f);
}

/* Of any type; declared when the owner has been allocated, too. */
static void types_and_later_states(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    Tensor *ids = state_new(f.owner, SHAPE(4), I64), *flag = state_new(f.owner, (Shape){0}, U8),
           *half = state_new(f.owner, SHAPE(1, 8), BF16);
    void *data = f.state->data;
    states_allocate(f.owner, test_backend());
    assert_ptr_equal(f.state->data, data);
    assert_int_equal((uintptr_t)half->data % 64, 0);
    int64_t got[4];
    uint8_t set = 0;
    state_write(f.tape, ids, 0, 2, tensor_from(f.tape, I64, SHAPE(2), (int64_t[]){7, -9}));
    tensor_read(f.tape, ids, got);
    assert_memory_equal(got, ((int64_t[]){0, 0, 7, -9}), sizeof got);
    state_set(f.tape, flag, tensor_from(f.tape, U8, (Shape){0}, &(uint8_t){1}));
    tensor_read(f.tape, flag, &set);
    assert_int_equal(set, 1);
    Tensor *x = tensor_from(f.tape, F32, SHAPE(1, 2), (float[]){1.5f, 3.0f});
    state_write(f.tape, half, 1, 6, x); /* floats are rounded */
    assert_floats(f.tape, convert(f.tape, half, F32), (float[]){0, 0, 0, 0, 0, 0, 1.5f, 3.0f});
    fixture_free(&f);
}

/* A model's states get storage with its parameters and stand in no file; a buffer is a state that does. */
static void files_know_buffers_alone(void **state)
{
    (void)state;
    Params *p = params_new();
    Tape *t = test_tape(1);
    Tensor *buffer = params_add_buffer(p, "bank", SHAPE(3, 2), INIT_ONES),
           *own = state_new(params_states(p), SHAPE(2), F32);
    params_allocate(p, true, 1, test_backend());
    int count;
    TensorToWrite *list = params_to_write(p, &count);
    assert_int_equal(count, 1);
    mem_free(list);
    uint64_t version = buffer->param->version;
    state_write(t, buffer, 0, 2, tensor_from(t, F32, SHAPE(1, 2), (float[]){5, 6}));
    assert_floats(t, buffer, (float[]){1, 1, 1, 1, 5, 6});
    assert_true(buffer->param->version > version);
    assert_floats(t, own, (float[]){0, 0});
    tape_free(t);
    params_free(p);
}

static void on_meta(void **state)
{
    (void)state;
    Tape *t = tape_new(&(TapeOptions){.device = DEVICE_META});
    States *owner = states_new();
    Tensor *x = state_new(owner, SHAPE(1 << 20, 1 << 20), F32); /* four terabytes */
    states_allocate(owner, NULL);
    state_write(t, x, 0, 5, tensor_make(t, F32, SHAPE(3, 1 << 20)));
    state_clear(t, x);
    assert_true(shape_equal(narrow(t, x, 0, 1, 2)->shape, SHAPE(2, 1 << 20)));
    tape_free(t);
    states_free(owner);
}

/* ---- What must not be */

static void written_while_needed(void *argument)
{
    (void)argument;
    Fixture f = fixture_new();
    Tensor *x = random_leaf(f.tape, "x", SHAPE(5, 3));
    region_open(f.tape, TRAIN, GRAD);
    multiply(f.tape, x, reshape(f.tape, narrow(f.tape, f.state, 0, 1, 1), SHAPE(5, 3)));
    state_clear(f.tape, f.state);
}

static void of_another_shape(void *argument)
{
    Fixture f = fixture_new();
    state_write(f.tape, f.state, 1, 0, random_tensor(f.tape, "x", *(Shape *)argument));
}

static void beyond_the_end(void *argument)
{
    (void)argument;
    Fixture f = fixture_new();
    state_write(f.tape, f.state, 1, 4, random_tensor(f.tape, "x", SHAPE(2, 2, 3)));
}

static void before_allocation(void *argument)
{
    (void)argument;
    Fixture f = fixture_new();
    state_clear(f.tape, state_new(f.owner, SHAPE(2), F32));
}

static void contracts(void **state)
{
    (void)state;
    expect_broken_contract(written_while_needed, NULL, "a recorded op still reads the state [2, 5, 3]");
    expect_broken_contract(of_another_shape, &SHAPE(2, 1, 4), "state_write: [2, 1, 4] along axis 1 of [2, 5, 3]");
    expect_broken_contract(beyond_the_end, NULL, "narrow: axis 1, 4 + 2, of [2, 5, 3]");
    expect_broken_contract(before_allocation, NULL, "state_clear: input 0 [2] has no data");
}

/* Once the way back has gone by, the same write is fine. */
static void written_after_the_way_back(void **state)
{
    (void)state;
    Fixture f = fixture_new();
    Tensor *x = random_leaf(f.tape, "x", SHAPE(2, 5, 3));
    Region before = region_open(f.tape, TRAIN, GRAD);
    Tensor *y = sum_all(f.tape, multiply(f.tape, x, f.state));
    tape_backward(f.tape, &y, NULL, 1);
    state_set(f.tape, f.state, x);
    region_close(f.tape, before);
    float *values = floats_of(f.tape, x);
    assert_floats(f.tape, f.state, values);
    mem_free(values);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_written),
        cmocka_unit_test(whole_states_are_set_added_to_and_cleared),
        cmocka_unit_test(types_and_later_states),
        cmocka_unit_test(files_know_buffers_alone),
        cmocka_unit_test(on_meta),
        cmocka_unit_test(contracts),
        cmocka_unit_test(written_after_the_way_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
