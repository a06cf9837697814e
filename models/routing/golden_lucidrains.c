/* Golden files of the parts of variant B: k-means, local and routing heads. */
#include "models/routing/golden.h"

#include "common/base/memory.h"
#include "models/routing/lucidrains_attention.h"

/* Files have heads before tokens: [B,H,N,d] <-> [B,N,H,d]. */
static Tensor *exchange_heads(Tape *t, Tensor *x)
{
    static const int order[] = {0, 2, 1, 3};
    return permute(t, x, order);
}

/* input/NAME [B,H,N,d] of `heads` heads of `width` as [B,N,H,d]; H or d of any size where 0. */
static Tensor *heads_input(Golden *g, const char *name, int64_t heads, int64_t width, Error *e)
{
    Tensor *x = golden_input(g, name, e);
    if (!x)
        return NULL;
    const int64_t *n = x->shape.dim;
    if (x->shape.rank != 4 || (heads && n[1] != heads) || (width && n[3] != width))
        return error_null(e, "input/%s is not [batch, heads, length, width] of the config", name);
    return exchange_heads(golden_tape(g), x);
}

bool golden_mask(Golden *g, const char *name, int64_t rows, int64_t n, Tensor **mask, Error *e)
{
    *mask = NULL;
    if (!golden_has_input(g, name))
        return true;
    *mask = golden_integers(g, name, U8, e);
    if (*mask && !shape_equal((*mask)->shape, SHAPE(rows, n)))
        return error_set(e, "input/%s is not [batch, length]", name);
    return *mask != NULL;
}

/* Outputs out and aux with their gradients; in training the means that follow. */
static void compare(Golden *g, Tensor *out, Tensor *aux, Params *p, Kmeans *kmeans)
{
    Tape *t = golden_tape(g);
    Tensor *outputs[] = {out, aux};
    golden_output(g, "out", out);
    if (aux)
        golden_output(g, "aux", aux);
    if (aux && !aux->needs_gradient)
        tensor_needs_gradient(aux); /* no routing heads: a zero that depends on nothing */
    golden_backward(g, aux ? 2 : 1, (const char *const[]){"out", "aux"}, outputs, p);
    if (kmeans && golden_training(g)) {
        kmeans_update(t, kmeans);
        golden_updated(g, p);
    }
}

/* ---- kmeans_attention */

static bool resolve_routing(void *config, const ConfigPlace *place, Error *e)
{
    (void)place, (void)e;
    RoutingShape *c = config;
    if (!c->has_context_window)
        c->context_window = c->window;
    return true;
}

static const ConfigField routing_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_INT("num_clusters", RoutingShape, clusters, .range = "[1, 65536]")},
    {CONFIG_INT("window_size", RoutingShape, window, .range = "[1, 16777216]")},
    {CONFIG_INT("num_heads", RoutingShape, heads, .range = "[1, 4096]")},
    {CONFIG_INT("head_dim", RoutingShape, width, .range = "[1, 65536]")},
    {CONFIG_BOOL("causal", RoutingShape, causal, .value = "false")},
    {CONFIG_BOOL("shared_qk", RoutingShape, shared_qk, .value = "false")},
    {CONFIG_BOOL("receives_context", RoutingShape, receives_context, .value = "false")},
    {CONFIG_INT("context_window_size", RoutingShape, context_window, CONFIG_OR_NULL(RoutingShape, has_context_window),
                .value = "null", .range = "[1, 16777216]")},
    {CONFIG_INT("num_mem_kv", RoutingShape, memory, .value = "0", .range = "[0, 65536]")},
    {CONFIG_NUMBER("commitment", RoutingShape, commitment, .value = "1e-4")},
    {CONFIG_NUMBER("ema_decay", RoutingShape, decay, .value = "0.999")},
};
static const ConfigTable routing_table = {CONFIG_STRUCT(RoutingShape), CONFIG_ROWS(routing_rows),
                                          .resolve = resolve_routing};

static bool run_kmeans_attention(Golden *g, RoutingHeads *r, Params *p, Error *e)
{
    const RoutingShape *c = &r->shape;
    Tensor *q = heads_input(g, "q", c->heads, c->width, e);
    Tensor *k = q ? heads_input(g, "k", c->heads, c->width, e) : NULL;
    Tensor *v = k ? heads_input(g, "v", c->heads, c->width, e) : NULL, *query_mask, *key_mask, *aux;
    if (!v)
        return false;
    int64_t batch = tensor_dim(q, 0), keys = tensor_dim(k, 1);
    bool one_length = !c->receives_context && (c->shared_qk || golden_has_input(g, "query_mask"));
    if (!shape_equal(k->shape, v->shape) || tensor_dim(k, 0) != batch || (one_length && keys != tensor_dim(q, 1)))
        return error_set(e, "input/q, input/k and input/v do not fit each other");
    if (!golden_mask(g, "query_mask", batch, tensor_dim(q, 1), &query_mask, e) ||
        !golden_mask(g, "key_mask", batch, keys, &key_mask, e))
        return false;
    Tensor *out = routing_heads(golden_tape(g), r, q, k, v, query_mask, key_mask, &aux);
    compare(g, exchange_heads(golden_tape(g), out), aux, p, &r->kmeans);
    return true;
}

bool golden_kmeans_attention(Golden *g, Error *e)
{
    RoutingShape c;
    if (!golden_config(g, &routing_table, &c))
        return true;
    Params *p = params_new();
    RoutingHeads r = routing_heads_new(p, &c);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && run_kmeans_attention(g, &r, p, e);
    kmeans_free(&r.kmeans);
    params_free(p);
    return good;
}

/* ---- kmeans_update, kmeans_init */

typedef struct KmeansConfig {
    int64_t heads, width, clusters;
    double decay, commitment;
    int *forwards;
    int groups;
} KmeansConfig;

#define KMEANS_ROWS                                                                                                    \
    {CONFIG_FIXED("variant", "lucidrains")}, {CONFIG_INT("num_heads", KmeansConfig, heads, .range = "[1, 4096]")},     \
        {CONFIG_INT("head_dim", KmeansConfig, width, .range = "[1, 65536]")},                                          \
    {                                                                                                                  \
        CONFIG_INT("num_clusters", KmeansConfig, clusters, .range = "[1, 65536]")                                      \
    }

static const ConfigField update_rows[] = {
    KMEANS_ROWS,
    {CONFIG_NUMBER("ema_decay", KmeansConfig, decay, .value = "0.999")},
    {CONFIG_NUMBER("commitment", KmeansConfig, commitment, .value = "1e-4")},
    {CONFIG_INT_LIST("forwards_per_update", KmeansConfig, forwards, groups, .range = "[1, 64]")},
};
static const ConfigTable update_table = {CONFIG_STRUCT(KmeansConfig), CONFIG_ROWS(update_rows)};

/* The f-th forward's x [B,N,H,d] of x [F,B,H,N,d]. */
static Tensor *forward_input(Tape *t, Tensor *x, int64_t f)
{
    const int64_t *n = x->shape.dim;
    return exchange_heads(t, reshape(t, narrow(t, x, 0, f, 1), SHAPE(n[1], n[2], n[3], n[4])));
}

static bool run_kmeans_update(Golden *g, const KmeansConfig *c, Kmeans *k, Params *p, Error *e)
{
    Tape *t = golden_tape(g);
    Tensor *x = golden_input(g, "x", e), *aux = NULL, *means = NULL;
    if (!x)
        return false;
    int64_t forwards = 0;
    for (int i = 0; i < c->groups; i++)
        forwards += c->forwards[i];
    if (x->shape.rank != 5 || x->shape.dim[0] != forwards || x->shape.dim[2] != c->heads || x->shape.dim[4] != c->width)
        return error_set(e, "input/x is not [forwards, batch, heads, length, width] of the config");
    for (int64_t group = 0, f = 0; group < c->groups; group++) {
        for (int i = 0; i < c->forwards[group]; i++) {
            Tensor *loss;
            kmeans_scores(t, k, forward_input(t, x, f++), &loss);
            loss = reshape(t, loss, SHAPE(1));
            aux = aux ? concat2(t, 0, aux, loss) : loss;
        }
        kmeans_update(t, k);
        Tensor *now = scale(t, reshape(t, k->means, SHAPE(1, c->heads, c->clusters, c->width)), 1); /* a copy */
        means = means ? concat2(t, 0, means, now) : now;
    }
    golden_output(g, "aux", aux);
    golden_output(g, "means", means);
    golden_backward(g, 1, (const char *const[]){"aux"}, &aux, p);
    return true;
}

bool golden_kmeans_update(Golden *g, Error *e)
{
    KmeansConfig c;
    if (!golden_config(g, &update_table, &c))
        return true;
    Params *p = params_new();
    Kmeans k = kmeans_new(p, c.heads, c.clusters, c.width, c.decay, c.commitment);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && run_kmeans_update(g, &c, &k, p, e);
    kmeans_free(&k);
    params_free(p);
    config_free(&update_table, &c);
    return good;
}

static const ConfigField init_rows[] = {KMEANS_ROWS};
static const ConfigTable init_table = {CONFIG_STRUCT(KmeansConfig), CONFIG_ROWS(init_rows)};

static bool run_kmeans_init(Golden *g, const KmeansConfig *c, Kmeans *k, Error *e)
{
    Shape shape;
    Tensor *x = heads_input(g, "x", c->heads, c->width, e);
    const int64_t *index = x ? golden_values(g, "indices", I64, &shape, e) : NULL;
    if (!index)
        return false;
    if (!shape_equal(shape, SHAPE(c->clusters)))
        return error_set(e, "input/indices is not one token a cluster");
    for (int64_t i = 0; i < c->clusters; i++)
        if (index[i] < 0 || index[i] >= tensor_dim(x, 0) * tensor_dim(x, 1))
            return error_set(e, "input/indices: there is no token %lld", (long long)index[i]);
    kmeans_begin(golden_tape(g), k, x, index);
    golden_output(g, "means", k->means);
    return true;
}

bool golden_kmeans_init(Golden *g, Error *e)
{
    KmeansConfig c;
    if (!golden_config(g, &init_table, &c))
        return true;
    Params *p = params_new();
    Kmeans k = kmeans_new(p, c.heads, c.clusters, c.width, 0, 0);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = run_kmeans_init(g, &c, &k, e);
    kmeans_free(&k);
    params_free(p);
    return good;
}

/* ---- local_attention */

typedef struct LocalConfig {
    int64_t window, back, forward, dim;
    bool causal, has_forward, has_dim;
} LocalConfig;

static const ConfigField local_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_INT("window_size", LocalConfig, window, .range = "[1, 16777216]")},
    {CONFIG_BOOL("causal", LocalConfig, causal, .value = "false")},
    {CONFIG_INT("look_backward", LocalConfig, back, .value = "1", .range = "[0, 65536]")},
    {CONFIG_INT("look_forward", LocalConfig, forward, CONFIG_OR_NULL(LocalConfig, has_forward), .value = "null",
                .range = "[0, 65536]")},
    {CONFIG_INT("dim", LocalConfig, dim, CONFIG_OR_NULL(LocalConfig, has_dim), .value = "null", .range = "[2, 65536]")},
};
static const ConfigTable local_table = {CONFIG_STRUCT(LocalConfig), CONFIG_ROWS(local_rows)};

static bool run_local_attention(Golden *g, const LocalHeads *l, int64_t width, Params *p, Error *e)
{
    Tensor *q = heads_input(g, "q", 0, width, e), *k = q ? heads_input(g, "k", 0, width, e) : NULL;
    Tensor *v = k ? heads_input(g, "v", 0, 0, e) : NULL, *mask;
    if (!v || !golden_mask(g, "input_mask", tensor_dim(q, 0), tensor_dim(q, 1), &mask, e))
        return false;
    if (!shape_equal(q->shape, k->shape) || !shape_equal(q->shape, v->shape) || tensor_dim(q, 1) % l->window)
        return error_set(e, "input/q, input/k and input/v are not one number of whole windows");
    Tensor *out = local_heads(golden_tape(g), l, q, k, v, mask, NULL);
    compare(g, exchange_heads(golden_tape(g), out), NULL, p, NULL);
    return true;
}

bool golden_local_attention(Golden *g, Error *e)
{
    LocalConfig c;
    if (!golden_config(g, &local_table, &c))
        return true;
    int64_t forward = c.has_forward ? c.forward : !c.causal;
    Params *p = params_new();
    LocalHeads l = local_heads_new(p, c.window, c.back, forward, c.causal, c.has_dim ? c.dim : 0);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && run_local_attention(g, &l, c.has_dim ? c.dim : 0, p, e);
    params_free(p);
    return good;
}

/* ---- self_attention */

typedef struct MixedConfig {
    MixedShape shape;
    int64_t longest;
    bool has_width, has_local_window;
} MixedConfig;

static bool resolve_mixed(void *config, const ConfigPlace *place, Error *e)
{
    MixedConfig *c = config;
    MixedShape *s = &c->shape;
    if (!c->has_width)
        s->width = s->dim / s->heads;
    if (!c->has_local_window)
        s->local_window = s->window;
    if (c->longest % s->window)
        return config_refuse(place, "max_seq_len", e, "not divisible by the window of %lld", (long long)s->window);
    if (s->width < 1 || s->local_heads > s->heads || (s->local_heads > 0 && s->width % 2))
        return config_refuse(place, "heads", e, "heads that the config cannot have");
    if (s->receives_context && (s->local_heads > 0 || s->causal))
        return config_refuse(place, "receives_context", e, "not with local heads, and not causal");
    s->clusters = c->longest / s->window;
    return true;
}

static const ConfigField mixed_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_INT("dim", MixedConfig, shape.dim, .range = "[1, 1048576]")},
    {CONFIG_INT("heads", MixedConfig, shape.heads, .range = "[1, 4096]")},
    {CONFIG_INT("local_attn_heads", MixedConfig, shape.local_heads, .range = "[0, 4096]")},
    {CONFIG_INT("max_seq_len", MixedConfig, longest, .range = "[1, 16777216]")},
    {CONFIG_INT("window_size", MixedConfig, shape.window, .range = "[1, 16777216]")},
    {CONFIG_INT("dim_head", MixedConfig, shape.width, CONFIG_OR_NULL(MixedConfig, has_width), .value = "null",
                .range = "[1, 65536]")},
    {CONFIG_INT("local_attn_window_size", MixedConfig, shape.local_window,
                CONFIG_OR_NULL(MixedConfig, has_local_window), .value = "null", .range = "[1, 16777216]")},
    {CONFIG_INT("local_attn_radius_blocks", MixedConfig, shape.local_radius, .value = "1", .range = "[0, 65536]")},
    {CONFIG_BOOL("causal", MixedConfig, shape.causal, .value = "false")},
    {CONFIG_BOOL("shared_qk", MixedConfig, shape.shared_qk, .value = "false")},
    {CONFIG_INT("num_mem_kv", MixedConfig, shape.memory, .value = "0", .range = "[0, 65536]")},
    {CONFIG_BOOL("receives_context", MixedConfig, shape.receives_context, .value = "false")},
    {CONFIG_NUMBER("commitment_factor", MixedConfig, shape.commitment, .value = "1e-4")},
    {CONFIG_NUMBER("kmeans_ema_decay", MixedConfig, shape.decay, .value = "0.999")},
};
static const ConfigTable mixed_table = {CONFIG_STRUCT(MixedConfig), CONFIG_ROWS(mixed_rows), .resolve = resolve_mixed};

/* input/NAME [B,n,width] or, where it may be absent, NULL. */
static bool rows_input(Golden *g, const char *name, bool needed, int64_t width, Tensor **x, Error *e)
{
    *x = NULL;
    if (!needed && !golden_has_input(g, name))
        return true;
    *x = golden_input(g, name, e);
    if (*x && ((*x)->shape.rank != 3 || tensor_dim(*x, 2) != width))
        return error_set(e, "input/%s is not [batch, length, %lld]", name, (long long)width);
    return *x != NULL;
}

static bool run_self_attention(Golden *g, MixedAttention *a, Params *p, Error *e)
{
    const MixedShape *s = &a->shape;
    Tensor *x, *positions, *context, *mask, *context_mask, *aux;
    if (!rows_input(g, "x", true, s->dim, &x, e) || !rows_input(g, "pos_emb", false, s->width, &positions, e) ||
        !rows_input(g, "context", s->receives_context, s->dim, &context, e) ||
        !golden_mask(g, "input_mask", tensor_dim(x, 0), tensor_dim(x, 1), &mask, e) ||
        !golden_mask(g, "context_mask", tensor_dim(x, 0), tensor_dim(context ? context : x, 1), &context_mask, e))
        return false;
    if (positions && (tensor_dim(positions, 0) != 1 || tensor_dim(positions, 1) < tensor_dim(x, 1)))
        return error_set(e, "input/pos_emb has fewer rows than input/x");
    if (s->local_heads > 0 && tensor_dim(x, 1) % s->local_window)
        return error_set(e, "input/x is not a number of whole local windows");
    Tape *t = golden_tape(g);
    if (positions)
        positions = reshape(t, positions, SHAPE(tensor_dim(positions, 1), s->width));
    Tensor *out = mixed_attention(t, a, x, mask, positions, context, context_mask, NULL, &aux);
    compare(g, out, aux ? aux : tensor_from(t, F32, (Shape){0}, &(float){0}), p, &a->global_attn.kmeans);
    return true;
}

bool golden_self_attention(Golden *g, Error *e)
{
    MixedConfig c;
    if (!golden_config(g, &mixed_table, &c))
        return true;
    Params *p = params_new();
    MixedAttention a = mixed_attention_new(p, &c.shape);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && run_self_attention(g, &a, p, e);
    kmeans_free(&a.global_attn.kmeans);
    params_free(p);
    return good;
}
