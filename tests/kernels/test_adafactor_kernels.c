#include "tests/kernels/check.h"

static double item(const Matrix *m, int64_t i)
{
    return matrix_get(m, i / m->cols, i % m->cols);
}

/* The first step has no decay; a rate that is clipped and one that is not; the scale of the parameter and its floor. */
static const AdafactorScalars steps[] = {
    {.lr = 0.1f, .scale_floor = 1, .decay = 0, .eps1 = 1e-30f, .clip = 1},
    {.lr = 0.01f, .scale_floor = 1e-3f, .weight_decay = 0.25f, .decay = 0.75f, .eps1 = 1e-30f, .clip = 0.25f},
    {.lr = 0.01f, .scale_floor = 2, .decay = 0.5f, .eps1 = 1e-3f, .clip = 100},
};

static const float gradient_scale = 0.5f;

/* What the kernels read on the device: a step's scalars, the gradient's factor, and the sum of squares. */
typedef struct Scalars {
    AdafactorScalars *step;
    float *scale;
    double *squares;
} Scalars;

static Scalars scalars_new(const AdafactorScalars *step, double squares)
{
    return (Scalars){operand_copy(step, sizeof *step), operand_copy(&gradient_scale, sizeof gradient_scale),
                     operand_copy(&squares, sizeof squares)};
}

static void scalars_free(Scalars *s)
{
    operand_free(s->step), operand_free(s->scale), operand_free(s->squares);
}

static double squares_of(const Matrix *x)
{
    double sum = 0;
    for (int64_t i = 0; i < x->count * x->cols; i++)
        sum += item(x, i) * item(x, i);
    return sum;
}

static double gradient_of(const AdafactorScalars *s, const Matrix *g, const Matrix *before, int64_t i)
{
    return item(g, i) * gradient_scale + s->weight_decay * item(before, i);
}

/* x -= lr max(rms(x), floor) u / max(1, rms(u)/clip), and what the kernel gave. */
static void check_update(Trial *t, const AdafactorScalars *s, const Matrix *x, const Matrix *before, const double *u)
{
    int64_t count = x->count * x->cols;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += u[i] * u[i];
    double clip = fmax(1, sqrt(sum / (double)count) / s->clip);
    double rate = s->lr * fmax(sqrt(squares_of(before) / (double)count), s->scale_floor);
    for (int64_t i = 0; i < checked_rows(t, count); i++) {
        double step = rate * u[i] / clip, want = item(before, i) - step;
        check_near(item(x, i), want, 1e-6 * (fabs(want) + fabs(step)), "parameter", 0, i);
    }
}

static void whole_count(Trial *t, int64_t n, const AdafactorScalars *s)
{
    Matrix x = matrix_random(t, 1, n, 1, F32, -1, 1), g = matrix_random(t, 1, n, 0, F32, -1, 1);
    Matrix v = matrix_random(t, 1, n, 1, F32, 0, 1), x0 = matrix_copy(&x), v0 = matrix_copy(&v);
    double *u = mem_new((size_t)n * sizeof *u);
    Scalars given = scalars_new(s, squares_of(&x));
    t->backend->adafactor.whole(&t->exec, n, given.step, given.scale, given.squares, x.rows.data, g.rows.data,
                                v.rows.data);
    for (int64_t i = 0; i < n; i++) {
        double gradient = gradient_of(s, &g, &x0, i);
        double moment = s->decay * item(&v0, i) + (1.0 - s->decay) * (gradient * gradient + s->eps1);
        u[i] = gradient / sqrt(moment);
        if (t->exec.threads == 1)
            check_near(item(&v, i), moment, 3e-7 * moment, "v", 0, i);
    }
    check_update(t, s, &x, &x0, u);
    record_matrix(t, &x), record_matrix(t, &v);
    matrix_free(&x), matrix_free(&g), matrix_free(&v), matrix_free(&x0), matrix_free(&v0);
    scalars_free(&given), mem_free(u);
}

static void check_whole(Trial *t)
{
    static const int64_t counts[] = {0, 1, 15, 33, 1000, 100003};
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int s = 0; s < COUNT_OF(steps); s++)
            whole_count(t, counts[i], &steps[s]);
}

/* Means of g^2 + eps over one axis of a matrix, mixed with what was. */
static double moment(const AdafactorScalars *s, const Matrix *g, const Matrix *x, int64_t first, int64_t stride,
                     int64_t count, double before)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double gradient = gradient_of(s, g, x, first + i * stride);
        sum += gradient * gradient + s->eps1;
    }
    return s->decay * before + (1.0 - s->decay) * sum / (double)count;
}

static void factored_shape(Trial *t, int64_t batch, int64_t rows, int64_t cols, const AdafactorScalars *s)
{
    Matrix x = matrix_random(t, batch * rows, cols, 0, F32, -1, 1),
           g = matrix_random(t, batch * rows, cols, 0, F32, -1, 1);
    Matrix by_row = matrix_random(t, batch, rows, 0, F32, 0.1, 1),
           by_col = matrix_random(t, batch, cols, 0, F32, 0.1, 1);
    Matrix x0 = matrix_copy(&x), row0 = matrix_copy(&by_row), col0 = matrix_copy(&by_col);
    double *u = mem_new((size_t)(batch * rows * cols) * sizeof *u);
    Scalars given = scalars_new(s, squares_of(&x));
    t->backend->adafactor.factored(&t->exec, batch, rows, cols, given.step, given.scale, given.squares, x.rows.data,
                                   g.rows.data, by_row.rows.data, by_col.rows.data);
    for (int64_t b = 0; b < batch && rows > 0; b++) {
        int64_t first = b * rows * cols;
        double mean = 0;
        for (int64_t r = 0; r < rows; r++) {
            double want = moment(s, &g, &x0, first + r * cols, 1, cols, matrix_get(&row0, b, r));
            check_near(matrix_get(&by_row, b, r), want, 1e-6 * want, "by_row", b, r);
            mean += want / (double)rows;
        }
        for (int64_t c = 0; c < cols; c++) {
            double want = moment(s, &g, &x0, first + c, cols, rows, matrix_get(&col0, b, c));
            check_near(matrix_get(&by_col, b, c), want, 1e-6 * want, "by_col", b, c);
            for (int64_t r = 0; r < rows; r++)
                u[first + r * cols + c] =
                    gradient_of(s, &g, &x0, first + r * cols + c) / sqrt(matrix_get(&by_row, b, r) / mean) / sqrt(want);
        }
    }
    check_update(t, s, &x, &x0, u);
    record_matrix(t, &x), record_matrix(t, &by_row), record_matrix(t, &by_col);
    matrix_free(&x), matrix_free(&g), matrix_free(&by_row), matrix_free(&by_col);
    matrix_free(&x0), matrix_free(&row0), matrix_free(&col0);
    scalars_free(&given), mem_free(u);
}

static void check_factored(Trial *t)
{
    static const int64_t shapes[][3] = {{1, 1, 1},   {1, 2, 3},    {3, 4, 5},   {1, 0, 5},
                                        {2, 33, 31}, {1, 300, 70}, {5, 7, 130}, {1, 3, 40000}};
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int s = 0; s < COUNT_OF(steps); s++)
            factored_shape(t, shapes[i][0], shapes[i][1], shapes[i][2], &steps[s]);
}

static const Case cases[] = {
    CASE(adafactor, whole, check_whole),
    CASE(adafactor, factored, check_factored),
};
CHECK_FAMILY(adafactor)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
