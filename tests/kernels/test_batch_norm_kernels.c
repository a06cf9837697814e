#include "tests/kernels/check.h"

/* Values [batch, channels, inner] are a matrix: rows of `inner`, or of `channels` where inner is 1. */
static Matrix values_new(Trial *t, const ChannelShape *s, int64_t gap, DType type, double low, double high)
{
    Matrix m = matrix_new(s->inner == 1 ? s->batch : s->batch * s->channels, s->inner == 1 ? s->channels : s->inner,
                          gap, type);
    for (int64_t r = 0; r < m.count; r++)
        for (int64_t c = 0; c < m.cols; c++)
            matrix_set(&m, r, c, trial_random(t, low, high));
    return m;
}

static double value_at(const Matrix *m, const ChannelShape *s, int64_t b, int64_t c, int64_t i)
{
    return s->inner == 1 ? matrix_get(m, b, c) : matrix_get(m, b * s->channels + c, i);
}

/* for (EACH_VALUE(s, c, b, i)) of channel c */
#define EACH_VALUE(s, b, i)                                                                                            \
    int64_t b = 0, i = 0;                                                                                              \
    b<(s)->batch && (s)->inner> 0;                                                                                     \
    i + 1 < (s)->inner ? (void)i++ : (void)(b++, i = 0)

/* Multiples of 1/64 (which bf16 has up to 4), shifted: no (x - mean) scale + beta of what follows comes nearer to 0 than 1/4096,
 * so that no rounding decides what relu does. */
static void put_on_grid(Matrix *m, double shift)
{
    for (int64_t r = 0; r < m->count; r++)
        for (int64_t c = 0; c < m->cols; c++)
            matrix_set(m, r, c, floor(matrix_get(m, r, c) * 64) / 64 + shift);
}

/* Per channel; statistics as a batch of `count` values would have them. */
typedef struct Channels {
    Matrix gamma, beta, statistics;
    ChannelAffine affine;
} Channels;

static Channels channels_new(Trial *t, const ChannelShape *s, double count, bool with_gamma, bool with_beta, bool relu)
{
    int64_t n = s->channels;
    static const float scales[] = {0.5f, 1, 2, -1, -0.5f};
    Channels c = {matrix_new(1, n, 0, F32),
                  matrix_random(t, 1, n, 0, F32, -1, 1),
                  matrix_new(1, 2 * n + 1, 0, F32),
                  {NULL, NULL, relu}};
    put_on_grid(&c.beta, 0);
    for (int64_t i = 0; i < n; i++) {
        matrix_set(&c.gamma, 0, i, (double)scales[i % 5]);
        matrix_set(&c.statistics, 0, i, floor(trial_random(t, -64, 128)) / 64 + 1.0 / 1024);
        matrix_set(&c.statistics, 0, n + i, (double)fabsf(scales[i % 3]));
    }
    matrix_set(&c.statistics, 0, 2 * n, count);
    if (with_gamma)
        c.affine.gamma = c.gamma.rows.data;
    if (with_beta)
        c.affine.beta = c.beta.rows.data;
    return c;
}

static void channels_free(Channels *c)
{
    matrix_free(&c->gamma), matrix_free(&c->beta), matrix_free(&c->statistics);
}

static double xhat_of(const Channels *k, const ChannelShape *s, int64_t c, double x)
{
    return (x - matrix_get(&k->statistics, 0, c)) * matrix_get(&k->statistics, 0, s->channels + c);
}

static double normal_of(const Channels *k, const ChannelShape *s, int64_t c, double x)
{
    double v = xhat_of(k, s, c, x) * (k->affine.gamma ? matrix_get(&k->gamma, 0, c) : 1);
    return v + (k->affine.beta ? matrix_get(&k->beta, 0, c) : 0);
}

/* The given shape as rows of channels, as planes of as few channels as divide its rows, and as those of one channel. */
static void each_shape(Trial *t, Shape s, Layout l, void (*body)(Trial *, ChannelShape, Layout))
{
    enum { MOST = 40 };
    int64_t channels = 2;
    while (channels < MOST && s.rows % channels)
        channels++;
    if (s.cols > 0)
        body(t, (ChannelShape){s.rows, s.cols, 1}, l);
    if (s.cols != 1 && s.rows % channels == 0)
        body(t, (ChannelShape){s.rows / channels, channels, s.cols}, l);
    if (s.cols != 1)
        body(t, (ChannelShape){s.rows, 1, s.cols}, l);
}

/* ---- Moments */

static void moments_of(const Matrix *x, const ChannelShape *s, int64_t c, double *mean, double *squares)
{
    double sum = 0, count = (double)(s->batch * s->inner);
    for (EACH_VALUE(s, b, i))
        sum += value_at(x, s, b, c, i);
    *mean = count > 0 ? sum / count : 0;
    *squares = 0;
    for (EACH_VALUE(s, b, i))
        *squares += pow(value_at(x, s, b, c, i) - *mean, 2);
}

/* Values around `middle`, where the squares of values alone would be lost. */
static void moments_around(Trial *t, ChannelShape s, Layout l, double middle)
{
    Matrix x = values_new(t, &s, l.gap, l.in, middle - 1, middle + 1);
    Matrix moments = matrix_new(1, 2 * s.channels + 1, 1, F32);
    void *scratch = scratch_new(t, t->backend->batch_norm.moments_scratch(&s));
    t->backend->batch_norm.moments(&t->exec, &s, x.rows, moments.rows.data);
    for (int64_t c = 0; c < s.channels && checked_rows(t, 1); c++) {
        double mean, squares;
        moments_of(&x, &s, c, &mean, &squares);
        check_near(matrix_get(&moments, 0, c), mean, 3e-7 * fabs(mean) + 1e-6, "mean", 0, c);
        /* A mean that is kept between chunks is a float. */
        double tolerance = 3e-6 * squares + 1e-7 * fabs(mean) * sqrt(squares);
        check_near(matrix_get(&moments, 0, s.channels + c), squares, tolerance, "squares", 0, c);
    }
    check_near(matrix_get(&moments, 0, 2 * s.channels), (double)(s.batch * s.inner), 0, "count", 0, 0);
    record_matrix(t, &moments);
    operand_free(scratch);
    matrix_free(&x), matrix_free(&moments);
}

static void moments_shape(Trial *t, ChannelShape s, Layout l)
{
    moments_around(t, s, l, 0.25);
    if (s.batch * s.channels * s.inner < 10000)
        moments_around(t, s, l, 1e4);
}

static void moments_layout(Trial *t, Shape s, Layout l)
{
    each_shape(t, s, l, moments_shape);
}

/* Planes of more than a block of values, and chunks that are met in parts. */
static void check_moments(Trial *t)
{
    each_layout(t, moments_layout);
    moments_shape(t, (ChannelShape){2, 2, 17001}, check_layouts[0]);
    moments_shape(t, (ChannelShape){16500, 1, 1}, check_layouts[0]);
}

/* ---- Statistics */

typedef struct Joined {
    double count, mean, squares;
} Joined;

static Joined joined(const Matrix *moments, int64_t channels, int64_t c)
{
    Joined j = {0};
    for (int64_t p = 0; p < moments->count; p++) {
        double more = matrix_get(moments, p, 2 * channels);
        j.count += more;
        j.mean += more * matrix_get(moments, p, c);
    }
    j.mean = j.count > 0 ? j.mean / j.count : 0;
    for (int64_t p = 0; p < moments->count; p++) {
        double more = matrix_get(moments, p, 2 * channels);
        if (more > 0)
            j.squares += matrix_get(moments, p, channels + c) + more * pow(matrix_get(moments, p, c) - j.mean, 2);
    }
    return j;
}

/* counts [parts] */
static void statistics_of(Trial *t, int64_t channels, int parts, const double *counts, bool remembers)
{
    const float eps = 1e-3f, momentum = 0.25f;
    Matrix moments = matrix_random(t, parts, 2 * channels + 1, 0, F32, 0, 3);
    for (int p = 0; p < parts; p++)
        matrix_set(&moments, p, 2 * channels, counts[p]);
    Matrix to = matrix_new(1, 2 * channels + 1, 2, F32), mean = matrix_random(t, 1, channels, 2, F32, -1, 1),
           variance = matrix_random(t, 1, channels, 2, F32, 0.5, 2),
           before[] = {matrix_copy(&mean), matrix_copy(&variance)};
    int64_t *batches = operand_copy((const int64_t[]){6}, sizeof *batches);
    RunningStatistics running = {remembers ? mean.rows.data : NULL, variance.rows.data, batches, momentum};
    t->backend->batch_norm.statistics(&t->exec, channels, parts, moments.rows.data, eps, &running, to.rows.data);
    bool kept = remembers && joined(&moments, channels, 0).count > 1;
    assert_int_equal(*batches, kept ? 7 : 6);
    for (int64_t c = 0; c < channels && checked_rows(t, 1); c++) {
        Joined j = joined(&moments, channels, c);
        double rstd = 1 / sqrt((j.count > 0 ? j.squares / j.count : 0) + (double)eps);
        double share = kept ? (double)momentum : 0, sample = kept ? j.squares / (j.count - 1) : 0;
        check_near(matrix_get(&to, 0, c), j.mean, 1e-6, "mean", 0, c);
        check_near(matrix_get(&to, 0, channels + c), rstd, 1e-6 * rstd, "rstd", 0, c);
        check_near(matrix_get(&to, 0, 2 * channels), j.count, 0, "count", 0, c);
        check_near(matrix_get(&mean, 0, c), (1 - share) * matrix_get(&before[0], 0, c) + share * j.mean, 1e-6,
                   "running mean", 0, c);
        check_near(matrix_get(&variance, 0, c), (1 - share) * matrix_get(&before[1], 0, c) + share * sample, 2e-6,
                   "running variance", 0, c);
    }
    record_matrix(t, &to), record_matrix(t, &mean), record_matrix(t, &variance);
    matrix_free(&moments), matrix_free(&to), matrix_free(&mean), matrix_free(&variance);
    matrix_free(&before[0]), matrix_free(&before[1]), operand_free(batches);
}

static void check_statistics(Trial *t)
{
    static const int64_t channels[] = {1, 3, 16, 131};
    for (int i = 0; i < COUNT_OF(channels); i++)
        for (int remembers = 0; remembers < 2; remembers++) {
            statistics_of(t, channels[i], 1, (double[]){20}, remembers);
            statistics_of(t, channels[i], 3, (double[]){7, 0, 40}, remembers);
            statistics_of(t, channels[i], 3, (double[]){0, 9, 1}, remembers);
            statistics_of(t, channels[i], 2, (double[]){1, 0}, remembers);
            statistics_of(t, channels[i], 2, (double[]){0, 0}, remembers);
        }
}

static void check_running_statistics(Trial *t)
{
    static const int64_t counts[] = {1, 5, 40, 131};
    for (int i = 0; i < COUNT_OF(counts); i++) {
        int64_t n = counts[i];
        Matrix mean = matrix_random(t, 1, n, 0, F32, -1, 1), variance = matrix_random(t, 1, n, 0, F32, 0, 2);
        Matrix to = matrix_new(1, 2 * n + 1, 3, F32);
        t->backend->batch_norm.running_statistics(&t->exec, n, mean.rows.data, variance.rows.data, 1e-3f, to.rows.data);
        for (int64_t c = 0; c < n; c++) {
            double rstd = 1 / sqrt(matrix_get(&variance, 0, c) + (double)1e-3f);
            check_near(matrix_get(&to, 0, c), matrix_get(&mean, 0, c), 0, "mean", 0, c);
            check_near(matrix_get(&to, 0, n + c), rstd, 1e-6 * rstd, "rstd", 0, c);
        }
        check_near(matrix_get(&to, 0, 2 * n), 0, 0, "count", 0, 0);
        record_matrix(t, &to);
        matrix_free(&mean), matrix_free(&variance), matrix_free(&to);
    }
}

/* ---- Value by value */

static void normalise_parts(Trial *t, ChannelShape s, Layout l, bool with_gamma, bool with_beta, bool relu)
{
    Channels k = channels_new(t, &s, 7, with_gamma, with_beta, relu);
    Matrix x = values_new(t, &s, l.gap, l.in, -1, 3), y = values_new(t, &s, l.gap + 1, l.out, 0, 0);
    t->backend->batch_norm.normalise(&t->exec, &s, x.rows, k.statistics.rows.data, &k.affine, y.rows);
    for (int64_t c = 0; c < s.channels && checked_rows(t, 1); c++)
        for (EACH_VALUE(&s, b, i)) {
            double want = normal_of(&k, &s, c, value_at(&x, &s, b, c, i));
            want = relu && want < 0 ? 0 : want;
            check_near(value_at(&y, &s, b, c, i), want, 1e-6 + rounding(l.out, want), "normalise", b, c);
        }
    record_matrix(t, &y);
    channels_free(&k);
    matrix_free(&x), matrix_free(&y);
}

static void normalise_shape(Trial *t, ChannelShape s, Layout l)
{
    normalise_parts(t, s, l, true, true, l.add);
    normalise_parts(t, s, l, false, l.add, !l.add);
}

static void normalise_layout(Trial *t, Shape s, Layout l)
{
    each_shape(t, s, l, normalise_shape);
}

static void check_normalise(Trial *t)
{
    each_layout(t, normalise_layout);
}

/* ---- Backward */

typedef struct Backwards {
    ChannelShape s;
    Channels k;
    Matrix x, dy;
} Backwards;

static Backwards backwards_new(Trial *t, ChannelShape s, Layout l, bool affine, bool relu)
{
    Backwards w = {.s = s, .k = channels_new(t, &s, (double)(s.batch * s.inner), affine, affine, relu)};
    w.x = values_new(t, &s, l.gap, l.in, -1, 3);
    put_on_grid(&w.x, 0);
    w.dy = values_new(t, &s, l.gap + 2, l.out, -1, 1);
    return w;
}

static void backwards_free(Backwards *w)
{
    channels_free(&w->k);
    matrix_free(&w->x), matrix_free(&w->dy);
}

static double g_of(const Backwards *w, int64_t b, int64_t c, int64_t i)
{
    double v = normal_of(&w->k, &w->s, c, value_at(&w->x, &w->s, b, c, i));
    return w->k.affine.relu && v < 0 ? 0 : value_at(&w->dy, &w->s, b, c, i);
}

static void sums_parts(Trial *t, ChannelShape s, Layout l, bool affine, bool relu)
{
    Backwards w = backwards_new(t, s, l, affine, relu);
    Matrix sums = matrix_new(2, s.channels, 0, F32);
    void *scratch = scratch_new(t, t->backend->batch_norm.gradient_sums_scratch(&s));
    t->backend->batch_norm.gradient_sums(&t->exec, &s, w.dy.rows, w.x.rows, w.k.statistics.rows.data, &w.k.affine,
                                         sums.rows.data);
    for (int64_t c = 0; c < s.channels && checked_rows(t, 1); c++) {
        double sum_g = 0, sum_gx = 0, size = 1;
        for (EACH_VALUE(&s, b, i)) {
            double g = g_of(&w, b, c, i), x = xhat_of(&w.k, &s, c, value_at(&w.x, &s, b, c, i));
            sum_g += g;
            sum_gx += g * x;
            size += fabs(g) + fabs(g * x);
        }
        check_near(matrix_get(&sums, 0, c), sum_g, 1e-6 * size, "sum of g", 0, c);
        check_near(matrix_get(&sums, 1, c), sum_gx, 1e-6 * size, "sum of g xhat", 0, c);
    }
    record_matrix(t, &sums);
    operand_free(scratch);
    matrix_free(&sums);
    backwards_free(&w);
}

static void sums_shape(Trial *t, ChannelShape s, Layout l)
{
    sums_parts(t, s, l, true, l.add);
    sums_parts(t, s, l, l.add, !l.add);
}

static void sums_layout(Trial *t, Shape s, Layout l)
{
    each_shape(t, s, l, sums_shape);
}

static void check_gradient_sums(Trial *t)
{
    each_layout(t, sums_layout);
    sums_shape(t, (ChannelShape){2, 2, 17001}, check_layouts[0]);
    sums_shape(t, (ChannelShape){16500, 1, 1}, check_layouts[0]);
}

static void gradient_parts(Trial *t, ChannelShape s, Layout l, bool affine, bool relu, bool of_batch)
{
    Backwards w = backwards_new(t, s, l, affine, relu);
    Matrix sums = matrix_random(t, 2, s.channels, 0, F32, -3, 3), dx = values_new(t, &s, l.gap, l.out, -1, 1),
           before = matrix_copy(&dx);
    t->backend->batch_norm.gradient(&t->exec, &s, w.dy.rows, w.x.rows, w.k.statistics.rows.data, &w.k.affine,
                                    of_batch ? sums.rows.data : NULL, l.add, dx.rows);
    for (int64_t c = 0; c < s.channels && checked_rows(t, 1); c++)
        for (EACH_VALUE(&s, b, i)) {
            double scale = matrix_get(&w.k.statistics, 0, s.channels + c) * (affine ? matrix_get(&w.k.gamma, 0, c) : 1);
            double xhat = xhat_of(&w.k, &s, c, value_at(&w.x, &s, b, c, i)), want = g_of(&w, b, c, i);
            if (of_batch)
                want -= (matrix_get(&sums, 0, c) + xhat * matrix_get(&sums, 1, c)) / (double)(s.batch * s.inner);
            want = scale * want + (l.add ? value_at(&before, &s, b, c, i) : 0);
            check_near(value_at(&dx, &s, b, c, i), want, 3e-6 * (1 + fabs(xhat)) + rounding(l.out, want), "dx", b, c);
        }
    record_matrix(t, &dx);
    matrix_free(&sums), matrix_free(&dx), matrix_free(&before);
    backwards_free(&w);
}

static void gradient_shape(Trial *t, ChannelShape s, Layout l)
{
    gradient_parts(t, s, l, true, false, true);
    gradient_parts(t, s, l, l.add, true, l.in == F32);
    gradient_parts(t, s, l, false, false, false);
}

static void gradient_layout(Trial *t, Shape s, Layout l)
{
    each_shape(t, s, l, gradient_shape);
}

static void check_gradient(Trial *t)
{
    each_layout(t, gradient_layout);
}

/* ---- The scratches are asked for and held in the cases above. */

static void check_scratch(Trial *t)
{
    ChannelShape few = {2, 3, 4}, many = {5000, 3, 1};
    size_t a = t->backend->batch_norm.moments_scratch(&few), b = t->backend->batch_norm.gradient_sums_scratch(&many);
    assert_true(a >= 2 * 3 * sizeof(float) && b > a);
    record_bytes(t, &a, sizeof a), record_bytes(t, &b, sizeof b);
}

static const Case cases[] = {
    CASE(batch_norm, moments_scratch, check_scratch),
    CASE(batch_norm, moments, check_moments),
    CASE(batch_norm, statistics, check_statistics),
    CASE(batch_norm, running_statistics, check_running_statistics),
    CASE(batch_norm, normalise, check_normalise),
    CASE(batch_norm, gradient_sums_scratch, check_scratch),
    CASE(batch_norm, gradient_sums, check_gradient_sums),
    CASE(batch_norm, gradient, check_gradient),
};
CHECK_FAMILY(batch_norm)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_has_a_case),
        cmocka_unit_test(every_case_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
