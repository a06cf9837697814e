#include "tests/kernels/check.h"

/* f, f' and the interval that is tried, in double. */
typedef struct Function {
    Unary f;
    double (*value)(double), (*slope)(double);
    double low, high;
    double tolerance; /* absolute, beside 4 ulp of the result */
} Function;

static double phi(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}
static double gelu(double x)
{
    return x * phi(x);
}
static double gelu_slope(double x)
{
    return phi(x) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
}
static double tanh_argument(double x)
{
    return sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
}
static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(tanh_argument(x)));
}
static double gelu_tanh_slope(double x)
{
    double t = tanh(tanh_argument(x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}
static double relu(double x)
{
    return x > 0 ? x : 0;
}
static double relu_slope(double x)
{
    return x > 0 ? 1 : 0;
}
static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double sigmoid_slope(double x)
{
    return sigmoid(x) * sigmoid(-x);
}
static double tanh_slope(double x)
{
    return 1 / (cosh(x) * cosh(x));
}
static double silu(double x)
{
    return x * sigmoid(x);
}
static double silu_slope(double x)
{
    return sigmoid(x) + x * sigmoid(x) * sigmoid(-x);
}
static double log_slope(double x)
{
    return 1 / x;
}
static double square(double x)
{
    return x * x;
}
static double square_slope(double x)
{
    return 2 * x;
}
static double root_slope(double x)
{
    return 0.5 / sqrt(x);
}

static const Function functions[UNARY_COUNT] = {
    {UNARY_GELU, gelu, gelu_slope, -9, 9, 6e-7},    {UNARY_GELU_TANH, gelu_tanh, gelu_tanh_slope, -12, 12, 1e-6},
    {UNARY_RELU, relu, relu_slope, -3, 3, 0},       {UNARY_SIGMOID, sigmoid, sigmoid_slope, -30, 30, 2e-7},
    {UNARY_TANH, tanh, tanh_slope, -10, 10, 4e-7},  {UNARY_SILU, silu, silu_slope, -20, 20, 1e-6},
    {UNARY_EXPONENTIAL, exp, exp, -80, 80, 0},      {UNARY_LOGARITHM, log, log_slope, 1e-6, 50, 2e-7},
    {UNARY_SQUARE, square, square_slope, -5, 5, 0}, {UNARY_SQUARE_ROOT, sqrt, root_slope, 1e-3, 50, 0},
};

static double unary_tolerance(const Function *f, DType out, double want)
{
    return f->tolerance + 4 * 0x1p-24 * fabs(want) + rounding(out, want) + 1e-37; /* denormals may lose digits */
}

static void unary_layout(Trial *t, Shape s, Layout l)
{
    for (int i = 0; i < UNARY_COUNT; i++) {
        const Function *f = &functions[i];
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, f->low, f->high);
        Matrix y = matrix_new(s.rows, s.cols, l.gap, l.out);
        t->backend->elementwise.unary(&t->exec, f->f, s.rows, s.cols, x.rows, y.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) {
                double want = f->value(matrix_get(&x, r, c));
                check_near(matrix_get(&y, r, c), want, unary_tolerance(f, l.out, want), "unary", i, r * s.cols + c);
            }
        check_last_row_is_first(&y);
        record_matrix(t, &y);
        matrix_free(&x), matrix_free(&y);
    }
}

static void unary_special(Trial *t)
{
    static const float special[] = {NAN, INFINITY, -INFINITY, 0, 100, -100, 1e-41f};
    float *x = operand_copy(special, sizeof special), *y = operand_new(sizeof special);
    Rows in = {x, COUNT_OF(special), F32}, out = {y, COUNT_OF(special), F32};
    for (Unary f = 0; f < UNARY_COUNT; f++) {
        t->backend->elementwise.unary(&t->exec, f, 1, COUNT_OF(special), in, out);
        assert_true(isnan(y[0]));
        check_near(y[4], (float)functions[f].value(100), fabs(functions[f].value(100)) * 1e-6, "unary of 100", f, 4);
        bool defined = f != UNARY_LOGARITHM && f != UNARY_SQUARE_ROOT;
        check_near(y[5], defined ? functions[f].value(-100) : NAN, 1e-6, "unary of -100", f, 5);
        if (f == UNARY_LOGARITHM) {
            check_near(y[3], -INFINITY, 0, "ln 0", 0, 0);
            check_near(y[1], INFINITY, 0, "ln inf", 0, 0);
            check_near(y[6], log(1e-41f), 1e-5, "ln of a denormal", 0, 0);
        }
    }
    operand_free(x), operand_free(y);
}

static void check_unary(Trial *t)
{
    each_layout(t, unary_layout);
    unary_special(t);
}

static void unary_gradient_layout(Trial *t, Shape s, Layout l)
{
    for (int i = 0; i < UNARY_COUNT; i++) {
        const Function *f = &functions[i];
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, f->low, f->high);
        Matrix dy = matrix_random(t, s.rows, s.cols, l.gap + 1, l.out, -1, 1);
        Matrix dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
        t->backend->elementwise.unary_gradient(&t->exec, f->f, s.rows, s.cols, dy.rows, x.rows, l.add, dx.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) {
                double slope = f->slope(matrix_get(&x, r, c)) * matrix_get(&dy, r, c);
                double want = slope + (l.add ? matrix_get(&before, r, c) : 0);
                double tolerance = unary_tolerance(f, l.out, want) + unary_tolerance(f, F32, slope);
                check_near(matrix_get(&dx, r, c), want, tolerance, "unary_gradient", i, r * s.cols + c);
            }
        check_last_row_is_first(&dx);
        record_matrix(t, &dx);
        matrix_free(&x), matrix_free(&dy), matrix_free(&dx), matrix_free(&before);
    }
}

static void unary_both_layout(Trial *t, Shape s, Layout l)
{
    for (int i = 0; i < UNARY_COUNT; i++) {
        const Function *f = &functions[i];
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, f->low, f->high);
        Matrix dy = matrix_random(t, s.rows, s.cols, l.gap, l.out, -2, 2);
        Matrix y = matrix_new(s.rows, s.cols, l.gap, l.out), dx = matrix_new(s.rows, s.cols, l.gap, l.out);
        t->backend->elementwise.unary_both(&t->exec, f->f, s.rows, s.cols, dy.rows, x.rows, y.rows, dx.rows);
        Matrix value = matrix_new(s.rows, s.cols, l.gap, l.out), slope = matrix_new(s.rows, s.cols, l.gap, l.out);
        t->backend->elementwise.unary(&t->exec, f->f, s.rows, s.cols, x.rows, value.rows);
        t->backend->elementwise.unary_gradient(&t->exec, f->f, s.rows, s.cols, dy.rows, x.rows, false, slope.rows);
        t->backend->elementwise.unary_both(&t->exec, f->f, s.rows, s.cols, dy.rows, x.rows, y.rows, dy.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) { /* the same numbers as of the two apart, and where dx is dy */
                double want = matrix_get(&value, r, c), gradient = matrix_get(&slope, r, c);
                check_near(matrix_get(&y, r, c), want, 0, "unary_both, value", i, r * s.cols + c);
                check_near(matrix_get(&dx, r, c), gradient, 0, "unary_both, gradient", i, r * s.cols + c);
                check_near(matrix_get(&dy, r, c), gradient, 0, "unary_both, in place", i, r * s.cols + c);
            }
        record_matrix(t, &y);
        record_matrix(t, &dx);
        matrix_free(&x), matrix_free(&dy), matrix_free(&y), matrix_free(&dx), matrix_free(&value), matrix_free(&slope);
    }
}

static void check_unary_both(Trial *t)
{
    each_layout(t, unary_both_layout);
}

static void check_unary_gradient(Trial *t)
{
    each_layout(t, unary_gradient_layout);
}

static double operation(Binary f, double a, double b)
{
    return f == BINARY_ADD ? a + b : f == BINARY_SUBTRACT ? a - b : f == BINARY_MULTIPLY ? a * b : a / b;
}

static void binary_layout(Trial *t, Shape s, Layout l)
{
    for (Binary f = 0; f < BINARY_COUNT; f++) {
        Matrix a = matrix_random(t, s.rows, s.cols, l.gap, l.in, -2, 2);
        Matrix b = matrix_random(t, s.rows, s.cols, 2 * l.gap, F32, 0.5, 2);
        Matrix y = matrix_new(s.rows, s.cols, l.gap, l.out);
        t->backend->elementwise.binary(&t->exec, f, s.rows, s.cols, a.rows, b.rows, y.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) {
                double want = operation(f, matrix_get(&a, r, c), matrix_get(&b, r, c));
                check_near(matrix_get(&y, r, c), want, rounding(l.out, want), "binary", f, r * s.cols + c);
            }
        record_matrix(t, &y);
        matrix_free(&a), matrix_free(&b), matrix_free(&y);
    }
}

static void check_binary(Trial *t)
{
    each_layout(t, binary_layout);
}

static void scale_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -2, 2);
    Matrix y = matrix_random(t, s.rows, s.cols, l.gap, l.out, -2, 2), before = matrix_copy(&y);
    t->backend->elementwise.scale(&t->exec, s.rows, s.cols, 1.25f, x.rows, l.add, y.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
        for (int64_t c = 0; c < s.cols; c++) {
            double want = 1.25 * matrix_get(&x, r, c) + (l.add ? matrix_get(&before, r, c) : 0);
            check_near(matrix_get(&y, r, c), want, 3e-7 + rounding(l.out, want), "scale", r, c);
        }
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y), matrix_free(&before);
}

static void check_scale(Trial *t)
{
    each_layout(t, scale_layout);
}

static void scale_rows_layout(Trial *t, Shape s, Layout l)
{
    static const int64_t repeats[] = {1, 3, 40};
    for (int i = 0; i < COUNT_OF(repeats); i++) {
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -2, 2);
        Matrix factors = matrix_random(t, 1, s.rows / repeats[i] + 1, 0, F32, 0, 2);
        Matrix y = matrix_random(t, s.rows, s.cols, l.gap, l.out, -2, 2), before = matrix_copy(&y);
        t->backend->elementwise.scale_rows(&t->exec, s.rows, s.cols, factors.rows.data, repeats[i], x.rows, l.add,
                                           y.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) {
                double want = matrix_get(&factors, 0, r / repeats[i]) * matrix_get(&x, r, c);
                want += l.add ? matrix_get(&before, r, c) : 0;
                check_near(matrix_get(&y, r, c), want, 5e-7 + rounding(l.out, want), "scale_rows", r, c);
            }
        record_matrix(t, &y);
        matrix_free(&x), matrix_free(&factors), matrix_free(&y), matrix_free(&before);
    }
}

static void check_scale_rows(Trial *t)
{
    each_layout(t, scale_rows_layout);
}

static const int64_t periods[] = {1, 3, 33, 65};

static void add_rows_layout(Trial *t, Shape s, Layout l)
{
    for (int i = 0; i < COUNT_OF(periods); i++) {
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -2, 2);
        Matrix table = matrix_random(t, periods[i], s.cols, 0, F32, -2, 2),
               y = matrix_new(s.rows, s.cols, l.gap, l.out);
        t->backend->elementwise.add_rows(&t->exec, s.rows, s.cols, x.rows, table.rows.data, periods[i], y.rows);
        for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
            for (int64_t c = 0; c < s.cols; c++) {
                double want = matrix_get(&x, r, c) + matrix_get(&table, r % periods[i], c);
                check_near(matrix_get(&y, r, c), want, rounding(l.out, want), "add_rows", r, c);
            }
        record_matrix(t, &y);
        matrix_free(&x), matrix_free(&table), matrix_free(&y);
    }
}

static void check_add_rows(Trial *t)
{
    each_layout(t, add_rows_layout);
}

static void sum_rows_layout(Trial *t, Shape s, Layout l)
{
    for (int i = 0; i < COUNT_OF(periods); i++) {
        int64_t period = periods[i];
        Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -1, 2);
        Matrix sums = matrix_random(t, period, s.cols, 0, F32, -1, 1), before = matrix_copy(&sums);
        void *scratch = scratch_new(t, t->backend->elementwise.sum_rows_scratch(s.rows, s.cols, period));
        t->backend->elementwise.sum_rows(&t->exec, s.rows, s.cols, x.rows, period, l.add, sums.rows.data);
        for (int64_t p = 0; p < checked_rows(t, period); p++)
            for (int64_t c = 0; c < s.cols; c++) {
                double want = l.add ? matrix_get(&before, p, c) : 0, size = fabs(want);
                for (int64_t r = p; r < s.rows; r += period) {
                    want += matrix_get(&x, r, c);
                    size += fabs(matrix_get(&x, r, c));
                }
                check_near(matrix_get(&sums, p, c), want, size * 1e-6, "sum_rows", p, c);
            }
        record_matrix(t, &sums);
        operand_free(scratch);
        matrix_free(&x), matrix_free(&sums), matrix_free(&before);
    }
}

static void check_sum_rows(Trial *t)
{
    each_layout(t, sum_rows_layout);
}

static void sum_columns_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -1, 2);
    Matrix sums = matrix_random(t, s.rows, 1, 0, F32, -1, 1), before = matrix_copy(&sums);
    t->backend->elementwise.sum_columns(&t->exec, s.rows, s.cols, x.rows, l.add, sums.rows.data);
    for (int64_t r = 0; r < s.rows; r++) {
        double want = l.add ? matrix_get(&before, r, 0) : 0;
        for (int64_t c = 0; c < s.cols; c++)
            want += matrix_get(&x, r, c);
        check_near(matrix_get(&sums, r, 0), want, 1e-6 * (1 + 2 * (double)s.cols), "sum_columns", r, 0);
    }
    check_last_row_is_first(&sums);
    record_matrix(t, &sums);
    matrix_free(&x), matrix_free(&sums), matrix_free(&before);
}

static void check_sum_columns(Trial *t)
{
    each_layout(t, sum_columns_layout);
}

static void dot_columns_layout(Trial *t, Shape s, Layout l)
{
    Matrix a = matrix_random(t, s.rows, s.cols, l.gap, l.in, -1, 1);
    Matrix b = matrix_random(t, s.rows, s.cols, l.gap + 1, l.out, -1, 1);
    Matrix sums = matrix_random(t, s.rows, 1, 0, F32, -1, 1), old = matrix_copy(&sums);
    t->backend->elementwise.dot_columns(&t->exec, s.rows, s.cols, a.rows, b.rows, l.add, sums.rows.data);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double want = l.add ? matrix_get(&old, r, 0) : 0;
        for (int64_t c = 0; c < s.cols; c++)
            want += matrix_get(&a, r, c) * matrix_get(&b, r, c);
        check_near(matrix_get(&sums, r, 0), want, 2e-7 * (double)(s.cols + 2), "dot_columns", r, 0);
    }
    record_matrix(t, &sums);
    matrix_free(&a), matrix_free(&b), matrix_free(&sums), matrix_free(&old);
}

static void check_dot_columns(Trial *t)
{
    each_layout(t, dot_columns_layout);
}

/* Of bytes: what a row is made of does not matter. */
static void copy_rows(Trial *t, int64_t rows, size_t bytes, size_t gap, bool again)
{
    size_t step = bytes + gap;
    unsigned char *x = operand_new((size_t)rows * step + 1), *y = operand_new((size_t)rows * step + 1);
    for (size_t i = 0; i < (size_t)rows * step; i++)
        x[i] = (unsigned char)trial_random(t, 1, 256);
    t->backend->elementwise.copy(&t->exec, rows, bytes, x, again ? 0 : step, y, step);
    for (int64_t r = 0; r < rows; r++) {
        assert_memory_equal(y + (size_t)r * step, x + (again ? 0 : (size_t)r * step), bytes);
        for (size_t i = bytes; i < step; i++)
            assert_int_equal(y[(size_t)r * step + i], 0);
    }
    record_bytes(t, y, (size_t)rows * step + 1);
    operand_free(x), operand_free(y);
}

static void check_copy(Trial *t)
{
    static const size_t sizes[] = {0, 1, 8, 63, 4096, 9001};
    for (int i = 0; i < COUNT_OF(sizes); i++)
        for (int64_t rows = 0; rows < 100; rows = rows * 3 + 1)
            for (int how = 0; how < 4; how++)
                copy_rows(t, rows, sizes[i], how & 1 ? 5 : 0, how & 2);
}

typedef struct Permutation {
    int rank;
    int64_t shape[8];
    int order[8];
} Permutation;

static const Permutation permutations[] = {
    {0, {0}, {0}},
    {1, {7}, {0}},
    {2, {37, 65}, {1, 0}},
    {2, {1000, 129}, {1, 0}},
    {3, {5, 1, 9}, {2, 0, 1}},
    {3, {4, 0, 9}, {2, 0, 1}},
    {4, {3, 5, 7, 33}, {0, 2, 1, 3}},
    {4, {3, 5, 34, 7}, {0, 3, 1, 2}},
    {4, {2, 3, 4, 5}, {3, 2, 1, 0}},
    {6, {2, 3, 4, 5, 6, 7}, {0, 2, 4, 1, 3, 5}},
    {8, {2, 3, 1, 2, 3, 2, 2, 5}, {7, 0, 6, 1, 5, 2, 4, 3}},
};

static void permute_one(Trial *t, const Permutation *p, size_t bytes)
{
    int64_t count = 1, x_steps[8];
    for (int a = p->rank - 1; a >= 0; a--) {
        x_steps[a] = count;
        count *= p->shape[a];
    }
    unsigned char *x = operand_new((size_t)count * bytes + 1), *y = operand_new((size_t)count * bytes + 1);
    for (size_t i = 0; i < (size_t)count * bytes; i++)
        x[i] = (unsigned char)trial_random(t, 0, 256);
    t->backend->elementwise.permute(&t->exec, p->rank, p->shape, p->order, bytes, x, y);
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, from = 0;
        for (int a = p->rank - 1; a >= 0; a--) {
            from += rest % p->shape[p->order[a]] * x_steps[p->order[a]];
            rest /= p->shape[p->order[a]];
        }
        assert_memory_equal(y + (size_t)i * bytes, x + (size_t)from * bytes, bytes);
    }
    record_bytes(t, y, (size_t)count * bytes + 1);
    operand_free(x), operand_free(y);
}

static void check_permute(Trial *t)
{
    for (int i = 0; i < COUNT_OF(permutations); i++)
        for (size_t bytes = 1; bytes <= 8; bytes *= 2)
            permute_one(t, &permutations[i], bytes);
}

static void check_fill(Trial *t)
{
    static const int64_t counts[] = {0, 1, 17, 100003};
    for (int i = 0; i < COUNT_OF(counts); i++) {
        Matrix y = matrix_new(1, counts[i], 3, F32);
        t->backend->elementwise.fill(&t->exec, counts[i], -1.5f, y.rows.data);
        for (int64_t c = 0; c < counts[i]; c++)
            assert_true(matrix_get(&y, 0, c) == -1.5);
        record_matrix(t, &y);
        matrix_free(&y);
    }
}

static const Case cases[] = {
    CASE(elementwise, unary, check_unary),
    CASE(elementwise, unary_gradient, check_unary_gradient),
    CASE(elementwise, unary_both, check_unary_both),
    CASE(elementwise, binary, check_binary),
    CASE(elementwise, scale, check_scale),
    CASE(elementwise, scale_rows, check_scale_rows),
    CASE(elementwise, add_rows, check_add_rows),
    CASE(elementwise, sum_rows_scratch, check_sum_rows),
    CASE(elementwise, sum_rows, check_sum_rows),
    CASE(elementwise, sum_columns, check_sum_columns),
    CASE(elementwise, permute, check_permute),
    CASE(elementwise, fill, check_fill),
    CASE(elementwise, copy, check_copy),
    CASE(elementwise, dot_columns, check_dot_columns),
};
CHECK_FAMILY(elementwise)

static float some[3 * 4096];

static void whole_numbers(Trial *t)
{
    Rows rows = {some, 4, I32};
    t->backend->elementwise.scale(&t->exec, 1, 4, 2, rows, false, rows);
}

static void too_little_scratch(Trial *t)
{
    Rows rows = {some, 1, F32};
    t->exec.scratch = some;
    t->exec.scratch_bytes = t->backend->elementwise.sum_rows_scratch(4096, 1, 1) - 1;
    t->backend->elementwise.sum_rows(&t->exec, 4096, 1, rows, 1, false, some);
}

static void five_byte_elements(Trial *t)
{
    t->backend->elementwise.permute(&t->exec, 1, (int64_t[]){2}, (int[]){0}, 5, some, some + 4096);
}

static void broken_contracts_are_refused(void **state)
{
    (void)state;
    check_refused(whole_numbers);
    check_refused(too_little_scratch);
    check_refused(five_byte_elements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level),
                                       cmocka_unit_test(broken_contracts_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
