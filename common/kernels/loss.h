/* Softmax over rows, and the losses made of it. R rows of C classes. */
#pragma once
#include "common/kernels/exec.h"

typedef struct LossKernels {
    void (*softmax)(const Exec *, int64_t rows, int64_t cols, Rows x, Rows y);
    void (*log_softmax)(const Exec *, int64_t rows, int64_t cols, Rows x, Rows y);
    /* dx (+)= y * (dy - sum(dy * y)), from the output y. */
    void (*softmax_gradient)(const Exec *, int64_t rows, int64_t cols, Rows dy, Rows y, bool add, Rows dx);

    /* losses[r] = - sum_c target[r,c] log softmax(logits[r])_c; probabilities [R,C] are kept for the backward. */
    void (*soft_cross_entropy)(const Exec *, int64_t rows, int64_t cols, Rows logits, const float *targets,
                               float *probabilities, float *losses);
    /* dlogits (+)= dlosses[r] * (p * sum_c target - target). */
    void (*soft_cross_entropy_gradient)(const Exec *, int64_t rows, int64_t cols, const float *dlosses,
                                        const float *probabilities, const float *targets, bool add, Rows dlogits);

    /* losses[r] = lse[r] - logits[r, labels[r]] with lse[r] = ln sum_c e^logits[r,c], or 0 where labels[r] is `ignore`; any
     * other label is one of 0 .. C-1. */
    void (*cross_entropy)(const Exec *, int64_t rows, int64_t cols, Rows logits, const int64_t *labels, int64_t ignore,
                          float *lse, float *losses);
    /* dlogits (+)= dlosses[r] (e^(logits[r,c] - lse[r]) - [c is labels[r]]), nothing where it is `ignore`. dlogits may be
     * the logits. */
    void (*cross_entropy_gradient)(const Exec *, int64_t rows, int64_t cols, const float *dlosses, Rows logits,
                                   const int64_t *labels, int64_t ignore, const float *lse, bool add, Rows dlogits);
} LossKernels;
