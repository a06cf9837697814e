/* Local attention in blocks: the queries of a block of b tokens meet the keys of the blocks from `back` before it to
 * `forward` behind it, W = (back + 1 + forward) b keys in all. Time and memory grow with N W, never with N^2. (Parmar et
 * al. 2018, Image Transformer, 1-D local attention; Roy et al. 2020, Routing Transformer, the local heads.)
 *
 * A window that reaches beyond the sequence has keys and values there too, all of one value, which no query sees: they
 * count only for a query that sees nothing at all and therefore, where `blocked` is finite, takes the mean of all W. */
#pragma once
#include "common/attention/cache.h"
#include "common/attention/relative.h"

typedef struct Windowed {
    int64_t block, back, forward; /* tokens; blocks */
    bool causal;                  /* a key behind the query is not seen */
    float outside;                /* keys and values beyond the sequence: 0, or -1 */
    const Tensor *real;      /* uint8 [B,N], 1 = a token; 0 = padding, which sees nothing and is not seen; or NULL */
    bool hide_zeros;         /* a key whose value is all zeros is not seen (instead of `real`; `outside` is 0) */
    RelativeTables relative; /* of the distances within a window, or none */
    float scale, dropout;    /* as in AttentionSpec */
    uint32_t site;
    Blocked blocked;    /* what a key scores that is not seen */
    EmptyRow empty_row; /* where that is -inf */
} Windowed;

/* q, k [B,N,H,d], v [B,N,H,e] -> [B,N,H,e]; N is a multiple of the block. k and v may have fewer heads. */
Tensor *windowed_attention(Tape *t, const Windowed *w, Tensor *q, Tensor *k, Tensor *v);

/* ---- The same for a text that grows, without gradient; windows that are causal and reach back alone, no marks of what is real. */

/* What such windows look back at: streams "keys" of `heads` and width d, "values" of width e. */
Cache windowed_cache(const Windowed *w, States *owner, int64_t rows, int64_t heads, int64_t d, int64_t e);

/* The n tokens behind those that `past` has seen, which sees them, too: q, k [B,n,H,d], v [B,n,H,e] -> [B,n,H,e]; any n. */
Tensor *windowed_extend(Tape *t, const Windowed *w, Cache *past, Tensor *q, Tensor *k, Tensor *v);
