#include "models/routing/official_attention.h"

#include "common/attention/kmeans.h"
#include "common/attention/routed.h"

#include <math.h>

Init official_init(int64_t in, int64_t out)
{
    return (Init){INIT_UNIFORM, sqrt(3 * 0.2 / ((double)(in + out) / 2))};
}

Linear official_dense(Params *p, const char *name, int64_t in, int64_t out, bool bias)
{
    params_enter(p, "%s", name);
    Linear l = {.weight = params_add(p, "kernel", SHAPE(out, in), official_init(in, out))};
    params_store_transposed(p, l.weight);
    if (bias)
        l.bias = params_add(p, "bias", SHAPE(out), INIT_ZEROS);
    params_leave(p);
    return l;
}

static RelativeTables tables_new(Params *p, const OfficialConfig *c, int64_t width)
{
    int64_t distances = 2 * (int64_t)c->max_relative_position + 1;
    Shape shape = SHAPE(distances, width);
    Init init = official_init(distances, width);
    return (RelativeTables){.keys = params_add(p, "relative_positions_keys/embeddings", shape, init),
                            .values = params_add(p, "relative_positions_values/embeddings", shape, init)};
}

static void new_routing(Params *p, OfficialAttention *a)
{
    const OfficialConfig *c = a->config;
    params_enter(p, "cluster_attention/cluster_attention");
    a->routing_site = random_site(params_name(p, "dropout"));
    a->random_site = random_site(params_name(p, "random_routing"));
    if (c->hash_items)
        a->hashing = hashing_new(p, a->routing, c->sparsity_cluster_size, a->width);
    else if (!c->random_routing)
        a->clusters = clusters_new(p, c, a->routing, a->width);
    if (c->sparsity_cluster_relative)
        a->routing_tables = tables_new(p, c, a->width);
    params_leave(p);
}

static void new_local(Params *p, OfficialAttention *a)
{
    params_enter(p, "local_nd");
    a->local_site = random_site(params_name(p, "dropout"));
    if (a->config->local_relative)
        a->local_tables = tables_new(p, a->config, a->width);
    params_leave(p);
}

OfficialAttention official_attention_new(Params *p, const char *name, const OfficialConfig *c, int layer)
{
    int64_t wide = c->hidden_size, heads = c->local_num_heads + c->sparsity_cluster_num_heads;
    OfficialAttention a = {.config = c, .width = wide / heads};
    a.routing = layer < c->sparsity_skip_first ? 0 : c->sparsity_cluster_num_heads;
    a.local = heads - a.routing;
    params_enter(p, "%s", name);
    a.q = official_dense(p, "q", wide, wide, false);
    a.k = official_dense(p, "k", wide, wide, false);
    a.v = official_dense(p, "v", wide, wide, false);
    params_enter(p, "attention_nd");
    if (a.routing)
        new_routing(p, &a);
    if (a.local)
        new_local(p, &a);
    a.dense = official_dense(p, "dense", a.width, a.width, false);
    params_leave(p);
    a.output = official_dense(p, "output_transform", wide, wide, false);
    params_leave(p);
    return a;
}

void official_attention_free(OfficialAttention *a)
{
    clusters_free(a->clusters);
}

/* Blocks of b tokens look at themselves and at the flange before them; queries are scaled by d^-1/2. */
static Windowed windows(const OfficialAttention *a)
{
    const OfficialConfig *c = a->config;
    return (Windowed){.block = c->query_shape[0],
                      .back = c->memory_flange[0] / c->query_shape[0],
                      .causal = true,
                      .hide_zeros = !c->image, /* images keep one mask for all */
                      .relative = a->local_tables,
                      .dropout = (float)c->attention_dropout,
                      .site = a->local_site,
                      .blocked = BLOCKED_1E9};
}

Cache official_attention_past(const OfficialAttention *a, States *owner, int64_t rows)
{
    Windowed w = windows(a);
    return windowed_cache(&w, owner, rows, a->local, a->width, a->width);
}

static Tensor *local_heads(Tape *t, const OfficialAttention *a, Tensor *q, Tensor *k, Tensor *v, Cache *past)
{
    Windowed w = windows(a);
    return past ? windowed_extend(t, &w, past, q, k, v) : windowed_attention(t, &w, q, k, v);
}

/* The scores [B,h,S,K] of blank rows are so low that any other is chosen first. */
static Tensor *hide_blanks(Tape *t, Tensor *scores, int64_t known)
{
    const int64_t *n = scores->shape.dim;
    if (known >= n[2])
        return scores;
    Tensor *blank = constant(t, SHAPE(n[0], n[1], n[2] - known, n[3]), -1e9f);
    return concat2(t, 2, narrow(t, scores, 2, 0, known), blank);
}

/* How well each token suits each group: [B,S,h,d] -> [B,h,S,K]; what that costs is added to *loss. */
static Tensor *group_scores(Tape *t, const OfficialAttention *a, Tensor *x, int64_t known, int side, Tensor **loss)
{
    const int64_t *n = x->shape.dim, count = a->config->sparsity_cluster_size;
    if (a->config->random_routing) /* the paper's Random Transformer */
        return hide_blanks(t, uniform(t, SHAPE(n[0], a->routing, n[1], count), a->random_site), known);
    if (a->config->hash_items)
        return hide_blanks(t, hash_scores(t, x, a->hashing.directions, count), known);
    Tensor *scores = cluster_scores(t, x, a->clusters->means);
    Tensor *cost = cluster_loss(t, a->clusters, x, scores, side);
    *loss = *loss ? add(t, *loss, cost) : cost;
    return hide_blanks(t, scores, known);
}

/* Queries and keys are normalised, so that their scores need no scale (the d^-1/2 of the queries weighs in epsilon alone). */
static Tensor *routing_heads(Tape *t, const OfficialAttention *a, Tensor *q, Tensor *k, Tensor *v, int64_t known,
                             Tensor **loss)
{
    const OfficialConfig *c = a->config;
    int64_t window = MIN(c->sparsity_cluster_attention_window, tensor_dim(q, 1)); /* a text that begins is shorter */
    q = standardize(t, q, NULL, NULL, 1e-6f * (float)a->width);
    k = c->share_qk ? q : standardize(t, k, NULL, NULL, 1e-6f);
    Tensor *scores = tape_show(t, group_scores(t, a, q, known, QUERIES, loss), "routing.scores"); /* [B,h,S,K] */
    Tensor *from = tape_show(t, top_rows(t, scores, window), "routing.members");                  /* [B,K w,h] */
    Tensor *to = from;
    if (!c->share_qk)
        to = top_rows(t, group_scores(t, a, k, known, KEYS, loss), window);
    else if (*loss)
        *loss = add(t, *loss, *loss); /* the authors add the cost of the keys, which are the queries */
    Routed r = {.clusters = c->sparsity_cluster_size,
                .eps = 1e-2f,
                .causal = SEES_LOWER_RANKS,
                .hide_zeros = !c->image, /* images keep one mask for all */
                .relative = a->routing_tables,
                .scale = 1,
                .dropout = (float)c->attention_dropout,
                .site = a->routing_site,
                .blocked = BLOCKED_1E9};
    return routed_attention(t, &r, q, k, v, from, to);
}

Tensor *official_attention(Tape *t, const OfficialAttention *a, Tensor *x, int64_t known, Cache *past, Tensor **loss)
{
    int64_t heads = a->routing + a->local, h = a->routing;
    contract(!past || !h, "heads that route have no past");
    Scope s = scope_open(t);
    Tensor *q = split_heads(t, affine(t, x, a->q.weight, NULL), heads);
    Tensor *k = split_heads(t, affine(t, x, a->k.weight, NULL), heads);
    Tensor *v = split_heads(t, affine(t, x, a->v.weight, NULL), heads), *parts[2], *cost = NULL;
    int count = 0;
    if (a->routing)
        parts[count++] =
            routing_heads(t, a, narrow(t, q, 2, 0, h), narrow(t, k, 2, 0, h), narrow(t, v, 2, 0, h), known, &cost);
    if (a->local)
        parts[count++] = local_heads(t, a, narrow(t, q, 2, h, a->local), narrow(t, k, 2, h, a->local),
                                     narrow(t, v, 2, h, a->local), past);
    Tensor *o = count == 2 ? concat2(t, 2, parts[0], parts[1]) : parts[0]; /* [B,S,H,d] */
    o = affine(t, join_heads(t, affine(t, o, a->dense.weight, NULL)), a->output.weight, NULL);
    if (cost)
        *loss = *loss ? add(t, *loss, cost) : cost;
    Tensor *kept[] = {o, *loss};
    scope_close_n(t, s, kept, 2);
    return o;
}
