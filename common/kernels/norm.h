/* Normalisation over the last axis. R rows of C values. */
#pragma once
#include "common/kernels/exec.h"

typedef struct NormKernels {
    /* y = (x - mean) * rstd * gamma + beta per row; rstd = 1/sqrt(variance + eps), variance biased.
     * gamma, beta [C] or NULL. mean, rstd [R] are written for the backward (NULL: not wanted).
     * residual (data NULL: none): x is first replaced by x + residual, and that sum is written to `sum`. */
    void (*layer_norm)(const Exec *, int64_t rows, int64_t cols, Rows x, Rows residual, Rows sum, const float *gamma,
                       const float *beta, float eps, Rows y, float *mean, float *rstd);

    /* dx (+)= gradient of the above by x; dgamma, dbeta [C] (+)= theirs (NULL: not wanted), each with its own add.
     * Where those are wanted, exec's scratch holds at least layer_norm_gradient_scratch bytes. */
    size_t (*layer_norm_gradient_scratch)(int64_t rows, int64_t cols);
    void (*layer_norm_gradient)(const Exec *, int64_t rows, int64_t cols, Rows dy, Rows x, const float *gamma,
                                const float *mean, const float *rstd, bool add, Rows dx, bool add_affine, float *dgamma,
                                float *dbeta);

    /* y = inverse x per row, inverse[r] = 1 / max(|x|_2, eps), written for the backward (NULL: not wanted). */
    void (*l2_norm)(const Exec *, int64_t rows, int64_t cols, Rows x, float eps, Rows y, float *inverse);

    /* dx (+)= inverse (dy - y (y . dy)), or inverse dy where |x|_2 was less than eps; from the input x. */
    void (*l2_norm_gradient)(const Exec *, int64_t rows, int64_t cols, Rows dy, Rows x, const float *inverse, float eps,
                             bool add, Rows dx);
} NormKernels;
