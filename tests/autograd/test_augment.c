/* What the ops on images refuse, and noise from outside. (Their values: augment_cases.h.) */
#include "support/tape_test.h"

static const Normalization normal = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};

static void bytes_erased(void *box)
{
    Tape *t = test_tape(1);
    Erasure e = {.box = *(const Box *)box};
    map_from_bytes(t, tensor_from(t, U8, SHAPE(1, 4, 5, 3), NULL), &normal, &e);
}

static void floats_as_bytes(void *nothing)
{
    (void)nothing;
    Tape *t = test_tape(1);
    map_from_bytes(t, random_tensor(t, "x", SHAPE(1, 4, 5, 3)), &normal, NULL);
}

static void four_channels(void *nothing)
{
    (void)nothing;
    Tape *t = test_tape(1);
    map_from_bytes(t, tensor_from(t, U8, SHAPE(1, 2, 2, 4), NULL), &normal, NULL);
}

static void mixed_box(void *box)
{
    Tape *t = test_tape(1);
    mix_reversed(t, random_tensor(t, "x", SHAPE(2, 3, 4, 5)), box, 0.5);
}

static void mixed_with_gradient(void *nothing)
{
    (void)nothing;
    Tape *t = test_tape(1);
    region_open(t, TRAIN, GRAD);
    mix_reversed(t, random_leaf(t, "x", SHAPE(2, 3, 4, 5)), NULL, 0.5);
}

static void broken_contracts(void **state)
{
    (void)state;
    static const Box outside[] = {{-1, 0, 2, 2}, {0, -1, 2, 2}, {3, 0, 2, 1}, {0, 4, 1, 2}, {0, 0, -1, 1}};
    for (int i = 0; i < COUNT_OF(outside); i++) {
        expect_broken_contract(bytes_erased, (void *)&outside[i], "leaves images of 4 x 5");
        expect_broken_contract(mixed_box, (void *)&outside[i], "leaves images of 4 x 5");
    }
    expect_broken_contract(floats_as_bytes, NULL, "float32 of rank 4, not bytes");
    expect_broken_contract(four_channels, NULL, "4 channels");
    expect_broken_contract(mixed_with_gradient, NULL, "without gradient");
}

/* Image by image, channel by channel; a window of a larger batch of bytes. */
static void replayed_noise(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {9, 9, 9, 9, 0, 255, 255, 0, 255, 255, 0, 0};
    static const float noise[] = {10, 11, 12};
    static const Erasure erasures[] = {{.box = {0, 1, 1, 1}}, {.box = {0, 0, 1, 0}}};
    RandomReplay replay = {.values = noise, .count = 3};
    Tape *t = test_tape(1);
    tape_replay(t, &replay);
    Tensor *all = tensor_from(t, U8, SHAPE(3, 1, 2, 2), bytes);
    Tensor *y = map_from_bytes(t, narrow(t, all, 0, 1, 2), &normal, erasures);
    assert_false(y->needs_gradient);
    assert_floats(t, y, (const float[]){-1, 10, 1, 11, 1, -1, 1, -1});
    assert_int_equal(replay.used, 2);
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(broken_contracts), cmocka_unit_test(replayed_noise)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
