#include "tests/kernels/check.h"

typedef struct Moments {
    double mean, rstd;
} Moments;

static Moments moments(const Matrix *x, int64_t r, double eps)
{
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < x->cols; c++)
        sum += matrix_get(x, r, c);
    double mean = sum / (double)x->cols;
    for (int64_t c = 0; c < x->cols; c++)
        squares += pow(matrix_get(x, r, c) - mean, 2);
    return (Moments){mean, 1 / sqrt(squares / (double)x->cols + eps)};
}

enum { WITH_RESIDUAL = 1, WITH_GAMMA = 2, WITH_BETA = 4, WITH_STATISTICS = 8 };

/* The mean stands far from 0, so that a variance from squares alone would fail. */
static void layer_norm_parts(Trial *t, Shape s, Layout l, int parts)
{
    const float eps = 1e-6f;
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, 9, 12);
    Matrix residual = matrix_random(t, s.rows, s.cols, l.gap + 1, F32, -1, 1);
    Matrix sum = matrix_new(s.rows, s.cols, l.gap, l.out), y = matrix_new(s.rows, s.cols, l.gap, l.out);
    Matrix gamma = matrix_random(t, 1, s.cols, 0, F32, 0.5, 2), beta = matrix_random(t, 1, s.cols, 0, F32, -1, 1);
    Matrix mean = matrix_new(s.rows, 1, 0, F32), rstd = matrix_new(s.rows, 1, 0, F32);
    bool added = parts & WITH_RESIDUAL, kept = parts & WITH_STATISTICS;
    t->backend->norm.layer_norm(&t->exec, s.rows, s.cols, x.rows, added ? residual.rows : (Rows){0},
                                added ? sum.rows : (Rows){0}, parts & WITH_GAMMA ? gamma.rows.data : NULL,
                                parts & WITH_BETA ? beta.rows.data : NULL, eps, y.rows, kept ? mean.rows.data : NULL,
                                kept ? rstd.rows.data : NULL);
    const Matrix *from = added ? &sum : &x;
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        Moments m = moments(from, r, eps);
        for (int64_t c = 0; c < s.cols; c++) {
            double v = matrix_get(from, r, c), unnormed = matrix_get(&x, r, c) + matrix_get(&residual, r, c);
            if (added)
                check_near(v, unnormed, rounding(l.out, unnormed), "x + residual", r, c);
            double xhat = (v - m.mean) * m.rstd, want = xhat;
            want *= parts & WITH_GAMMA ? matrix_get(&gamma, 0, c) : 1;
            want += parts & WITH_BETA ? matrix_get(&beta, 0, c) : 0;
            /* One column has no variance: its rstd is 1000, and so much is a rounding of the mean enlarged. */
            double tolerance = 1e-5 + 2e-6 * m.rstd + rounding(l.out, want);
            check_near(matrix_get(&y, r, c), want, tolerance, "layer_norm", r, c);
        }
        if (kept && s.cols > 0) {
            check_near(matrix_get(&mean, r, 0), m.mean, 2e-6 * fabs(m.mean), "mean", r, 0);
            check_near(matrix_get(&rstd, r, 0), m.rstd, 2e-5 * m.rstd, "rstd", r, 0);
        }
    }
    if (!added)
        check_last_row_is_first(&y);
    record_matrix(t, &y), record_matrix(t, &sum), record_matrix(t, &mean), record_matrix(t, &rstd);
    matrix_free(&x), matrix_free(&residual), matrix_free(&sum), matrix_free(&y), matrix_free(&gamma);
    matrix_free(&beta), matrix_free(&mean), matrix_free(&rstd);
}

static void layer_norm_layout(Trial *t, Shape s, Layout l)
{
    layer_norm_parts(t, s, l, 0);
    layer_norm_parts(t, s, l, WITH_GAMMA | WITH_BETA | WITH_STATISTICS);
    layer_norm_parts(t, s, l, WITH_RESIDUAL | WITH_GAMMA | WITH_STATISTICS);
    layer_norm_parts(t, s, l, WITH_RESIDUAL | WITH_BETA);
}

static void check_layer_norm(Trial *t)
{
    each_layout(t, layer_norm_layout);
}

typedef struct Gradient {
    Matrix dy, x, gamma, mean, rstd, dx, dx_before, dgamma, dgamma_before, dbeta, dbeta_before;
    bool with_gamma, add, add_affine;
} Gradient;

static double xhat(const Gradient *g, int64_t r, int64_t c)
{
    return (matrix_get(&g->x, r, c) - matrix_get(&g->mean, r, 0)) * matrix_get(&g->rstd, r, 0);
}

static void check_dx(const Gradient *g, int64_t r)
{
    double sum = 0, sum_x = 0, n = (double)g->x.cols, rstd = matrix_get(&g->rstd, r, 0);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t c = 0; c < g->x.cols; c++) {
            double d = matrix_get(&g->dy, r, c) * (g->with_gamma ? matrix_get(&g->gamma, 0, c) : 1);
            if (pass == 0) {
                sum += d;
                sum_x += d * xhat(g, r, c);
                continue;
            }
            double want = rstd * (d - sum / n - xhat(g, r, c) * sum_x / n);
            want += g->add ? matrix_get(&g->dx_before, r, c) : 0;
            check_near(matrix_get(&g->dx, r, c), want, 1e-5 + 1e-6 * rstd + rounding(g->dx.rows.type, want), "dx", r,
                       c);
        }
}

static void check_affine(const Gradient *g)
{
    for (int64_t c = 0; c < g->x.cols; c++) {
        double dgamma = g->add_affine ? matrix_get(&g->dgamma_before, 0, c) : 0;
        double dbeta = g->add_affine ? matrix_get(&g->dbeta_before, 0, c) : 0, size = 1;
        for (int64_t r = 0; r < g->x.count; r++) {
            double dy = matrix_get(&g->dy, r, c), product = dy * xhat(g, r, c);
            dgamma += product;
            dbeta += dy;
            size += fabs(dy) + fabs(product);
        }
        check_near(matrix_get(&g->dgamma, 0, c), dgamma, 1e-6 * size, "dgamma", 0, c);
        check_near(matrix_get(&g->dbeta, 0, c), dbeta, 1e-6 * size, "dbeta", 0, c);
    }
}

static void gradient_parts(Trial *t, Shape s, Layout l, bool with_gamma, bool affine, bool add_affine, bool with_dx)
{
    Gradient g = {.with_gamma = with_gamma, .add = l.add, .add_affine = add_affine};
    g.dy = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1);
    g.x = matrix_random(t, s.rows, s.cols, l.gap + 2, l.in, -1, 3);
    g.gamma = matrix_random(t, 1, s.cols, 0, F32, 0.5, 2);
    g.mean = matrix_new(s.rows, 1, 0, F32), g.rstd = matrix_new(s.rows, 1, 0, F32);
    for (int64_t r = 0; r < s.rows; r++) {
        Moments m = moments(&g.x, r, 1e-3);
        matrix_set(&g.mean, r, 0, m.mean), matrix_set(&g.rstd, r, 0, m.rstd);
    }
    g.dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), g.dx_before = matrix_copy(&g.dx);
    g.dgamma = matrix_random(t, 1, s.cols, 1, F32, -1, 1), g.dgamma_before = matrix_copy(&g.dgamma);
    g.dbeta = matrix_random(t, 1, s.cols, 1, F32, -1, 1), g.dbeta_before = matrix_copy(&g.dbeta);
    const NormKernels *norm = &t->backend->norm;
    void *scratch = scratch_new(t, affine ? norm->layer_norm_gradient_scratch(s.rows, s.cols) : 0);
    norm->layer_norm_gradient(&t->exec, s.rows, s.cols, g.dy.rows, g.x.rows, with_gamma ? g.gamma.rows.data : NULL,
                              g.mean.rows.data, g.rstd.rows.data, l.add, with_dx ? g.dx.rows : (Rows){0}, add_affine,
                              affine ? g.dgamma.rows.data : NULL, affine ? g.dbeta.rows.data : NULL);
    for (int64_t r = 0; with_dx && r < checked_rows(t, s.rows); r++)
        check_dx(&g, r);
    if (affine && checked_rows(t, 1))
        check_affine(&g);
    if (with_dx)
        check_last_row_is_first(&g.dx);
    record_matrix(t, &g.dx), record_matrix(t, &g.dgamma), record_matrix(t, &g.dbeta);
    operand_free(scratch);
    Matrix *all[] = {&g.dy,        &g.x,      &g.gamma,         &g.mean,  &g.rstd,        &g.dx,
                     &g.dx_before, &g.dgamma, &g.dgamma_before, &g.dbeta, &g.dbeta_before};
    for (int i = 0; i < COUNT_OF(all); i++)
        matrix_free(all[i]);
}

static void layer_norm_gradient_layout(Trial *t, Shape s, Layout l)
{
    gradient_parts(t, s, l, true, true, l.add, true);
    gradient_parts(t, s, l, false, true, !l.add, false);
    gradient_parts(t, s, l, true, false, false, true);
}

static void check_layer_norm_gradient(Trial *t)
{
    each_layout(t, layer_norm_gradient_layout);
}

enum { SHORT_ROW = 1 }; /* the row whose length is below eps */
static const float least_length = 1e-3f;

static Matrix rows_with_a_short_one(Trial *t, Shape s, Layout l)
{
    Matrix x = matrix_random(t, s.rows, s.cols, l.gap, l.in, -1, 3);
    for (int64_t c = 0; s.rows > 2 && c < s.cols; c++)
        matrix_set(&x, SHORT_ROW, c, matrix_get(&x, SHORT_ROW, c) * 1e-6);
    return x;
}

static double length_of(const Matrix *x, int64_t r)
{
    double sum = 0;
    for (int64_t c = 0; c < x->cols; c++)
        sum += matrix_get(x, r, c) * matrix_get(x, r, c);
    return sqrt(sum);
}

static void l2_norm_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = rows_with_a_short_one(t, s, l), y = matrix_new(s.rows, s.cols, l.gap, l.out);
    Matrix inverse = matrix_new(s.rows, 1, 0, F32);
    t->backend->norm.l2_norm(&t->exec, s.rows, s.cols, x.rows, least_length, y.rows, l.add ? NULL : inverse.rows.data);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double length = fmax(length_of(&x, r), (double)least_length);
        for (int64_t c = 0; c < s.cols; c++) {
            double want = matrix_get(&x, r, c) / length;
            check_near(matrix_get(&y, r, c), want, 1e-6 * fabs(want) + rounding(l.out, want), "l2_norm", r, c);
        }
        if (!l.add)
            check_near(matrix_get(&inverse, r, 0), 1 / length, 1e-6 / length, "inverse", r, 0);
    }
    if (s.rows != 2) /* there the last row is the short one */
        check_last_row_is_first(&y);
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y), matrix_free(&inverse);
}

static void check_l2_norm(Trial *t)
{
    each_layout(t, l2_norm_layout);
}

static void l2_norm_gradient_layout(Trial *t, Shape s, Layout l)
{
    Matrix x = rows_with_a_short_one(t, s, l), dy = matrix_random(t, s.rows, s.cols, 2, l.out, -1, 1);
    Matrix inverse = matrix_new(s.rows, 1, 0, F32);
    Matrix dx = matrix_random(t, s.rows, s.cols, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
    for (int64_t r = 0; r < s.rows; r++)
        ((float *)inverse.rows.data)[r] = 1.0f / fmaxf((float)length_of(&x, r), least_length);
    t->backend->norm.l2_norm_gradient(&t->exec, s.rows, s.cols, dy.rows, x.rows, inverse.rows.data, least_length, l.add,
                                      dx.rows);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        double length = length_of(&x, r), dot = 0;
        for (int64_t c = 0; c < s.cols && length > (double)least_length; c++)
            dot += matrix_get(&x, r, c) * matrix_get(&dy, r, c) / length;
        for (int64_t c = 0; c < s.cols; c++) {
            double want = matrix_get(&dy, r, c) - (dot == 0 ? 0 : dot * matrix_get(&x, r, c) / length);
            want /= fmax(length, (double)least_length);
            double lost = 3e-6 / fmax(length, (double)least_length);
            want += l.add ? matrix_get(&before, r, c) : 0;
            check_near(matrix_get(&dx, r, c), want, lost + rounding(l.out, want) + 2e-7, "l2_norm_gradient", r, c);
        }
    }
    record_matrix(t, &dx);
    matrix_free(&x), matrix_free(&dy), matrix_free(&inverse), matrix_free(&dx), matrix_free(&before);
}

static void check_l2_norm_gradient(Trial *t)
{
    each_layout(t, l2_norm_gradient_layout);
}

static const Case cases[] = {
    CASE(norm, layer_norm, check_layer_norm),
    CASE(norm, layer_norm_gradient_scratch, check_layer_norm_gradient),
    CASE(norm, layer_norm_gradient, check_layer_norm_gradient),
    CASE(norm, l2_norm, check_l2_norm),
    CASE(norm, l2_norm_gradient, check_l2_norm_gradient),
};
CHECK_FAMILY(norm)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
