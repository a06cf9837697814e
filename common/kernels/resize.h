/* Resizing of fp32 images [planes, H, W], the way the networks do it themselves (torch's interpolate). */
#pragma once
#include "common/kernels/exec.h"

typedef struct ResizeKernels {
    /* Bicubic, align_corners=False, no antialias, a = -0.75; taps outside are clamped to the edge. */
    void (*bicubic)(const Exec *, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                    int64_t out_width, const float *x, float *y);
    void (*bicubic_gradient)(const Exec *, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                             int64_t out_width, const float *dy, bool add, float *dx);
} ResizeKernels;
