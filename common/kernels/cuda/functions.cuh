/* The functions of Unary and their slopes, as common/kernels/cpu/vector/functions.h has them. NaN in, NaN out. */
#pragma once
#include "common/kernels/cuda/number.cuh"

DEVICE float clamp(float low, float x, float high) /* a NaN stays one, unlike in fminf */
{
    return x < low ? low : x > high ? high : x;
}

DEVICE float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

DEVICE float sigmoid_slope(float x)
{
    float s = sigmoid(x);
    return s * (1.0f - s);
}

/* The normal distribution function. */
DEVICE float phi(float x)
{
    return 0.5f * (1.0f + erff(0.70710678118f * x));
}

DEVICE float gelu(float x)
{
    return x * phi(x);
}

DEVICE float gelu_slope(float x)
{
    return phi(x) + x * (0.39894228040f * expf(-0.5f * x * x));
}

/* 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
DEVICE float gelu_tanh(float x)
{
    return x * sigmoid(1.5957691216f * (x + 0.044715f * x * x * x));
}

DEVICE float gelu_tanh_slope(float x)
{
    float inside = clamp(-10.0f, x, 10.0f), square = inside * inside; /* the slope is 0 or 1 outside */
    float s = sigmoid(1.5957691216f * (inside + 0.044715f * square * inside));
    return s + inside * s * (1.0f - s) * (1.5957691216f * (1.0f + 0.134145f * square));
}

DEVICE float relu(float x)
{
    return x <= 0.0f ? 0.0f : x;
}

DEVICE float relu_slope(float x)
{
    return x > 0.0f ? 1.0f : 0.0f;
}

DEVICE float tanh_slope(float x)
{
    float t = tanhf(x);
    return 1.0f - t * t;
}

DEVICE float silu(float x)
{
    return x * sigmoid(x);
}

DEVICE float silu_slope(float x)
{
    float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

DEVICE float logarithm_slope(float x)
{
    return 1.0f / x;
}

DEVICE float square(float x)
{
    return x * x;
}

DEVICE float square_slope(float x)
{
    return 2.0f * x;
}

DEVICE float square_root_slope(float x)
{
    return 0.5f / sqrtf(x);
}

/* One choice for N values: all threads take the same way. */
#define EACH_VALUE(unary, function)                                                                                    \
    case unary:                                                                                                        \
        for (int i = 0; i < N; i++)                                                                                    \
            x.at[i] = function(x.at[i]);                                                                               \
        break

/* f(x) */
template <int N> DEVICE Floats<N> unary_values(Unary f, Floats<N> x)
{
    switch (f) {
        EACH_VALUE(UNARY_GELU, gelu);
        EACH_VALUE(UNARY_GELU_TANH, gelu_tanh);
        EACH_VALUE(UNARY_RELU, relu);
        EACH_VALUE(UNARY_SIGMOID, sigmoid);
        EACH_VALUE(UNARY_TANH, tanhf);
        EACH_VALUE(UNARY_SILU, silu);
        EACH_VALUE(UNARY_EXPONENTIAL, expf);
        EACH_VALUE(UNARY_LOGARITHM, logf);
        EACH_VALUE(UNARY_SQUARE, square);
        EACH_VALUE(UNARY_SQUARE_ROOT, sqrtf);
    case UNARY_COUNT:
        break;
    }
    return x;
}

/* f'(x) */
template <int N> DEVICE Floats<N> unary_slopes(Unary f, Floats<N> x)
{
    switch (f) {
        EACH_VALUE(UNARY_GELU, gelu_slope);
        EACH_VALUE(UNARY_GELU_TANH, gelu_tanh_slope);
        EACH_VALUE(UNARY_RELU, relu_slope);
        EACH_VALUE(UNARY_SIGMOID, sigmoid_slope);
        EACH_VALUE(UNARY_TANH, tanh_slope);
        EACH_VALUE(UNARY_SILU, silu_slope);
        EACH_VALUE(UNARY_EXPONENTIAL, expf);
        EACH_VALUE(UNARY_LOGARITHM, logarithm_slope);
        EACH_VALUE(UNARY_SQUARE, square_slope);
        EACH_VALUE(UNARY_SQUARE_ROOT, square_root_slope);
    case UNARY_COUNT:
        break;
    }
    return x;
}
#undef EACH_VALUE
