/* The attention of variant B: local heads and routing heads side by side, or routing heads alone over a context.
 *
 * A routing head asks which of K learned means each token is nearest to, and every cluster attends within the w tokens whose
 * products with its mean are largest (Roy et al. 2021, section 4.1, with the differences of lucidrains/routing-transformer):
 *
 *     x' = x / |x|;  score(n,c) = x'_n . mu_c;   members(c) = the w largest of score(.,c)
 *     o_c = softmax(q k^T / sqrt(d)) v over the members;   o_n = sum of o_c(n) over its clusters / (how many + 1e-5)
 *     aux = commitment mean (x' - mu_nearest)^2;   mu <- decay mu + (1 - decay) normalised sum of x' of its tokens
 *
 * Letters: B batch; N tokens; S tokens of a context; H heads; d width of a head; K clusters; w members; m memory. */
#pragma once
#include "common/attention/cache.h"
#include "common/attention/rotary.h"
#include "common/nn/layers.h"

/* ---- Online k-means (lucidrains_kmeans.c) */

typedef struct Kmeans {
    Tensor *means;   /* [H,K,d] */
    Tensor *initted; /* uint8, a scalar: whether the means were found */
    float decay, commitment;
    uint32_t site;         /* of the draws that begin */
    struct Wanted *wanted; /* where forwards in training mode would put the means */
} Kmeans;

Kmeans kmeans_new(Params *p, int64_t heads, int64_t clusters, int64_t width, double decay, double commitment);
void kmeans_free(Kmeans *k);

/* x [B,N,H,d] -> the scores [B,H,N,K] of every token, without gradient, and *aux, a scalar. The first call finds the means. */
Tensor *kmeans_scores(Tape *t, const Kmeans *k, Tensor *x, Tensor **aux);

/* Ten rounds of k-means by the largest product, from the rows of x [B,N,H,d] that index [K] names in B * N of all ranks. */
void kmeans_begin(Tape *t, const Kmeans *k, Tensor *x, const int64_t *index);

/* The step after a backward pass; does nothing if no forward wanted one. */
void kmeans_update(Tape *t, const Kmeans *k);

/* ---- Routing heads alone (lucidrains_attention.c), names mem_key, mem_value, kmeans.means, kmeans.initted */

typedef struct RoutingShape {
    int64_t clusters, window, context_window; /* members of a cluster: of the queries, of a context's keys */
    int64_t heads, width, memory;
    bool causal, shared_qk, receives_context, has_context_window;
    double commitment, decay, dropout;
} RoutingShape;

typedef struct RoutingHeads {
    RoutingShape shape;
    Kmeans kmeans;
    Tensor *mem_key, *mem_value; /* [H,K,m,d] */
    uint32_t site;
} RoutingHeads;

RoutingHeads routing_heads_new(Params *p, const RoutingShape *shape);

/* q [B,N,H,d], k and v [B,S,H,d] -> [B,N,H,d] and *aux, a scalar. Masks uint8 [B,N], [B,S], 1 = a token, or NULL; without a
 * context the keys' is the queries' where it is NULL. */
Tensor *routing_heads(Tape *t, const RoutingHeads *r, Tensor *q, Tensor *k, Tensor *v, Tensor *query_mask,
                      Tensor *key_mask, Tensor **aux);

/* ---- Local heads alone: rotary positions, then attention within windows; name rel_pos.inv_freq */

typedef struct LocalHeads {
    int64_t window, back, forward;
    bool causal;
    Tensor *inv_freq; /* [d/2], or NULL: no rotary */
    float dropout;
    uint32_t site;
} LocalHeads;

LocalHeads local_heads_new(Params *p, int64_t window, int64_t back, int64_t forward, bool causal, int64_t rotary_width);

/* q, k, v [B,N,H,d], N a multiple of the window -> [B,N,H,d]. `past`: what was seen before them, for any N and no mask; NULL: they
 * are a whole text. */
Tensor *local_heads(Tape *t, const LocalHeads *l, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, Cache *past);

/* The past of causal local heads; keys are kept rotated. */
Cache local_heads_past(const LocalHeads *l, States *owner, int64_t rows, int64_t heads, int64_t width);

/* ---- Both, with their projections */

typedef struct MixedShape {
    int64_t dim, heads, local_heads, width; /* of a head */
    int64_t clusters, window, local_window, local_radius, memory;
    bool causal, shared_qk, receives_context;
    double commitment, decay, attn_dropout, dropout;
} MixedShape;

typedef struct MixedAttention {
    MixedShape shape;
    LocalHeads local_attn;
    RoutingHeads global_attn;
    Linear local_to_qkv, to_q, to_k, to_v, to_out;
    uint32_t site;
} MixedAttention;

MixedAttention mixed_attention_new(Params *p, const MixedShape *shape);

/* x [B,N,C] -> [B,N,C] and *aux, a scalar, or NULL without routing heads. past: see local_heads. positions: the table [P,d] by which routing heads
 * rotate (not towards a context), or NULL. context [B,S,C]. */
Tensor *mixed_attention(Tape *t, const MixedAttention *a, Tensor *x, Tensor *mask, Tensor *positions, Tensor *context,
                        Tensor *context_mask, Cache *past, Tensor **aux);
