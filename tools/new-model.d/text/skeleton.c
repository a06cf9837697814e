#include "models/skeleton/skeleton.h"

/* ---- Config */

static const ConfigField rows[] = {
    {CONFIG_INT("n_vocab", SkeletonConfig, n_vocab, .value = "256", .range = "[1, 10000000]",
                .help = "ids that a token may have: 256 for bytes")},
    {CONFIG_INT("n_ctx", SkeletonConfig, n_ctx, .value = "128", .range = "[1, 1000000]",
                .help = "tokens that the model can see")},
    {CONFIG_INT("n_embd", SkeletonConfig, n_embd, .value = "64", .range = "[1, 65536]",
                .help = "width; a multiple of n_head")},
    {CONFIG_INT("n_layer", SkeletonConfig, n_layer, .value = "2", .range = "[1, 1000]", .help = "blocks")},
    {CONFIG_INT("n_head", SkeletonConfig, n_head, .value = "4", .range = "[1, 4096]",
                .help = "attention heads, each n_embd / n_head wide")},
    {CONFIG_NUMBER("mlp_ratio", SkeletonConfig, mlp_ratio, .value = "4", .range = "(0, 64]",
                   .help = "hidden width of the MLP, as a multiple of n_embd")},
};

/* What no single row can check. */
static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    const SkeletonConfig *c = config;
    if (c->n_embd % c->n_head)
        return config_refuse(place, "n_embd", e, "not divisible by the %d heads", c->n_head);
    return true;
}

const ConfigTable skeleton_config_table = {CONFIG_STRUCT(SkeletonConfig), CONFIG_ROWS(rows), .resolve = resolve};

/* ---- Parameters: registered under the names of the authors' state_dict, so that their checkpoints load */

static const Init INIT = {INIT_NORMAL, 0.1}; /* about n_embd^-1/2 */
static const float EPS = 1e-5f;

typedef struct Attention {
    Linear q, k, v, out;
    int heads;
} Attention;

typedef struct Block {
    LayerNorm norm1, norm2;
    Attention attention;
    Mlp mlp;
} Block;

struct Skeleton {
    Tensor *tokens, *positions; /* [V,C], [1,n_ctx,C] */
    Block *blocks;
    int depth;
    LayerNorm norm;
    Linear head;
};

static Attention attention_new(Params *p, const char *name, const SkeletonConfig *c)
{
    int64_t width = c->n_embd;
    params_enter(p, "%s", name);
    Attention a = {.heads = c->n_head};
    a.q = linear_new(p, "q", width, width, false, INIT);
    a.k = linear_new(p, "k", width, width, false, INIT);
    a.v = linear_new(p, "v", width, width, false, INIT);
    a.out = linear_new(p, "out", width, width, true, INIT);
    params_leave(p);
    return a;
}

static Block block_new(Params *p, int i, const SkeletonConfig *c)
{
    int64_t width = c->n_embd;
    Block b;
    params_enter(p, "blocks.%d", i);
    b.norm1 = layer_norm_new(p, "norm1", width, EPS);
    b.attention = attention_new(p, "attention", c);
    b.norm2 = layer_norm_new(p, "norm2", width, EPS);
    b.mlp = mlp_new(p, "mlp", width, (int64_t)(width * c->mlp_ratio), INIT);
    params_leave(p);
    return b;
}

Skeleton *skeleton_new(const SkeletonConfig *c, Params *p)
{
    Skeleton *m = mem_new(sizeof *m);
    int64_t width = c->n_embd;
    m->tokens = params_add(p, "tokens", SHAPE(c->n_vocab, width), INIT);
    m->positions = params_add(p, "positions", SHAPE(1, c->n_ctx, width), INIT);
    m->depth = c->n_layer;
    m->blocks = mem_new((size_t)m->depth * sizeof *m->blocks);
    for (int i = 0; i < m->depth; i++)
        m->blocks[i] = block_new(p, i, c);
    m->norm = layer_norm_new(p, "norm", width, EPS);
    m->head = linear_new(p, "head", width, c->n_vocab, false, INIT);
    return m;
}

void skeleton_free(Skeleton *m)
{
    if (!m)
        return;
    mem_free(m->blocks);
    mem_free(m);
}

/* ---- Forward */

/* Every token asks itself and those before it (eq. 2): [B,S,C] -> [B,S,C]. */
static Tensor *attention(Tape *t, const Attention *a, Tensor *u)
{
    const AttentionSpec causal = {.mask = {.causal = true}};
    Scope s = scope_open(t);
    Tensor *q = split_heads(t, linear(t, &a->q, u), a->heads); /* [B,S,H,d] */
    Tensor *k = split_heads(t, linear(t, &a->k, u), a->heads); /* [B,S,H,d] */
    Tensor *v = split_heads(t, linear(t, &a->v, u), a->heads); /* [B,S,H,d] */
    Tensor *y = join_heads(t, attend(t, &causal, q, k, v));    /* [B,S,C] */
    return scope_close(t, s, linear(t, &a->out, y));
}

static Tensor *block(Tape *t, const Block *b, Tensor *x)
{
    Scope s = scope_open(t);
    x = add(t, x, attention(t, &b->attention, layer_norm(t, &b->norm1, x))); /* eq. 2 */
    x = add(t, x, mlp(t, &b->mlp, &b->norm2, x));                            /* eq. 3 */
    return scope_close(t, s, x);
}

Tensor *skeleton_forward(Tape *t, const Skeleton *m, Tensor *ids)
{
    Scope s = scope_open(t);
    Tensor *places = narrow(t, m->positions, 1, 0, tensor_dim(ids, 1));           /* [1,S,C] */
    Tensor *x = add_rows(t, embedding(t, m->tokens, ids), contiguous(t, places)); /* eq. 1 [B,S,C] */
    for (int i = 0; i < m->depth; i++)
        x = scope_close(t, s, block(t, &m->blocks[i], x));                     /* [B,S,C] */
    return scope_close(t, s, linear(t, &m->head, layer_norm(t, &m->norm, x))); /* eq. 4 [B,S,V] */
}
