/* Rows of fp32 or bf16, seen as floats a block of columns at a time: fp32 in place, bf16 through a buffer on the stack.
 * So the mathematics of a kernel is written once, on floats. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/cpu/parallel.h"
#include "common/kernels/cpu/vector/vector.h"

enum { BLOCK = 1024 }; /* columns; a buffer of that many floats is 4 KiB */

static inline void half_to_floats(int64_t n, const uint16_t *half, float *values)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        VecHalf h;
        memcpy(&h, half + i, sizeof h);
        vec_store(values + i, vec_from_half(h));
    }
    for (; i < n; i++)
        values[i] = bf16_to_float(half[i]);
}

static inline void floats_to_half(int64_t n, const float *values, uint16_t *half)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        VecHalf h = vec_to_half(vec_load(values + i));
        memcpy(half + i, &h, sizeof h);
    }
    for (; i < n; i++)
        half[i] = bf16_from_float(values[i]);
}

/* The columns c .. c+n-1 of row r to be read; n <= BLOCK. */
static inline const float *rows_read(Rows x, int64_t r, int64_t c, int64_t n, float *buffer)
{
    if (x.type == F32)
        return (const float *)x.data + r * x.stride + c;
    half_to_floats(n, (const uint16_t *)x.data + r * x.stride + c, buffer);
    return buffer;
}

/* The same columns to be written, with the old values in them when `old`. rows_close puts them in their place. */
static inline float *rows_open(Rows y, int64_t r, int64_t c, int64_t n, bool old, float *buffer)
{
    if (y.type == F32)
        return (float *)y.data + r * y.stride + c;
    if (old)
        half_to_floats(n, (const uint16_t *)y.data + r * y.stride + c, buffer);
    return buffer;
}

static inline void rows_close(Rows y, int64_t r, int64_t c, int64_t n, const float *values)
{
    if (y.type == BF16)
        floats_to_half(n, values, (uint16_t *)y.data + r * y.stride + c);
}

static inline void rows_check(Rows x, const char *kernel)
{
    contract(!x.data || x.type == F32 || x.type == BF16, "%s: rows of %s, not of floats", kernel, dtype_name(x.type));
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of a piece of about PIECE values. */
static inline int64_t rows_a_piece(int64_t cols)
{
    return cols > 0 && cols < PIECE ? PIECE / cols : 1;
}
