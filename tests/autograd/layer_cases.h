/* Every layer of common/nn/layers.h. Its parameters are inputs like any other. */
#pragma once
#include "common/nn/layers.h"
#include "support/op_case.h"
#include "support/references.h"

enum { BATCH = 2, TOKENS = 5, WIDTH = 6, HEADS_OF = 2, HIDDEN = 9, ROWS = BATCH * TOKENS };

static Tensor *run_linear(Tape *t, Tensor *const *in)
{
    return linear(t, &(Linear){in[1], in[2]}, in[0]);
}

static void linear_values(const Values *in, double *y)
{
    affine_of(ROWS, HIDDEN, WIDTH, in[0].x, in[1].x, in[2].x, y);
}

static Tensor *run_linear_inner(Tape *t, Tensor *const *in)
{
    return linear_inner(t, &(Linear){in[1], in[2]}, in[0]);
}

static Tensor *run_layer_norm_inner(Tape *t, Tensor *const *in)
{
    return layer_norm_inner(t, &(LayerNorm){in[1], in[2], 1e-3f}, in[0]);
}

static Tensor *run_layer_norm(Tape *t, Tensor *const *in)
{
    return layer_norm(t, &(LayerNorm){in[1], in[2], 1e-3f}, in[0]);
}

static void layer_norm_values(const Values *in, double *y)
{
    layer_norm_of(ROWS, WIDTH, in[0].x, in[1].x, in[2].x, (double)1e-3f, y);
}

static Tensor *run_conv2d(Tape *t, Tensor *const *in)
{
    return conv2d(t, &(Conv2d){in[1], in[2], {.pad = 1}}, in[0]);
}

static void conv2d_values(const Values *in, double *y)
{
    convolution_of(&(ConvolutionOf){in[0].shape, in[1].shape, 1, 1, 1, 1, 5, 4, false}, in[0].x, in[1].x, in[2].x, y);
}

static BatchNorm batch_norm_with(Tensor *const *in)
{
    return (BatchNorm){.weight = in[1], .bias = in[2], .eps = 1e-2f, .momentum = 0.1f};
}

static Tensor *run_batch_norm(Tape *t, Tensor *const *in)
{
    BatchNorm l = batch_norm_with(in);
    return batch_norm(t, &l, in[0]);
}

static void batch_norm_values(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, 1, in[0].x, in[1].x, in[2].x, NULL, NULL, (double)1e-2f, y);
}

static Tensor *run_batch_norm_rows(Tape *t, Tensor *const *in)
{
    BatchNorm l = batch_norm_with(in);
    return batch_norm_rows(t, &l, in[0]);
}

static void batch_norm_rows_values(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, 2, in[0].x, in[1].x, in[2].x, NULL, NULL, (double)1e-2f, y);
}

/* in: x, qkv weight and bias, projection's weight and bias. */
static void self_attention_of(const Values *in, double *y)
{
    double qkv[ROWS * 3 * WIDTH], part[3][ROWS * WIDTH], o[ROWS * WIDTH];
    affine_of(ROWS, 3 * WIDTH, WIDTH, in[0].x, in[1].x, in[2].x, qkv);
    for (int i = 0; i < 3; i++)
        for (int r = 0; r < ROWS; r++)
            memcpy(part[i] + r * WIDTH, qkv + (r * 3 + i) * WIDTH, WIDTH * sizeof *qkv);
    Shape s = SHAPE(BATCH, TOKENS, HEADS_OF, WIDTH / HEADS_OF);
    attention_of(&(AttentionOf){.q = s, .k = s, .v = s}, part[0], part[1], part[2], o, NULL);
    affine_of(ROWS, WIDTH, WIDTH, o, in[3].x, in[4].x, y);
}

static SelfAttention self_attention_from(Tensor *const *in)
{
    return (SelfAttention){.qkv = {in[0], in[1]}, .proj = {in[2], in[3]}, .heads = HEADS_OF, .site = 11};
}

static Tensor *run_self_attention(Tape *t, Tensor *const *in)
{
    SelfAttention l = self_attention_from(in + 1);
    return self_attention(t, &l, NULL, in[0]);
}

static Tensor *run_noisy_attention(Tape *t, Tensor *const *in)
{
    SelfAttention l = self_attention_from(in + 1);
    l.attention_dropout = 0.2f;
    l.dropout = 0.3f;
    return self_attention(t, &l, NULL, in[0]);
}

static void mlp_of(const Values *in, double *y)
{
    double hidden[ROWS * HIDDEN];
    affine_of(ROWS, HIDDEN, WIDTH, in[0].x, in[1].x, in[2].x, hidden);
    for (int i = 0; i < ROWS * HIDDEN; i++)
        hidden[i] = gelu_of(hidden[i]);
    affine_of(ROWS, WIDTH, HIDDEN, hidden, in[3].x, in[4].x, y);
}

static Mlp mlp_from(Tensor *const *in)
{
    return (Mlp){.fc1 = {in[0], in[1]}, .fc2 = {in[2], in[3]}, .site = 12};
}

static Tensor *run_mlp(Tape *t, Tensor *const *in)
{
    Mlp l = mlp_from(in + 1);
    return mlp(t, &l, NULL, in[0]);
}

static Tensor *run_noisy_mlp(Tape *t, Tensor *const *in)
{
    Mlp l = mlp_from(in + 1);
    l.dropout = 0.3f;
    return mlp(t, &l, NULL, in[0]);
}

/* in: x, norm1 (2), attention (4), norm2 (2), mlp (4). */
static VitBlock block_from(Tensor *const *in)
{
    return (VitBlock){.norm1 = {in[0], in[1], 1e-2f},
                      .attn = self_attention_from(in + 2),
                      .norm2 = {in[6], in[7], 1e-2f},
                      .mlp = mlp_from(in + 8),
                      .site = 13};
}

static Tensor *run_vit_block(Tape *t, Tensor *const *in)
{
    VitBlock b = block_from(in + 1);
    return vit_block(t, &b, in[0]);
}

static Tensor *run_noisy_block(Tape *t, Tensor *const *in)
{
    VitBlock b = block_from(in + 1);
    b.drop_path = 0.4f;
    return vit_block(t, &b, in[0]);
}

static void vit_block_values(const Values *in, double *y)
{
    const Shape s = in[0].shape;
    const double eps = (double)1e-2f;
    double normed[ROWS * WIDTH], added[ROWS * WIDTH], x[ROWS * WIDTH];
    layer_norm_of(ROWS, WIDTH, in[0].x, in[1].x, in[2].x, eps, normed);
    self_attention_of((const Values[]){{normed, s}, in[3], in[4], in[5], in[6]}, added);
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] = in[0].x[i] + added[i];
    layer_norm_of(ROWS, WIDTH, x, in[7].x, in[8].x, eps, normed);
    mlp_of((const Values[]){{normed, s}, in[9], in[10], in[11], in[12]}, y);
    for (int i = 0; i < ROWS * WIDTH; i++)
        y[i] += x[i];
}

/* A block after a block with the same weights: parameters used twice. */
static Tensor *run_two_blocks(Tape *t, Tensor *const *in)
{
    VitBlock b = block_from(in + 1);
    return vit_block(t, &b, vit_block(t, &b, in[0]));
}

static void two_blocks(const Values *in, double *y)
{
    double middle[ROWS * WIDTH];
    Values again[MOST_INPUTS];
    vit_block_values(in, middle);
    memcpy(again, in, 13 * sizeof *in);
    again[0].x = middle;
    vit_block_values(again, y);
}

static Tensor *run_split_heads(Tape *t, Tensor *const *in)
{
    return split_heads(t, in[0], 2);
}

static Tensor *run_join_heads(Tape *t, Tensor *const *in)
{
    return join_heads(t, in[0]);
}

static void heads_as_they_were(const Values *in, double *y)
{
    memcpy(y, in->x, (size_t)shape_count(in->shape) * sizeof *y);
}

#define TOKENS_IN                                                                                                      \
    {                                                                                                                  \
        .shape = { 3, {BATCH, TOKENS, WIDTH} }                                                                         \
    }
#define VECTOR(n)                                                                                                      \
    {                                                                                                                  \
        .shape = { 1, {n} }                                                                                            \
    }
#define MATRIX(n, k)                                                                                                   \
    {                                                                                                                  \
        .shape = { 2, {n, k} }                                                                                         \
    }
#define ATTENTION_WEIGHTS MATRIX(3 * WIDTH, WIDTH), VECTOR(3 * WIDTH), MATRIX(WIDTH, WIDTH), VECTOR(WIDTH)
#define MLP_WEIGHTS MATRIX(HIDDEN, WIDTH), VECTOR(HIDDEN), MATRIX(WIDTH, HIDDEN), VECTOR(WIDTH)
#define NORM_WEIGHTS VECTOR(WIDTH), VECTOR(WIDTH)
#define BLOCK_WEIGHTS NORM_WEIGHTS, ATTENTION_WEIGHTS, NORM_WEIGHTS, MLP_WEIGHTS
static const OpCase layer_cases[] = {
    {.op = "linear",
     .in = {TOKENS_IN, MATRIX(HIDDEN, WIDTH), VECTOR(HIDDEN)},
     .run = run_linear,
     .reference = linear_values},
    {.op = "linear_inner",
     .in = {TOKENS_IN, MATRIX(HIDDEN, WIDTH), VECTOR(HIDDEN)},
     .run = run_linear_inner,
     .reference = linear_values},
    {.op = "layer_norm_inner",
     .in = {TOKENS_IN, NORM_WEIGHTS},
     .run = run_layer_norm_inner,
     .reference = layer_norm_values},
    {.op = "layer_norm", .in = {TOKENS_IN, NORM_WEIGHTS}, .run = run_layer_norm, .reference = layer_norm_values},
    {.op = "batch_norm",
     .in = {{.shape = {4, {2, 3, 5, 4}}, .map = true}, VECTOR(3), VECTOR(3)},
     .run = run_batch_norm,
     .reference = batch_norm_values},
    {.op = "batch_norm_rows",
     .in = {TOKENS_IN, NORM_WEIGHTS},
     .run = run_batch_norm_rows,
     .reference = batch_norm_rows_values},
    {.op = "conv2d",
     .in = {{.shape = {4, {2, 3, 5, 4}}, .map = true}, {.shape = {4, {7, 3, 3, 3}}}, VECTOR(7)},
     .run = run_conv2d,
     .reference = conv2d_values},
    {.op = "self_attention",
     .in = {TOKENS_IN, ATTENTION_WEIGHTS},
     .run = run_self_attention,
     .reference = self_attention_of},
    {.op = "self_attention",
     .variant = "dropout",
     .in = {TOKENS_IN, ATTENTION_WEIGHTS},
     .run = run_noisy_attention,
     .tolerance = 3e-3},
    {.op = "mlp", .in = {TOKENS_IN, MLP_WEIGHTS}, .run = run_mlp, .reference = mlp_of},
    {.op = "mlp", .variant = "dropout", .in = {TOKENS_IN, MLP_WEIGHTS}, .run = run_noisy_mlp, .tolerance = 3e-3},
    {.op = "vit_block", .in = {TOKENS_IN, BLOCK_WEIGHTS}, .run = run_vit_block, .reference = vit_block_values},
    {.op = "vit_block",
     .variant = "drop path",
     .in = {TOKENS_IN, BLOCK_WEIGHTS},
     .run = run_noisy_block,
     .tolerance = 3e-3},
    {.op = "vit_block",
     .variant = "twice",
     .in = {TOKENS_IN, BLOCK_WEIGHTS},
     .run = run_two_blocks,
     .reference = two_blocks,
     .tolerance = 3e-5},
    {.op = "split_heads", .in = {TOKENS_IN}, .run = run_split_heads, .reference = heads_as_they_were},
    {.op = "join_heads",
     .in = {{.shape = {4, {BATCH, TOKENS, HEADS_OF, 3}}}},
     .run = run_join_heads,
     .reference = heads_as_they_were},
};
