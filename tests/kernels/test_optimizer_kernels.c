#include "tests/kernels/check.h"

static const int64_t counts[] = {0, 1, 15, 33, 1000, 100003};

static double item(const Matrix *m, int64_t i)
{
    return matrix_get(m, 0, i);
}

static void adamw_count(Trial *t, int64_t n, const StepScalars *step, float scale, bool coupled)
{
    const float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, decay = 0.05f;
    Matrix p = matrix_random(t, 1, n, 1, F32, -1, 1), g = matrix_random(t, 1, n, 0, F32, -1, 1);
    Matrix m = matrix_random(t, 1, n, 1, F32, -1, 1), v = matrix_random(t, 1, n, 1, F32, 0, 1);
    if (n > 1)
        matrix_set(&g, 0, 1, 0), matrix_set(&m, 0, 1, 0), matrix_set(&v, 0, 1, 0); /* nothing but decay */
    Matrix p0 = matrix_copy(&p), m0 = matrix_copy(&m), v0 = matrix_copy(&v);
    StepScalars *scalars = operand_copy(step, sizeof *step);
    float *factor = operand_copy(&scale, sizeof scale);
    t->backend->optimizer.adamw(&t->exec, n, scalars, factor, beta1, beta2, eps, decay, coupled, p.rows.data,
                                g.rows.data, m.rows.data, v.rows.data);
    for (int64_t i = 0; i < checked_rows(t, n); i++) {
        double gradient = item(&g, i) * scale + (coupled ? (double)decay * item(&p0, i) : 0);
        double mean = beta1 * item(&m0, i) + (1.0 - beta1) * gradient;
        double square = beta2 * item(&v0, i) + (1.0 - beta2) * gradient * gradient;
        double root = sqrt(square) / sqrt(step->bias_correction2) + eps;
        double want = item(&p0, i) * (coupled ? 1 : 1 - (double)step->lr * decay) -
                      step->lr / step->bias_correction1 * mean / root;
        check_near(item(&m, i), mean, 3e-7, "m", 0, i);
        check_near(item(&v, i), square, 3e-7 * square, "v", 0, i);
        check_near(item(&p, i), want, 1e-6 * (fabs(want) + fabs(want - item(&p0, i))), "p", 0, i);
    }
    record_matrix(t, &p), record_matrix(t, &m), record_matrix(t, &v);
    matrix_free(&p), matrix_free(&g), matrix_free(&m), matrix_free(&v);
    matrix_free(&p0), matrix_free(&m0), matrix_free(&v0);
    operand_free(scalars), operand_free(factor);
}

static void check_adamw(Trial *t)
{
    static const StepScalars steps[] = {{1e-3f, 0.1f, 0.001f}, {0.1f, 0.9f, 0.5f}};
    static const float scales[] = {1, 0.25f};
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int s = 0; s < COUNT_OF(steps); s++) {
            adamw_count(t, counts[i], &steps[s], scales[s], false);
            adamw_count(t, counts[i], &steps[s], scales[s], true);
        }
}

static void sgd_count(Trial *t, int64_t n, bool nesterov, bool first)
{
    const StepScalars step = {.lr = 0.05f};
    const float momentum = 0.9f, decay = 0.01f, scale = 0.5f;
    Matrix p = matrix_random(t, 1, n, 1, F32, -1, 1), g = matrix_random(t, 1, n, 0, F32, -1, 1);
    Matrix b = matrix_random(t, 1, n, 1, F32, -1, 1), p0 = matrix_copy(&p), b0 = matrix_copy(&b);
    StepScalars *scalars = operand_copy(&step, sizeof step);
    float *factor = operand_copy(&scale, sizeof scale);
    t->backend->optimizer.sgd(&t->exec, n, scalars, factor, momentum, nesterov, decay, first, p.rows.data, g.rows.data,
                              b.rows.data);
    for (int64_t i = 0; i < checked_rows(t, n); i++) {
        double gradient = item(&g, i) * scale + (double)decay * item(&p0, i);
        double buffer = first ? gradient : momentum * item(&b0, i) + gradient;
        double want = item(&p0, i) - step.lr * (nesterov ? gradient + momentum * buffer : buffer);
        check_near(item(&b, i), buffer, 3e-7, "buffer", 0, i);
        check_near(item(&p, i), want, 3e-7, "p", 0, i);
    }
    record_matrix(t, &p), record_matrix(t, &b);
    matrix_free(&p), matrix_free(&g), matrix_free(&b), matrix_free(&p0), matrix_free(&b0);
    operand_free(scalars), operand_free(factor);
}

static void check_sgd(Trial *t)
{
    for (int i = 0; i < COUNT_OF(counts); i++)
        for (int flags = 0; flags < 4; flags++)
            sgd_count(t, counts[i], flags & 1, flags & 2);
}

static void check_sum_of_squares(Trial *t)
{
    static const int64_t sizes[] = {0, 1, 15, 33, 1000, 100003, 1500000};
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        Matrix x = matrix_random(t, 1, sizes[i], 0, F32, -1, 1);
        double *sums = operand_copy((const double[]){NAN, 2}, 2 * sizeof *sums), want = 0;
        t->backend->optimizer.sum_of_squares(&t->exec, sizes[i], x.rows.data, false, &sums[0]);
        t->backend->optimizer.sum_of_squares(&t->exec, sizes[i], x.rows.data, true, &sums[1]);
        for (int64_t c = 0; c < sizes[i]; c++)
            want += matrix_get(&x, 0, c) * matrix_get(&x, 0, c);
        check_near(sums[0], want, 1e-12 * want, "sum_of_squares", 0, sizes[i]);
        check_near(sums[1], 2 + want, 1e-12 * (2 + want), "sum_of_squares, added", 0, sizes[i]);
        record_bytes(t, sums, 2 * sizeof *sums);
        matrix_free(&x), operand_free(sums);
    }
}

static void check_clip_scale(Trial *t)
{
    static const double squares[] = {0, 1e-20, 4, 1e30};
    for (int i = 0; i < COUNT_OF(squares); i++) {
        double *sum = operand_copy(&squares[i], sizeof squares[i]);
        float *scale = operand_new(sizeof *scale);
        t->backend->optimizer.clip_scale(&t->exec, 1.5, sum, scale);
        check_near((double)*scale, fmin(1, 1.5 / (sqrt(squares[i]) + 1e-6)), 1e-7, "clip_scale", 0, i);
        record_bytes(t, scale, sizeof *scale);
        operand_free(sum), operand_free(scale);
    }
}

static const Case cases[] = {
    CASE(optimizer, adamw, check_adamw),
    CASE(optimizer, sgd, check_sgd),
    CASE(optimizer, sum_of_squares, check_sum_of_squares),
    CASE(optimizer, clip_scale, check_clip_scale),
};
CHECK_FAMILY(optimizer)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
