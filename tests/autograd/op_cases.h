/* The ops of common/autograd/ops.h that compute. */
#pragma once
#include "autograd/shape_cases.h"
#include "support/references.h"

/* ---- Elementwise */

#define UNARY_CASE(name, formula)                                                                                      \
    static Tensor *run_##name(Tape *t, Tensor *const *in)                                                              \
    {                                                                                                                  \
        return name(t, in[0]);                                                                                         \
    }                                                                                                                  \
    static void name##_values(const Values *in, double *y)                                                             \
    {                                                                                                                  \
        for (int64_t i = 0; i < shape_count(in->shape); i++) {                                                         \
            double x = in->x[i];                                                                                       \
            y[i] = formula;                                                                                            \
        }                                                                                                              \
    }
UNARY_CASE(gelu, gelu_of(x))
UNARY_CASE(gelu_tanh, 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * cube_of(x)))))
UNARY_CASE(relu, x > 0 ? x : 0)
UNARY_CASE(silu, x / (1 + exp(-x)))
UNARY_CASE(sigmoid, 1 / (1 + exp(-x)))
UNARY_CASE(hyperbolic_tangent, tanh(x))
UNARY_CASE(exponential, exp(x))
UNARY_CASE(logarithm, log(x))
UNARY_CASE(square, x *x)
UNARY_CASE(square_root, sqrt(x))

#define BINARY_CASE(name, formula)                                                                                     \
    static Tensor *run_##name(Tape *t, Tensor *const *in)                                                              \
    {                                                                                                                  \
        return name(t, in[0], in[1]);                                                                                  \
    }                                                                                                                  \
    static void name##_values(const Values *in, double *y)                                                             \
    {                                                                                                                  \
        for (int64_t i = 0; i < shape_count(in->shape); i++) {                                                         \
            double a = in[0].x[i], b = in[1].x[i];                                                                     \
            y[i] = formula;                                                                                            \
        }                                                                                                              \
    }
BINARY_CASE(add, a + b)
BINARY_CASE(subtract, a - b)
BINARY_CASE(multiply, a *b)
BINARY_CASE(divide, a / b)

/* x + x - x x, every input twice. */
static Tensor *run_itself(Tape *t, Tensor *const *in)
{
    return subtract(t, add(t, in[0], in[0]), multiply(t, in[0], in[0]));
}

static void itself(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        y[i] = 2 * in->x[i] - in->x[i] * in->x[i];
}

/* Two layouts that have to be brought together first: a window of the last axis, and one of the tokens. */
static Tensor *run_two_windows(Tape *t, Tensor *const *in)
{
    return multiply(t, narrow(t, in[0], 2, 1, 3), narrow(t, in[1], 1, 1, 4));
}

static void two_windows(const Values *in, double *y)
{
    const Shape a = in[0].shape, b = in[1].shape;
    for (int64_t s = 0; s < a.dim[0]; s++)
        for (int64_t n = 0; n < a.dim[1]; n++)
            for (int64_t c = 0; c < 3; c++)
                *y++ = in[0].x[(s * a.dim[1] + n) * a.dim[2] + c + 1] * in[1].x[(s * b.dim[1] + n + 1) * 3 + c];
}

static Tensor *run_scale(Tape *t, Tensor *const *in)
{
    return scale(t, in[0], -1.75f);
}

static void scaled(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        y[i] = -1.75 * in->x[i];
}

static Tensor *run_scale_by(Tape *t, Tensor *const *in)
{
    return scale_by(t, in[0], in[1]);
}

static void scaled_by(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        y[i] = in[1].x[0] * in->x[i];
}

static Tensor *run_add_rows(Tape *t, Tensor *const *in)
{
    return add_rows(t, in[0], in[1]);
}

static void rows_added(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in[0].shape); i++)
        y[i] = in[0].x[i] + in[1].x[i % shape_count(in[1].shape)];
}

/* ---- Sums */

static Tensor *run_sum_all(Tape *t, Tensor *const *in)
{
    return sum_all(t, in[0]);
}

static void summed(const Values *in, double *y)
{
    *y = 0;
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        *y += in->x[i];
}

static Tensor *run_mean_all(Tape *t, Tensor *const *in)
{
    return mean_all(t, in[0]);
}

static void averaged(const Values *in, double *y)
{
    summed(in, y);
    *y /= (double)shape_count(in->shape);
}

static Tensor *run_mean_tokens(Tape *t, Tensor *const *in)
{
    return mean_tokens(t, in[0]);
}

static void tokens_averaged(const Values *in, double *y)
{
    const int64_t *n = in->shape.dim;
    for (int64_t b = 0; b < n[0]; b++)
        for (int64_t c = 0; c < n[2]; c++) {
            double sum = 0;
            for (int64_t i = 0; i < n[1]; i++)
                sum += in->x[(b * n[1] + i) * n[2] + c];
            y[b * n[2] + c] = sum / (double)n[1];
        }
}

/* ---- Products and norms */

static Tensor *run_affine(Tape *t, Tensor *const *in)
{
    return affine(t, in[0], in[1], in[2]);
}

static void affine_values(const Values *in, double *y)
{
    const int64_t *w = in[1].shape.dim;
    affine_of(shape_count(in[0].shape) / w[1], w[0], w[1], in[0].x, in[1].x, in[2].x, y);
}

static Tensor *run_affine_inner(Tape *t, Tensor *const *in)
{
    return affine_inner(t, in[0], in[1], in[2]);
}

static Tensor *run_affine_plain(Tape *t, Tensor *const *in)
{
    return affine(t, in[0], in[1], NULL);
}

static void affine_plain(const Values *in, double *y)
{
    const int64_t *w = in[1].shape.dim;
    affine_of(shape_count(in[0].shape) / w[1], w[0], w[1], in[0].x, in[1].x, NULL, y);
}

static Tensor *run_standardize(Tape *t, Tensor *const *in)
{
    return standardize(t, in[0], in[1], in[2], 1e-2f);
}

static void standardized(const Values *in, double *y)
{
    int64_t cols = in[0].shape.dim[in[0].shape.rank - 1];
    layer_norm_of(shape_count(in[0].shape) / cols, cols, in[0].x, in[1].x, in[2].x, (double)1e-2f, y);
}

static Tensor *run_standardize_inner(Tape *t, Tensor *const *in)
{
    return standardize_inner(t, in[0], in[1], in[2], 1e-2f);
}

static Tensor *run_standardize_plain(Tape *t, Tensor *const *in)
{
    return standardize(t, in[0], NULL, NULL, 1e-2f);
}

static Tensor *run_standardize_gamma(Tape *t, Tensor *const *in)
{
    return standardize(t, in[0], in[1], NULL, 1e-2f);
}

static Tensor *run_normalize_l2(Tape *t, Tensor *const *in)
{
    return normalize_l2(t, in[0], 1e-12f);
}

static Tensor *run_normalize_short(Tape *t, Tensor *const *in)
{
    return normalize_l2(t, in[0], 10);
}

static void normalized_of(const Values *in, double eps, double *y)
{
    int64_t cols = in->shape.dim[in->shape.rank - 1];
    for (int64_t i = 0; i < shape_count(in->shape); i++) {
        const double *row = in->x + i / cols * cols;
        double sum = 0;
        for (int64_t c = 0; c < cols; c++)
            sum += row[c] * row[c];
        y[i] = in->x[i] / fmax(sqrt(sum), eps);
    }
}

static void normalized(const Values *in, double *y)
{
    normalized_of(in, 1e-12, y);
}

static void normalized_short(const Values *in, double *y)
{
    normalized_of(in, 10, y);
}

/* in: x [...,7], gamma, beta [7], weight [9,7], bias [9]; of feed_forward also [5,9], [5] */
static Tensor *run_norm_affine(Tape *t, Tensor *const *in)
{
    return norm_affine(t, in[0], &(LayerNorm){in[1], in[2], 1e-2f}, &(Linear){in[3], in[4]});
}

static void norm_affine_values(const Values *in, double *y)
{
    int64_t rows = shape_count(in[0].shape) / 7;
    double *normal = mem_new((size_t)rows * 7 * sizeof *normal);
    layer_norm_of(rows, 7, in[0].x, in[1].x, in[2].x, (double)1e-2f, normal);
    affine_of(rows, 9, 7, normal, in[3].x, in[4].x, y);
    mem_free(normal);
}

static Tensor *run_norm_affine_plain(Tape *t, Tensor *const *in)
{
    return norm_affine(t, in[0], NULL, &(Linear){in[1], NULL});
}

static Tensor *run_feed_forward(Tape *t, Tensor *const *in)
{
    return feed_forward(t, in[0], &(LayerNorm){in[1], in[2], 1e-2f}, &(Linear){in[3], in[4]}, UNARY_GELU,
                        &(Linear){in[5], in[6]});
}

static void feed_forward_values(const Values *in, double *y)
{
    int64_t rows = shape_count(in[0].shape) / 7;
    double *hidden = mem_new((size_t)rows * 9 * sizeof *hidden);
    norm_affine_values(in, hidden);
    for (int64_t i = 0; i < rows * 9; i++)
        hidden[i] = gelu_of(hidden[i]);
    affine_of(rows, 5, 9, hidden, in[5].x, in[6].x, y);
    mem_free(hidden);
}

static Tensor *run_feed_forward_plain(Tape *t, Tensor *const *in)
{
    return feed_forward(t, in[0], NULL, &(Linear){in[1], NULL}, UNARY_SQUARE, &(Linear){in[2], NULL});
}

static void feed_forward_plain(const Values *in, double *y)
{
    int64_t rows = shape_count(in[0].shape) / 7;
    double *hidden = mem_new((size_t)rows * 9 * sizeof *hidden);
    affine_of(rows, 9, 7, in[0].x, in[1].x, NULL, hidden);
    for (int64_t i = 0; i < rows * 9; i++)
        hidden[i] *= hidden[i];
    affine_of(rows, 5, 9, hidden, in[2].x, NULL, y);
    mem_free(hidden);
}

/* ---- Images */

static Tensor *run_convolve(Tape *t, Tensor *const *in)
{
    return convolve(t, in[0], in[1], in[2], &(Convolve){.stride = 2, .pad = 1});
}

static void convolved(const Values *in, double *y)
{
    convolution_of(&(ConvolutionOf){in[0].shape, in[1].shape, 2, 1, 1, 1, 4, 3, false}, in[0].x, in[1].x, in[2].x, y);
}

static Tensor *run_convolve_groups(Tape *t, Tensor *const *in)
{
    return convolve(t, in[0], in[1], NULL, &(Convolve){.dilation = 2, .groups = 3, .pad = 2});
}

static void convolved_groups(const Values *in, double *y)
{
    convolution_of(&(ConvolutionOf){in[0].shape, in[1].shape, 1, 2, 2, 3, 7, 5, false}, in[0].x, in[1].x, NULL, y);
}

static Tensor *run_convolve_relu(Tape *t, Tensor *const *in)
{
    return convolve(t, in[0], in[1], in[2], &(Convolve){.relu = true});
}

static void convolved_relu(const Values *in, double *y)
{
    convolution_of(&(ConvolutionOf){in[0].shape, in[1].shape, 1, 0, 1, 1, 5, 3, true}, in[0].x, in[1].x, in[2].x, y);
}

/* A patch embedding: the map is read as tokens without a copy. */
static Tensor *run_patches(Tape *t, Tensor *const *in)
{
    return gelu(t, tokens_from_map(t, convolve(t, in[0], in[1], in[2], &(Convolve){.stride = 2})));
}

static void patches(const Values *in, double *y)
{
    double map[2 * 5 * 3 * 2];
    convolution_of(&(ConvolutionOf){in[0].shape, in[1].shape, 2, 0, 1, 1, 3, 2, false}, in[0].x, in[1].x, in[2].x, map);
    turned(map, 2, 5, 6, y);
    for (int i = 0; i < COUNT_OF(map); i++)
        y[i] = gelu_of(y[i]);
}

static Tensor *run_resize_larger(Tape *t, Tensor *const *in)
{
    return resize_bicubic(t, in[0], 7, 9);
}

static Tensor *run_resize_smaller(Tape *t, Tensor *const *in)
{
    return resize_bicubic(t, in[0], 3, 2);
}

static void resized(const Values *in, int64_t height, int64_t width, double *y)
{
    const int64_t *n = in->shape.dim;
    for (int64_t plane = 0; plane < n[0] * n[1]; plane++)
        for (int64_t row = 0; row < height; row++)
            for (int64_t col = 0; col < width; col++)
                *y++ = resized_of(in->x + plane * n[2] * n[3], n[2], n[3], height, width, row, col);
}

static void resized_larger(const Values *in, double *y)
{
    resized(in, 7, 9, y);
}

static void resized_smaller(const Values *in, double *y)
{
    resized(in, 3, 2, y);
}

static const OpCase op_cases[] = {
    {.op = "add", .in = {X, X}, .run = run_add, .reference = add_values},
    {.op = "add", .variant = "maps", .in = {MAP(3, 5, 2, 4), MAP(3, 5, 2, 4)}, .run = run_add, .reference = add_values},
    {.op = "add", .variant = "itself", .in = {X}, .run = run_itself, .reference = itself},
    {.op = "subtract", .in = {X, X}, .run = run_subtract, .reference = subtract_values},
    {.op = "multiply", .in = {X, X}, .run = run_multiply, .reference = multiply_values},
    {.op = "multiply",
     .variant = "maps",
     .in = {MAP(3, 5, 2, 4), MAP(3, 5, 2, 4)},
     .run = run_multiply,
     .reference = multiply_values},
    {.op = "multiply",
     .variant = "two windows",
     .in = {{.shape = {3, {3, 4, 5}}}, {.shape = {3, {3, 6, 3}}}},
     .run = run_two_windows,
     .reference = two_windows},
    {.op = "divide", .in = {X, POSITIVE}, .run = run_divide, .reference = divide_values},
    {.op = "scale", .in = {X}, .run = run_scale, .reference = scaled},
    {.op = "scale_by", .in = {X, {{1, {1}}}}, .run = run_scale_by, .reference = scaled_by},
    {.op = "add_rows",
     .variant = "positions",
     .in = {X, {.shape = {3, {1, 5, 7}}}},
     .run = run_add_rows,
     .reference = rows_added},
    {.op = "add_rows",
     .variant = "a bias",
     .in = {X, {.shape = {1, {7}}}},
     .run = run_add_rows,
     .reference = rows_added},
    {.op = "gelu", .in = {WIDE}, .run = run_gelu, .reference = gelu_values},
    {.op = "gelu", .variant = "map", .in = {MAP(3, 5, 2, 4)}, .run = run_gelu, .reference = gelu_values},
    {.op = "gelu_tanh", .in = {WIDE}, .run = run_gelu_tanh, .reference = gelu_tanh_values},
    {.op = "relu", .in = {X}, .run = run_relu, .reference = relu_values},
    {.op = "silu", .in = {WIDE}, .run = run_silu, .reference = silu_values},
    {.op = "sigmoid", .in = {WIDE}, .run = run_sigmoid, .reference = sigmoid_values},
    {.op = "hyperbolic_tangent", .in = {WIDE}, .run = run_hyperbolic_tangent, .reference = hyperbolic_tangent_values},
    {.op = "exponential", .in = {X}, .run = run_exponential, .reference = exponential_values},
    {.op = "logarithm", .in = {POSITIVE}, .run = run_logarithm, .reference = logarithm_values},
    {.op = "square", .in = {X}, .run = run_square, .reference = square_values},
    {.op = "square_root", .in = {POSITIVE}, .run = run_square_root, .reference = square_root_values},
    {.op = "sum_all", .in = {X}, .run = run_sum_all, .reference = summed},
    {.op = "sum_all", .variant = "map", .in = {MAP(3, 5, 2, 4)}, .run = run_sum_all, .reference = summed},
    {.op = "mean_all", .in = {{.shape = {3, {3, 5, 7}}}}, .run = run_mean_all, .reference = averaged},
    {.op = "mean_tokens", .in = {X}, .run = run_mean_tokens, .reference = tokens_averaged},
    {.op = "affine",
     .in = {X, {.shape = {2, {9, 7}}}, {.shape = {1, {9}}}},
     .run = run_affine,
     .reference = affine_values},
    {.op = "affine_inner",
     .in = {X, {.shape = {2, {9, 7}}}, {.shape = {1, {9}}}},
     .run = run_affine_inner,
     .reference = affine_values},
    {.op = "affine",
     .variant = "no bias",
     .in = {X, {.shape = {2, {9, 7}}}},
     .run = run_affine_plain,
     .reference = affine_plain},
    {.op = "standardize",
     .in = {X, {.shape = {1, {7}}}, {.shape = {1, {7}}}},
     .run = run_standardize,
     .reference = standardized},
    {.op = "standardize",
     .variant = "gamma alone",
     .in = {X, {.shape = {1, {7}}}},
     .run = run_standardize_gamma,
     .reference = standardized},
    {.op = "standardize_inner",
     .in = {X, {.shape = {1, {7}}}, {.shape = {1, {7}}}},
     .run = run_standardize_inner,
     .reference = standardized},
    {.op = "normalize_l2", .in = {X}, .run = run_normalize_l2, .reference = normalized},
    {.op = "normalize_l2",
     .variant = "short rows",
     .in = {X},
     .run = run_normalize_short,
     .reference = normalized_short},
    {.op = "norm_affine",
     .in = {X, {.shape = {1, {7}}}, {.shape = {1, {7}}}, {.shape = {2, {9, 7}}}, {.shape = {1, {9}}}},
     .run = run_norm_affine,
     .reference = norm_affine_values},
    {.op = "norm_affine",
     .variant = "no norm, no bias",
     .in = {X, {.shape = {2, {9, 7}}}},
     .run = run_norm_affine_plain,
     .reference = affine_plain},
    {.op = "feed_forward",
     .in = {X,
            {.shape = {1, {7}}},
            {.shape = {1, {7}}},
            {.shape = {2, {9, 7}}},
            {.shape = {1, {9}}},
            {.shape = {2, {5, 9}}},
            {.shape = {1, {5}}}},
     .run = run_feed_forward,
     .reference = feed_forward_values},
    {.op = "feed_forward",
     .variant = "no norm, no biases, square",
     .in = {X, {.shape = {2, {9, 7}}}, {.shape = {2, {5, 9}}}},
     .run = run_feed_forward_plain,
     .reference = feed_forward_plain},
    {.op = "standardize", .variant = "plain", .in = {X}, .run = run_standardize_plain, .reference = standardized},
    {.op = "convolve",
     .in = {MAP(2, 3, 7, 5), {.shape = {4, {4, 3, 3, 3}}}, {.shape = {1, {4}}}},
     .run = run_convolve,
     .reference = convolved},
    {.op = "convolve",
     .variant = "groups, dilation, no bias",
     .in = {MAP(2, 6, 7, 5), {.shape = {4, {9, 2, 3, 3}}}},
     .run = run_convolve_groups,
     .reference = convolved_groups},
    {.op = "convolve",
     .variant = "relu",
     .in = {MAP(2, 3, 7, 5), {.shape = {4, {4, 3, 3, 3}}}, {.shape = {1, {4}}}},
     .run = run_convolve_relu,
     .reference = convolved_relu},
    {.op = "convolve",
     .variant = "patches",
     .in = {MAP(2, 3, 6, 4), {.shape = {4, {5, 3, 2, 2}}}, {.shape = {1, {5}}}},
     .run = run_patches,
     .reference = patches},
    {.op = "resize_bicubic",
     .variant = "larger",
     .in = {MAP(2, 3, 5, 4)},
     .run = run_resize_larger,
     .reference = resized_larger},
    {.op = "resize_bicubic",
     .variant = "smaller",
     .in = {MAP(2, 3, 5, 4)},
     .run = run_resize_smaller,
     .reference = resized_smaller},
};
