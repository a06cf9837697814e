/* Dense attention, the subject of the zoo, in one fused pass; and its parts, for whoever edits or reads scores and
 * probabilities. A mechanism (windows, routing, landmarks, ...) is a function and a struct of its own in its own file.
 *
 * Letters: B batch, Q queries, K keys, H heads of the queries, d width of q and k, e width of v.
 * q [B,Q,H,d], k [B,K,Hk,d], v [B,K,Hv,e] -> [B,Q,H,e]; H is a multiple of Hk and of Hv; the batch of each is B or 1.
 * They may be windows of one fused projection; heads are never permuted. */
#pragma once
#include "common/autograd/tape.h"

typedef enum Blocked { BLOCKED_INFINITE, BLOCKED_FINITE_MIN, BLOCKED_1E9 } Blocked; /* -inf, -FLT_MAX, -1e9 */

typedef struct AttentionMask {
    bool causal;
    int64_t causal_offset;     /* key j is seen by query i if j <= i + causal_offset; K - Q aligns the ends */
    bool window;               /* only keys i + causal_offset - left .. i + causal_offset + right */
    int64_t left, right;       /* -1: no limit */
    const Tensor *key_lengths; /* int32 [B], or NULL */
    const Tensor *keep;        /* uint8 [n,1|Hk|H,Q|1,K|1], 1 = attend, or NULL */
    Tensor *bias;              /* fp32, likewise, added to the scaled scores, with gradient; or NULL */
    Blocked blocked;           /* what a key that may not be seen scores */
    EmptyRow empty_row;        /* a query that sees no key */
} AttentionMask;

typedef struct AttentionSpec {
    float scale;   /* of q.k; 0: d^-1/2 (Vaswani et al. 2017, eq. 1) */
    float dropout; /* of the probabilities, in the TRAIN phase */
    uint32_t site; /* of its draw */
    AttentionMask mask;
} AttentionSpec;

Tensor *attend(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v);

/* The same with the log-sum-exp of the scores [B,H,Q] as a second, differentiable result. */
Tensor *attend_with_lse(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v, Tensor **lse);

/* ---- The same in three differentiable steps that write the scores out, N^2 of them, for whoever edits them. */

/* scale * q.k [B,H,Q,K]. */
Tensor *attention_scores(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k);

/* The probabilities of the scores, masked and biased as spec->mask says; the heads of a mask are 1 or a divisor of H. */
Tensor *attention_softmax(Tape *t, const AttentionSpec *spec, Tensor *scores);

/* sum_j p[b,h,i,j] v[b,j,h] -> [B,Q,H,e]. */
Tensor *attention_apply(Tape *t, Tensor *p, Tensor *v);

/* The probabilities [B,H,Q,K] alone, without gradient: for pictures and analysis. */
Tensor *attention_probabilities(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k);
