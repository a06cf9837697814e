/* Optimizers over ranges of the flat parameter buffer. What changes between steps comes through pointers to memory of the device,
 * as do the sums: a step neither waits for the device nor carries its numbers in its calls. */
#pragma once
#include "common/kernels/exec.h"

typedef struct StepScalars {
    float lr;
    float bias_correction1, bias_correction2; /* 1 - beta^t, AdamW */
} StepScalars;

typedef struct OptimizerKernels {
    /* Every gradient is first multiplied by *gradient_scale (clipping).
     * AdamW as torch: p *= 1 - lr*decay; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
     * p -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps). Adam is `coupled`: instead of the first, g += decay*p. */
    void (*adamw)(const Exec *, int64_t count, const StepScalars *, const float *gradient_scale, float beta1,
                  float beta2, float eps, float decay, bool coupled, float *parameter, const float *gradient, float *m,
                  float *v);

    /* SGD with Nesterov momentum as torch: g += decay*p; buffer = first ? g : momentum*buffer + g;
     * p -= lr * (nesterov ? g + momentum*buffer : buffer). */
    void (*sgd)(const Exec *, int64_t count, const StepScalars *, const float *gradient_scale, float momentum,
                bool nesterov, float decay, bool first, float *parameter, const float *gradient, float *buffer);

    /* *sum (+)= the sum of squares in double, chunk by chunk in order. */
    void (*sum_of_squares)(const Exec *, int64_t count, const float *x, bool add, double *sum);

    /* *scale = min(1, limit / (sqrt(*squares) + 1e-6)), as torch clips a norm. */
    void (*clip_scale)(const Exec *, double limit, const double *squares, float *scale);
} OptimizerKernels;
