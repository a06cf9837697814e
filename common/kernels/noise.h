/* Random numbers on the device, from the Philox of common/kernels/philox.h: the same on every backend. */
#pragma once
#include "common/kernels/exec.h"
#include "common/kernels/philox.h"

typedef struct NoiseKernels {
    /* y = keep ? x / (1 - rate) : 0, with keep = (uniform >= rate); element i draws the number i + first. The backward
     * is the same call on the gradient. */
    void (*dropout)(const Exec *, PhiloxDraw draw, int64_t first, int64_t count, float rate, Rows x, bool add,
                    Rows y);
    void (*uniform)(const Exec *, PhiloxDraw draw, int64_t first, int64_t count, float *y); /* [0, 1) */
    void (*normal)(const Exec *, PhiloxDraw draw, int64_t first, int64_t count, float *y);
} NoiseKernels;
