/* How tensors lie in memory: shapes, and windows seen as rows and as blocks. */
#include "common/tensor/tensor.h"
#include "support/tape_test.h"

static void shapes(void **state)
{
    (void)state;
    char text[128];
    assert_int_equal(shape_count((Shape){0}), 1);
    assert_int_equal(shape_count(SHAPE(3, 0, 5)), 0);
    assert_int_equal(shape_product(SHAPE(2, 3, 5, 7), 1, 3), 15);
    assert_int_equal(shape_product(SHAPE(2, 3), 2, 2), 1);
    assert_true(shape_equal(SHAPE(2, 3), SHAPE(2, 3)));
    assert_false(shape_equal(SHAPE(2, 3), SHAPE(2, 3, 1)));
    assert_false(shape_equal(SHAPE(2, 3), SHAPE(3, 2)));
    assert_string_equal(shape_text((Shape){0}, text), "[]");
    assert_string_equal(shape_text(SHAPE(2, 3, 4), text), "[2, 3, 4]");
    int64_t huge = INT64_MAX;
    shape_text(SHAPE(huge, huge, huge, huge, huge, huge, huge, huge), text);
    assert_in_range(strlen(text), 100, 127);
}

/* Element i of a window lies where `narrow` of a contiguous tensor of numbers 0, 1, 2, ... says: a number is its own place. */
static void check_window(Tape *t, Shape from, int axis, int64_t start, int64_t length)
{
    float *numbers = mem_new((size_t)shape_count(from) * sizeof(float));
    for (int64_t i = 0; i < shape_count(from); i++)
        numbers[i] = (float)i;
    Tensor *x = tensor_from(t, F32, from, numbers), *w = narrow(t, x, axis, start, length);
    float *read = floats_of(t, w);
    int64_t inner = shape_product(from, axis + 1, from.rank);
    for (int64_t i = 0; i < tensor_count(w); i++) {
        int64_t at = (i / (length * inner) * from.dim[axis] + start) * inner + i % (length * inner);
        assert_true(read[i] == (float)at);
        assert_true((float *)w->data - (float *)x->data + tensor_offset(w, i) == at);
    }
    int64_t rows, cols, blocks, run;
    Rows r;
    if (tensor_rows(w, &rows, &cols, &r)) {
        assert_int_equal(rows * cols, tensor_count(w));
        for (int64_t i = 0; i < rows * cols; i++)
            assert_true((float)((float *)r.data - (float *)x->data + i / cols * r.stride + i % cols) == read[i]);
    }
    r = tensor_blocks(w, &blocks, &run);
    assert_int_equal(blocks * run, tensor_count(w));
    for (int64_t i = 0; i < blocks * run; i++)
        assert_true((float)((float *)r.data - (float *)x->data + i / run * r.stride + i % run) == read[i]);
    mem_free(read);
    mem_free(numbers);
}

static void windows_of_every_axis(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    const Shape from[] = {SHAPE(7), SHAPE(3, 5), SHAPE(1, 5, 4), SHAPE(3, 1, 4), SHAPE(3, 5, 4), SHAPE(2, 3, 4, 5)};
    for (int s = 0; s < COUNT_OF(from); s++)
        for (int axis = 0; axis < from[s].rank; axis++)
            for (int64_t start = 0; start < from[s].dim[axis]; start++)
                for (int64_t length = 1; start + length <= from[s].dim[axis]; length++)
                    check_window(t, from[s], axis, start, length);
    tape_free(t);
}

/* Which windows the kernels see as they lie, and which have to be copied. */
static void rows_of_windows(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    int64_t rows, cols;
    Rows r;
    Tensor *x = random_tensor(t, "x", SHAPE(3, 5, 8));
    assert_true(tensor_rows(narrow(t, x, 2, 2, 4), &rows, &cols, &r));
    assert_int_equal(rows, 15);
    assert_int_equal(cols, 4);
    assert_int_equal(r.stride, 8);
    assert_false(tensor_rows(narrow(t, x, 1, 1, 2), &rows, &cols, &r)); /* two rows, then a leap */
    assert_true(tensor_rows(narrow(t, x, 1, 1, 1), &rows, &cols, &r));  /* the class tokens */
    assert_int_equal(rows, 3);
    assert_int_equal(r.stride, 40);
    assert_false(tensor_is_window(narrow(t, x, 0, 1, 2)));
    assert_false(tensor_is_window(narrow(t, x, 2, 0, 8)));
    assert_true(tensor_rows(tensor_make(t, F32, (Shape){0}), &rows, &cols, &r));
    assert_int_equal(rows * cols, 1);
    assert_true(tensor_rows(tensor_make(t, F32, SHAPE(3, 0)), &rows, &cols, &r));
    assert_int_equal(rows, 3);
    tape_free(t);
}

/* Heads split from a window of a fused projection, windows of windows, and a reshape that has to copy. */
static void windows_are_views_where_they_can_be(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Tensor *x = random_tensor(t, "x", SHAPE(3, 5, 12)), *w = narrow(t, x, 2, 4, 4);
    Tensor *heads = reshape(t, w, SHAPE(3, 5, 2, 2)), *flat = reshape(t, w, SHAPE(15, 4));
    assert_ptr_equal(heads->storage, x->storage);
    assert_ptr_equal(flat->storage, x->storage);
    assert_ptr_equal(narrow(t, w, 2, 1, 2)->storage, x->storage);
    assert_ptr_equal(narrow(t, w, 2, 1, 2)->root, x);
    assert_int_equal(narrow(t, w, 2, 1, 2)->offset, 5);
    Tensor *odd = reshape(t, w, SHAPE(5, 12));
    assert_ptr_not_equal(odd->storage, x->storage);
    float *values = floats_of(t, w);
    assert_floats(t, odd, values);
    assert_floats(t, heads, values);
    mem_free(values);
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(windows_of_every_axis),
        cmocka_unit_test(rows_of_windows),
        cmocka_unit_test(windows_are_views_where_they_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
