/* Vectors of one level. Each file of this folder is compiled once a level (cmake/floors.cmake) with that level's flags,
 * and every symbol that leaves it goes through LEVEL(). GCC's vector types say most of it; the functions below say the
 * rest. Nothing inline from outside this folder is used here, so no instruction of a level leaks into the base build. */
#pragma once
#include <stdint.h>
#include <string.h>

#define LEVEL_JOIN_(name, level) name##_##level
#define LEVEL_JOIN(name, level) LEVEL_JOIN_(name, level)
#define LEVEL(name) LEVEL_JOIN(name, ZOO_LEVEL) /* layer_norm -> layer_norm_avx512 */

#if defined(ZOO_LEVEL_avx512) || defined(ZOO_LEVEL_avx512_bf16)
enum { LANES = 16 };
#elif defined(ZOO_LEVEL_avx2)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t VecInt __attribute__((vector_size(LANES * 4)));
typedef uint16_t VecHalf __attribute__((vector_size(LANES * 2)));

static inline Vec vec_load(const float *p)
{
    Vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vec_store(float *p, Vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline Vec vec_set(float x)
{
    return x - (Vec){0};
}

/* The first n lanes from memory, the others `rest`; nothing behind them is touched. */
static inline Vec vec_load_part(const float *p, int64_t n, float rest)
{
    Vec v = vec_set(rest);
    memcpy(&v, p, (size_t)n * 4);
    return v;
}

static inline void vec_store_part(float *p, Vec v, int64_t n)
{
    memcpy(p, &v, (size_t)n * 4);
}

static inline Vec vec_select(VecInt mask, Vec yes, Vec no)
{
    return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no));
}

static inline Vec vec_max(Vec a, Vec b)
{
    return vec_select(a > b, a, b);
}

static inline Vec vec_min(Vec a, Vec b)
{
    return vec_select(a < b, a, b);
}

/* Lanes added in a fixed tree. */
static inline float vec_sum(Vec v)
{
    float x[LANES];
    memcpy(x, &v, sizeof v);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            x[i] += x[i + n];
    return x[0];
}

static inline float vec_largest(Vec v)
{
    float x[LANES];
    memcpy(x, &v, sizeof v);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            x[i] = x[i] > x[i + n] ? x[i] : x[i + n];
    return x[0];
}

/* e^x to 2 ulp: x = n ln2 + r with |r| <= ln2/2, a polynomial of degree 6 in r, and n put into the exponent.
 * Below -87.3 it is 0 (denormals are not made), above 88.7 infinity; NaN stays NaN. */
static inline Vec vec_exp(Vec x)
{
    Vec low = vec_set(-87.33654f), high = vec_set(88.72283f);
    Vec inside = vec_min(vec_max(x, low), high);
    Vec shifted = inside * 1.44269504089f + 12582912.0f; /* 1.5 * 2^23: rounds to the nearest integer */
    Vec n = shifted - 12582912.0f;
    Vec r = inside - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vec p = vec_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* 2^n in two factors, so that n = 128 and n = -126 stay representable on the way. */
    VecInt e = (VecInt)shifted - 0x4B400000, half = e >> 1;
    Vec y = p * (Vec)((half + 127) << 23) * (Vec)((e - half + 127) << 23);
    y = vec_select(x < low, vec_set(0.0f), y);
    y = vec_select(x > high, vec_set(__builtin_inff()), y);
    return vec_select(x == x, y, x);
}
