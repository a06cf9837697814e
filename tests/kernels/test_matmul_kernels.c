/* Matrix products against a plain double reference, at every level of this machine or on the CUDA backend. */
#include "kernels/dnnl_cases.h"

#define kernels (&backend->matmul)

typedef struct Sizes {
    int64_t m, n, k, pad; /* pad: how much longer than its columns a row of every matrix is */
} Sizes;

static const Sizes sizes[] = {
    {1, 1, 1, 0},      {1, 10, 7, 0},     {3, 5, 1, 2},       {7, 1, 13, 0},      {17, 33, 65, 0},
    {17, 33, 65, 5},   {64, 64, 64, 0},   {130, 96, 32, 0},   {197, 288, 96, 16}, {1000, 31, 63, 1},
    {640, 192, 64, 0}, {1303, 32, 96, 0}, {700, 203, 125, 3}, /* rows of x 512 bytes apart, in two spans */
};

/* A matrix that a test fills; stride = columns + pad. */
static Rows rows_new(int64_t rows, int64_t columns, int64_t pad, DType type, uint32_t seed)
{
    int64_t stride = columns + pad;
    return (Rows){random_numbers((size_t)(rows * stride), type, seed), stride, type};
}

static double at(Rows m, int64_t row, int64_t column)
{
    return number_at(m.data, m.type, row * m.stride + column);
}

/* What a product in bf16 sees of a factor. */
static double seen(double value, bool rounded)
{
    return rounded ? (double)bf16_to_float(bf16_from_float((float)value)) : value;
}

/* cuBLASLt takes a bias in the type of the result. */
static double seen_bias(const float *bias, int64_t j, DType result)
{
    return bias ? seen(bias[j], result == BF16 && testing_cuda()) : 0;
}

/* got[i][j] = before[i][j] (or 0) + bias[j] + sum over k of a[i][k] b[k][j], with strides as flags say. */
static void assert_product(const char *what, Sizes s, Rows a, bool a_transposed, Rows b, bool b_transposed,
                           const float *bias, const Rows *before, Rows got, bool rounded)
{
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double sum = seen_bias(bias, j, got.type) + (before ? at(*before, i, j) : 0), size = fabs(sum);
            for (int64_t k = 0; k < s.k; k++) {
                double left = seen(a_transposed ? at(a, k, i) : at(a, i, k), rounded);
                double right = seen(b_transposed ? at(b, j, k) : at(b, k, j), rounded);
                sum += left * right;
                size += fabs(left * right);
            }
            assert_near(at(got, i, j), sum, size, got.type, what, i * s.n + j);
        }
}

/* The columns between a matrix's end and its stride belong to someone else. */
static void assert_padding_untouched(Rows before, Rows after, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = columns; j < before.stride; j++)
            assert_true(at(before, i, j) == at(after, i, j));
}

static void linear_case(Sizes s, DType in, DType out, bool with_bias, bool parameter)
{
    bool rounded = in == BF16 || out == BF16;
    Rows x = rows_new(s.m, s.k, s.pad, in, 1), w = rows_new(s.n, s.k, s.pad, F32, 2);
    Rows y = rows_new(s.m, s.n, s.pad, out, 3), before = rows_new(s.m, s.n, s.pad, out, 3);
    float *bias = random_numbers((size_t)s.n, F32, 4);
    struct Packed *packed = NULL;
    Weight weight = {w.data, w.stride, 0, parameter ? &packed : NULL};
    for (int repeat = 0; repeat < 2; repeat++) {
        kernels->linear(&two_threads, s.m, s.n, s.k, x, &weight, with_bias ? bias : NULL, y);
        assert_product("linear", s, x, false, w, true, with_bias ? bias : NULL, NULL, y, rounded);
    }
    assert_padding_untouched(before, y, s.m, s.n);
    kernels->packed_free(&packed);
    assert_null(packed);
    operand_free(x.data), operand_free(w.data), operand_free(y.data), operand_free(before.data), operand_free(bias);
}

static void test_linear(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(sizes); i++)
        for (int flags = 0; flags < 4; flags++)
            linear_case(sizes[i], F32, F32, flags & 1, flags & 2);
}

static void input_gradient_case(Sizes s, DType in, DType out, bool add)
{
    Rows dy = rows_new(s.m, s.n, s.pad, in, 1), w = rows_new(s.n, s.k, s.pad, F32, 2);
    Rows dx = rows_new(s.m, s.k, s.pad, out, 3), before = rows_new(s.m, s.k, s.pad, out, 3);
    struct Packed *packed = NULL;
    Weight weight = {w.data, w.stride, 0, &packed};
    kernels->linear_input_gradient(&two_threads, s.m, s.n, s.k, dy, &weight, add, dx);
    assert_product("linear_input_gradient", (Sizes){s.m, s.k, s.n, 0}, dy, false, w, false, NULL, add ? &before : NULL,
                   dx, in == BF16 || out == BF16);
    assert_padding_untouched(before, dx, s.m, s.k);
    kernels->packed_free(&packed);
    operand_free(dy.data), operand_free(w.data), operand_free(dx.data), operand_free(before.data);
}

/* With as much scratch as the kernel says it needs, and not a byte more. */
static void weight_gradient(const Exec *given, Sizes s, Rows dy, Rows x, bool add, float *dw)
{
    Exec exec = *given;
    exec.scratch_bytes = kernels->linear_weight_gradient_scratch(s.m, s.n, s.k);
    exec.scratch = operand_new(exec.scratch_bytes);
    kernels->linear_weight_gradient(&exec, s.m, s.n, s.k, dy, x, add, dw);
    operand_free(exec.scratch);
}

static void weight_gradient_case(Sizes s, DType dy_type, DType x_type, bool add)
{
    Rows dy = rows_new(s.m, s.n, s.pad, dy_type, 1), x = rows_new(s.m, s.k, s.pad, x_type, 2);
    Rows dw = rows_new(s.n, s.k, 0, F32, 3), before = rows_new(s.n, s.k, 0, F32, 3);
    weight_gradient(&two_threads, s, dy, x, add, dw.data);
    assert_product("linear_weight_gradient", (Sizes){s.n, s.k, s.m, 0}, dy, true, x, false, NULL, add ? &before : NULL,
                   dw, dy_type == BF16 || x_type == BF16);
    operand_free(dy.data), operand_free(x.data), operand_free(dw.data), operand_free(before.data);
}

static void test_gradients(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(sizes); i++)
        for (int add = 0; add < 2; add++) {
            input_gradient_case(sizes[i], F32, F32, add);
            weight_gradient_case(sizes[i], F32, F32, add);
        }
}

static void test_bf16(void **unused)
{
    (void)unused;
    if (!bf16_here)
        skip();
    static const DType types[][2] = {{BF16, BF16}, {BF16, F32}, {F32, BF16}};
    for (int i = 0; i < COUNT_OF(sizes); i++)
        for (int t = 0; t < COUNT_OF(types); t++)
            for (int flag = 0; flag < 2; flag++) {
                linear_case(sizes[i], types[t][0], types[t][1], flag, true);
                input_gradient_case(sizes[i], types[t][0], types[t][1], flag);
                weight_gradient_case(sizes[i], types[t][0], types[t][1], flag);
            }
}

typedef struct BatchCase {
    int64_t batch, m, n, k, pad;
    bool a_transposed, b_transposed, a_shared, b_shared, add;
} BatchCase;

static Rows batch_item(Rows m, int64_t step, int64_t i)
{
    m.data = (char *)m.data + (size_t)(i * step) * dtype_bytes(m.type);
    return m;
}

static void batch_case(BatchCase c, DType in, DType out)
{
    int64_t a_rows = c.a_transposed ? c.k : c.m, b_rows = c.b_transposed ? c.n : c.k;
    Rows a = rows_new(c.batch * a_rows, c.a_transposed ? c.m : c.k, c.pad, in, 1);
    Rows b = rows_new(c.batch * b_rows, c.b_transposed ? c.k : c.n, c.pad, in, 2);
    Rows y = rows_new(c.batch * c.m, c.n, c.pad, out, 3), before = rows_new(c.batch * c.m, c.n, c.pad, out, 3);
    int64_t a_step = c.a_shared ? 0 : a_rows * a.stride, b_step = c.b_shared ? 0 : b_rows * b.stride;
    int64_t y_step = c.m * y.stride;
    kernels->matmul(&two_threads, c.batch, c.m, c.n, c.k, a, a_step, c.a_transposed, b, b_step, c.b_transposed, c.add,
                    y, y_step);
    for (int64_t i = 0; i < c.batch; i++) {
        Rows was = batch_item(before, y_step, i);
        assert_product("matmul", (Sizes){c.m, c.n, c.k, 0}, batch_item(a, a_step, i), c.a_transposed,
                       batch_item(b, b_step, i), c.b_transposed, NULL, c.add ? &was : NULL, batch_item(y, y_step, i),
                       in == BF16);
    }
    operand_free(a.data), operand_free(b.data), operand_free(y.data), operand_free(before.data);
}

static void test_batch(void **unused)
{
    (void)unused;
    static const int64_t shapes[][5] = {{1, 5, 7, 3, 0},    {4, 1, 1, 1, 0},   {3, 17, 19, 23, 3},
                                        {6, 50, 64, 16, 0}, {5, 1, 33, 20, 0}, {2, 130, 1, 40, 1}};
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int flags = 0; flags < 32; flags++) {
            const int64_t *s = shapes[i];
            BatchCase c = {s[0], s[1], s[2], s[3], s[4], flags & 1, flags & 2, flags & 4, flags & 8, flags & 16};
            batch_case(c, F32, F32);
            if (bf16_here) {
                batch_case(c, BF16, BF16);
                batch_case(c, BF16, F32);
            }
        }
}

/* Shapes and strides that nobody would list: each kernel of a library has corners of its own. */
static void test_random_shapes(void **unused)
{
    (void)unused;
    uint32_t state = 1;
    for (int i = 0; i < 400; i++) {
        int64_t r[5];
        static const unsigned limits[5] = {3, 40, 40, 70, 30};
        for (int j = 0; j < 5; j++) {
            state = state * 1664525u + 1013904223u;
            r[j] = (state >> 16) % limits[j] + (j < 4);
        }
        BatchCase c = {r[0], r[1], r[2], r[3], r[4], state & 1u << 9, state & 1u << 10, false, false, state & 1u << 11};
        batch_case(c, F32, F32);
        linear_case((Sizes){r[1], r[2], r[3], r[4]}, F32, F32, state & 1u << 12, true);
        input_gradient_case((Sizes){r[1], r[2], r[3], r[4]}, F32, F32, state & 1u << 12);
        weight_gradient_case((Sizes){r[1], r[2], r[3], r[4]}, F32, F32, state & 1u << 12);
        if (bf16_here) {
            batch_case(c, BF16, state & 1u << 13 ? BF16 : F32);
            linear_case((Sizes){r[1], r[2], r[3], r[4]}, BF16, F32, state & 1u << 12, true);
            input_gradient_case((Sizes){r[1], r[2], r[3], r[4]}, BF16, BF16, state & 1u << 12);
            weight_gradient_case((Sizes){r[1], r[2], r[3], r[4]}, BF16, BF16, state & 1u << 12);
        }
    }
}

/* Heads that lie side by side, [N, H, d]: the batch step is shorter than a row. */
static void test_interleaved_heads(void **unused)
{
    (void)unused;
    enum { N = 21, H = 3, D = 8 };
    Rows q = rows_new(N, H * D, 0, F32, 1), k = rows_new(N, H * D, 0, F32, 2), scores = rows_new(H * N, N, 0, F32, 3);
    kernels->matmul(&two_threads, H, N, N, D, q, D, false, k, D, true, false, scores, N * N);
    for (int64_t h = 0; h < H; h++)
        assert_product("heads", (Sizes){N, N, D, 0}, batch_item(q, D, h), false, batch_item(k, D, h), true, NULL, NULL,
                       batch_item(scores, N * N, h), false);
    operand_free(q.data), operand_free(k.data), operand_free(scores.data);
}

static void test_packed_copy_follows_the_version(void **unused)
{
    (void)unused;
    Sizes s = {70, 48, 36, 0};
    Rows x = rows_new(s.m, s.k, 0, F32, 1), w = rows_new(s.n, s.k, 0, F32, 2), y = rows_new(s.m, s.n, 0, F32, 3);
    struct Packed *packed = NULL;
    Weight weight = {w.data, w.stride, 7, &packed};
    kernels->linear(&two_threads, s.m, s.n, s.k, x, &weight, NULL, y);
    for (int64_t i = 0; i < s.n * s.k; i++)
        ((float *)w.data)[i] *= -3;
    weight.version = 8;
    kernels->linear(&two_threads, s.m, s.n, s.k, x, &weight, NULL, y);
    assert_product("after a write", s, x, false, w, true, NULL, NULL, y, false);

    /* A square weight: forward and backward may want one layout, but never one copy. */
    Sizes square = {70, 36, 36, 0};
    kernels->linear(&two_threads, 70, 36, 36, x, &weight, NULL, y);
    y.stride = 36;
    kernels->linear(&two_threads, 70, 36, 36, x, &weight, NULL, y);
    assert_product("square", square, x, false, w, true, NULL, NULL, y, false);
    kernels->linear_input_gradient(&two_threads, 70, 36, 36, x, &weight, false, y);
    assert_product("square by input", square, x, false, w, false, NULL, NULL, y, false);
    kernels->packed_free(&packed);
    operand_free(x.data), operand_free(w.data), operand_free(y.data);
}

static void same_bytes(DType type)
{
    static const Sizes shapes[] = {{12, 7, 9, 0},      {640, 192, 64, 0}, {6400, 32, 96, 0}, {6400, 10, 32, 0},
                                   {1280, 64, 192, 0}, {5000, 96, 96, 0}, {128, 33, 17, 0},  {20000, 48, 16, 0}};
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        Sizes s = shapes[i];
        Rows x = rows_new(s.m, s.k, 0, type, 1), w = rows_new(s.n, s.k, 0, F32, 2), dy = rows_new(s.m, s.n, 0, type, 3);
        size_t bytes[] = {(size_t)(s.m * s.n) * dtype_bytes(type), (size_t)(s.m * s.k) * dtype_bytes(type),
                          (size_t)(s.n * s.k) * 4};
        struct Packed *packed = NULL;
        Weight weight = {w.data, w.stride, 0, &packed};
        void *results[3][3];
        for (int threads = 1; threads <= 3; threads++) {
            Exec exec = {.threads = threads, .stream = backend->stream};
            void **r = results[threads - 1];
            for (int j = 0; j < 3; j++)
                r[j] = operand_new(bytes[j]);
            kernels->linear(&exec, s.m, s.n, s.k, x, &weight, NULL, (Rows){r[0], s.n, type});
            kernels->linear_input_gradient(&exec, s.m, s.n, s.k, dy, &weight, false, (Rows){r[1], s.k, type});
            weight_gradient(&exec, s, dy, x, false, r[2]);
            for (int j = 0; j < 3; j++)
                if (memcmp(results[0][j], r[j], bytes[j]) != 0)
                    fail_msg("%s of %lld x %lld x %lld: %d threads give other bytes than 1",
                             (const char *[]){"linear", "gradient by input", "gradient by weight"}[j], (long long)s.m,
                             (long long)s.n, (long long)s.k, threads);
        }
        for (int j = 0; j < 9; j++)
            operand_free(results[j / 3][j % 3]);
        kernels->packed_free(&packed);
        operand_free(x.data), operand_free(w.data), operand_free(dy.data);
    }
}

static void test_thread_count_changes_nothing(void **unused)
{
    (void)unused;
    same_bytes(F32);
    if (bf16_here)
        same_bytes(BF16);
}

static void test_zero_sizes(void **unused)
{
    (void)unused;
    float *x = operand_copy((const float[]){1, 2, 3, 4, 5, 6}, 6 * sizeof *x), *bias = x;
    float *y = operand_copy((const float[]){9, 9, 9, 9, 9, 9}, 6 * sizeof *y);
    Rows a = {x, 3, F32}, c = {y, 3, F32};
    Weight w = {x, 3, 0, NULL};
    kernels->linear(&two_threads, 0, 3, 3, a, &w, bias, c);
    kernels->linear(&two_threads, 2, 0, 3, a, &w, bias, c);
    kernels->linear_input_gradient(&two_threads, 0, 3, 3, a, &w, false, c);
    kernels->linear_weight_gradient(&two_threads, 0, 3, 2, a, a, true, y);
    kernels->matmul(&two_threads, 0, 2, 3, 3, a, 0, false, a, 0, false, false, c, 6);
    kernels->matmul(&two_threads, 1, 2, 3, 0, a, 0, false, a, 0, false, true, c, 6);
    for (int i = 0; i < 6; i++)
        assert_true(y[i] == 9);
    kernels->linear(&two_threads, 2, 3, 0, a, &w, bias, c);
    for (int i = 0; i < 6; i++)
        assert_true(y[i] == bias[i % 3]);
    kernels->linear_weight_gradient(&two_threads, 0, 3, 2, a, a, false, y);
    for (int i = 0; i < 6; i++)
        assert_true(y[i] == 0);
    operand_free(x), operand_free(y);
}

static void test_cache_is_bounded(void **unused)
{
    (void)unused;
    float *x = random_numbers(1 << 16, F32, 1), *y = random_numbers(1 << 16, F32, 2);
    struct Packed *packed = NULL;
    Weight w = {x, 16, 0, &packed};
    for (int m = 1; m <= dnnl_plan_limit() + 50; m++)
        kernels->linear(&two_threads, m, 16, 16, (Rows){x, 16, F32}, &w, NULL, (Rows){y, 16, F32});
    if (!testing_cuda())
        assert_int_equal(dnnl_plan_count(), dnnl_plan_limit());
    kernels->linear(&two_threads, 1, 16, 16, (Rows){x, 16, F32}, &w, NULL, (Rows){y, 16, F32});
    Rows in = {x, 16, F32}, out = {y, 16, F32};
    assert_product("a plan that had left", (Sizes){1, 16, 16, 0}, in, false, in, true, NULL, NULL, out, false);
    kernels->packed_free(&packed);
    operand_free(x), operand_free(y);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_interleaved_heads),
        cmocka_unit_test(test_packed_copy_follows_the_version),
        cmocka_unit_test(test_thread_count_changes_nothing),
        cmocka_unit_test(test_zero_sizes),
        cmocka_unit_test(test_cache_is_bounded),
    };
    return cmocka_run_group_tests_name("matmul", tests, NULL, NULL);
}

int main(void)
{
    return run_at_every_level(run);
}
