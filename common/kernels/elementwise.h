/* One value in, one value out, and copies, sums and broadcasts of rows. R rows of C values. */
#pragma once
#include "common/kernels/exec.h"

typedef enum Unary {
    UNARY_GELU,      /* x Phi(x), exact (erf) */
    UNARY_GELU_TANH, /* 0.5 x (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3))) */
    UNARY_RELU,
    UNARY_SIGMOID,
    UNARY_TANH,
    UNARY_SILU,
    UNARY_EXPONENTIAL,
    UNARY_LOGARITHM,
    UNARY_SQUARE,
    UNARY_SQUARE_ROOT,
    UNARY_COUNT
} Unary;

typedef enum Binary { BINARY_ADD, BINARY_SUBTRACT, BINARY_MULTIPLY, BINARY_DIVIDE, BINARY_COUNT } Binary;

typedef struct ElementwiseKernels {
    void (*unary)(const Exec *, Unary, int64_t rows, int64_t cols, Rows x, Rows y);
    /* dx (+)= dy f'(x), from the input x. */
    void (*unary_gradient)(const Exec *, Unary, int64_t rows, int64_t cols, Rows dy, Rows x, bool add, Rows dx);

    /* y = f(x) and dx = dy f'(x): what the two share is computed once. dx may be dy. */
    void (*unary_both)(const Exec *, Unary, int64_t rows, int64_t cols, Rows dy, Rows x, Rows y, Rows dx);

    void (*binary)(const Exec *, Binary, int64_t rows, int64_t cols, Rows a, Rows b, Rows y);

    /* y (+)= scale * x; also the conversion between types, and with scale 1 the strided copy. */
    void (*scale)(const Exec *, int64_t rows, int64_t cols, float scale, Rows x, bool add, Rows y);

    /* y[r] (+)= scale[r / repeat] * x[r]: one factor for `repeat` rows in turn (drop path: a sample's tokens). */
    void (*scale_rows)(const Exec *, int64_t rows, int64_t cols, const float *scale, int64_t repeat, Rows x, bool add,
                       Rows y);

    /* y[r] = x[r] + table[r % period]: a position table shared by the batch, or with period 1 a bias. */
    void (*add_rows)(const Exec *, int64_t rows, int64_t cols, Rows x, const float *table, int64_t period, Rows y);

    /* sums[p] (+)= sum of the rows r with r % period = p: the backward of add_rows. Sums in fixed chunks; exec's scratch
     * holds at least sum_rows_scratch bytes. */
    size_t (*sum_rows_scratch)(int64_t rows, int64_t cols, int64_t period);
    void (*sum_rows)(const Exec *, int64_t rows, int64_t cols, Rows x, int64_t period, bool add, float *sums);

    /* sums[r] (+)= sum over the columns. */
    void (*sum_columns)(const Exec *, int64_t rows, int64_t cols, Rows x, bool add, float *sums);

    /* sums[r] (+)= sum over the columns of a b. */
    void (*dot_columns)(const Exec *, int64_t rows, int64_t cols, Rows a, Rows b, bool add, float *sums);

    /* y[i] = the axes of x [shape] permuted: y's axis a is x's axis order[a]. Elements of `bytes` bytes. */
    void (*permute)(const Exec *, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x,
                    void *y);

    /* y = x: rows of `bytes` bytes whose beginnings lie x_step and y_step bytes apart, of any type; x_step 0: one row, again
     * and again. */
    void (*copy)(const Exec *, int64_t rows, size_t bytes, const void *x, size_t x_step, void *y, size_t y_step);

    void (*fill)(const Exec *, int64_t count, float value, float *y);
} ElementwiseKernels;
