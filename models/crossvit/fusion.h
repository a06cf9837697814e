/* The four ways in which the branches of a stage meet (paper, section 3.2). */
#pragma once
#include "models/crossvit/crossvit.h"

/* LayerNorm, GELU, linear: how a token changes from one branch's width to the other's (f and g of the paper). */
typedef struct Projection {
    LayerNorm norm;
    Linear linear;
    bool identity; /* ablation schemes: the branch already has the common width */
} Projection;

typedef struct CrossAttention {
    LayerNorm norm1;
    Linear wq, wk, wv, proj;
    int heads;
    AttentionSpec spec;
    float dropout, drop_path;
    uint32_t site;
} CrossAttention;

typedef struct Fusion {
    FusionScheme scheme;
    Projection project[BRANCHES], revert[BRANCHES];
    CrossAttention *blocks[BRANCHES]; /* cross attention: of the branch that owns the class token */
    int block_count;
    LayerNorm norm; /* all-attention */
    SelfAttention attention;
    int grid[BRANCHES]; /* patches a side, pairwise */
} Fusion;

Fusion fusion_new(const CrossvitConfig *config, Params *p, int fusion_blocks, float drop_path);
void fusion_free(Fusion *f);

/* Replaces the tokens [B,1+N_b,C_b] of both branches by fused ones; `stage` names what a watcher sees. */
void fuse(Tape *t, const Fusion *f, Tensor *tokens[BRANCHES], int stage);
