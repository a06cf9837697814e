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
} LossKernels;
