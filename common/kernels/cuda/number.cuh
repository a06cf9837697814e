/* Numbers in memory and how rows of them are read as floats: own bf16, the same bits on the GPU and under emulation,
 * and loads of up to 16 bytes where a matrix is aligned for them. */
#pragma once
#include "common/kernels/cuda/launch.cuh"

typedef struct bf16 {
    uint16_t bits;
} bf16;

BOTH_SIDES uint32_t float_bits(float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {value};
    return u.bits;
}

BOTH_SIDES float float_of_bits(uint32_t bits)
{
    union {
        uint32_t bits;
        float value;
    } u = {bits};
    return u.value;
}

/* bf16 is the upper half of a float; rounding is to nearest, ties to even, NaN stays NaN. */
BOTH_SIDES float to_float(bf16 x)
{
    return float_of_bits((uint32_t)x.bits << 16);
}

BOTH_SIDES float to_float(float x)
{
    return x;
}

BOTH_SIDES bf16 to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    bf16 result = {(uint16_t)(nan ? (bits >> 16) | 0x40u : rounded >> 16)};
    return result;
}

/* N numbers side by side in memory; N sizeof(T) is at most 16 bytes. */
template <typename T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

/* N numbers in registers. */
template <int N> struct Floats {
    float at[N];
};

template <int N> DEVICE Floats<N> floats_of(float value)
{
    Floats<N> result;
#pragma unroll
    for (int i = 0; i < N; i++)
        result.at[i] = value;
    return result;
}

/* N floats that lie side by side at x, aligned for N of them (4 at a time above that). */
template <int N> DEVICE Floats<N> floats_load(const float *x)
{
    constexpr int step = N < 4 ? N : 4;
    Floats<N> result;
#pragma unroll
    for (int first = 0; first < N; first += step) {
        Pack<float, step> pack = *(const Pack<float, step> *)(x + first);
#pragma unroll
        for (int i = 0; i < step; i++)
            result.at[first + i] = pack.at[i];
    }
    return result;
}

template <int N> DEVICE Floats<N> floats_load(const bf16 *x)
{
    Pack<bf16, N> pack = *(const Pack<bf16, N> *)x;
    Floats<N> result;
#pragma unroll
    for (int i = 0; i < N; i++)
        result.at[i] = to_float(pack.at[i]);
    return result;
}

template <int N> DEVICE void floats_store(float *y, Floats<N> values)
{
    constexpr int step = N < 4 ? N : 4;
#pragma unroll
    for (int first = 0; first < N; first += step) {
        Pack<float, step> pack;
#pragma unroll
        for (int i = 0; i < step; i++)
            pack.at[i] = values.at[first + i];
        *(Pack<float, step> *)(y + first) = pack;
    }
}

template <int N> DEVICE void floats_store(bf16 *y, Floats<N> values)
{
    Pack<bf16, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++)
        pack.at[i] = to_bf16(values.at[i]);
    *(Pack<bf16, N> *)y = pack;
}

/* ---- Rows: fp32 or bf16, known when the kernel runs (a branch that all threads take alike) */

/* x[r, c .. c + N - 1] as floats. N > 1 only where rows_width allowed it. */
template <int N> DEVICE Floats<N> rows_load(Rows x, int64_t r, int64_t c)
{
    int64_t at = r * x.stride + c;
    return x.type == F32 ? floats_load<N>((const float *)x.data + at) : floats_load<N>((const bf16 *)x.data + at);
}

template <int N> DEVICE void rows_store(Rows y, int64_t r, int64_t c, Floats<N> values)
{
    int64_t at = r * y.stride + c;
    if (y.type == F32)
        floats_store<N>((float *)y.data + at, values);
    else
        floats_store<N>((bf16 *)y.data + at, values);
}

DEVICE float rows_get(Rows x, int64_t r, int64_t c)
{
    return rows_load<1>(x, r, c).at[0];
}

DEVICE void rows_set(Rows y, int64_t r, int64_t c, float value)
{
    Floats<1> one = {{value}};
    rows_store<1>(y, r, c, one);
}

/* ---- On the host, before a launch */

/* Only fp32 and bf16 are read as floats. */
static inline void rows_check(Rows x, const char *kernel)
{
    contract(!x.data || x.type == F32 || x.type == BF16, "%s: rows of %s, not float32 or bfloat16", kernel,
             dtype_name(x.type));
}

/* How many columns of these matrices can be read at a time: 4, or 1 where a length, a stride or an address is odd. A
 * matrix without data does not count; vectors over the columns are given as one row, ROWS_OF(gamma). */
static inline int rows_width(int64_t cols, const Rows *rows, int count)
{
    bool aligned = cols % 4 == 0;
    for (int i = 0; i < count; i++)
        if (rows[i].data)
            aligned =
                aligned && rows[i].stride % 4 == 0 && (uintptr_t)rows[i].data % (4 * dtype_bytes(rows[i].type)) == 0;
    return aligned ? 4 : 1;
}

static inline Rows rows_of(const float *vector)
{
    Rows rows = {(void *)vector, 0, F32};
    return rows;
}

/* rows_width of several: ROWS_WIDTH(cols, x, y, rows_of(gamma)). */
#define ROWS_WIDTH(cols, ...) rows_width_of(cols, {__VA_ARGS__})
template <int N> int rows_width_of(int64_t cols, const Rows (&rows)[N])
{
    return rows_width(cols, rows, N);
}
