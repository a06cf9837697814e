/* Skeleton: a language model whose tokens attend to those before them.
 *
 *     x_s = E[w_s] + e_s                             the token w_s of the text at its position s       (1)
 *     u   = LN(x);   q, k, v = W_q u, W_k u, W_v u
 *     x_s = x_s + W_o sum_{r<=s} softmax_r(q_s k_r^T / sqrt(d)) v_r            of every head           (2)
 *     x   = x + W_2 gelu(W_1 LN(x))                                                                    (3)
 *     y_s = W LN(x_s)                                (2) and (3) n_layer times before; of w_{s+1}      (4)
 *
 * Letters: B batch; S tokens, at most n_ctx; V ids of the vocabulary; C width; H heads; d = C / H. */
#pragma once
#include "common/nn/layers.h"
#include "common/run/config/config.h"

/* The `model:` section of a config: the authors' names of their hyperparameters. */
typedef struct SkeletonConfig {
    int n_vocab, n_ctx;
    int n_embd, n_layer, n_head;
    double mlp_ratio;
} SkeletonConfig;

extern const ConfigTable skeleton_config_table;

typedef struct Skeleton Skeleton;

Skeleton *skeleton_new(const SkeletonConfig *config, Params *params);
void skeleton_free(Skeleton *m);

/* ids I64 [B,S] -> logits [B,S,V] of the tokens that follow each */
Tensor *skeleton_forward(Tape *t, const Skeleton *m, Tensor *ids);
