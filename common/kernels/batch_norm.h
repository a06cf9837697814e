/* Normalisation of each channel over a batch (Ioffe and Szegedy, 2015, "Batch Normalization", algorithm 1 and section 3):
 *
 *     xhat = (x - mean) / sqrt(variance + eps),  y = xhat gamma + beta
 *
 * Both halves are cut where the ranks of a run join theirs: forward between moments and statistics, backward between
 * gradient_sums and gradient. */
#pragma once
#include "common/kernels/exec.h"

/* Values [batch, channels, inner], which lie as batch * channels rows of `inner` or, where inner is 1, as `batch` rows of
 * `channels`. A channel has batch * inner values. */
typedef struct ChannelShape {
    int64_t batch, channels, inner;
} ChannelShape;

/* What follows xhat: y = xhat gamma + beta (NULL: 1 and 0), [channels]; with relu max(0, that). */
typedef struct ChannelAffine {
    const float *gamma, *beta;
    bool relu;
} ChannelAffine;

/* What remembers batches: x becomes (1 - momentum) x + momentum new. mean NULL: nothing does. */
typedef struct RunningStatistics {
    float *mean, *variance; /* [channels]; the variance is that of a sample: over count - 1 */
    int64_t *batches;       /* one more; NULL: not counted */
    float momentum;
} RunningStatistics;

/* C channels. moments [2 C + 1]: their means, their sums of (x - mean)^2, and how many values each has. statistics [2 C + 1]:
 * means, 1 / sqrt(variance + eps), the same count. */
typedef struct BatchNormKernels {
    size_t (*moments_scratch)(const ChannelShape *);
    void (*moments)(const Exec *, const ChannelShape *, Rows x, float *moments);

    /* Of a batch that lies in parts, moments [parts, 2 C + 1]: their order decides the bits. The variance is over count; one value
     * alone is not remembered. */
    void (*statistics)(const Exec *, int64_t channels, int64_t parts, const float *moments, float eps,
                       const RunningStatistics *running, float *statistics);

    /* The same of what was remembered. */
    void (*running_statistics)(const Exec *, int64_t channels, const float *mean, const float *variance, float eps,
                               float *statistics);

    void (*normalise)(const Exec *, const ChannelShape *, Rows x, const float *statistics, const ChannelAffine *,
                      Rows y);

    /* sums [2, C]: of g and of g xhat, which are the gradients of beta and gamma; g is dy, with relu 0 where that let nothing
     * through. */
    size_t (*gradient_sums_scratch)(const ChannelShape *);
    void (*gradient_sums)(const Exec *, const ChannelShape *, Rows dy, Rows x, const float *statistics,
                          const ChannelAffine *, float *sums);

    /* dx (+)= gamma / sqrt(variance + eps) (g - (sum of g + xhat sum of g xhat) / count); sums NULL: mean and variance are no
     * functions of x, and the last two terms are not there. */
    void (*gradient)(const Exec *, const ChannelShape *, Rows dy, Rows x, const float *statistics,
                     const ChannelAffine *, const float *sums, bool add, Rows dx);
} BatchNormKernels;
