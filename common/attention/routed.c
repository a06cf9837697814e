#include "common/attention/routed.h"

#include "common/attention/sight.h"
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

/* Clusters as the batch: their members' rows [B K,w,H,d]. */
static Tensor *members(Tape *t, const Routed *r, Tensor *x, Tensor *index)
{
    const int64_t *n = index->shape.dim;
    char text[128];
    contract(index->shape.rank == 3 && r->clusters > 0 && n[1] % r->clusters == 0,
             "routed_attention: an index %s of %lld clusters", shape_text(index->shape, text), (long long)r->clusters);
    return reshape(t, gather_rows(t, x, index), SHAPE(n[0] * r->clusters, n[1] / r->clusters, n[2], tensor_dim(x, -1)));
}

/* The memory of every cluster before its members: [B K,m + u,H,d]. */
static Tensor *with_memory(Tape *t, const Routed *r, Tensor *memory, Tensor *x)
{
    if (!memory || tensor_count(memory) == 0)
        return x;
    const int64_t *n = memory->shape.dim;
    char text[128];
    contract(memory->shape.rank == 4 && n[1] == r->clusters && n[0] == x->shape.dim[2] && n[3] == x->shape.dim[3],
             "routed_attention: a memory %s", shape_text(memory->shape, text));
    Tensor *rows = permute(t, memory, (const int[]){1, 2, 0, 3}); /* [K,m,H,d] */
    rows = expand(t, reshape(t, rows, SHAPE(1, n[1] * n[2], n[0], n[3])), x->shape.dim[0] / r->clusters);
    rows = reshape(t, convert(t, rows, x->type), SHAPE(x->shape.dim[0], n[2], n[0], n[3]));
    return concat2(t, 1, rows, x);
}

/* What the masks of the clusters are read off. */
typedef struct Cluster {
    RoutedSight sight;
    Tensor *query_index, *key_index;
    bool shared; /* one set for queries and keys */
} Cluster;

static Shape table_shape(const RoutedSight *s)
{
    return SHAPE(s->batch * s->clusters, s->heads, s->queries, s->memory + s->keys);
}

/* The keys that a query may see, where no simpler mask says it. */
static Tensor *seen_members(Tape *t, const Cluster *c)
{
    OP_BEGIN(t, "seen_members", c->query_index, c->key_index);
    Tensor *seen = tensor_make(t, U8, table_shape(&c->sight));
    KERNEL(t, sight, routed, &c->sight, seen->data);
    return seen;
}

/* What a query's own key scores more than others. Of one set that is the diagonal, the same for all clusters and heads. */
static Tensor *own_bias(Tape *t, const Cluster *c, float value)
{
    OP_BEGIN(t, "own_bias", c->query_index, c->key_index);
    RoutedSight s = c->sight;
    if (c->shared) {
        s.batch = s.clusters = s.heads = 1;
        s.query_index = s.key_index = NULL;
    }
    Tensor *bias = tensor_make(t, F32, table_shape(&s));
    KERNEL(t, sight, routed_self, &s, value, bias->data);
    return bias;
}

static Cluster cluster_of(const Routed *r, const Tensor *q, const Tensor *k, Tensor *query_index, Tensor *key_index)
{
    const int64_t *nq = query_index->shape.dim, *nk = key_index->shape.dim;
    Cluster c = {.query_index = query_index, .key_index = key_index, .shared = query_index == key_index};
    c.sight = (RoutedSight){.batch = nq[0],
                            .heads = nq[2],
                            .clusters = r->clusters,
                            .queries = nq[1] / r->clusters,
                            .keys = nk[1] / r->clusters,
                            .memory = r->memory_keys ? r->memory_keys->shape.dim[2] : 0,
                            .query_tokens = q->shape.dim[1],
                            .key_tokens = k->shape.dim[1],
                            .query_index = query_index->data,
                            .key_index = key_index->data,
                            .query_real = r->query_real ? r->query_real->data : NULL,
                            .key_real = r->key_real ? r->key_real->data : NULL,
                            .causal = r->causal == SEES_LOWER_INDICES,
                            .self = r->own != 0};
    contract((!r->query_real || tensor_count(r->query_real) == nq[0] * q->shape.dim[1]) &&
                 (!r->key_real || tensor_count(r->key_real) == nk[0] * k->shape.dim[1]),
             "routed_attention: marks of what is a token do not fit the tokens");
    return c;
}

/* Members stand in ascending order: of one set, ranks and indices say the same. */
static AttentionMask cluster_mask(Tape *t, const Routed *r, const Cluster *c, const Tensor *values)
{
    bool padding = r->query_real || r->key_real;
    bool ranks = r->causal == SEES_LOWER_RANKS || (r->causal == SEES_LOWER_INDICES && c->shared && !padding);
    bool written = padding || (r->causal == SEES_LOWER_INDICES && !ranks);
    contract(!r->hide_zeros || (!written && !r->memory_keys), "routed_attention: two masks of padding");
    contract(!padding || r->causal != SEES_LOWER_RANKS, "routed_attention: padding goes with indices");
    AttentionMask m = {.causal = ranks,
                       .causal_offset = c->sight.memory,
                       .blocked = r->blocked,
                       .empty_row = r->empty_row,
                       .bias = r->own != 0 ? own_bias(t, c, r->own) : NULL};
    if (r->hide_zeros)
        m.keep = nonzero_keys(t, values);
    else if (written)
        m.keep = seen_members(t, c);
    return m;
}

Tensor *routed_attention(Tape *t, const Routed *r, Tensor *q, Tensor *k, Tensor *v, Tensor *query_index,
                         Tensor *key_index)
{
    contract(!r->memory_keys || !(r->relative.keys || r->relative.values),
             "routed_attention: the memory has no rank, and so no distance");
    Scope scope = scope_open(t);
    Cluster c = cluster_of(r, q, k, query_index, key_index);
    Tensor *queries = members(t, r, q, query_index);
    Tensor *keys = k == q && c.shared ? queries : members(t, r, k, key_index);
    Tensor *values = members(t, r, v, key_index);
    AttentionSpec spec = {.scale = r->scale, .dropout = r->dropout, .site = r->site};
    spec.mask = cluster_mask(t, r, &c, values);
    keys = with_memory(t, r, r->memory_keys, keys);
    values = with_memory(t, r, r->memory_values, values);
    Tensor *o = relative_attention(t, &spec, &r->relative, queries, keys, values); /* [B K,w,H,e] */
    const int64_t *n = query_index->shape.dim;
    o = reshape(t, o, SHAPE(n[0], n[1], n[2], tensor_dim(v, -1)));
    return scope_close(t, scope, scatter_mean(t, o, query_index, q->shape.dim[1], r->eps));
}
