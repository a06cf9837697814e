/* Convolution and pooling against a plain double reference, at every level of this machine or on the CUDA backend. */
#include "kernels/dnnl_cases.h"

#define kernels (&backend->convolution)

/* batch, in, height, width, out, kernel h w, stride h w, pad top left bottom right, dilation h w, groups */
static const int64_t shapes[][16] = {
    {2, 1, 21, 19, 8, 7, 7, 4, 4, 3, 3, 3, 3, 1, 1, 1},   /* the stem of one channel */
    {9, 3, 16, 18, 8, 7, 7, 4, 4, 3, 3, 3, 3, 1, 1, 1},   /* and of three */
    {3, 8, 11, 11, 32, 3, 3, 3, 3, 0, 0, 0, 0, 1, 1, 1},  /* its second layer */
    {33, 8, 12, 12, 16, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1}, /* a task is several images, the last one fewer */
    {37, 16, 12, 12, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {5, 1, 24, 36, 32, 12, 12, 12, 12, 0, 0, 0, 0, 1, 1, 1}, /* patches */
    {4, 3, 8, 12, 24, 4, 4, 4, 4, 0, 0, 0, 0, 1, 1, 1},
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {2, 5, 7, 9, 3, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},    /* odd channel counts */
    {2, 3, 9, 10, 7, 3, 2, 2, 1, 1, 0, 0, 2, 1, 1, 1},   /* asymmetric everything */
    {2, 4, 13, 14, 6, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, 1},  /* dilated */
    {2, 6, 9, 9, 9, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 3},    /* groups */
    {3, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 16}, /* depthwise */
    {2, 8, 1, 1, 4, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
};

/* combination 0-3: which sides are channels last */
static ConvolutionShape shape_of(const int64_t *n, int combination)
{
    ConvolutionShape s = {.batch = n[0],
                          .in_channels = n[1],
                          .in_height = n[2],
                          .in_width = n[3],
                          .out_channels = n[4],
                          .kernel_height = n[5],
                          .kernel_width = n[6],
                          .stride_height = n[7],
                          .stride_width = n[8],
                          .pad_top = n[9],
                          .pad_left = n[10],
                          .pad_bottom = n[11],
                          .pad_right = n[12],
                          .dilation_height = n[13],
                          .dilation_width = n[14],
                          .groups = n[15],
                          .in_channels_last = combination & 1,
                          .out_channels_last = combination & 2};
    s.out_height =
        (s.in_height + s.pad_top + s.pad_bottom - (s.kernel_height - 1) * s.dilation_height - 1) / s.stride_height + 1;
    s.out_width =
        (s.in_width + s.pad_left + s.pad_right - (s.kernel_width - 1) * s.dilation_width - 1) / s.stride_width + 1;
    return s;
}

static int64_t in_place(const ConvolutionShape *s, int64_t b, int64_t c, int64_t h, int64_t w)
{
    return s->in_channels_last ? ((b * s->in_height + h) * s->in_width + w) * s->in_channels + c
                               : ((b * s->in_channels + c) * s->in_height + h) * s->in_width + w;
}

static int64_t out_place(const ConvolutionShape *s, int64_t b, int64_t c, int64_t h, int64_t w)
{
    return s->out_channels_last ? ((b * s->out_height + h) * s->out_width + w) * s->out_channels + c
                                : ((b * s->out_channels + c) * s->out_height + h) * s->out_width + w;
}

static int64_t in_count(const ConvolutionShape *s)
{
    return s->batch * s->in_channels * s->in_height * s->in_width;
}

static int64_t out_count(const ConvolutionShape *s)
{
    return s->batch * s->out_channels * s->out_height * s->out_width;
}

static int64_t weight_count(const ConvolutionShape *s)
{
    return s->out_channels * (s->in_channels / s->groups) * s->kernel_height * s->kernel_width;
}

/* A window's position over the image; false outside of it. */
static bool window_at(const ConvolutionShape *s, int64_t oh, int64_t ow, int64_t kh, int64_t kw, int64_t *h, int64_t *w)
{
    *h = oh * s->stride_height - s->pad_top + kh * s->dilation_height;
    *w = ow * s->stride_width - s->pad_left + kw * s->dilation_width;
    return *h >= 0 && *h < s->in_height && *w >= 0 && *w < s->in_width;
}

/* Every product of the convolution, in the places of x, weight and y that it ties together. */
typedef void Visit(void *context, int64_t x, int64_t weight, int64_t y);

static void visit_products(const ConvolutionShape *s, Visit *visit, void *context)
{
    int64_t in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t o = 0; o < s->out_channels; o++)
            for (int64_t oh = 0; oh < s->out_height; oh++)
                for (int64_t ow = 0; ow < s->out_width; ow++)
                    for (int64_t i = 0; i < in; i++)
                        for (int64_t kh = 0; kh < s->kernel_height; kh++)
                            for (int64_t kw = 0; kw < s->kernel_width; kw++) {
                                int64_t h, w;
                                if (window_at(s, oh, ow, kh, kw, &h, &w))
                                    visit(context, in_place(s, b, o / out * in + i, h, w),
                                          ((o * in + i) * s->kernel_height + kh) * s->kernel_width + kw,
                                          out_place(s, b, o, oh, ow));
                            }
}

typedef struct Reference {
    const float *x, *weight, *y;        /* y: the gradient that flows back */
    double *x_sum, *weight_sum, *y_sum; /* what is wanted; the others are NULL */
    double *size;                       /* sums of absolute terms */
} Reference;

static void add_products(void *context, int64_t x, int64_t weight, int64_t y)
{
    Reference *r = context;
    if (r->y_sum) {
        r->y_sum[y] += (double)r->x[x] * r->weight[weight];
        r->size[y] += fabs((double)r->x[x] * r->weight[weight]);
    } else if (r->x_sum) {
        r->x_sum[x] += (double)r->y[y] * r->weight[weight];
        r->size[x] += fabs((double)r->y[y] * r->weight[weight]);
    } else {
        r->weight_sum[weight] += (double)r->y[y] * r->x[x];
        r->size[weight] += fabs((double)r->y[y] * r->x[x]);
    }
}

static void assert_all_near(const float *got, const double *want, const double *size, int64_t count, const char *what)
{
    for (int64_t i = 0; i < count; i++)
        assert_near(got[i], want[i], size[i] + fabs(want[i]), F32, what, i);
}

static double *zeros(int64_t count)
{
    return operand_new((size_t)count * sizeof(double));
}

static void forward_case(const ConvolutionShape *s, bool with_bias, bool relu, bool parameter)
{
    float *x = random_numbers((size_t)in_count(s), F32, 1), *w = random_numbers((size_t)weight_count(s), F32, 2);
    float *bias = random_numbers((size_t)s->out_channels, F32, 3), *y = random_numbers((size_t)out_count(s), F32, 4);
    double *want = zeros(out_count(s)), *size = zeros(out_count(s));
    Reference r = {.x = x, .weight = w, .y_sum = want, .size = size};
    visit_products(s, add_products, &r);
    for (int64_t i = 0; i < out_count(s); i++) {
        int64_t plane = s->out_height * s->out_width;
        int64_t channel = s->out_channels_last ? i % s->out_channels : i / plane % s->out_channels;
        want[i] += with_bias ? bias[channel] : 0;
        want[i] = relu && want[i] < 0 ? 0 : want[i];
    }
    struct Packed *packed = NULL;
    Weight weight = {w, weight_count(s) / s->out_channels, 0, parameter ? &packed : NULL};
    for (int repeat = 0; repeat < 2; repeat++) {
        kernels->convolution(&two_threads, s, x, &weight, with_bias ? bias : NULL, relu, y);
        assert_all_near(y, want, size, out_count(s), "convolution");
    }
    backend->matmul.packed_free(&packed);
    operand_free(x), operand_free(w), operand_free(bias), operand_free(y), operand_free(want), operand_free(size);
}

static void test_forward(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int flags = 0; flags < 8; flags++) {
            ConvolutionShape s = shape_of(shapes[i], (flags + i) & 3);
            forward_case(&s, flags & 1, flags & 2, flags & 4);
            s = shape_of(shapes[i], (flags + i + 1) & 3);
            forward_case(&s, flags & 1, flags & 2, flags & 4);
        }
}

static void by_input_case(const ConvolutionShape *s, bool add)
{
    float *dy = random_numbers((size_t)out_count(s), F32, 1), *w = random_numbers((size_t)weight_count(s), F32, 2);
    float *dx = random_numbers((size_t)in_count(s), F32, 3);
    double *want = zeros(in_count(s)), *size = zeros(in_count(s));
    for (int64_t i = 0; i < in_count(s) && add; i++)
        want[i] = dx[i];
    Reference r = {.weight = w, .y = dy, .x_sum = want, .size = size};
    visit_products(s, add_products, &r);
    struct Packed *packed = NULL;
    Weight weight = {w, weight_count(s) / s->out_channels, 0, &packed};
    kernels->convolution_input_gradient(&two_threads, s, dy, &weight, add, dx);
    assert_all_near(dx, want, size, in_count(s), "convolution_input_gradient");
    backend->matmul.packed_free(&packed);
    operand_free(dy), operand_free(w), operand_free(dx), operand_free(want), operand_free(size);
}

static void by_weight_case(const ConvolutionShape *s, bool add, bool with_bias)
{
    float *dy = random_numbers((size_t)out_count(s), F32, 1), *x = random_numbers((size_t)in_count(s), F32, 2);
    float *dw = random_numbers((size_t)weight_count(s), F32, 3), *db = random_numbers((size_t)s->out_channels, F32, 4);
    double *want = zeros(weight_count(s)), *size = zeros(weight_count(s));
    double *want_bias = zeros(s->out_channels), *bias_size = zeros(s->out_channels);
    for (int64_t i = 0; i < weight_count(s) && add; i++)
        want[i] = dw[i];
    for (int64_t i = 0; i < s->out_channels && add; i++)
        want_bias[i] = db[i];
    for (int64_t i = 0; i < out_count(s); i++) {
        int64_t plane = s->out_height * s->out_width;
        int64_t channel = s->out_channels_last ? i % s->out_channels : i / plane % s->out_channels;
        want_bias[channel] += dy[i];
        bias_size[channel] += fabs(dy[i]);
    }
    Reference r = {.x = x, .y = dy, .weight_sum = want, .size = size};
    visit_products(s, add_products, &r);
    kernels->convolution_weight_gradient(&two_threads, s, dy, x, add, dw, with_bias ? db : NULL);
    assert_all_near(dw, want, size, weight_count(s), "convolution_weight_gradient");
    if (with_bias)
        assert_all_near(db, want_bias, bias_size, s->out_channels, "bias of convolution_weight_gradient");
    operand_free(dy), operand_free(x), operand_free(dw), operand_free(db), operand_free(want), operand_free(size),
        operand_free(want_bias), operand_free(bias_size);
}

static void test_gradients(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int combination = 0; combination < 4; combination++)
            for (int add = 0; add < 2; add++) {
                ConvolutionShape s = shape_of(shapes[i], combination);
                by_input_case(&s, add);
                by_weight_case(&s, add, (i + combination) & 1);
            }
}

static void test_packed_copy_follows_the_version(void **unused)
{
    (void)unused;
    ConvolutionShape s = shape_of(shapes[2], 3);
    float *x = random_numbers((size_t)in_count(&s), F32, 1), *w = random_numbers((size_t)weight_count(&s), F32, 2);
    float *y = random_numbers((size_t)out_count(&s), F32, 3), *again = random_numbers((size_t)out_count(&s), F32, 4);
    struct Packed *packed = NULL;
    Weight weight = {w, weight_count(&s) / s.out_channels, 1, &packed};
    kernels->convolution(&two_threads, &s, x, &weight, NULL, false, y);
    for (int64_t i = 0; i < weight_count(&s); i++)
        w[i] *= -2;
    weight.version = 2;
    kernels->convolution(&two_threads, &s, x, &weight, NULL, false, again);
    for (int64_t i = 0; i < out_count(&s); i++)
        assert_near(again[i], -2 * y[i], 8, F32, "convolution after a write", i);
    backend->matmul.packed_free(&packed);
    operand_free(x), operand_free(w), operand_free(y), operand_free(again);
}

/* ---- pooling ---- */

/* batch, channels, height, width, kernel h w, stride h w, pad top left bottom right, dilation h w */
static const int64_t pools[][14] = {
    {3, 5, 9, 11, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1},   {2, 16, 8, 8, 2, 2, 2, 2, 0, 0, 0, 0, 1, 1},
    {40, 8, 14, 14, 3, 2, 1, 2, 1, 0, 0, 1, 1, 1}, {2, 3, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 1, 1},
    {1, 1, 5, 5, 2, 2, 1, 1, 0, 0, 0, 0, 1, 1},
};

static ConvolutionShape pool_of(const int64_t *n, int combination)
{
    int64_t as_convolution[16] = {n[0], n[1], n[2], n[3],  n[1],  n[4],  n[5],  n[6],
                                  n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[1]};
    return shape_of(as_convolution, combination);
}

/* Equal numbers are common here, so that the first of several maxima is put to the test. */
static float *few_values(int64_t count, uint32_t seed)
{
    float *x = random_numbers((size_t)count, F32, seed);
    for (int64_t i = 0; i < count; i++)
        x[i] = roundf(x[i] * 3) - 1;
    return x;
}

/* One window: its value, and its gradient dy added to dx. */
static double pool_window(const ConvolutionShape *s, PoolingKind kind, const float *x, int64_t b, int64_t c, int64_t oh,
                          int64_t ow, double dy, double *dx)
{
    double sum = 0, best = -INFINITY;
    int64_t h, w, inside = 0, best_place = -1;
    for (int64_t kh = 0; kh < s->kernel_height; kh++)
        for (int64_t kw = 0; kw < s->kernel_width; kw++)
            if (window_at(s, oh, ow, kh, kw, &h, &w)) {
                double value = x[in_place(s, b, c, h, w)];
                inside++;
                sum += value;
                if (value > best) {
                    best = value;
                    best_place = in_place(s, b, c, h, w);
                }
            }
    int64_t count = kind == POOL_AVERAGE ? inside : s->kernel_height * s->kernel_width;
    if (kind == POOL_MAX)
        dx[best_place] += dy;
    for (int64_t kh = 0; kh < s->kernel_height && kind != POOL_MAX; kh++)
        for (int64_t kw = 0; kw < s->kernel_width; kw++)
            if (window_at(s, oh, ow, kh, kw, &h, &w))
                dx[in_place(s, b, c, h, w)] += dy / (double)count;
    return kind == POOL_MAX ? best : sum / (double)count;
}

static void pooling_case(const ConvolutionShape *s, PoolingKind kind, bool add)
{
    float *x = few_values(in_count(s), 1), *dx = random_numbers((size_t)in_count(s), F32, 2);
    float *dy = random_numbers((size_t)out_count(s), F32, 3), *y = random_numbers((size_t)out_count(s), F32, 4);
    double *want = zeros(out_count(s)), *want_dx = zeros(in_count(s)), *size = zeros(MAX(in_count(s), out_count(s)));
    for (int64_t i = 0; i < in_count(s); i++)
        want_dx[i] = add ? dx[i] : 0;
    for (int64_t i = 0; i < MAX(in_count(s), out_count(s)); i++)
        size[i] = 4;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t c = 0; c < s->out_channels; c++)
            for (int64_t oh = 0; oh < s->out_height; oh++)
                for (int64_t ow = 0; ow < s->out_width; ow++) {
                    int64_t place = out_place(s, b, c, oh, ow);
                    want[place] = pool_window(s, kind, x, b, c, oh, ow, dy[place], want_dx);
                }
    kernels->pooling(&two_threads, s, kind, x, y);
    assert_all_near(y, want, size, out_count(s), "pooling");
    kernels->pooling_gradient(&two_threads, s, kind, dy, x, add, dx);
    assert_all_near(dx, want_dx, size, in_count(s), "pooling_gradient");
    operand_free(x), operand_free(dx), operand_free(dy), operand_free(y), operand_free(want), operand_free(want_dx),
        operand_free(size);
}

static void test_pooling(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(pools); i++)
        for (int combination = 0; combination < 4; combination++)
            for (int kind = 0; kind < 3; kind++)
                for (int add = 0; add < 2; add++) {
                    ConvolutionShape s = pool_of(pools[i], combination);
                    pooling_case(&s, (PoolingKind)kind, add);
                }
}

/* ---- what holds for all ---- */

enum { RESULTS = 6 };

/* A convolution, a pooling by 2 of its input, and their gradients, on `threads` threads. */
static void results_of(int threads, const ConvolutionShape *s, const ConvolutionShape *pool, float **r)
{
    Exec exec = {.threads = threads, .stream = backend->stream};
    float *x = random_numbers((size_t)in_count(s), F32, 1), *w = random_numbers((size_t)weight_count(s), F32, 2);
    float *dy = random_numbers((size_t)out_count(s), F32, 3), *bias = random_numbers((size_t)s->out_channels, F32, 4);
    float *pool_dy = random_numbers((size_t)out_count(pool), F32, 5);
    Weight weight = {w, weight_count(s) / s->out_channels, 0, NULL};
    kernels->convolution(&exec, s, x, &weight, bias, true, r[0]);
    kernels->convolution_input_gradient(&exec, s, dy, &weight, false, r[1]);
    kernels->convolution_weight_gradient(&exec, s, dy, x, false, r[2], r[3]);
    kernels->pooling(&exec, pool, POOL_MAX, x, r[4]);
    kernels->pooling_gradient(&exec, pool, POOL_MAX, pool_dy, x, false, r[5]);
    operand_free(x), operand_free(w), operand_free(dy), operand_free(bias), operand_free(pool_dy);
}

static void test_thread_count_changes_nothing(void **unused)
{
    (void)unused;
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int combination = 0; combination < 4; combination += 3) {
            ConvolutionShape s = shape_of(shapes[i], combination);
            int64_t by_2[14] = {s.batch, s.in_channels, s.in_height, s.in_width, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1};
            ConvolutionShape pool = pool_of(by_2, combination);
            int64_t sizes[RESULTS] = {out_count(&s),  in_count(&s),     weight_count(&s),
                                      s.out_channels, out_count(&pool), in_count(&pool)};
            float *results[3][RESULTS];
            for (int t = 0; t < 3; t++) {
                for (int j = 0; j < RESULTS; j++)
                    results[t][j] = operand_new((size_t)sizes[j] * sizeof(float));
                results_of(t + 1, &s, &pool, results[t]);
                for (int j = 0; j < RESULTS; j++)
                    assert_memory_equal(results[0][j], results[t][j], (size_t)sizes[j] * sizeof(float));
            }
            for (int j = 0; j < 3 * RESULTS; j++)
                operand_free(results[j / RESULTS][j % RESULTS]);
        }
}

static void test_zero_sizes(void **unused)
{
    (void)unused;
    ConvolutionShape s = shape_of(shapes[2], 3);
    s.batch = 0;
    enum { WEIGHTS = 8 * 32 * 9, BIASES = 32 };
    float *w = operand_new(WEIGHTS * sizeof *w), *dw = operand_new(WEIGHTS * sizeof *dw);
    float *db = operand_new(BIASES * sizeof *db);
    Weight weight = {w, 72, 0, NULL};
    kernels->convolution(&two_threads, &s, NULL, &weight, db, true, NULL);
    kernels->convolution_input_gradient(&two_threads, &s, NULL, &weight, false, NULL);
    kernels->pooling(&two_threads, &s, POOL_MAX, NULL, NULL);
    kernels->pooling_gradient(&two_threads, &s, POOL_MAX, NULL, NULL, false, NULL);
    for (int i = 0; i < WEIGHTS; i++)
        dw[i] = 5;
    for (int i = 0; i < BIASES; i++)
        db[i] = 5;
    kernels->convolution_weight_gradient(&two_threads, &s, NULL, NULL, true, dw, db);
    for (int i = 0; i < BIASES; i++)
        assert_true(dw[i] == 5 && db[i] == 5);
    kernels->convolution_weight_gradient(&two_threads, &s, NULL, NULL, false, dw, db);
    for (int i = 0; i < WEIGHTS; i++)
        assert_true(dw[i] == 0 && (i >= BIASES || db[i] == 0));
    operand_free(w), operand_free(dw), operand_free(db);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_packed_copy_follows_the_version),
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_thread_count_changes_nothing),
        cmocka_unit_test(test_zero_sizes),
    };
    return cmocka_run_group_tests_name("convolution", tests, NULL, NULL);
}

int main(void)
{
    return run_at_every_level(run);
}
