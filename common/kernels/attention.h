/* Dense attention in one pass with an online softmax: memory grows with N, not N^2 (Dao et al., FlashAttention).
 *
 * Letters: B batch, Q queries, K keys, H query heads, d width of q and k, e width of v.
 * o[b,i,h] = sum_j p[b,h,i,j] v[b,j,g(h)],  p = softmax_j(scale * q[b,i,h] . k[b,j,g(h)] + bias[b,h,i,j]) over the keys
 * that may be seen. */
#pragma once
#include "common/kernels/exec.h"

/* A 4-D table [B, H, Q, K] read with broadcasting. Row b reads b % batch; head h reads h / (H / heads); an axis of
 * length 1 has step 0. data NULL: absent. */
typedef struct ScoreTable {
    void *data;
    int64_t batch, heads;
    int64_t batch_step, head_step, query_step, key_step;
} ScoreTable;

typedef enum EmptyRow { EMPTY_ZEROS, EMPTY_UNIFORM } EmptyRow;

typedef struct AttentionShape {
    int64_t batch, queries, keys;
    int64_t q_heads, k_heads, v_heads; /* q_heads is a multiple of both others */
    int64_t width, value_width;        /* d, e */
    float scale;
    bool causal;             /* key j is seen by query i if j <= i + causal_offset */
    int64_t causal_offset;   /* usually K - Q */
    int64_t left, right;     /* window: j >= i + causal_offset - left, j <= i + causal_offset + right; -1: no limit */
    const int32_t *key_lengths; /* [B]: keys from here on are padding; NULL: none */
    ScoreTable keep;         /* uint8, 1 = attend */
    ScoreTable bias;         /* fp32, added to the scaled score */
    float blocked;           /* what a key that may not be seen scores: -INFINITY, -FLT_MAX or -1e9 */
    EmptyRow empty_row;      /* a query that sees no key (all -INFINITY): zeros, or 1/K over all K columns */
} AttentionShape;

typedef struct AttentionKernels {
    /* Bytes of exec's scratch that forward and probabilities want, and those that backward wants: for each of exec's
     * threads a few tiles, and for backward a fp32 copy of one group's dk and dv. They grow with K, never with Q K. */
    size_t (*forward_scratch)(const Exec *, const AttentionShape *);
    size_t (*backward_scratch)(const Exec *, const AttentionShape *);

    /* o [B,Q,H,e]; lse [B,H,Q] = log-sum-exp of the scores (NULL: not wanted; needed for the backward). */
    void (*forward)(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, HeadRows v, HeadRows o, float *lse);

    /* dq, dk, dv are overwritten, or added to where `add`; each may have NULL data (not wanted).
     * dbias (data NULL: not wanted) is added to, summed over broadcast axes in a fixed order; the caller zeroes it.
     * dlse [B,H,Q] or NULL: gradient that reached the log-sum-exp. */
    void (*backward)(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                     const float *lse, HeadRows d_o, const float *dlse, bool add, HeadRows dq, HeadRows dk,
                     HeadRows dv, ScoreTable dbias);

    /* p [B,H,Q,K], written out: for pictures, and for whoever edits them. */
    void (*probabilities)(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, const float *lse, float *p);

    /* p [B,H,Q,K] of scores [B,H,Q,K] that lie written out, scaled, under the masks and the bias of the shape, whose
     * widths, scale and numbers of key and value heads are not read. lse [B,H,Q]: -INFINITY marks a query that sees no
     * key. p may be the scores. */
    void (*softmax)(const Exec *, const AttentionShape *, const float *scores, float *p, float *lse);

    /* ds is overwritten (it may be dp); dbias (data NULL: not wanted) is added to, as by backward. */
    void (*softmax_gradient)(const Exec *, const AttentionShape *, const float *p, const float *lse, const float *dp,
                             float *ds, ScoreTable dbias);
} AttentionKernels;
