/* Who sees whom, written out for attention within blocks or clusters: uint8, 1 = seen, as ScoreTable `keep` is read. None of
 * these tables grows with the square of the sequence. */
#pragma once
#include "common/kernels/attention.h"

/* Clusters of w queries and v keys, behind m keys of a memory that every query sees. */
typedef struct RoutedSight {
    int64_t batch, heads, clusters, queries, keys, memory;
    int64_t query_tokens, key_tokens; /* lengths of the sequences */
    const int32_t *query_index,
        *key_index; /* [B, clusters * w, H] and [B, clusters * v, H]: the members; NULL: their rank */
    const uint8_t *query_real, *key_real; /* [B, tokens], 0 = padding; NULL: none */
    bool causal;                          /* a query of index i sees keys of index <= i */
    bool self;                            /* a query sees the key of its own index in any case */
} RoutedSight;

typedef struct SightKernels {
    /* seen [B,H,N] = whether x[b,n,h] has a value other than 0. x [B,N,H,d], fp32 or bf16. */
    void (*nonzero)(const Exec *, int64_t batch, int64_t tokens, int64_t heads, int64_t width, HeadRows x,
                    uint8_t *seen);

    /* seen [B * clusters, H, w, m + v]. */
    void (*routed)(const Exec *, const RoutedSight *, uint8_t *seen);

    /* bias, of the same shape: `value` where query and key have one index, else 0. */
    void (*routed_self)(const Exec *, const RoutedSight *, float value, float *bias);
} SightKernels;
