#include "common/kernels/kmeans.h"

#include "common/base/error.h"
#include "common/kernels/cpu/parallel.h"
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/spans.h"

typedef struct Kmeans {
    const KmeansShape *shape;
    HeadRows x;
    const int32_t *nearest;
    float decay, eps;
    const float *sums_in, *counts_in, *means_in;
    float *sums, *counts, *means;
} Kmeans;

static const float *row_at(const Kmeans *k, int64_t b, int64_t n, int64_t h)
{
    return (const float *)k->x.data + row_start(k->x, b, h, n, k->shape->width);
}

static bool any_value(int64_t n, const float *x)
{
    VecInt any = {0};
    for (int64_t i = 0; i < n; i += LANES)
        any |= vec_load_upto(x + i, n - i, 0) != 0;
    return vec_any(any);
}

static int64_t cluster_at(const Kmeans *k, int64_t index)
{
    int64_t c = k->nearest[index];
    contract(c >= 0 && c < k->shape->clusters, "k-means: cluster %ld of %ld", (long)c, (long)k->shape->clusters);
    return c;
}

static void sums_piece(const void *job, int64_t first, int64_t last)
{
    const Kmeans *k = job;
    const KmeansShape *s = k->shape;
    for (int64_t h = first; h < last; h++) {
        float *sums = k->sums + h * s->clusters * s->width, *counts = k->counts + h * s->clusters;
        memset(sums, 0, (size_t)(s->clusters * s->width) * sizeof *sums);
        memset(counts, 0, (size_t)s->clusters * sizeof *counts);
        for (int64_t b = 0; b < s->batch; b++)
            for (int64_t n = 0; n < s->tokens; n++) {
                int64_t c = cluster_at(k, (b * s->heads + h) * s->tokens + n);
                const float *x = row_at(k, b, n, h);
                span_add(s->width, x, sums + c * s->width);
                counts[c] += any_value(s->width, x);
            }
    }
}

static int64_t bytes_of(const KmeansShape *s)
{
    return s->batch * s->tokens * s->heads * s->width * 8;
}

static void sums(const Exec *exec, const KmeansShape *s, HeadRows x, const int32_t *nearest, float *to, float *counts)
{
    contract(x.type == F32, "k-means: rows of %s, not of float32", dtype_name(x.type));
    Kmeans k = {.shape = s, .x = x, .nearest = nearest, .sums = to, .counts = counts};
    parallel_pieces(exec, s->heads, 1, bytes_of(s), sums_piece, &k);
}

/* Head j takes every H-th of all tokens of all heads. */
static void mixed_piece(const void *job, int64_t first, int64_t last)
{
    const Kmeans *k = job;
    const KmeansShape *s = k->shape;
    for (int64_t j = first; j < last; j++) {
        float *counts = k->counts + j * s->clusters;
        memset(counts, 0, (size_t)s->clusters * sizeof *counts);
        for (int64_t r = j; r < s->batch * s->heads * s->tokens; r += s->heads) {
            const float *x = row_at(k, r / s->tokens / s->heads, r % s->tokens, r / s->tokens % s->heads);
            counts[cluster_at(k, r)] += any_value(s->width, x);
        }
    }
}

static void mixed_counts(const Exec *exec, const KmeansShape *s, HeadRows x, const int32_t *nearest, float *counts)
{
    contract(x.type == F32, "k-means: rows of %s, not of float32", dtype_name(x.type));
    Kmeans k = {.shape = s, .x = x, .nearest = nearest, .counts = counts};
    parallel_pieces(exec, s->heads, 1, bytes_of(s), mixed_piece, &k);
}

static void smooth_piece(const void *job, int64_t first, int64_t last)
{
    const Kmeans *k = job;
    const KmeansShape *s = k->shape;
    float keep = k->decay, take = 1 - k->decay;
    for (int64_t h = first; h < last; h++) {
        float *count = k->counts + h * s->clusters, n = 0;
        for (int64_t c = 0; c < s->clusters; c++) {
            count[c] = keep * count[c] + take * k->counts_in[h * s->clusters + c];
            n += count[c];
        }
        for (int64_t c = 0; c < s->clusters; c++) {
            float smoothed = (count[c] + k->eps) / (n + (float)s->clusters * k->eps) * n;
            for (int64_t at = (h * s->clusters + c) * s->width, end = at + s->width; at < end; at++) {
                k->sums[at] = keep * k->sums[at] + take * k->sums_in[at];
                k->means[at] = k->sums[at] / smoothed;
            }
        }
    }
}

static void smooth(const Exec *exec, const KmeansShape *s, float decay, float eps, const float *sums_in,
                   const float *counts_in, float *sum, float *count, float *means)
{
    Kmeans k = {.shape = s,
                .decay = decay,
                .eps = eps,
                .sums_in = sums_in,
                .counts_in = counts_in,
                .sums = sum,
                .counts = count,
                .means = means};
    parallel_pieces(exec, s->heads, 1, s->heads * s->clusters * s->width * 20, smooth_piece, &k);
}

static void normalize_piece(const void *job, int64_t first, int64_t last)
{
    const Kmeans *k = job;
    int64_t width = k->shape->width;
    for (int64_t row = first; row < last; row++) {
        const float *sum = k->sums_in + row * width, *mean = k->means_in + row * width;
        Vec squares = vec_set(0);
        for (int64_t i = 0; i < width; i += LANES) {
            Vec x = vec_load_upto(sum + i, width - i, 0);
            squares += x * x;
        }
        float norm = vec_square_root(vec_set(vec_sum(squares)))[0], smallest = 1e-12f;
        bool empty = k->counts_in[row] == 0;
        for (int64_t i = 0; i < width; i++)
            k->means[row * width + i] = empty ? mean[i] : sum[i] / (norm > smallest ? norm : smallest);
    }
}

static void normalize(const Exec *exec, const KmeansShape *s, const float *sums_in, const float *counts_in,
                      const float *means, float *centres)
{
    Kmeans k = {.shape = s, .sums_in = sums_in, .counts_in = counts_in, .means_in = means, .means = centres};
    int64_t rows = s->heads * s->clusters;
    parallel_pieces(exec, rows, 64, rows * s->width * 12, normalize_piece, &k);
}

typedef struct Buckets {
    int64_t bits, clusters;
    const float *along;
    float *hot;
} Buckets;

static void buckets_piece(const void *job, int64_t first, int64_t last)
{
    const Buckets *k = job;
    memset(k->hot + first * k->clusters, 0, (size_t)((last - first) * k->clusters) * sizeof *k->hot);
    for (int64_t row = first; row < last; row++) {
        int64_t bucket = 0;
        for (int64_t bit = 0; bit < k->bits; bit++)
            bucket += (int64_t)(k->along[row * k->bits + bit] > 0) << bit;
        k->hot[row * k->clusters + bucket] = 1;
    }
}

static void buckets(const Exec *exec, int64_t rows, int64_t bits, int64_t clusters, const float *along, float *hot)
{
    contract(bits < 31 && ((int64_t)1 << bits) <= clusters, "buckets: %ld bits for %ld clusters", (long)bits,
             (long)clusters);
    Buckets k = {bits, clusters, along, hot};
    parallel_pieces(exec, rows, larger(1, PIECE / clusters), rows * clusters * 4, buckets_piece, &k);
}

const KmeansKernels LEVEL(kmeans_kernels) = {
    .sums = sums, .mixed_counts = mixed_counts, .smooth = smooth, .normalize = normalize, .buckets = buckets};
