/* Routed attention (Roy, Saffar, Vaswani and Grangier 2020, Routing Transformer, eq. 8 to 11): every head splits its queries
 * and keys into K clusters of w members, who attend to each other alone:
 *
 *     o_i = 1 / (|C_i| + eps) * sum over the clusters c in C_i that query i is a member of:  sum_{j in c} softmax_j(s_ij) v_j
 *
 * A token may be in several clusters, or in none, and then gets 0. With w = N / K time and memory grow with N^2 / K: with
 * N^1.5 for K = sqrt(N). Who is a member is given from outside as indices without gradient: the top_rows of cluster_scores
 * (kmeans.h), of random numbers, or of buckets.
 *
 * Letters: B batch, N queries, M keys, H heads, K clusters, w queries and u keys of a cluster, m keys of the memory. */
#pragma once
#include "common/attention/relative.h"

typedef enum RoutedCausal {
    SEES_ALL,
    SEES_LOWER_RANKS, /* query i of a cluster sees the keys 0 .. i of it: the order of the tokens where both are one set */
    SEES_LOWER_INDICES /* a query at token p sees the keys at tokens <= p */
} RoutedCausal;

typedef struct Routed {
    int64_t clusters; /* K */
    float eps;
    RoutedCausal causal;
    /* What a query scores with the key of its own index, seen in any case; far below every other score, so that it counts
     * where nothing else is seen. 0: as any other key. */
    float own;
    /* uint8 [B,N], [B,M], 1 = a token; 0 = padding, which sees nothing but the memory and is not seen; NULL: none */
    const Tensor *query_real, *key_real;
    bool hide_zeros;         /* a key whose value is all zeros is not seen (instead of these) */
    RelativeTables relative; /* of the distances between ranks, or none */
    /* [H,K,m,d], [H,K,m,e], which all queries of a cluster see; NULL: none */
    Tensor *memory_keys, *memory_values;
    float scale, dropout; /* as in AttentionSpec */
    uint32_t site;
    Blocked blocked;    /* what a key scores that is not seen */
    EmptyRow empty_row; /* where that is -inf */
} Routed;

/* q [B,N,H,d], k [B,M,H,d], v [B,M,H,e] -> [B,N,H,e]. query_index int32 [B,K w,H], key_index [B,K u,H]: the members of one
 * cluster after the other, in ascending order. Queries and keys share their clusters where the two are one tensor. */
Tensor *routed_attention(Tape *t, const Routed *r, Tensor *q, Tensor *k, Tensor *v, Tensor *query_index,
                         Tensor *key_index);
