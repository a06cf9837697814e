#include "models/routing/lucidrains_attention.h"

#include "common/attention/routed.h"
#include "common/attention/windowed.h"
#include "common/nn/init.h"

static const float NORM_EPS = 1e-12f, MEAN_EPS = 1e-5f;
static const float OWN_SCORE = -5e4f; /* of a key that is the query itself */

/* ---- Local heads */

LocalHeads local_heads_new(Params *p, int64_t window, int64_t back, int64_t forward, bool causal, int64_t rotary_width)
{
    LocalHeads l = {.window = window,
                    .back = back,
                    .forward = forward,
                    .causal = causal,
                    .site = random_site(params_name(p, "dropout"))};
    if (rotary_width) {
        l.inv_freq = params_add_buffer(p, "rel_pos.inv_freq", SHAPE(rotary_width / 2), INIT_ZEROS);
        params_init_function(p, l.inv_freq, init_frequencies);
    }
    return l;
}

/* Outside of the sequence keys and values are -1. A query that sees nothing, for its own padding, takes the mean of all. */
static Windowed windows(const LocalHeads *l, const Tensor *mask)
{
    return (Windowed){.block = l->window,
                      .back = l->back,
                      .forward = l->forward,
                      .causal = l->causal,
                      .outside = -1,
                      .real = mask,
                      .dropout = l->dropout,
                      .site = l->site,
                      .blocked = BLOCKED_FINITE_MIN};
}

Cache local_heads_past(const LocalHeads *l, States *owner, int64_t rows, int64_t heads, int64_t width)
{
    Windowed w = windows(l, NULL);
    return windowed_cache(&w, owner, rows, heads, width, width);
}

Tensor *local_heads(Tape *t, const LocalHeads *l, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, Cache *past)
{
    Scope s = scope_open(t);
    if (l->inv_freq) {
        int64_t n = tensor_dim(q, 1), before = past ? cache_seen(past, "keys") : 0;
        Rotary halves = {narrow(t, rotary_table(t, l->inv_freq, before + n), 0, before, n), ROTARY_HALVES};
        q = rotary(t, q, &halves, NULL);
        k = rotary(t, k, &halves, NULL);
    }
    Windowed w = windows(l, mask);
    return scope_close(t, s, past ? windowed_extend(t, &w, past, q, k, v) : windowed_attention(t, &w, q, k, v));
}

/* ---- Routing heads */

RoutingHeads routing_heads_new(Params *p, const RoutingShape *shape)
{
    RoutingHeads r = {.shape = *shape, .site = random_site(params_name(p, "dropout"))};
    if (shape->causal && !shape->shared_qk)
        r.shape.memory = MAX(r.shape.memory, 1); /* a query may see no other key */
    const Shape memory = SHAPE(shape->heads, shape->clusters, r.shape.memory, shape->width);
    r.mem_key = params_add(p, "mem_key", memory, (Init){INIT_NORMAL, 1});
    r.mem_value = params_add(p, "mem_value", memory, (Init){INIT_NORMAL, 1});
    params_enter(p, "kmeans");
    r.kmeans = kmeans_new(p, shape->heads, shape->clusters, shape->width, shape->decay, shape->commitment);
    params_leave(p);
    return r;
}

Tensor *routing_heads(Tape *t, const RoutingHeads *r, Tensor *q, Tensor *k, Tensor *v, Tensor *query_mask,
                      Tensor *key_mask, Tensor **aux)
{
    const RoutingShape *c = &r->shape;
    bool two_sets = !c->shared_qk || c->receives_context;
    int64_t n = tensor_dim(q, 1), m = tensor_dim(k, 1);
    Scope s = scope_open(t);
    Tensor *scores = kmeans_scores(t, &r->kmeans, two_sets ? concat2(t, 1, q, k) : q, aux); /* [B,H,N+S,K] */
    Tensor *suits = tape_show(t, narrow(t, scores, 2, 0, n), "routing.scores");             /* [B,H,N,K] */
    Tensor *queries = tape_show(t, top_rows(t, suits, MIN(c->window, n)), "routing.members"), *keys = queries;
    if (two_sets)
        keys = top_rows(t, narrow(t, scores, 2, n, m), MIN(c->receives_context ? c->context_window : c->window, m));
    else
        k = normalize_l2(t, k, NORM_EPS);
    Routed routed = {.clusters = c->clusters,
                     .eps = MEAN_EPS,
                     .causal = c->causal ? SEES_LOWER_INDICES : SEES_ALL,
                     .own = c->shared_qk ? OWN_SCORE : 0,
                     .query_real = query_mask,
                     .key_real = key_mask || c->receives_context ? key_mask : query_mask,
                     .memory_keys = r->mem_key,
                     .memory_values = r->mem_value,
                     .dropout = (float)c->dropout,
                     .site = r->site,
                     .blocked = BLOCKED_FINITE_MIN};
    Tensor *both[] = {routed_attention(t, &routed, q, k, v, queries, keys), *aux};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}

/* ---- Both */

MixedAttention mixed_attention_new(Params *p, const MixedShape *c)
{
    MixedAttention a = {.shape = *c, .site = random_site(params_name(p, "dropout"))};
    int64_t routing = c->heads - c->local_heads, local_width = c->local_heads * c->width, width = routing * c->width;
    if (c->local_heads > 0) {
        params_enter(p, "local_attn");
        a.local_attn =
            local_heads_new(p, c->local_window, c->local_radius, c->causal ? 0 : c->local_radius, c->causal, c->width);
        a.local_attn.dropout = (float)c->attn_dropout;
        params_leave(p);
        a.local_to_qkv = linear_torch_new(p, "local_to_qkv", c->dim, 3 * local_width, true);
    }
    if (routing > 0) {
        params_enter(p, "global_attn");
        a.global_attn = routing_heads_new(p, &(RoutingShape){.clusters = c->clusters,
                                                             .window = c->window,
                                                             .context_window = c->window,
                                                             .heads = routing,
                                                             .width = c->width,
                                                             .memory = c->memory,
                                                             .causal = c->causal,
                                                             .shared_qk = c->shared_qk,
                                                             .receives_context = c->receives_context,
                                                             .commitment = c->commitment,
                                                             .decay = c->decay,
                                                             .dropout = c->attn_dropout});
        params_leave(p);
    }
    a.to_q = linear_torch_new(p, "to_q", c->dim, width, false); /* of no rows where all heads are local */
    a.to_v = linear_torch_new(p, "to_v", c->dim, width, false);
    if (!c->shared_qk)
        a.to_k = linear_torch_new(p, "to_k", c->dim, width, false);
    a.to_out = linear_torch_new(p, "to_out", local_width + width, c->dim, false);
    return a;
}

/* [B,N,C] -> [B,N,h,d] of the local heads. */
static Tensor *attend_locally(Tape *t, const MixedAttention *a, Tensor *x, Tensor *mask, Cache *past)
{
    int64_t heads = a->shape.local_heads, width = heads * a->shape.width;
    Tensor *qkv = linear(t, &a->local_to_qkv, x); /* [B,N,3hd] */
    Tensor *q = split_heads(t, narrow(t, qkv, 2, 0, width), heads);
    Tensor *k = split_heads(t, narrow(t, qkv, 2, width, width), heads);
    Tensor *v = split_heads(t, narrow(t, qkv, 2, 2 * width, width), heads);
    return local_heads(t, &a->local_attn, q, k, v, mask, past);
}

/* [B,N,C] -> [B,N,h,d] of the routing heads. Keys and values come from the context where there is one; values are rotated,
 * too. */
static Tensor *attend_by_content(Tape *t, const MixedAttention *a, Tensor *x, Tensor *mask, Tensor *positions,
                                 Tensor *context, Tensor *context_mask, Tensor **aux)
{
    const MixedShape *c = &a->shape;
    int64_t heads = c->heads - c->local_heads;
    Tensor *source = c->receives_context ? context : x;
    Tensor *q = split_heads(t, linear(t, &a->to_q, x), heads);      /* [B,N,h,d] */
    Tensor *v = split_heads(t, linear(t, &a->to_v, source), heads); /* [B,S,h,d] */
    bool same = c->shared_qk && !c->receives_context;
    Tensor *k = same ? q : split_heads(t, linear(t, c->shared_qk ? &a->to_q : &a->to_k, source), heads);
    if (positions && !c->receives_context) {
        Rotary neighbours = {positions, ROTARY_NEIGHBOURS};
        q = rotary(t, q, &neighbours, NULL);
        k = same ? q : rotary(t, k, &neighbours, NULL);
        v = rotary(t, v, &neighbours, NULL);
    }
    return routing_heads(t, &a->global_attn, q, k, v, mask, context_mask, aux);
}

Tensor *mixed_attention(Tape *t, const MixedAttention *a, Tensor *x, Tensor *mask, Tensor *positions, Tensor *context,
                        Tensor *context_mask, Cache *past, Tensor **aux)
{
    Scope s = scope_open(t);
    Tensor *parts[2], *loss = NULL;
    int kinds = 0;
    if (a->shape.local_heads > 0)
        parts[kinds++] = attend_locally(t, a, x, mask, past);
    if (a->shape.local_heads < a->shape.heads)
        parts[kinds++] = attend_by_content(t, a, x, mask, positions, context, context_mask, &loss);
    Tensor *heads = concat(t, 2, kinds, parts);              /* [B,N,H,d] */
    Tensor *y = linear(t, &a->to_out, join_heads(t, heads)); /* [B,N,C]   */
    Tensor *both[] = {dropout(t, y, (float)a->shape.dropout, a->site), loss};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}
