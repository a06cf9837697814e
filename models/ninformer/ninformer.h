/* NiNformer: a network in network transformer with token mixing generated gating function (Abdullah and Aydin 2024, arXiv
 * 2403.02411). A block of MLP-Mixer, the inner network, computes a gate from the tokens that the gate is laid on.
 *
 *     X = P image + b                                        patches of the image, one convolution              (1)
 *     Z = LN(X);   u = W Z + b,   v = M(Z);   X = X + u * v  element by element, nothing bounds the gate        (2)
 *     Z = LN(X);   X = X + FF(Z)                             the same LN, one set of parameters                 (3)
 *     y = W mean_n X + b                                     (2) and (3) num_layers times before                (4)
 *
 *     M(Z):        A = Z + FF(LN_t(Z)^T)^T;   A + FF(LN_c(A))         tokens mixed, then channels               (5)
 *     FF(x)        = drop(W_2 drop(gelu(W_1 x + b_1)) + b_2)          of hidden width F, all three of a block   (6)
 *
 * Letters: B batch; S image side; N tokens; D d_model; F d_ffn. There are no positions: W_1 of FF(..^T) knows each token's place. */
#pragma once
#include "common/nn/layers.h"
#include "common/run/config/config.h"

/* What stands between the patches and the mean over the tokens. The last two are what the paper compares with. */
typedef enum Network {
    NETWORK_NINFORMER,
    NETWORK_MIXER, /* (5) alone, num_layers times: Tolstikhin et al. 2021, eq. 1 */
    NETWORK_VIT    /* learned positions, pre-norm blocks of attention, a norm: Dosovitskiy et al. 2021, eq. 1-4 */
} Network;

/* What (2) adds to X: u * v; or, to find out what counts, u + v, or u * Z, a gate that mixes no tokens. */
typedef enum Gate { GATE_PRODUCT, GATE_SUM, GATE_UNMIXED } Gate;

/* The keys of the authors' NiNformerImageClassification; the last three are ours. */
typedef struct NinformerConfig {
    int image_size, patch_size, in_channels, num_classes;
    int d_model, d_ffn, seq_len, num_layers;
    double dropout;
    Network network;
    Gate gate;
    int num_heads;
} NinformerConfig;

extern const ConfigTable ninformer_config_table;

typedef struct Ninformer Ninformer;

Ninformer *ninformer_new(const NinformerConfig *config, Params *params);
void ninformer_free(Ninformer *m);

/* x [B,in_channels,S,S] -> logits [B,num_classes] */
Tensor *ninformer_forward(Tape *t, const Ninformer *m, Tensor *x);
