/* Relative positions: every query meets a learned vector for each distance to a key (Shaw, Uszkoreit and Vaswani 2018,
 * Self-Attention with Relative Position Representations, eq. 3 to 5). The table has a row for each distance -M .. M,
 * larger ones count as M; nothing larger than [Q,K] is ever made of it.
 *
 * Letters: B batch, Q queries, K keys, H heads, d width of the table, M clip.
 * c(i,j) = clip(j - i - (K - Q), -M, M) + M: the queries are the last Q of the K positions. */
#pragma once
#include "common/kernels/attention.h"

typedef struct RelativeShape {
    int64_t batch, queries, keys, heads, width, clip;
} RelativeShape;

/* Attention with tables for the keys and for the values, in one pass: s_ij = scale q_i . (k_j + R_k[c(i,j)]) under the masks
 * of the shape, o_i = sum_j softmax_j(s_ij) (v_j + R_v[c(i,j)]). As many heads of keys and values as of queries; no bias.
 * Memory grows with K, never with Q K; a head's keys are met all at once: they are meant to be a window or a cluster. */
typedef struct RelativeAttention {
    AttentionShape shape;
    const float *key_table, *value_table; /* [2M+1,d], [2M+1,e]; NULL: none */
    int64_t key_clip, value_clip;         /* M of each */
} RelativeAttention;

/* The operands of its way back. dq, dk and dv are overwritten and share nothing; those of the tables (NULL: not wanted) are
 * added to where that is said. */
typedef struct RelativeGradients {
    HeadRows q, k, v, d_o, dq, dk, dv;
    float *dkey_table, *dvalue_table;
    bool add_keys, add_values;
} RelativeGradients;

/* All is fp32: x [B,Q,H,d], table [2M+1,d], s [B,H,Q,K]. Each wants so many bytes of exec's scratch. */
typedef struct RelativeKernels {
    size_t (*scratch)(const Exec *, const RelativeShape *);

    /* s[b,h,i,j] (+)= scale * x[b,i,h] . table[c(i,j)]. */
    void (*scores)(const Exec *, const RelativeShape *, float scale, HeadRows x, const float *table, bool add,
                   float *s);

    /* y[b,i,h] (+)= scale * sum_j s[b,h,i,j] table[c(i,j)]. */
    void (*apply)(const Exec *, const RelativeShape *, float scale, const float *s, const float *table, bool add,
                  HeadRows y);

    /* dtable[m] (+)= scale * sum of s[b,h,i,j] x[b,i,h] over all i, j with c(i,j) = m: the gradient of both. */
    void (*table_gradient)(const Exec *, const RelativeShape *, float scale, const float *s, HeadRows x, bool add,
                           float *dtable);

    size_t (*forward_scratch)(const Exec *, const RelativeAttention *);
    void (*forward)(const Exec *, const RelativeAttention *, HeadRows q, HeadRows k, HeadRows v, HeadRows o);
    size_t (*backward_scratch)(const Exec *, const RelativeAttention *);
    void (*backward)(const Exec *, const RelativeAttention *, const RelativeGradients *);
} RelativeKernels;
