/* Attention with a learned vector for each distance between query and key (Shaw, Uszkoreit and Vaswani 2018,
 * Self-Attention with Relative Position Representations, eq. 3 and 4):
 *
 *     s_ij = scale * q_i . (k_j + R_k[c(j - i)]),   o_i = sum_j softmax_j(s_ij) (v_j + R_v[c(j - i)]),
 *     c(x) = clip(x, -M, M) + M
 *
 * The Q queries are the last Q of the K positions. A table R is [2M+1,d] and serves all heads. Letters as in attention.h. */
#pragma once
#include "common/attention/attention.h"

typedef struct RelativeTables {
    Tensor *keys, *values; /* R_k [2M+1,d], R_v [2M+1,e]; each may be NULL: none */
} RelativeTables;

/* The same as attend where there are no tables. With tables it is one pass too, which writes no [B,H,Q,K] out, but for dropout
 * in training, a bias, and heads or samples that others share: these go through the parts below. */
Tensor *relative_attention(Tape *t, const AttentionSpec *spec, const RelativeTables *tables, Tensor *q, Tensor *k,
                           Tensor *v);

/* ---- Its parts, beside those of attention.h. */

/* scale * q_i . R[c(j - i)]: q [B,Q,H,d], R [2M+1,d] -> [B,H,Q,K], to be added to the scores. */
Tensor *relative_scores(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *table, int64_t keys);

/* sum_j p_ij R[c(j - i)]: p [B,H,Q,K], R [2M+1,e] -> [B,Q,H,e]. */
Tensor *relative_apply(Tape *t, Tensor *p, Tensor *table);
