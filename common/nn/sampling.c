#include "common/nn/sampling.h"

#include "common/base/memory.h"

#include <math.h>
#include <stdlib.h>

typedef struct Candidate {
    float logit;
    int64_t index;
} Candidate;

/* The largest logit first. */
static int by_logit(const void *left, const void *right)
{
    const Candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* Free it. */
static Candidate *ranked(const float *logits, int64_t n)
{
    Candidate *all = mem_new((size_t)n * sizeof *all);
    for (int64_t i = 0; i < n; i++)
        all[i] = (Candidate){logits[i], i};
    qsort(all, (size_t)n, sizeof *all, by_logit);
    return all;
}

int64_t sampling_largest(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

void sampling_top_k(float *logits, int64_t n, int64_t k)
{
    if (k < 1 || k >= n)
        return;
    Candidate *all = ranked(logits, n);
    for (int64_t i = k; i < n; i++)
        logits[all[i].index] = -INFINITY;
    mem_free(all);
}

void sampling_top_p(float *logits, int64_t n, double p)
{
    if (p >= 1)
        return;
    Candidate *all = ranked(logits, n);
    double sum = 0, before = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)all[i].logit - all[0].logit);
    for (int64_t i = 0; i < n; i++) {
        double share = exp((double)all[i].logit - all[0].logit) / sum;
        if (i > 0 && before > p)
            logits[all[i].index] = -INFINITY;
        before += share;
    }
    mem_free(all);
}

float sampling_kth_largest(const float *logits, int64_t n, int64_t k)
{
    Candidate *all = ranked(logits, n);
    float value = logits[all[MIN(k, n) - 1].index];
    mem_free(all);
    return value;
}

void sampling_lower(float *logits, int64_t n, float threshold, float low)
{
    for (int64_t i = 0; i < n; i++)
        logits[i] = logits[i] <= threshold ? low : logits[i];
}

void sampling_softmax(float *logits, int64_t n, double temperature)
{
    double largest = (double)logits[sampling_largest(logits, n)] / temperature, sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)logits[i] / temperature - largest);
    for (int64_t i = 0; i < n; i++)
        logits[i] = (float)(exp((double)logits[i] / temperature - largest) / sum);
}

int64_t sampling_draw(const float *logits, int64_t n, double temperature, double u)
{
    int64_t best = sampling_largest(logits, n), last = best;
    if (temperature <= 0)
        return best;
    double sum = 0, below = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(((double)logits[i] - logits[best]) / temperature);
    for (int64_t i = 0; i < n; i++) {
        double weight = exp(((double)logits[i] - logits[best]) / temperature);
        below += weight;
        if (below > u * sum)
            return i;
        if (weight > 0)
            last = i;
    }
    return last; /* rounding left the sum short of u */
}
