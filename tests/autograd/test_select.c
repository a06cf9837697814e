/* Tensors of indices: what nearest and top_rows take and give (which rows they choose is held in tests/kernels), and the ops
 * that move integers. */
#include "support/tape_test.h"

static void assert_indices(Tape *t, const Tensor *index, Shape shape, const int32_t *expected)
{
    int32_t got[64];
    assert_int_equal(index->type, I32);
    assert_true(shape_equal(index->shape, shape) && tensor_count(index) <= 64);
    assert_false(index->needs_gradient);
    tensor_read(t, index, got);
    assert_memory_equal(got, expected, (size_t)tensor_count(index) * sizeof *got);
}

static void nearest_of_windows(void **state)
{
    (void)state;
    static const float values[] = {9, 1, 3, 3, 9, 9, 0, -1, -1, 9, 8, 5, 6, 7, 9};
    Tape *t = test_tape(1);
    Region before = region_open(t, TRAIN, GRAD);
    Tensor *x = tensor_from(t, F32, SHAPE(3, 5), values);
    tensor_needs_gradient(x);
    Tensor *window = narrow(t, x, 1, 1, 3);
    assert_indices(t, nearest(t, window), SHAPE(3), (const int32_t[]){1, 0, 2});
    assert_indices(t, nearest(t, reshape(t, x, SHAPE(1, 3, 5))), SHAPE(1, 3), (const int32_t[]){0, 0, 4});
    assert_indices(t, nearest(t, convert(t, window, BF16)), SHAPE(3), (const int32_t[]){1, 0, 2});
    region_close(t, before);
    tape_free(t);
}

/* [B=1,H=2,N=4,K=2], of a window whose last column belongs to nobody. */
static void top_rows_of_heads(void **state)
{
    (void)state;
    static const float values[] = {1, 5, 9, 1, 6, 9, 1, 7, 9, 1, 8, 9, /* head 0: a tie, and one that grows */
                                   4, 1, 9, 3, 2, 9, 2, 2, 9, 1, 0, 9};
    Tape *t = test_tape(1);
    Tensor *scores = narrow(t, tensor_from(t, F32, SHAPE(1, 2, 4, 3), values), 3, 0, 2);
    assert_indices(t, top_rows(t, scores, 2), SHAPE(1, 4, 2), (const int32_t[]){0, 0, 1, 1, 2, 1, 3, 2});
    assert_indices(t, top_rows(t, scores, 0), SHAPE(1, 0, 2), NULL);
    tape_free(t);
}

static void chosen_rows_come_back(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Tensor *x = random_tensor(t, "x", SHAPE(2, 6, 3, 5)), *means = random_tensor(t, "means", SHAPE(2, 3, 6, 4));
    Tensor *members = gather_rows(t, x, top_rows(t, means, 6)); /* all six rows of each of 4 columns, in their order */
    float *got = floats_of(t, members), *rows = floats_of(t, x);
    for (int i = 0; i < 2 * 4 * 6 * 15; i++)
        assert_true(got[i] == rows[i / (4 * 6 * 15) * 6 * 15 + i % (6 * 15)]);
    mem_free(got), mem_free(rows);
    tape_free(t);
}

/* Tokens, and the same one place later: windows of one row of ids, a shift, a part of a batch. */
static void integers_move(void **state)
{
    (void)state;
    static const int64_t ids[] = {5, 6, 7, 8, 9, 1, 2, 3, 4, 0}, shifted[] = {0, 5, 6, 7, 8, 0, 1, 2, 3, 4},
                         joined[] = {6, 7, 8, 9, 5, 2, 3, 4, 0, 1};
    int64_t got[10];
    Tape *t = test_tape(1);
    Tensor *x = tensor_from(t, I64, SHAPE(2, 5), ids);
    tensor_read(t, shift(t, x, 1, 1), got);
    assert_memory_equal(got, shifted, sizeof got);
    tensor_read(t, concat2(t, 1, narrow(t, x, 1, 1, 4), narrow(t, x, 1, 0, 1)), got);
    assert_memory_equal(got, joined, sizeof got);
    Tensor *table = random_tensor(t, "table", SHAPE(10, 3));
    float *rows = floats_of(t, embedding(t, table, narrow(t, x, 1, 1, 4))), *all = floats_of(t, table);
    for (int i = 0; i < 2 * 4 * 3; i++)
        assert_true(rows[i] == all[ids[i / 12 * 5 + i / 3 % 4 + 1] * 3 + i % 3]);
    static const uint8_t flags[] = {1, 0, 1, 1, 0, 0}, moved[] = {0, 1, 0, 0, 1, 0};
    uint8_t bytes[6];
    tensor_read(t, shift(t, tensor_from(t, U8, SHAPE(2, 3), flags), 1, 1), bytes);
    assert_memory_equal(bytes, moved, sizeof bytes);
    mem_free(rows), mem_free(all);
    tape_free(t);
}

static void on_meta(void **state)
{
    (void)state;
    Tape *t = tape_new(&(TapeOptions){.device = DEVICE_META});
    Tensor *scores = tensor_make(t, F32, SHAPE(3, 2, 7, 5));
    assert_true(shape_equal(top_rows(t, scores, 4)->shape, SHAPE(3, 20, 2)));
    assert_true(shape_equal(nearest(t, scores)->shape, SHAPE(3, 2, 7)));
    tape_free(t);
}

static void broken_top_rows(void *argument)
{
    Tape *t = test_tape(1);
    top_rows(t, random_tensor(t, "scores", SHAPE(1, 1, 3, 2)), *(int64_t *)argument);
}

static void broken_nearest(void *argument)
{
    Tape *t = test_tape(1);
    nearest(t, random_tensor(t, "scores", *(Shape *)argument));
}

static void contracts(void **state)
{
    (void)state;
    expect_broken_contract(broken_top_rows, &(int64_t){4}, "top_rows: 4 of scores [1, 1, 3, 2]");
    expect_broken_contract(broken_nearest, &SHAPE(3, 0), "nearest: scores [3, 0]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_of_windows),    cmocka_unit_test(top_rows_of_heads),
        cmocka_unit_test(chosen_rows_come_back), cmocka_unit_test(on_meta),
        cmocka_unit_test(integers_move),         cmocka_unit_test(contracts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
