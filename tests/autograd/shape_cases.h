/* The ops of common/autograd/ops.h that move values and compute none. */
#pragma once
#include "support/op_case.h"

/* Inputs that many cases have. */
#define X                                                                                                              \
    {                                                                                                                  \
        .shape = {3, {3, 5, 7}}, .samples = true                                                                       \
    }
#define MAP(...)                                                                                                       \
    {                                                                                                                  \
        .shape = SHAPE(__VA_ARGS__), .samples = true, .map = true                                                      \
    }
#define POSITIVE                                                                                                       \
    {                                                                                                                  \
        .shape = {3, {3, 5, 7}}, .low = 0.3, .high = 2, .samples = true                                                \
    }
#define WIDE                                                                                                           \
    {                                                                                                                  \
        .shape = {3, {3, 5, 7}}, .low = -4, .high = 4, .samples = true                                                 \
    }

static Tensor *run_reshape(Tape *t, Tensor *const *in)
{
    return reshape(t, in[0], SHAPE(5, 2, 7, 3));
}

static void copied(const Values *in, double *y)
{
    memcpy(y, in[0].x, (size_t)shape_count(in[0].shape) * sizeof *y);
}

/* y = x [A, start..start+length, C]. */
static void sliced(const Values *in, int axis, int64_t start, int64_t length, double *y)
{
    const Shape s = in->shape;
    int64_t inner = shape_product(s, axis + 1, s.rank), outer = shape_product(s, 0, axis);
    for (int64_t o = 0; o < outer; o++, y += length * inner)
        memcpy(y, in->x + (o * s.dim[axis] + start) * inner, (size_t)(length * inner) * sizeof *y);
}

static Tensor *run_narrow_tokens(Tape *t, Tensor *const *in)
{
    return narrow(t, in[0], 1, 1, 3);
}

static void narrow_tokens(const Values *in, double *y)
{
    sliced(in, 1, 1, 3, y);
}

static Tensor *run_narrow_last(Tape *t, Tensor *const *in)
{
    return narrow(t, in[0], 2, 2, 3);
}

static void narrow_last(const Values *in, double *y)
{
    sliced(in, 2, 2, 3, y);
}

static Tensor *run_narrow_first(Tape *t, Tensor *const *in)
{
    return narrow(t, in[0], 0, 1, 2);
}

static void narrow_first(const Values *in, double *y)
{
    sliced(in, 0, 1, 2, y);
}

/* A window of a window, and that reshaped into heads. */
static Tensor *run_narrow_twice(Tape *t, Tensor *const *in)
{
    return reshape(t, narrow(t, narrow(t, in[0], 2, 1, 6), 2, 2, 4), SHAPE(3, 5, 2, 2));
}

static void narrow_twice(const Values *in, double *y)
{
    sliced(in, 2, 3, 4, y);
}

static void concatenated(const Values *in, int n, int axis, double *y)
{
    int64_t outer = shape_product(in[0].shape, 0, axis);
    for (int64_t o = 0; o < outer; o++)
        for (int i = 0; i < n; i++) {
            int64_t block = shape_product(in[i].shape, axis, in[i].shape.rank);
            memcpy(y, in[i].x + o * block, (size_t)block * sizeof *y);
            y += block;
        }
}

static Tensor *run_concat_tokens(Tape *t, Tensor *const *in)
{
    return concat(t, 1, 3, in);
}

static void concat_tokens(const Values *in, double *y)
{
    concatenated(in, 3, 1, y);
}

static Tensor *run_concat_last(Tape *t, Tensor *const *in)
{
    return concat(t, 2, 2, in);
}

static void concat_last(const Values *in, double *y)
{
    concatenated(in, 2, 2, y);
}

/* The same tensor twice, and windows of two kinds. */
static Tensor *run_concat2(Tape *t, Tensor *const *in)
{
    Tensor *both = concat2(t, 1, in[0], narrow(t, in[0], 1, 1, 2));
    return concat2(t, 1, narrow(t, both, 2, 1, 3), narrow(t, in[0], 2, 2, 3));
}

static void concat2_of(const Values *in, double *y)
{
    const Shape s = in->shape;
    for (int64_t b = 0; b < s.dim[0]; b++)
        for (int64_t n = 0; n < 2 * s.dim[1] + 2; n++)
            for (int64_t c = 0; c < 3; c++) {
                int64_t from = n < s.dim[1] ? n : n < s.dim[1] + 2 ? n - s.dim[1] + 1 : n - s.dim[1] - 2;
                *y++ = in->x[(b * s.dim[1] + from) * s.dim[2] + c + (n < s.dim[1] + 2 ? 1 : 2)];
            }
}

/* y[i] = x[i - at] along an axis of `length`. */
static void placed(const Values *in, int axis, int64_t at, int64_t length, double *y)
{
    const Shape s = in->shape;
    int64_t inner = shape_product(s, axis + 1, s.rank), outer = shape_product(s, 0, axis);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < length; i++)
            for (int64_t c = 0; c < inner; c++) {
                bool there = i - at >= 0 && i - at < s.dim[axis];
                *y++ = there ? in->x[(o * s.dim[axis] + i - at) * inner + c] : 0;
            }
}

static Tensor *run_shift_later(Tape *t, Tensor *const *in)
{
    return shift(t, in[0], 1, 2);
}

static void shifted_later(const Values *in, double *y)
{
    placed(in, 1, 2, in->shape.dim[1], y);
}

static Tensor *run_shift_earlier(Tape *t, Tensor *const *in)
{
    return shift(t, in[0], 2, -3);
}

static void shifted_earlier(const Values *in, double *y)
{
    placed(in, 2, -3, in->shape.dim[2], y);
}

static Tensor *run_shift_away(Tape *t, Tensor *const *in)
{
    return add(t, in[0], shift(t, in[0], 1, 9));
}

static Tensor *run_pad(Tape *t, Tensor *const *in)
{
    return pad(t, in[0], 1, 1, 2);
}

static void padded(const Values *in, double *y)
{
    placed(in, 1, 1, in->shape.dim[1] + 3, y);
}

static Tensor *run_permute(Tape *t, Tensor *const *in)
{
    return permute(t, in[0], (const int[]){2, 0, 3, 1});
}

static void permuted(const Values *in, double *y)
{
    const int64_t *n = in->shape.dim;
    for (int64_t c = 0; c < n[2]; c++)
        for (int64_t a = 0; a < n[0]; a++)
            for (int64_t d = 0; d < n[3]; d++)
                for (int64_t b = 0; b < n[1]; b++)
                    *y++ = in->x[((a * n[1] + b) * n[2] + c) * n[3] + d];
}

static Tensor *run_expand(Tape *t, Tensor *const *in)
{
    return expand(t, in[0], 4);
}

static void expanded(const Values *in, double *y)
{
    for (int i = 0; i < 4; i++)
        memcpy(y + i * shape_count(in->shape), in->x, (size_t)shape_count(in->shape) * sizeof *y);
}

static Tensor *run_contiguous(Tape *t, Tensor *const *in)
{
    return contiguous(t, in[0]);
}

static Tensor *run_convert(Tape *t, Tensor *const *in)
{
    return convert(t, convert(t, in[0], BF16), F32);
}

static Tensor *run_tokens_from_map(Tape *t, Tensor *const *in)
{
    return tokens_from_map(t, in[0]);
}

/* [A,B,C] -> [A,C,B] */
static void turned(const double *x, int64_t a, int64_t b, int64_t c, double *y)
{
    for (int64_t i = 0; i < a; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t j = 0; j < b; j++)
                *y++ = x[(i * b + j) * c + k];
}

static void tokens_of(const Values *in, double *y)
{
    const int64_t *n = in->shape.dim;
    turned(in->x, n[0], n[1], n[2] * n[3], y);
}

static Tensor *run_map_from_tokens(Tape *t, Tensor *const *in)
{
    return map_from_tokens(t, in[0], 3, 5);
}

static void map_of(const Values *in, double *y)
{
    const int64_t *n = in->shape.dim;
    turned(in->x, n[0], n[1], n[2], y);
}

static const OpCase shape_cases[] = {
    {.op = "reshape", .in = {{.shape = {4, {3, 5, 7, 2}}}}, .run = run_reshape, .reference = copied},
    {.op = "narrow", .variant = "tokens", .in = {X}, .run = run_narrow_tokens, .reference = narrow_tokens},
    {.op = "narrow", .variant = "last axis", .in = {X}, .run = run_narrow_last, .reference = narrow_last},
    {.op = "narrow",
     .variant = "first axis",
     .in = {{.shape = {3, {3, 5, 7}}}},
     .run = run_narrow_first,
     .reference = narrow_first},
    {.op = "narrow",
     .variant = "twice",
     .in = {{.shape = {3, {3, 5, 7}}}},
     .run = run_narrow_twice,
     .reference = narrow_twice},
    {.op = "concat", .variant = "tokens", .in = {X, X, X}, .run = run_concat_tokens, .reference = concat_tokens},
    {.op = "concat", .variant = "last axis", .in = {X, X}, .run = run_concat_last, .reference = concat_last},
    {.op = "concat2", .in = {X}, .run = run_concat2, .reference = concat2_of},
    {.op = "shift", .variant = "tokens", .in = {X}, .run = run_shift_later, .reference = shifted_later},
    {.op = "shift", .variant = "last axis, back", .in = {X}, .run = run_shift_earlier, .reference = shifted_earlier},
    {.op = "shift", .variant = "out of sight", .in = {X}, .run = run_shift_away, .reference = copied},
    {.op = "pad", .in = {X}, .run = run_pad, .reference = padded},
    {.op = "permute", .in = {MAP(3, 5, 2, 4)}, .run = run_permute, .reference = permuted},
    {.op = "expand", .in = {{.shape = {3, {1, 5, 7}}}}, .run = run_expand, .reference = expanded},
    {.op = "contiguous",
     .in = {MAP(3, 5, 2, 4)},
     .run = run_contiguous,
     .reference = copied,
     .released_elsewhere = true},
    {.op = "convert", .in = {MAP(3, 5, 2, 4)}, .run = run_convert, .reference = copied, .tolerance = 0x1p-8},
    {.op = "tokens_from_map", .in = {MAP(3, 5, 2, 4)}, .run = run_tokens_from_map, .reference = tokens_of},
    {.op = "map_from_tokens",
     .in = {{.shape = {3, {2, 15, 7}}, .samples = true}},
     .run = run_map_from_tokens,
     .reference = map_of},
};
