/* The mathematics of ops in plain double loops, as the papers write it: what values and gradients are held against. */
#pragma once
#include "common/attention/attention.h"
#include "common/base/memory.h"

#include <math.h>
#include <string.h>

static inline double gelu_of(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2.0)));
}

static inline double cube_of(double x)
{
    return x * x * x;
}

/* y[m,n] = x[m,k] w[n,k]^T + b[n]; b NULL: none. */
static inline void affine_of(int64_t m, int64_t n, int64_t k, const double *x, const double *w, const double *b,
                             double *y)
{
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c++) {
            double sum = b ? b[c] : 0;
            for (int64_t i = 0; i < k; i++)
                sum += x[r * k + i] * w[c * k + i];
            y[r * n + c] = sum;
        }
}

static inline void layer_norm_of(int64_t rows, int64_t cols, const double *x, const double *gamma, const double *beta,
                                 double eps, double *y)
{
    for (int64_t r = 0; r < rows; r++, x += cols, y += cols) {
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < cols; c++)
            mean += x[c] / (double)cols;
        for (int64_t c = 0; c < cols; c++)
            variance += (x[c] - mean) * (x[c] - mean) / (double)cols;
        for (int64_t c = 0; c < cols; c++)
            y[c] = (x[c] - mean) / sqrt(variance + eps) * (gamma ? gamma[c] : 1) + (beta ? beta[c] : 0);
    }
}

/* BatchNorm of x [.., s.dim[axis], ..], of the channels' own statistics or, where mean is not NULL, of those given. gamma, beta NULL:
 * 1, 0. */
static inline void batch_norm_of(Shape s, int axis, const double *x, const double *gamma, const double *beta,
                                 const double *mean, const double *variance, double eps, double *y)
{
    int64_t count = shape_count(s), channels = s.dim[axis], inner = shape_product(s, axis + 1, s.rank);
    for (int64_t c = 0; c < channels; c++) {
        double n = (double)(count / channels), middle = mean ? mean[c] : 0, spread = variance ? variance[c] : 0;
        for (int64_t i = 0; i < count && !mean; i++)
            middle += i / inner % channels == c ? x[i] / n : 0;
        for (int64_t i = 0; i < count && !mean; i++)
            spread += i / inner % channels == c ? (x[i] - middle) * (x[i] - middle) / n : 0;
        for (int64_t i = 0; i < count; i++)
            if (i / inner % channels == c)
                y[i] = (x[i] - middle) / sqrt(spread + eps) * (gamma ? gamma[c] : 1) + (beta ? beta[c] : 0);
    }
}

/* Softmax of a row in place; returns the log-sum-exp. */
static inline double softmax_of(int64_t n, double *x)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - largest);
    for (int64_t i = 0; i < n; i++)
        x[i] = exp(x[i] - largest) / sum;
    return largest + log(sum);
}

/* Dense attention. Every shape is [B,N,heads,width]; a batch of 1 is shared. */
typedef struct AttentionOf {
    Shape q, k, v;
    double scale; /* 0: width^-1/2 */
    const double *bias;
    Shape bias_shape;
    bool (*blocked)(int64_t b, int64_t h, int64_t i, int64_t j); /* NULL: every key is seen */
    double blocked_score;                                        /* -INFINITY where 0 */
    bool uniform_rows; /* a query that sees no key takes the mean of all; else it gets zeros */
} AttentionOf;

static inline double score_of(const AttentionOf *a, const double *q, const double *k, int64_t b, int64_t h, int64_t i,
                              int64_t j)
{
    int64_t heads = a->q.dim[2], width = a->q.dim[3], kh = h / (heads / a->k.dim[2]);
    const double *query = q + (((a->q.dim[0] == 1 ? 0 : b) * a->q.dim[1] + i) * heads + h) * width;
    const double *key = k + (((a->k.dim[0] == 1 ? 0 : b) * a->k.dim[1] + j) * a->k.dim[2] + kh) * width;
    double sum = 0, scale = a->scale != 0 ? a->scale : 1 / sqrt((double)width);
    for (int64_t c = 0; c < width; c++)
        sum += query[c] * key[c];
    sum *= scale;
    if (a->bias) {
        const int64_t *n = a->bias_shape.dim;
        int64_t bh = h / (heads / n[1]), bi = n[2] == 1 ? 0 : i, bj = n[3] == 1 ? 0 : j;
        sum += a->bias[(((b % n[0]) * n[1] + bh) * n[2] + bi) * n[3] + bj];
    }
    if (a->blocked && a->blocked(b, h, i, j))
        return a->blocked_score == 0 ? -INFINITY : a->blocked_score;
    return sum;
}

/* p [K] of one query; returns its log-sum-exp. */
static inline double probabilities_of(const AttentionOf *a, const double *q, const double *k, int64_t b, int64_t h,
                                      int64_t i, double *p)
{
    int64_t keys = a->k.dim[1];
    bool empty = true;
    for (int64_t j = 0; j < keys; j++) {
        p[j] = score_of(a, q, k, b, h, i, j);
        empty &= isinf(p[j]) != 0;
    }
    if (!empty)
        return softmax_of(keys, p);
    for (int64_t j = 0; j < keys; j++)
        p[j] = a->uniform_rows ? 1.0 / (double)keys : 0;
    return -INFINITY;
}

static inline int64_t batch_of(const AttentionOf *a)
{
    return MAX(a->q.dim[0], MAX(a->k.dim[0], a->v.dim[0]));
}

/* o [B,Q,H,e]; lse [B,H,Q] unless NULL. */
static inline void attention_of(const AttentionOf *a, const double *q, const double *k, const double *v, double *o,
                                double *lse)
{
    int64_t queries = a->q.dim[1], keys = a->k.dim[1], heads = a->q.dim[2], v_heads = a->v.dim[2], width = a->v.dim[3];
    double *p = mem_new((size_t)keys * sizeof *p + 8);
    for (int64_t b = 0; b < batch_of(a); b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < queries; i++) {
                double sum = probabilities_of(a, q, k, b, h, i, p), *out = o + ((b * queries + i) * heads + h) * width;
                if (lse)
                    lse[(b * heads + h) * queries + i] = sum;
                for (int64_t c = 0; c < width; c++)
                    out[c] = 0;
                for (int64_t j = 0; j < keys; j++) {
                    int64_t token = (a->v.dim[0] == 1 ? 0 : b) * keys + j;
                    const double *value = v + (token * v_heads + h / (heads / v_heads)) * width;
                    for (int64_t c = 0; c < width; c++)
                        out[c] += p[j] * value[c];
                }
            }
    mem_free(p);
}

/* y [B,O,oh,ow] from x [B,C,H,W] and w [O,C/g,kh,kw]. */
typedef struct ConvolutionOf {
    Shape x, w;
    int64_t stride, pad, dilation, groups, height, width; /* height, width: of y */
    bool relu;
} ConvolutionOf;

static inline double pixel_of(const ConvolutionOf *c, const double *x, const double *w, int64_t b, int64_t o,
                              int64_t row, int64_t col)
{
    int64_t ins = c->w.dim[1], first = o / (c->w.dim[0] / c->groups) * ins;
    double sum = 0;
    for (int64_t i = 0; i < ins; i++)
        for (int64_t u = 0; u < c->w.dim[2]; u++)
            for (int64_t v = 0; v < c->w.dim[3]; v++) {
                int64_t y = row * c->stride - c->pad + u * c->dilation, z = col * c->stride - c->pad + v * c->dilation;
                if (y >= 0 && y < c->x.dim[2] && z >= 0 && z < c->x.dim[3])
                    sum += x[((b * c->x.dim[1] + first + i) * c->x.dim[2] + y) * c->x.dim[3] + z] *
                           w[((o * ins + i) * c->w.dim[2] + u) * c->w.dim[3] + v];
            }
    return sum;
}

static inline void convolution_of(const ConvolutionOf *c, const double *x, const double *w, const double *bias,
                                  double *y)
{
    for (int64_t b = 0; b < c->x.dim[0]; b++)
        for (int64_t o = 0; o < c->w.dim[0]; o++)
            for (int64_t row = 0; row < c->height; row++)
                for (int64_t col = 0; col < c->width; col++) {
                    double sum = pixel_of(c, x, w, b, o, row, col) + (bias ? bias[o] : 0);
                    *y++ = c->relu && sum < 0 ? 0 : sum;
                }
}

/* The weight of Keys' cubic with a = -0.75 at distance x (torch's bicubic). */
static inline double cubic_of(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static inline double resized_of(const double *x, int64_t h, int64_t w, int64_t to_h, int64_t to_w, int64_t row,
                                int64_t col)
{
    double y = ((double)row + 0.5) * (double)h / (double)to_h - 0.5,
           z = ((double)col + 0.5) * (double)w / (double)to_w - 0.5;
    int64_t top = (int64_t)floor(y) - 1, left = (int64_t)floor(z) - 1;
    double sum = 0;
    for (int64_t u = top; u < top + 4; u++)
        for (int64_t v = left; v < left + 4; v++) {
            int64_t r = MIN(MAX(u, 0), h - 1), c = MIN(MAX(v, 0), w - 1);
            sum += x[r * w + c] * cubic_of(y - (double)u) * cubic_of(z - (double)v);
        }
    return sum;
}
