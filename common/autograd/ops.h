/* The differentiable ops. Each computes at once through a kernel of common/kernels and records its way back; a broken
 * shape rule is a bug of the caller and ends the program. Layers with parameters (linear, layer_norm, conv2d) are in
 * common/nn; attention is in common/attention. */
#pragma once
#include "common/autograd/tape.h"
#include "common/kernels/augment.h"
#include "common/kernels/elementwise.h"

/* ---- Shape */
Tensor *reshape(Tape *t, Tensor *x, Shape shape);                            /* free */
Tensor *narrow(Tape *t, Tensor *x, int axis, int64_t start, int64_t length); /* free: a window */
Tensor *concat(Tape *t, int axis, int n, Tensor *const *parts);
Tensor *concat2(Tape *t, int axis, Tensor *a, Tensor *b);
Tensor *shift(Tape *t, Tensor *x, int axis, int64_t by);                  /* y[i] = x[i - by], 0 where there is none */
Tensor *pad(Tape *t, Tensor *x, int axis, int64_t before, int64_t after); /* with zeros */
Tensor *permute(Tape *t, Tensor *x, const int *order);                    /* y's axis a is x's axis order[a]; copies */
Tensor *expand(Tape *t, Tensor *x, int64_t n);                            /* [1, ...] -> [n, ...], copied */
Tensor *contiguous(Tape *t, Tensor *x);
Tensor *convert(Tape *t, Tensor *x, DType type); /* F32 or BF16, rounded to nearest; free where x is of that type */
Tensor *tokens_from_map(Tape *t, Tensor *x);     /* [B,C,H,W] -> [B,HW,C]; free after a convolution */
Tensor *map_from_tokens(Tape *t, Tensor *x, int64_t height, int64_t width); /* [B,HW,C] -> [B,C,H,W]; free */

Tensor *constant(Tape *t, Shape shape, float value); /* without gradient */

/* ---- Elementwise; a and b have one shape */
Tensor *add(Tape *t, Tensor *a, Tensor *b);
Tensor *subtract(Tape *t, Tensor *a, Tensor *b);
Tensor *multiply(Tape *t, Tensor *a, Tensor *b);
Tensor *divide(Tape *t, Tensor *a, Tensor *b);
Tensor *scale(Tape *t, Tensor *x, float factor);
Tensor *scale_by(Tape *t, Tensor *x, Tensor *factor); /* factor: a tensor of one value, with gradient */
Tensor *add_rows(Tape *t, Tensor *x,
                 Tensor *table);  /* x[B,...] + table[1,...] or [C]: table repeats over the rows of x */
Tensor *gelu(Tape *t, Tensor *x); /* exact: x Phi(x) */
Tensor *gelu_tanh(Tape *t, Tensor *x);
Tensor *relu(Tape *t, Tensor *x);
Tensor *silu(Tape *t, Tensor *x);
Tensor *sigmoid(Tape *t, Tensor *x);
Tensor *hyperbolic_tangent(Tape *t, Tensor *x);
Tensor *exponential(Tape *t, Tensor *x);
Tensor *logarithm(Tape *t, Tensor *x);
Tensor *square(Tape *t, Tensor *x);
Tensor *square_root(Tape *t, Tensor *x);

/* ---- Rows chosen by an index: no gradient to the index */

/* table [V,C], ids I64 or I32 of any shape -> [...,C] */
Tensor *embedding(Tape *t, Tensor *table, Tensor *ids);

/* x [B,N,H,d] or [1,N,H,d], index I32 [B,M,H] -> y [B,M,H,d]: y[b,m,h] = x[b, index[b,m,h], h] */
Tensor *gather_rows(Tape *t, Tensor *x, Tensor *index);

/* The other way: x [B,M,H,d] -> y [B,rows,H,d], where y[b,i,h] is the sum of the x[b,m,h] with index[b,m,h] = i; of the mean
 * that sum / (how many they are + eps). A row that nobody chose is 0. */
Tensor *scatter_rows(Tape *t, Tensor *x, Tensor *index, int64_t rows);
Tensor *scatter_mean(Tape *t, Tensor *x, Tensor *index, int64_t rows, float eps);

/* Where those indices come from; no gradient. Ties go to the lowest index, a NaN counts as -infinity. */
Tensor *nearest(Tape *t, Tensor *scores); /* the largest of the last axis: [...,K] -> I32 [...] */

/* scores [B,H,N,K] -> I32 [B,K*w,H]: for each (b,h,k) the w rows n of largest score, ascending */
Tensor *top_rows(Tape *t, Tensor *scores, int64_t w);

/* ---- Sums */
Tensor *sum_all(Tape *t, Tensor *x);     /* -> scalar */
Tensor *mean_all(Tape *t, Tensor *x);    /* -> scalar */
Tensor *mean_tokens(Tape *t, Tensor *x); /* [B,N,C] -> [B,1,C] */

/* ---- Products and normalisation. `_inner`: the result has the type of activations inside a block (tape_inner). */

/* y[...,N] = x[...,K] weight[N,K]^T + bias[N]; bias NULL: none. */
Tensor *affine(Tape *t, Tensor *x, Tensor *weight, Tensor *bias);
Tensor *affine_inner(Tape *t, Tensor *x, Tensor *weight, Tensor *bias);

/* Over the last axis: (x - mean)/sqrt(variance + eps) * gamma + beta; gamma, beta [C] or both NULL. */
Tensor *standardize(Tape *t, Tensor *x, Tensor *gamma, Tensor *beta, float eps);
Tensor *standardize_inner(Tape *t, Tensor *x, Tensor *gamma, Tensor *beta, float eps);

Tensor *normalize_l2(Tape *t, Tensor *x, float eps); /* over the last axis: x / max(|x|_2, eps) */

/* Over the batch, each channel by itself: (x - mean)/sqrt(variance + eps) * weight + bias, then, with relu, max(0, that). axis: of
 * the channels, 1 (of [B,C,...]) or the last. In the phase TRAIN mean and variance are those of the batch, of the shares of all
 * ranks where tape_sync_batch_norm says so, and the running ones take them in: new = (1 - momentum) old + momentum batch's, of
 * the variance that over N - 1. In EVAL the running ones are used. As torch.nn.functional.batch_norm. */
typedef struct BatchNorm {
    Tensor *weight, *bias;              /* [C], or NULL */
    Tensor *running_mean, *running_var; /* [C], buffers written in place; both NULL: always the batch's are used */
    Tensor *num_batches_tracked;        /* I64, one more in TRAIN, or NULL */
    float eps, momentum;
    bool relu;
} BatchNorm;

Tensor *standardize_channels(Tape *t, Tensor *x, int axis, const BatchNorm *norm);

/* The operands of the two, as the fused ops take them; common/nn makes layers of them. */
typedef struct Linear {
    Tensor *weight, *bias; /* [N,K], [N] or NULL */
} Linear;

typedef struct LayerNorm {
    Tensor *weight, *bias; /* [C] */
    float eps;
} LayerNorm;

/* The beginnings of the two halves of a transformer block, in one pass: a panel of rows goes through all of it while it is
 * in the cache, neither the normalised rows nor f's results are ever whole in memory, and the way back computes them
 * again (fused.c). norm NULL: none. */

/* affine_inner(standardize(x)): [...,K] -> [...,N] */
Tensor *norm_affine(Tape *t, Tensor *x, const LayerNorm *norm, const Linear *l);

/* affine(f(affine_inner(standardize(x)))): [...,K] -> [...,H] -> [...,N] */
Tensor *feed_forward(Tape *t, Tensor *x, const LayerNorm *norm, const Linear *up, Unary f, const Linear *down);

/* ---- Images [B,C,H,W] */
typedef struct Convolve {
    int64_t stride, pad, dilation, groups; /* 0 means 1 for all but pad */
    bool relu;                             /* fused into the result */
} Convolve;

Tensor *convolve(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, const Convolve *how); /* weight [out,in/g,kh,kw] */
Tensor *resize_bicubic(Tape *t, Tensor *x, int64_t height, int64_t width); /* torch's: a = -0.75, no antialias */

/* What becomes of images before a network sees them; no gradient. The first makes of bytes, U8 [B,H,W,C], the map
 * [B,C,H,W] = (byte / 255 - mean[c]) / deviation[c], with noise where an image is erased (erasures [B] on the host; NULL: none
 * is; its numbers can be replayed). In the second, inside the box (NULL: everywhere), an image is `share` of itself and
 * 1 - share of its partner in the reversed batch. */
Tensor *map_from_bytes(Tape *t, Tensor *bytes, const Normalization *normalization, const Erasure *erasures);
Tensor *mix_reversed(Tape *t, Tensor *x, const Box *box, double share);

/* ---- Classification */
Tensor *softmax(Tape *t, Tensor *x); /* over the last axis */

/* losses[R] = -sum_c targets[R,C] log softmax(logits[R,C]); no gradient to the targets. *probabilities (NULL: not wanted)
 * gets the softmax, without gradient. */
Tensor *soft_cross_entropy(Tape *t, Tensor *logits, Tensor *targets, Tensor **probabilities);

/* losses[R] = -log softmax(logits[R,V])[labels[R]], labels I64, 0 where a label is `ignore`. */
Tensor *cross_entropy(Tape *t, Tensor *logits, Tensor *labels, int64_t ignore);

/* ---- Noise, active in the TRAIN phase only; draws that are replayed (tape_replay) are taken an element each, in order */

/* x / (1 - rate) where the draw u >= rate, else 0: a keep mask of 0 and 1 can be replayed as it is. */
Tensor *dropout(Tape *t, Tensor *x, float rate, uint32_t site);

/* Stochastic depth: each sample (axis 0) is x / keep with probability keep = 1 - rate, else 0. (timm's DropPath:
 * floor(keep + u).) */
Tensor *drop_path(Tape *t, Tensor *x, float rate, uint32_t site);

/* Uniform numbers in [0, 1), in either phase and without gradient. */
Tensor *uniform(Tape *t, Shape shape, uint32_t site);
