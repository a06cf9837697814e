/* Elementary functions of a vector, and the slopes that the backward passes need. NaN in, NaN out. */
#pragma once
#include "common/kernels/cpu/vector/vector.h"

/* The constant stands first in a comparison with a possible NaN: then NaN is what is returned. */
static inline Vec vec_clamp(float low, Vec x, float high)
{
    return vec_min(vec_set(high), vec_max(vec_set(low), x));
}

/* ln x to 2 ulp (Cephes, logf): x = m 2^e with m in [sqrt(1/2), sqrt(2)), a polynomial of degree 8 in z = m - 1. */
static inline Vec vec_log(Vec x)
{
    static const float terms[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                                  -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
    VecInt denormal = x < 1.17549435e-38f;
    VecInt bits = (VecInt)vec_select(denormal, x * 8388608.0f, x);
    /* The exponent that leaves m in [sqrt(1/2), sqrt(2)): 0x3F3504F3 is sqrt(1/2). */
    VecInt e = (bits - 0x3F3504F3) >> 23;
    Vec z = (Vec)(bits - (e << 23)) - 1.0f, zz = z * z;
    Vec exponent = __builtin_convertvector(e, Vec) + vec_select(denormal, vec_set(-23.0f), vec_set(0.0f));
    Vec p = vec_set(7.0376836292e-2f);
    for (int i = 0; i < 8; i++)
        p = p * z + terms[i];
    Vec y = p * (z * zz) + exponent * -2.12194440e-4f - 0.5f * zz;
    y = z + y + exponent * 0.693359375f;
    y = vec_select(x == 0.0f, vec_set(-__builtin_inff()), y);
    y = vec_select(x == __builtin_inff(), x, y);
    return vec_select(x >= 0.0f, y, vec_set(__builtin_nanf("")));
}

/* tanh (Cephes, tanhf): a polynomial where 1 - 2 / (e^2x + 1) would lose digits. */
static inline Vec vec_tanh(Vec x)
{
    Vec size = vec_max(-x, x), z = x * x;
    Vec p = vec_set(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    Vec near = p * z * x + x;
    Vec far = 1.0f - 2.0f / (vec_exp(2.0f * size) + 1.0f);
    return vec_select(size < 0.625f, near, vec_select(x < 0.0f, -far, far));
}

static inline Vec vec_sigmoid(Vec x)
{
    return 1.0f / (1.0f + vec_exp(-x));
}

/* The normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2 to 1e-7: x times a polynomial of degree 15 in
 * u = 2 (x / 5.6)^2 - 1, fitted to (Phi(x) - 1/2) / x on |x| <= 5.6 (least squares in Chebyshev polynomials, reweighted
 * until the largest error, 1.2e-8, was smallest). In u and not in x^2, because there the terms do not cancel. */
static inline Vec vec_phi(Vec x)
{
    static const float terms[] = {8.586837193e-04f, -6.288340480e-04f, 7.491193514e-04f, -2.863260055e-03f,
                                  5.404300841e-03f, -7.543581369e-03f, 1.093557797e-02f, -1.575283007e-02f,
                                  2.095835730e-02f, -2.631233010e-02f, 3.196729758e-02f, -3.834545994e-02f,
                                  4.698102817e-02f, -6.305128980e-02f, 1.262595934e-01f};
    Vec inside = vec_clamp(-5.6f, x, 5.6f);
    Vec u = inside * inside * 0.06377551020f - 1.0f;
    Vec p = vec_set(-3.306627254e-04f);
#pragma GCC unroll 15
    for (int i = 0; i < 15; i++) /* unrolled, so that a value and a slope can share it */
        p = p * u + terms[i];
    return vec_select(x < -5.6f, vec_set(0.0f), inside * p + 0.5f);
}

static inline Vec gelu(Vec x)
{
    return x * vec_phi(x);
}

static inline Vec gelu_slope(Vec x)
{
    return vec_phi(x) + x * (0.39894228040f * vec_exp(-0.5f * x * x));
}

/* 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
static inline Vec gelu_tanh(Vec x)
{
    return x * vec_sigmoid(1.5957691216f * (x + 0.044715f * x * x * x));
}

static inline Vec gelu_tanh_slope(Vec x)
{
    Vec inside = vec_clamp(-10.0f, x, 10.0f), square = inside * inside; /* the slope is 0 or 1 outside */
    Vec s = vec_sigmoid(1.5957691216f * (inside + 0.044715f * square * inside));
    return s + inside * s * (1.0f - s) * (1.5957691216f * (1.0f + 0.134145f * square));
}

static inline Vec relu(Vec x)
{
    return vec_max(vec_set(0.0f), x);
}

static inline Vec relu_slope(Vec x)
{
    return vec_select(x > 0.0f, vec_set(1.0f), vec_set(0.0f));
}

static inline Vec vec_sigmoid_slope(Vec x)
{
    Vec s = vec_sigmoid(x);
    return s * (1.0f - s);
}

static inline Vec vec_tanh_slope(Vec x)
{
    Vec t = vec_tanh(x);
    return 1.0f - t * t;
}

static inline Vec silu(Vec x)
{
    return x * vec_sigmoid(x);
}

static inline Vec silu_slope(Vec x)
{
    Vec s = vec_sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

static inline Vec vec_exp_slope(Vec x)
{
    return vec_exp(x);
}

static inline Vec vec_log_slope(Vec x)
{
    return 1.0f / x;
}

static inline Vec square(Vec x)
{
    return x * x;
}

static inline Vec square_slope(Vec x)
{
    return 2.0f * x;
}

static inline Vec vec_square_root_slope(Vec x)
{
    return 0.5f / vec_square_root(x);
}
