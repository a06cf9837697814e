/* Learning-rate schedules: pure functions of the step or the epoch. */
#pragma once
#include <stdint.h>

typedef struct CosineSchedule {
    double peak, floor;    /* the highest rate, and the last */
    double start;          /* where the warm-up begins */
    int64_t warmup, total; /* steps, or epochs */
} CosineSchedule;

/* By step: linear from start to peak over the first `warmup` steps (step s < warmup: start + (peak - start) (s + 1) / warmup),
 * then half a cosine to floor at `total`. */
double schedule_cosine(const CosineSchedule *s, int64_t step);

/* timm 0.4.12 as CrossViT's main.py drives it, by epoch: S(t) = start + t (peak - start) / warmup for t < warmup, else floor +
 * (peak - floor)/2 (1 + cos(pi t / total)), not shifted by the warm-up, and floor from t = total on; and because the scheduler is stepped after an
 * epoch with that epoch's number, epoch 0 trains at `start` (at `peak` without warm-up) and epoch e >= 1 at S(e - 1). */
double schedule_timm_cosine(const CosineSchedule *s, int64_t epoch);

/* Tensor2Tensor's "constant*rsqrt_normalized_decay": constant sqrt(warmup) / sqrt(max(step, warmup)), so `constant` itself for
 * the first `warmup` steps, counted from 0. */
double schedule_rsqrt(double constant, int64_t warmup, int64_t step);
