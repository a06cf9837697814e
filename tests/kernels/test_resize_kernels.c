#include "tests/kernels/check.h"

typedef struct Sizes {
    int64_t planes, in_height, in_width, out_height, out_width;
} Sizes;

static const Sizes sizes[] = {{0, 5, 5, 7, 7},     {2, 1, 1, 4, 3},      {1, 5, 7, 5, 7},     {3, 28, 28, 84, 48},
                              {2, 24, 24, 22, 22}, {1, 9, 300, 70, 290}, {2, 33, 17, 5, 600}, {40, 28, 28, 48, 48}};

/* Weight of input i in output o (torch's upsample_bicubic2d: a = -0.75, edges clamped). */
static double weight(int64_t o, int64_t i, int64_t in, int64_t out)
{
    double at = ((double)o + 0.5) * (double)in / (double)out - 0.5, sum = 0;
    int64_t below = (int64_t)floor(at);
    for (int64_t tap = below - 1; tap <= below + 2; tap++) {
        int64_t clamped = tap < 0 ? 0 : tap >= in ? in - 1 : tap;
        double d = fabs(at - (double)tap), a = -0.75;
        double w = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
        sum += clamped == i ? w : 0;
    }
    return sum;
}

/* The matrix of weights [out, in] of one axis. */
static double *weights(int64_t in, int64_t out)
{
    double *w = mem_new((size_t)(in * out) * sizeof *w);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            w[o * in + i] = weight(o, i, in, out);
    return w;
}

/* y[p,q] = sum_ij v[p,i] h[q,j] x[i,j], transposed: y[i,j] = sum_pq v[p,i] h[q,j] x[p,q]. */
static void check_plane(Trial *t, const Sizes *s, const double *v, const double *h, bool transposed, const float *from,
                        const float *before, const float *got)
{
    int64_t rows = transposed ? s->in_height : s->out_height, cols = transposed ? s->in_width : s->out_width;
    int64_t from_rows = transposed ? s->out_height : s->in_height, from_cols = transposed ? s->out_width : s->in_width;
    double *half = mem_new((size_t)(from_rows * cols) * sizeof *half); /* columns done */
    for (int64_t i = 0; i < from_rows; i++)
        for (int64_t q = 0; q < cols; q++)
            for (int64_t j = 0; j < from_cols; j++)
                half[i * cols + q] += h[transposed ? j * cols + q : q * from_cols + j] * from[i * from_cols + j];
    for (int64_t p = 0; p < checked_rows(t, rows); p++)
        for (int64_t q = 0; q < cols; q++) {
            double want = before ? before[p * cols + q] : 0, size = fabs(want);
            for (int64_t i = 0; i < from_rows; i++) {
                double term = v[transposed ? i * rows + p : p * from_rows + i] * half[i * cols + q];
                want += term;
                size += fabs(term);
            }
            check_near(got[p * cols + q], want, 1e-5 * size + 1e-6, transposed ? "bicubic_gradient" : "bicubic", p, q);
        }
    mem_free(half);
}

static void resize_one(Trial *t, const Sizes *s, bool gradient, bool add)
{
    int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
    Matrix from = matrix_random(t, s->planes, gradient ? out : in, 0, F32, -1, 1);
    Matrix to = matrix_random(t, s->planes, gradient ? in : out, 0, F32, -1, 1), before = matrix_copy(&to);
    const ResizeKernels *resize = &t->backend->resize;
    if (gradient)
        resize->bicubic_gradient(&t->exec, s->planes, s->in_height, s->in_width, s->out_height, s->out_width,
                                 from.rows.data, add, to.rows.data);
    else
        resize->bicubic(&t->exec, s->planes, s->in_height, s->in_width, s->out_height, s->out_width, from.rows.data,
                        to.rows.data);
    double *v = weights(s->in_height, s->out_height), *h = weights(s->in_width, s->out_width);
    for (int64_t plane = 0; plane < checked_rows(t, s->planes < 3 ? s->planes : 3); plane++)
        check_plane(t, s, v, h, gradient, (float *)from.rows.data + plane * from.cols,
                    add ? (float *)before.rows.data + plane * to.cols : NULL, (float *)to.rows.data + plane * to.cols);
    if (!add)
        check_last_row_is_first(&to);
    record_matrix(t, &to);
    matrix_free(&from), matrix_free(&to), matrix_free(&before);
    mem_free(v), mem_free(h);
}

static void check_bicubic(Trial *t)
{
    for (int i = 0; i < COUNT_OF(sizes); i++)
        resize_one(t, &sizes[i], false, false);
}

static void check_bicubic_gradient(Trial *t)
{
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        resize_one(t, &sizes[i], true, false);
        resize_one(t, &sizes[i], true, true);
    }
}

static const Case cases[] = {
    CASE(resize, bicubic, check_bicubic),
    CASE(resize, bicubic_gradient, check_bicubic_gradient),
};
CHECK_FAMILY(resize)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
