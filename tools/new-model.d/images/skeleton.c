#include "models/skeleton/skeleton.h"

/* ---- Config */

static const ConfigField rows[] = {
    {CONFIG_INT("img_size", SkeletonConfig, img_size, .value = "28", .range = "[1, 4096]",
                .help = "side of an image, in pixels; patches of patch_size cut it")},
    {CONFIG_INT("patch_size", SkeletonConfig, patch_size, .value = "7", .range = "[1, 4096]",
                .help = "side of a patch; divides img_size")},
    {CONFIG_INT("in_chans", SkeletonConfig, in_chans, .value = "1", .range = "[1, 1024]",
                .help = "channels of an image: 1 gray, 3 colour")},
    {CONFIG_INT("num_classes", SkeletonConfig, num_classes, .value = "10", .range = "[1, 1000000]",
                .help = "classes that an image may be of")},
    {CONFIG_INT("embed_dim", SkeletonConfig, embed_dim, .value = "64", .range = "[1, 65536]",
                .help = "width; a multiple of num_heads")},
    {CONFIG_INT("depth", SkeletonConfig, depth, .value = "2", .range = "[1, 1000]", .help = "blocks")},
    {CONFIG_INT("num_heads", SkeletonConfig, num_heads, .value = "4", .range = "[1, 4096]",
                .help = "attention heads, each embed_dim / num_heads wide")},
    {CONFIG_NUMBER("mlp_ratio", SkeletonConfig, mlp_ratio, .value = "2", .range = "(0, 64]",
                   .help = "hidden width of the MLP, as a multiple of embed_dim")},
};

/* What no single row can check. */
static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    const SkeletonConfig *c = config;
    if (c->img_size % c->patch_size)
        return config_refuse(place, "img_size", e, "not divisible by the patch of %d", c->patch_size);
    if (c->embed_dim % c->num_heads)
        return config_refuse(place, "embed_dim", e, "not divisible by the %d heads", c->num_heads);
    return true;
}

const ConfigTable skeleton_config_table = {CONFIG_STRUCT(SkeletonConfig), CONFIG_ROWS(rows), .resolve = resolve};

/* ---- Parameters: registered under the names of the authors' state_dict, so that their checkpoints load */

static const Init INIT = {INIT_NORMAL, 0.1}; /* about embed_dim^-1/2 */
static const float EPS = 1e-6f;

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
    int64_t patch;
    Linear embed;
    Tensor *positions; /* [1,N,C] */
    Block *blocks;
    int depth;
    LayerNorm norm;
    Linear head;
};

static Attention attention_new(Params *p, const char *name, const SkeletonConfig *c)
{
    int64_t width = c->embed_dim;
    params_enter(p, "%s", name);
    Attention a = {.heads = c->num_heads};
    a.q = linear_new(p, "q", width, width, false, INIT);
    a.k = linear_new(p, "k", width, width, false, INIT);
    a.v = linear_new(p, "v", width, width, false, INIT);
    a.out = linear_new(p, "out", width, width, true, INIT);
    params_leave(p);
    return a;
}

static Block block_new(Params *p, int i, const SkeletonConfig *c)
{
    int64_t width = c->embed_dim;
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
    int64_t grid = c->img_size / c->patch_size, width = c->embed_dim;
    m->patch = c->patch_size;
    m->embed = linear_new(p, "embed", c->in_chans * m->patch * m->patch, width, true, INIT);
    m->positions = params_add(p, "positions", SHAPE(1, grid * grid, width), INIT);
    m->depth = c->depth;
    m->blocks = mem_new((size_t)m->depth * sizeof *m->blocks);
    for (int i = 0; i < m->depth; i++)
        m->blocks[i] = block_new(p, i, c);
    m->norm = layer_norm_new(p, "norm", width, EPS);
    m->head = linear_new(p, "head", width, c->num_classes, true, INIT);
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

/* Cuts the image: [B,c,S,S] -> [B,N,c*p*p], patches from left to right, then down. */
static Tensor *patches_of(Tape *t, Tensor *x, int64_t p)
{
    const int64_t *n = x->shape.dim, g = n[2] / p;
    Scope s = scope_open(t);
    Tensor *cut = reshape(t, x, SHAPE(n[0], n[1], g, p, g, p));
    cut = permute(t, cut, (const int[]){0, 2, 4, 1, 3, 5}); /* [B,g,g,c,p,p] */
    return scope_close(t, s, reshape(t, cut, SHAPE(n[0], g * g, n[1] * p * p)));
}

/* Every patch asks every patch (eq. 2): [B,N,C] -> [B,N,C]. */
static Tensor *attention(Tape *t, const Attention *a, Tensor *u)
{
    Scope s = scope_open(t);
    Tensor *q = split_heads(t, linear(t, &a->q, u), a->heads);          /* [B,N,H,d] */
    Tensor *k = split_heads(t, linear(t, &a->k, u), a->heads);          /* [B,N,H,d] */
    Tensor *v = split_heads(t, linear(t, &a->v, u), a->heads);          /* [B,N,H,d] */
    Tensor *y = join_heads(t, attend(t, &(AttentionSpec){0}, q, k, v)); /* [B,N,C] */
    return scope_close(t, s, linear(t, &a->out, y));
}

static Tensor *block(Tape *t, const Block *b, Tensor *x)
{
    Scope s = scope_open(t);
    x = add(t, x, attention(t, &b->attention, layer_norm(t, &b->norm1, x))); /* eq. 2 */
    x = add(t, x, mlp(t, &b->mlp, &b->norm2, x));                            /* eq. 3 */
    return scope_close(t, s, x);
}

Tensor *skeleton_forward(Tape *t, const Skeleton *m, Tensor *image)
{
    Scope s = scope_open(t);
    Tensor *x = linear(t, &m->embed, patches_of(t, image, m->patch)); /* [B,N,C]       */
    x = add_rows(t, x, m->positions);                                 /* eq. 1         */
    for (int i = 0; i < m->depth; i++)
        x = scope_close(t, s, block(t, &m->blocks[i], x));        /* [B,N,C]       */
    x = mean_tokens(t, layer_norm(t, &m->norm, x));               /* [B,1,C]       */
    x = reshape(t, x, SHAPE(tensor_dim(x, 0), tensor_dim(x, 2))); /* [B,C]         */
    return scope_close(t, s, linear(t, &m->head, x));             /* eq. 4 [B,classes] */
}
