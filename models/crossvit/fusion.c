#include "models/crossvit/fusion.h"

#include "common/base/memory.h"

#include <stdio.h>

static const Init INIT = {INIT_NORMAL, 0.02};
static const float EPS = 1e-6f;

/* ---- Projections */

/* Registered as an nn.Sequential of LayerNorm (0), GELU (1), Linear (2). */
static Projection projection_new(Params *p, const char *list, int b, int64_t from, int64_t to)
{
    params_enter(p, "%s.%d", list, b);
    Projection f = {.norm = layer_norm_new(p, "0", from, EPS), .linear = linear_new(p, "2", from, to, true, INIT)};
    params_leave(p);
    return f;
}

static Tensor *project(Tape *t, const Projection *f, Tensor *x)
{
    return f->identity ? x : linear(t, &f->linear, gelu(t, layer_norm(t, &f->norm, x)));
}

/* ---- Cross attention (eq. 3-6) */

static CrossAttention cross_attention_new(Params *p, const char *name, const CrossvitConfig *c, int o, float drop_path)
{
    int64_t width = c->embed_dim[o];
    params_enter(p, "%s", name);
    CrossAttention a = {.norm1 = layer_norm_new(p, "norm1", width, EPS),
                        .heads = c->num_heads[o],
                        .drop_path = drop_path,
                        .site = random_site(params_name(p, "drop_path"))};
    params_enter(p, "attn");
    a.wq = linear_new(p, "wq", width, width, c->qkv_bias, INIT);
    a.wk = linear_new(p, "wk", width, width, c->qkv_bias, INIT);
    a.wv = linear_new(p, "wv", width, width, c->qkv_bias, INIT);
    a.proj = linear_new(p, "proj", width, width, true, INIT);
    a.spec = (AttentionSpec){.scale = c->has_qk_scale ? (float)c->qk_scale : 0,
                             .dropout = (float)c->attn_drop_rate,
                             .site = random_site(params_name(p, "attn_drop"))};
    a.dropout = (float)c->drop_rate;
    params_leave(p);
    params_leave(p);
    return a;
}

/* The first token asks all tokens, itself included. The residual is that token, not normalised. [B,1+N,C] -> [B,1,C] */
static Tensor *cross_attention(Tape *t, const CrossAttention *a, Tensor *tokens, const char *name)
{
    Scope s = scope_open(t);
    Tensor *cls = narrow(t, tokens, 1, 0, 1);                         /* [B,1,C]     */
    Tensor *u = layer_norm_inner(t, &a->norm1, tokens);               /* [B,1+N,C]   */
    Tensor *q = linear_inner(t, &a->wq, narrow(t, u, 1, 0, 1));       /* [B,1,C]     */
    q = split_heads(t, q, a->heads);                                  /* [B,1,H,d]   */
    Tensor *k = split_heads(t, linear_inner(t, &a->wk, u), a->heads); /* [B,1+N,H,d] */
    Tensor *v = split_heads(t, linear_inner(t, &a->wv, u), a->heads);
    if (tape_watched(t))
        tape_show(t, attention_probabilities(t, &a->spec, q, k), "%s", name); /* [B,H,1,1+N] */
    Tensor *y = linear(t, &a->proj, join_heads(t, attend(t, &a->spec, q, k, v)));
    y = drop_path(t, dropout(t, y, a->dropout, a->site + 1), a->drop_path, a->site);
    return scope_close(t, s, add(t, cls, y));
}

/* Branch b's class token visits the patches of the other branch and comes back; nothing of the old one is kept. */
static Tensor *visit(Tape *t, const Fusion *f, int b, Tensor *const tokens[BRANCHES], int stage)
{
    Scope s = scope_open(t);
    Tensor *x = tokens[b], *other = tokens[1 - b];
    int64_t n = tensor_dim(x, 1) - 1, n_other = tensor_dim(other, 1) - 1;
    Tensor *query = project(t, &f->project[b], narrow(t, x, 1, 0, 1)); /* [B,1,C_o]     */
    tape_show(t, query, "stage%d.projected%d", stage, b);
    Tensor *y = concat2(t, 1, query, narrow(t, other, 1, 1, n_other)); /* [B,1+N_o,C_o] */
    for (int j = 0; j < f->block_count; j++) {
        char name[64];
        snprintf(name, sizeof name, "stage%d.attention%d", stage, b);
        y = cross_attention(t, &f->blocks[b][j], y, name); /* [B,1,C_o]     */
    }
    tape_show(t, y, "stage%d.fused%d", stage, b);
    Tensor *cls = project(t, &f->revert[b], y);                          /* [B,1,C_b]     */
    return scope_close(t, s, concat2(t, 1, cls, narrow(t, x, 1, 1, n))); /* [B,1+N_b,C_b] */
}

/* ---- The ablation's other schemes */

/* z_b = [g_b(sum_j f_j(cls_j)) | patches_b] (eq. 2) */
static Tensor *summed_class_token(Tape *t, const Fusion *f, Tensor *const tokens[BRANCHES])
{
    return add(t, project(t, &f->project[0], narrow(t, tokens[0], 1, 0, 1)),
               project(t, &f->project[1], narrow(t, tokens[1], 1, 0, 1)));
}

static void fuse_class_tokens(Tape *t, const Fusion *f, Tensor *tokens[BRANCHES])
{
    Tensor *sum = summed_class_token(t, f, tokens);
    for (int b = 0; b < BRANCHES; b++)
        tokens[b] =
            concat2(t, 1, project(t, &f->revert[b], sum), narrow(t, tokens[b], 1, 1, tensor_dim(tokens[b], 1) - 1));
}

/* Patches [B,g^2,C] on another grid [B,to^2,C]: which interpolation the authors used is not known; bicubic here. */
static Tensor *regrid(Tape *t, Tensor *patches, int from, int to)
{
    return from == to ? patches
                      : tokens_from_map(t, resize_bicubic(t, map_from_tokens(t, patches, from, from), to, to));
}

/* Class tokens are summed, and so are patches at the same place, each branch on its own grid. */
static void fuse_pairwise(Tape *t, const Fusion *f, Tensor *tokens[BRANCHES])
{
    Tensor *cls = summed_class_token(t, f, tokens), *common[BRANCHES];
    for (int b = 0; b < BRANCHES; b++)
        common[b] = project(t, &f->project[b], narrow(t, tokens[b], 1, 1, tensor_dim(tokens[b], 1) - 1));
    for (int b = 0; b < BRANCHES; b++) {
        Tensor *patches = add(t, common[b], regrid(t, common[1 - b], f->grid[1 - b], f->grid[b]));
        tokens[b] = concat2(t, 1, project(t, &f->revert[b], cls), project(t, &f->revert[b], patches));
    }
}

/* y = [f_1(x_1) | f_0(x_0)], o = y + MSA(LN(y)), z_b = g_b(o_b) (eq. 1) */
static void fuse_all(Tape *t, const Fusion *f, Tensor *tokens[BRANCHES])
{
    Tensor *y = concat2(t, 1, project(t, &f->project[1], tokens[1]), project(t, &f->project[0], tokens[0]));
    Tensor *o = add(t, y, self_attention(t, &f->attention, &f->norm, y));
    int64_t large = tensor_dim(tokens[1], 1), small = tensor_dim(tokens[0], 1);
    tokens[1] = project(t, &f->revert[1], narrow(t, o, 1, 0, large));
    tokens[0] = project(t, &f->revert[0], narrow(t, o, 1, large, small));
}

/* ---- */

static void cross_fusion_new(Fusion *f, const CrossvitConfig *c, Params *p, int fusion_blocks, float drop_path)
{
    f->block_count = fusion_blocks ? fusion_blocks : 1;
    for (int b = 0; b < BRANCHES; b++)
        f->project[b] = projection_new(p, "projs", b, c->embed_dim[b], c->embed_dim[1 - b]);
    for (int b = 0; b < BRANCHES; b++) {
        f->blocks[b] = mem_new((size_t)f->block_count * sizeof(CrossAttention));
        for (int j = 0; j < f->block_count; j++) {
            char name[64];
            snprintf(name, sizeof name, fusion_blocks ? "fusion.%d.%d" : "fusion.%d", b, j);
            f->blocks[b][j] = cross_attention_new(p, name, c, 1 - b, drop_path);
        }
    }
    for (int b = 0; b < BRANCHES; b++)
        f->revert[b] = projection_new(p, "revert_projs", b, c->embed_dim[1 - b], c->embed_dim[b]);
}

/* The common width of the other schemes is the larger one; the branch that has it needs no projection, which gives the paper's
 * 24.2 million parameters of the class-token scheme (table 6). */
static void common_fusion_new(Fusion *f, const CrossvitConfig *c, Params *p)
{
    int64_t width = MAX(c->embed_dim[0], c->embed_dim[1]);
    for (int b = 0; b < BRANCHES; b++) {
        if (c->embed_dim[b] == width) {
            f->project[b].identity = f->revert[b].identity = true;
            continue;
        }
        f->project[b] = projection_new(p, "projs", b, c->embed_dim[b], width);
        f->revert[b] = projection_new(p, "revert_projs", b, width, c->embed_dim[b]);
    }
    if (f->scheme == FUSION_ALL_ATTENTION) {
        params_enter(p, "fusion");
        f->norm = layer_norm_new(p, "norm1", width, EPS);
        f->attention = self_attention_new(p, "attn", width, c->num_heads[c->embed_dim[1] == width], c->qkv_bias, INIT);
        params_leave(p);
    }
}

Fusion fusion_new(const CrossvitConfig *c, Params *p, int fusion_blocks, float drop_path)
{
    Fusion f = {.scheme = c->fusion};
    for (int b = 0; b < BRANCHES; b++)
        f.grid[b] = c->img_size[b] / c->patch_size[b];
    if (f.scheme == FUSION_CROSS_ATTENTION)
        cross_fusion_new(&f, c, p, fusion_blocks, drop_path);
    else if (f.scheme != FUSION_NONE)
        common_fusion_new(&f, c, p);
    return f;
}

void fusion_free(Fusion *f)
{
    for (int b = 0; b < BRANCHES; b++)
        mem_free(f->blocks[b]);
}

void fuse(Tape *t, const Fusion *f, Tensor *tokens[BRANCHES], int stage)
{
    Scope s = scope_open(t);
    switch (f->scheme) {
    case FUSION_NONE:
        break;
    case FUSION_CROSS_ATTENTION: { /* both visits read the tokens as they came */
        Tensor *small = visit(t, f, 0, tokens, stage), *large = visit(t, f, 1, tokens, stage);
        tokens[0] = small;
        tokens[1] = large;
        break;
    }
    case FUSION_CLASS_TOKEN:
        fuse_class_tokens(t, f, tokens);
        break;
    case FUSION_PAIRWISE:
        fuse_pairwise(t, f, tokens);
        break;
    case FUSION_ALL_ATTENTION:
        fuse_all(t, f, tokens);
        break;
    }
    scope_close_n(t, s, tokens, BRANCHES);
}
