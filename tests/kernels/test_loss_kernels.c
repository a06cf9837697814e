#include "tests/kernels/check.h"

/* Largest and ln sum e^x of a row. */
static double log_sum_exp(const Matrix *x, int64_t r)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t c = 0; c < x->cols; c++)
        largest = fmax(largest, matrix_get(x, r, c));
    for (int64_t c = 0; c < x->cols; c++)
        sum += exp(matrix_get(x, r, c) - largest);
    return largest + log(sum);
}

static void softmax_layout(Trial *t, Shape s, Layout l, bool logarithm)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -20, 20), y = matrix_new(s.rows, s.cols, l.gap, l.out);
    if (s.rows > 1 && s.cols > 1)
        matrix_set(&x, 1, 0, -INFINITY);
    const LossKernels *loss = &t->backend->loss;
    (logarithm ? loss->log_softmax : loss->softmax)(&t->exec, s.rows, s.cols, x.rows, y.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double lse = log_sum_exp(&x, r);
        for (int64_t c = 0; c < s.cols; c++) {
            double want = matrix_get(&x, r, c) - lse, tolerance = 5e-6 + rounding(l.out, want);
            if (!logarithm) {
                double lost = (4 + fabs(want)) * 0x1p-23; /* the exponent's own rounding */
                want = exp(want);
                tolerance = lost * want + rounding(l.out, want) + 1e-30;
            }
            check_near(matrix_get(&y, r, c), want, tolerance, logarithm ? "log_softmax" : "softmax", r, c);
        }
    }
    if (s.rows > 2)
        check_last_row_is_first(&y);
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y);
}

static void softmax_plain_layout(Trial *t, Shape s, Layout l)
{
    softmax_layout(t, s, l, false);
}

static void log_softmax_layout(Trial *t, Shape s, Layout l)
{
    softmax_layout(t, s, l, true);
}

static void check_softmax(Trial *t)
{
    each_layout(t, softmax_plain_layout);
}

static void check_log_softmax(Trial *t)
{
    each_layout(t, log_softmax_layout);
}

static void softmax_gradient_layout(Trial *t, Shape s, Layout l)
{
    Matrix dy = matrix_random(t, s.rows, s.cols, l.gap, l.in, -1, 1),
           y = matrix_random(t, s.rows, s.cols, 1, l.in, 0, 1);
    Matrix dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
    t->backend->loss.softmax_gradient(&t->exec, s.rows, s.cols, dy.rows, y.rows, l.add, dx.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double dot = 0, size = 0;
        for (int64_t c = 0; c < s.cols; c++) {
            dot += matrix_get(&dy, r, c) * matrix_get(&y, r, c);
            size += fabs(matrix_get(&dy, r, c) * matrix_get(&y, r, c));
        }
        for (int64_t c = 0; c < s.cols; c++) {
            double want = matrix_get(&y, r, c) * (matrix_get(&dy, r, c) - dot);
            want += l.add ? matrix_get(&before, r, c) : 0;
            check_near(matrix_get(&dx, r, c), want, 1e-6 * (1 + size) + rounding(l.out, want), "softmax_gradient", r,
                       c);
        }
    }
    check_last_row_is_first(&dx);
    record_matrix(t, &dx);
    matrix_free(&dy), matrix_free(&y), matrix_free(&dx), matrix_free(&before);
}

static void check_softmax_gradient(Trial *t)
{
    each_layout(t, softmax_gradient_layout);
}

static void cross_entropy_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -10, 10);
    Matrix targets = matrix_random(t, s.rows, s.cols, 0, F32, 0, 1);
    Matrix p = matrix_new(s.rows, s.cols, 0, F32), losses = matrix_new(s.rows, 1, 0, F32);
    t->backend->loss.soft_cross_entropy(&t->exec, s.rows, s.cols, x.rows, targets.rows.data, p.rows.data,
                                        losses.rows.data);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double lse = log_sum_exp(&x, r), loss = 0;
        for (int64_t c = 0; c < s.cols; c++) {
            double exponent = matrix_get(&x, r, c) - lse, want = exp(exponent);
            loss += matrix_get(&targets, r, c) * (lse - matrix_get(&x, r, c));
            check_near(matrix_get(&p, r, c), want, (4 - exponent) * 0x1p-23 * want + 1e-30, "probabilities", r, c);
        }
        if (s.cols > 0)
            check_near(matrix_get(&losses, r, 0), loss, 2e-6 * fabs(loss) + 1e-6, "losses", r, 0);
    }
    check_last_row_is_first(&losses);
    record_matrix(t, &p), record_matrix(t, &losses);
    matrix_free(&x), matrix_free(&targets), matrix_free(&p), matrix_free(&losses);
}

static void check_soft_cross_entropy(Trial *t)
{
    each_layout(t, cross_entropy_layout);
}

static void cross_entropy_gradient_layout(Trial *t, Shape s, Layout l)
{
    Matrix targets = matrix_random(t, s.rows, s.cols, 0, F32, 0, 1), p = matrix_random(t, s.rows, s.cols, 0, F32, 0, 1);
    Matrix dlosses = matrix_random(t, s.rows, 1, 0, F32, -1, 1);
    Matrix dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
    t->backend->loss.soft_cross_entropy_gradient(&t->exec, s.rows, s.cols, dlosses.rows.data, p.rows.data,
                                                 targets.rows.data, l.add, dx.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double weight = 0;
        for (int64_t c = 0; c < s.cols; c++)
            weight += matrix_get(&targets, r, c);
        for (int64_t c = 0; c < s.cols; c++) {
            double want = matrix_get(&p, r, c) * weight - matrix_get(&targets, r, c);
            want = want * matrix_get(&dlosses, r, 0) + (l.add ? matrix_get(&before, r, c) : 0);
            double tolerance = 1e-6 * (1 + weight) + rounding(l.out, want);
            check_near(matrix_get(&dx, r, c), want, tolerance, "soft_cross_entropy_gradient", r, c);
        }
    }
    record_matrix(t, &dx);
    matrix_free(&targets), matrix_free(&p), matrix_free(&dlosses), matrix_free(&dx), matrix_free(&before);
}

static void check_soft_cross_entropy_gradient(Trial *t)
{
    each_layout(t, cross_entropy_gradient_layout);
}

enum { IGNORED = -100 };

/* One row in four is ignored, and every row where there are no classes. */
static int64_t *labels_new(Trial *t, Shape s)
{
    int64_t *labels = operand_new((size_t)s.rows * sizeof *labels + 8);
    for (int64_t r = 0; r < s.rows; r++) {
        int64_t label = (int64_t)trial_random(t, 0, (double)s.cols);
        labels[r] = s.cols == 0 || r % 4 == 1 ? IGNORED : label;
    }
    return labels;
}

static void labelled_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -10, 10);
    Matrix lse = matrix_new(s.rows, 1, 0, F32), losses = matrix_new(s.rows, 1, 0, F32);
    int64_t *labels = labels_new(t, s);
    for (int64_t c = 0; s.rows > 2 && c < s.cols / 2; c++)
        matrix_set(&x, 2, c, -INFINITY); /* whole blocks of it */
    if (s.rows > 2 && s.cols > 0)
        labels[2] = s.cols - 1;
    t->backend->loss.cross_entropy(&t->exec, s.rows, s.cols, x.rows, labels, IGNORED, lse.rows.data, losses.rows.data);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        bool counts = labels[r] != IGNORED;
        double want = counts ? log_sum_exp(&x, r) : 0, loss = counts ? want - matrix_get(&x, r, labels[r]) : 0;
        check_near(matrix_get(&lse, r, 0), want, 2e-6 * fabs(want) + 1e-6, "lse", r, 0);
        check_near(matrix_get(&losses, r, 0), loss, 2e-6 * (fabs(want) + fabs(loss)) + 1e-6, "losses", r, 0);
    }
    record_matrix(t, &lse), record_matrix(t, &losses);
    matrix_free(&x), matrix_free(&lse), matrix_free(&losses);
    operand_free(labels);
}

static void check_cross_entropy(Trial *t)
{
    each_layout(t, labelled_layout);
}

static void labelled_gradient_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -10, 10);
    Matrix lse = matrix_new(s.rows, 1, 0, F32), dlosses = matrix_random(t, s.rows, 1, 0, F32, -1, 1);
    Matrix dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
    int64_t *labels = labels_new(t, s);
    for (int64_t r = 0; r < s.rows; r++)
        matrix_set(&lse, r, 0, labels[r] == IGNORED ? 0 : log_sum_exp(&x, r));
    t->backend->loss.cross_entropy_gradient(&t->exec, s.rows, s.cols, dlosses.rows.data, x.rows, labels, IGNORED,
                                            lse.rows.data, l.add, dx.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++)
        for (int64_t c = 0; c < s.cols; c++) {
            double p = labels[r] == IGNORED ? 0 : exp(matrix_get(&x, r, c) - matrix_get(&lse, r, 0));
            double want = matrix_get(&dlosses, r, 0) * (p - (labels[r] == c ? 1 : 0));
            want += l.add ? matrix_get(&before, r, c) : 0;
            check_near(matrix_get(&dx, r, c), want, 5e-6 * p + 2e-7 + rounding(l.out, want), "cross_entropy_gradient",
                       r, c);
        }
    record_matrix(t, &dx);
    matrix_free(&x), matrix_free(&lse), matrix_free(&dlosses), matrix_free(&dx), matrix_free(&before);
    operand_free(labels);
}

static void check_cross_entropy_gradient(Trial *t)
{
    each_layout(t, labelled_gradient_layout);
}

static void label_outside(Trial *t)
{
    float logits[3] = {0}, lse, loss;
    int64_t label = 3;
    t->backend->loss.cross_entropy(&t->exec, 1, 3, (Rows){logits, 3, F32}, &label, IGNORED, &lse, &loss);
}

static void labels_outside(void **state)
{
    (void)state;
    check_refused(label_outside);
}

static const Case cases[] = {
    CASE(loss, softmax, check_softmax),
    CASE(loss, log_softmax, check_log_softmax),
    CASE(loss, softmax_gradient, check_softmax_gradient),
    CASE(loss, soft_cross_entropy, check_soft_cross_entropy),
    CASE(loss, soft_cross_entropy_gradient, check_soft_cross_entropy_gradient),
    CASE(loss, cross_entropy, check_cross_entropy),
    CASE(loss, cross_entropy_gradient, check_cross_entropy_gradient),
};
CHECK_FAMILY(loss)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level), cmocka_unit_test(labels_outside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
