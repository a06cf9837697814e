/* Small loops over up to BLOCK (or more) floats that several kernels share. */
#pragma once
#include "common/kernels/cpu/vector/vector.h"

/* y += x */
static inline void span_add(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += LANES)
        vec_store_upto(y + i, vec_load_upto(y + i, n - i, 0) + vec_load_upto(x + i, n - i, 0), n - i);
}

static inline float span_sum(int64_t n, const float *x)
{
    Vec a = vec_set(0), b = vec_set(0);
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a += vec_load(x + i);
        b += vec_load(x + i + LANES);
    }
    for (; i < n; i += LANES)
        a += vec_load_upto(x + i, n - i, 0);
    return vec_sum(a + b);
}

/* Sums of x - from, and of its square. */
static inline float span_sum_from(int64_t n, const float *x, float from)
{
    Vec a = vec_set(0), b = vec_set(0);
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a += vec_load(x + i) - from;
        b += vec_load(x + i + LANES) - from;
    }
    for (; i < n; i += LANES)
        a += vec_load_upto(x + i, n - i, from) - from;
    return vec_sum(a + b);
}

static inline float span_squares_from(int64_t n, const float *x, float from)
{
    Vec a = vec_set(0), b = vec_set(0);
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        Vec da = vec_load(x + i) - from, db = vec_load(x + i + LANES) - from;
        a += da * da;
        b += db * db;
    }
    for (; i < n; i += LANES) {
        Vec d = vec_load_upto(x + i, n - i, from) - from;
        a += d * d;
    }
    return vec_sum(a + b);
}

static inline float span_dot(int64_t n, const float *a, const float *b)
{
    Vec sum = vec_set(0);
    for (int64_t i = 0; i < n; i += LANES)
        sum += vec_load_upto(a + i, n - i, 0) * vec_load_upto(b + i, n - i, 0);
    return vec_sum(sum);
}
