/* Layers: parameters and the op that uses them. A layer is a small struct of tensors that the Params own. */
#pragma once
#include "common/attention/attention.h"
#include "common/autograd/ops.h"
#include "common/nn/params.h"

/* `_inner`: the result has the type of activations inside a block, which `precision` chooses. */

/* ---- y = x W^T + b */
Linear linear_new(Params *p, const char *name, int64_t in, int64_t out, bool bias, Init weight);
/* As torch begins: weight and bias uniform +-1/sqrt(in). */
Linear linear_torch_new(Params *p, const char *name, int64_t in, int64_t out, bool bias);
Tensor *linear(Tape *t, const Linear *l, Tensor *x);
Tensor *linear_inner(Tape *t, const Linear *l, Tensor *x);

/* ---- LayerNorm over the last axis, with scale and shift */
LayerNorm layer_norm_new(Params *p, const char *name, int64_t width, float eps);
Tensor *layer_norm(Tape *t, const LayerNorm *l, Tensor *x);
Tensor *layer_norm_inner(Tape *t, const LayerNorm *l, Tensor *x);

/* ---- BatchNorm, torch's of one, two or three dimensions: names weight, bias, running_mean, running_var, num_batches_tracked. In a
 * region EVAL its statistics are the running ones: so it is frozen in a training, too. */
BatchNorm batch_norm_new(Params *p, const char *name, int64_t channels, float eps, float momentum);
Tensor *batch_norm(Tape *t, const BatchNorm *l, Tensor *x);      /* [B,C] or [B,C,...] */
Tensor *batch_norm_rows(Tape *t, const BatchNorm *l, Tensor *x); /* [...,C] */
bool batch_norm_is_in(Params *p);                                /* whether this model has such a layer */

/* ---- Convolution with square kernels, initialised as torch does: uniform +-1/sqrt(fan_in), weight and bias */
typedef struct Conv2d {
    Tensor *weight, *bias; /* [out, in, k, k], [out] */
    Convolve how;
} Conv2d;

Conv2d conv2d_new(Params *p, const char *name, int64_t in, int64_t out, int64_t kernel, Convolve how);
Tensor *conv2d(Tape *t, const Conv2d *l, Tensor *x);

/* ---- The two halves of a transformer block, [B,N,C] -> [B,N,C], of x as it is or normalised first (norm not NULL) */

/* Multi-head self-attention with one fused projection, as in ViT: names `qkv`, `proj`. */
typedef struct SelfAttention {
    Linear qkv, proj;
    int heads;
    float attention_dropout, dropout;
    uint32_t site;
} SelfAttention;

SelfAttention self_attention_new(Params *p, const char *name, int64_t width, int heads, bool qkv_bias, Init weight);
Tensor *self_attention(Tape *t, const SelfAttention *l, const LayerNorm *norm, Tensor *x);

/* The probabilities [B,H,N,N] that self_attention(norm, x) uses. */
Tensor *self_attention_map(Tape *t, const SelfAttention *l, const LayerNorm *norm, Tensor *x);

/* Linear, GELU (exact), linear: names `fc1`, `fc2`. */
typedef struct Mlp {
    Linear fc1, fc2;
    float dropout;
    uint32_t site;
} Mlp;

Mlp mlp_new(Params *p, const char *name, int64_t width, int64_t hidden, Init weight);
Tensor *mlp(Tape *t, const Mlp *l, const LayerNorm *norm, Tensor *x);

/* ---- The pre-norm block of ViT (Dosovitskiy et al. 2021, eq. 2-3): x += DP(attn(norm1(x))); x += DP(mlp(norm2(x))).
 * Names: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2. */
typedef struct VitBlock {
    LayerNorm norm1, norm2;
    SelfAttention attn;
    Mlp mlp;
    float drop_path;
    uint32_t site;
} VitBlock;

typedef struct VitBlockShape {
    int64_t width, hidden;
    int heads;
    bool qkv_bias;
    float eps, dropout, attention_dropout, drop_path;
    Init weight;
} VitBlockShape;

VitBlock vit_block_new(Params *p, const char *name, const VitBlockShape *shape);
Tensor *vit_block(Tape *t, const VitBlock *b, Tensor *x);

/* Splits the last axis into heads: [B,N,H*d] -> [B,N,H,d], free; and back. */
Tensor *split_heads(Tape *t, Tensor *x, int64_t heads);
Tensor *join_heads(Tape *t, Tensor *x);
