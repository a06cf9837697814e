/* Bicubic interpolation along an axis (Keys, 1981, with a = -0.75), for every backend. */
#pragma once
#include "common/kernels/inline.h"
#include <math.h>
#include <stdint.h>

/* Output position o reads inputs first-1 .. first+2 with these weights. */
typedef struct Taps {
    int64_t first;
    float weight[4];
} Taps;

KERNEL_INLINE Taps cubic_taps(int64_t o, int64_t in, int64_t out)
{
    const double a = -0.75;
    double at = ((double)o + 0.5) * (double)in / (double)out - 0.5, below = floor(at), t = at - below, s = 1 - t;
    Taps taps = {(int64_t)below,
                 {(float)(((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a),
                  (float)(((a + 2) * t - (a + 3)) * t * t + 1), (float)(((a + 2) * s - (a + 3)) * s * s + 1),
                  (float)(((a * (s + 1) - 5 * a) * (s + 1) + 8 * a) * (s + 1) - 4 * a)}};
    return taps;
}

/* A tap outside reads the edge. */
KERNEL_INLINE int64_t clamped_tap(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i < count ? i : count - 1;
}
