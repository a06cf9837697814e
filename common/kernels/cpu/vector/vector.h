/* Vectors of one level. Each file of this folder is compiled once a level (cmake/floors.cmake) with that level's flags,
 * and every symbol that leaves it goes through LEVEL(). GCC's vector types say most of it; the functions below say the
 * rest. Nothing inline from outside this folder is used here, so no instruction of a level leaks into the base build. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <immintrin.h>

#define LEVEL_JOIN_(name, level) name##_##level
#define LEVEL_JOIN(name, level) LEVEL_JOIN_(name, level)
#define LEVEL(name) LEVEL_JOIN(name, ZOO_LEVEL) /* layer_norm -> layer_norm_avx512 */

#if defined(ZOO_LEVEL_avx512) || defined(ZOO_LEVEL_avx512_bf16)
enum { LANES = 16 };
#define VEC_OP(name) _mm512_##name /* the intrinsic of that name for a whole vector */
typedef __m512i VecBits;
#elif defined(ZOO_LEVEL_avx2)
enum { LANES = 8 };
#define VEC_OP(name) _mm256_##name
typedef __m256i VecBits;
#else
enum { LANES = 4 };
#define VEC_OP(name) _mm_##name
typedef __m128i VecBits;
#endif

/* Whether this level has products of bf16 at twice the speed. */
#if defined(__AVX512BF16__)
#define HALF_PRODUCTS 1
#else
#define HALF_PRODUCTS 0
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t VecInt __attribute__((vector_size(LANES * 4)));
typedef uint32_t VecWord __attribute__((vector_size(LANES * 4))); /* where integers may wrap around */
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

/* The first n lanes (0 <= n <= LANES) from memory, the others `rest`; nothing behind them is touched. */
static inline Vec vec_load_part(const float *p, int64_t n, float rest)
{
    Vec v = vec_set(rest);
#if defined(__AVX512F__)
    v = (Vec)_mm512_mask_loadu_ps((__m512)v, (__mmask16)((1u << n) - 1), p);
#else
    for (int64_t i = 0; i < n; i++)
        v[i] = p[i];
#endif
    return v;
}

static inline void vec_store_part(float *p, Vec v, int64_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < n; i++)
        p[i] = v[i];
#endif
}

/* A whole vector, or the last `live` lanes of a row: one body for both, so that a value's bits do not depend on where in
 * the row it stands. */
static inline Vec vec_load_upto(const float *p, int64_t live, float rest)
{
    return live >= LANES ? vec_load(p) : vec_load_part(p, live, rest);
}

static inline void vec_store_upto(float *p, Vec v, int64_t live)
{
    if (live >= LANES)
        vec_store(p, v);
    else
        vec_store_part(p, v, live);
}

static inline Vec vec_select(VecInt mask, Vec yes, Vec no)
{
#if defined(__AVX512F__)
    return (Vec)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), (__m512)no, (__m512)yes);
#elif defined(__AVX2__)
    return (Vec)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#else
    return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no));
#endif
}

/* The first n lanes of v, the others 0. */
static inline Vec vec_first(Vec v, int64_t n)
{
    float zeros[LANES] = {0};
    vec_store_part(zeros, v, n);
    return vec_load(zeros);
}

/* a > b ? a : b and a < b ? a : b; where either is NaN that is b. */
static inline Vec vec_max(Vec a, Vec b)
{
    return (Vec)VEC_OP(max_ps)(a, b);
}

static inline Vec vec_min(Vec a, Vec b)
{
    return (Vec)VEC_OP(min_ps)(a, b);
}

/* Whether a mask (lanes of 0 or -1) has a lane that is set. */
static inline int vec_any(VecInt mask)
{
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    int any = 0;
    for (int i = 0; i < LANES; i++)
        any |= mask[i];
    return any != 0;
#endif
}

/* The upper half of the lanes in use moved down: the steps of a tree over LANES, LANES/2, ... 2 lanes. */
#if defined(__AVX512F__)
#define VEC_FOLD(v, combine)                                                                                           \
    do {                                                                                                               \
        v = combine(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));           \
        v = combine(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));           \
        v = combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));           \
        v = combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));           \
    } while (0)
#elif defined(__AVX2__)
#define VEC_FOLD(v, combine)                                                                                           \
    do {                                                                                                               \
        v = combine(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));                                         \
        v = combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));                                         \
        v = combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));                                         \
    } while (0)
#else
#define VEC_FOLD(v, combine)                                                                                           \
    do {                                                                                                               \
        v = combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));                                                     \
        v = combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));                                                     \
    } while (0)
#endif

static inline Vec vec_add(Vec a, Vec b)
{
    return a + b;
}

/* Lanes added in a fixed tree. */
static inline float vec_sum(Vec v)
{
    VEC_FOLD(v, vec_add);
    return v[0];
}

static inline float vec_largest(Vec v)
{
    VEC_FOLD(v, vec_max);
    return v[0];
}

/* The lanes added up to four. */
typedef float Quad __attribute__((vector_size(16)));

static inline Quad vec_quad(Vec v)
{
#if defined(__AVX512F__)
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
    return (Quad)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
    return (Quad)_mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
    return v;
#endif
}

static inline Vec vec_square_root(Vec x)
{
    return (Vec)VEC_OP(sqrt_ps)(x);
}

/* bf16 is the upper half of a float; rounding to nearest even, NaN stays NaN (common/kernels/dtype.h). */
static inline Vec vec_from_half(VecHalf h)
{
    return (Vec)(__builtin_convertvector(h, VecInt) << 16);
}

static inline VecHalf vec_to_half(Vec v)
{
    VecInt bits = (VecInt)v, odd = (bits >> 16) & 1;
    VecInt rounded = bits + 0x7fff + odd, nan = bits | 0x400000;
    return __builtin_convertvector((VecInt)vec_select(v == v, (Vec)rounded, (Vec)nan) >> 16, VecHalf);
}

/* The same at full speed: a denormal number may become 0. */
static inline VecHalf vec_to_half_fast(Vec v)
{
#if HALF_PRODUCTS
    return (VecHalf)_mm512_cvtneps_pbh((__m512)v);
#else
    return vec_to_half(v);
#endif
}

/* sum + a x, rounded once where the level can: left to the compiler, GCC 14 does so in one loop and not in its neighbour, and
 * equal queries get different sums. */
static inline Vec vec_multiply_add(Vec sum, Vec a, Vec x)
{
#if defined(__FMA__)
    return (Vec)VEC_OP(fmadd_ps)(a, x, sum);
#else
    return sum + a * x;
#endif
}

/* The same; of pairs of bf16 (only where HALF_PRODUCTS) both products. `pairs` is a constant where this is called. */
static inline __attribute__((always_inline)) Vec vec_add_term(const bool pairs, Vec sum, Vec a, Vec x)
{
#if HALF_PRODUCTS
    if (pairs)
        return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)x);
#endif
    (void)pairs;
    return vec_multiply_add(sum, a, x);
}

/* Pairs of bf16, (first[i], second[i]) in lane i: the first in the lower half of its 32 bits. */
static inline Vec vec_pairs(Vec first, Vec second)
{
#if HALF_PRODUCTS
    const VecBits order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512bh halves = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    return (Vec)_mm512_permutexvar_epi16(order, (VecBits)halves);
#else
    VecWord lower = __builtin_convertvector(vec_to_half(first), VecWord);
    VecWord upper = __builtin_convertvector(vec_to_half(second), VecWord);
    return (Vec)(upper << 16 | lower);
#endif
}

/* e^x to 2 ulp: x = n ln2 + r with |r| <= ln2/2, a polynomial of degree 6 in r, and n put into the exponent.
 * Below -87.3 it is 0 (denormals are not made), above 88.7 infinity; NaN stays NaN. */
static inline Vec vec_exp(Vec x)
{
    Vec low = vec_set(-87.33654f), high = vec_set(89.0f); /* e^89 overflows by itself */
    Vec inside = vec_min(high, vec_max(low, x));
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
#if defined(__AVX512F__)
    Vec y = (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* 2^n in two factors, so that n = 128 and n = -126 stay representable on the way. */
    VecInt e = (VecInt)shifted - 0x4B400000, half = e >> 1;
    Vec y = p * (Vec)((half + 127) << 23) * (Vec)((e - half + 127) << 23);
#endif
    return vec_select(x < low, vec_set(0.0f), y);
}

/* 2^x to 2 ulp for x < 127, 0 below -150. In between are numbers below 2^-125 that are not accurate. NaN stays NaN.
 * 2^n, n an integer, times a polynomial of degree 5 in r = x - n (minimax, 9e-8); AVX-512 has both ends as instructions,
 * for r in [0, 1), which the others leave in [-1/2, 1/2]. */
static inline Vec vec_exp2(Vec x)
{
#if defined(__AVX512F__)
    Vec r = (Vec)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
    Vec p = vec_set(1.8671300717e-3f);
    p = p * r + 9.0170303173e-3f;
    p = p * r + 5.5799913109e-2f;
    p = p * r + 2.4016445015e-1f;
    p = p * r + 6.9315131180e-1f;
    p = p * r + 1.0f;
    return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
    x = vec_max(vec_set(-127.0f), x);
    Vec shifted = x + 12582912.0f; /* 1.5 * 2^23: rounds to the nearest integer, and leaves it in the low bits */
    Vec r = x - (shifted - 12582912.0f);
    Vec p = vec_set(1.3264727219e-3f);
    p = p * r + 9.6715128123e-3f;
    p = p * r + 5.5507337448e-2f;
    p = p * r + 2.4022242083e-1f;
    p = p * r + 6.9314697760e-1f;
    p = p * r + 1.0f;
    return (Vec)((VecWord)p + ((VecWord)shifted << 23));
#endif
}
