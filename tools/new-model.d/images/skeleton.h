/* Skeleton: a classifier of images whose patches attend to each other.
 *
 *     x_i = E p_i + e_i                              the patch p_i of the image at its position i      (1)
 *     u   = LN(x);   q, k, v = W_q u, W_k u, W_v u
 *     x   = x + W_o softmax(q k^T / sqrt(d)) v       of every head                                     (2)
 *     x   = x + W_2 gelu(W_1 LN(x))                                                                    (3)
 *     y   = W mean_i LN(x_i)                         (2) and (3) depth times before                    (4)
 *
 * Letters: B batch; N patches; C width; H heads; d = C / H. */
#pragma once
#include "common/nn/layers.h"
#include "common/run/config/config.h"

/* The `model:` section of a config: the authors' names of their hyperparameters. */
typedef struct SkeletonConfig {
    int img_size, patch_size, in_chans, num_classes;
    int embed_dim, depth, num_heads;
    double mlp_ratio;
} SkeletonConfig;

extern const ConfigTable skeleton_config_table;

typedef struct Skeleton Skeleton;

Skeleton *skeleton_new(const SkeletonConfig *config, Params *params);
void skeleton_free(Skeleton *m);

/* x [B,in_chans,S,S] -> logits [B,num_classes] */
Tensor *skeleton_forward(Tape *t, const Skeleton *m, Tensor *x);
