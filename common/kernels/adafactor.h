/* Adafactor (Shazeer and Stern 2018, algorithm 4, as Tensor2Tensor has it, without momentum): one parameter at a time.
 *
 *     v = decay v + (1 - decay) (g^2 + eps1),   u = g / sqrt(v),   u /= max(1, rms(u) / clip),   x -= rate u
 *
 * with rate = lr max(rms(x), scale_floor). rms = 0 where there is nothing. Scalars, *gradient_scale (by which every gradient is
 * multiplied first) and *squares (the sum of x^2) lie in memory of the device. */
#pragma once
#include "common/kernels/exec.h"

typedef struct AdafactorScalars {
    float lr, scale_floor;
    float weight_decay; /* that times the parameter is added to the gradient */
    float decay, eps1, clip;
} AdafactorScalars;

typedef struct AdafactorKernels {
    /* v [count] */
    void (*whole)(const Exec *, int64_t count, const AdafactorScalars *, const float *gradient_scale,
                  const double *squares, float *parameter, const float *gradient, float *v);

    /* parameter, gradient [batch, rows, cols]; instead of v its means over the last axis, by_row [batch, rows], and over the
     * last but one, by_col [batch, cols]: v[r,c] is taken for by_row[r] by_col[c] / mean(by_row). */
    void (*factored)(const Exec *, int64_t batch, int64_t rows, int64_t cols, const AdafactorScalars *,
                     const float *gradient_scale, const double *squares, float *parameter, const float *gradient,
                     float *by_row, float *by_col);
} AdafactorKernels;
