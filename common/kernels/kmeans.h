/* Online k-means of each head: what is summed over a batch, and the centres that follow from it. Letters: B batch, N tokens,
 * H heads, K clusters, d width. */
#pragma once
#include "common/kernels/attention.h"

typedef struct KmeansShape {
    int64_t batch, tokens, heads, clusters, width;
} KmeansShape;

typedef struct KmeansKernels {
    /* sums [H,K,d] of the x [B,N,H,d] that belong to a cluster, nearest [B,H,N]; counts [H,K] of those among them that are
     * not all zeros. Tokens are added in order. */
    void (*sums)(const Exec *, const KmeansShape *, HeadRows x, const int32_t *nearest, float *sums, float *counts);

    /* counts [H,K] as Roy et al.'s code has them: token n of head h of sample b counts for head ((b H + h) N + n) mod H, so
     * that the heads share theirs. */
    void (*mixed_counts)(const Exec *, const KmeansShape *, HeadRows x, const int32_t *nearest, float *counts);

    /* count = decay count + (1 - decay) counts, sum likewise; means = sum / smoothed,
     * smoothed = (count + eps) / (n + K eps) n with n = sum of count over the clusters of a head. Of the shape H, K, d count. */
    void (*smooth)(const Exec *, const KmeansShape *, float decay, float eps, const float *sums, const float *counts,
                   float *sum, float *count, float *means);

    /* centres [H,K,d] = sums / |sums|, or where a cluster is empty the means. */
    void (*normalize)(const Exec *, const KmeansShape *, const float *sums, const float *counts, const float *means,
                      float *centres);

    /* hot [rows,K]: 1 at the number whose bit i says whether along[r,i] > 0, else 0. along [rows,bits]. */
    void (*buckets)(const Exec *, int64_t rows, int64_t bits, int64_t clusters, const float *along, float *hot);
} KmeansKernels;
