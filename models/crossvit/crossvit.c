#include "models/crossvit/crossvit.h"

#include "common/base/memory.h"
#include "models/crossvit/fusion.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Truncated normal with absolute bounds of +-2, that is +-100 sigma: a plain normal. */
static const Init INIT = {INIT_NORMAL, 0.02};
static const float EPS = 1e-6f;

/* patch_embed.{b}: one convolution of kernel = stride = patch, or (dagger models) three with ReLU between. */
typedef struct PatchEmbed {
    Conv2d layers[3];
    int count;
} PatchEmbed;

typedef struct Branch {
    bool exists;
    int64_t side, width;
    PatchEmbed patch_embed;
    Tensor *pos_embed, *cls_token; /* [1,1+N,C], [1,1,C] */
    LayerNorm norm;
    Linear head;
    uint32_t site;
} Branch;

typedef struct Stage {
    VitBlock *blocks[BRANCHES];
    int depth[BRANCHES];
    Fusion fusion;
} Stage;

struct Crossvit {
    Branch branches[BRANCHES];
    Stage *stages;
    int stage_count;
    float dropout;
};

static PatchEmbed patch_embed_new(const CrossvitConfig *c, Params *p, int b)
{
    PatchEmbed e = {0};
    int64_t in = c->in_chans, width = c->embed_dim[b], patch = c->patch_size[b];
    params_enter(p, "patch_embed.%d", b);
    if (!c->multi_conv) {
        e.layers[e.count++] = conv2d_new(p, "proj", in, width, patch, (Convolve){.stride = patch});
    } else {
        Convolve second =
            patch == 12 ? (Convolve){.stride = 3, .relu = true} : (Convolve){.stride = 2, .pad = 1, .relu = true};
        Convolve third = patch == 12 ? (Convolve){.stride = 1, .pad = 1} : (Convolve){.stride = 2, .pad = 1};
        e.layers[e.count++] =
            conv2d_new(p, "proj.0", in, width / 4, 7, (Convolve){.stride = 4, .pad = 3, .relu = true});
        e.layers[e.count++] = conv2d_new(p, "proj.2", width / 4, width / 2, 3, second);
        e.layers[e.count++] = conv2d_new(p, "proj.4", width / 2, width, 3, third);
    }
    params_leave(p);
    return e;
}

static Branch branch_new(const CrossvitConfig *c, Params *p, int b)
{
    int64_t grid = c->img_size[b] / c->patch_size[b], width = c->embed_dim[b];
    char name[32];
    Branch branch = {.exists = true, .side = c->img_size[b], .width = width, .patch_embed = patch_embed_new(c, p, b)};
    snprintf(name, sizeof name, "pos_embed.%d", b);
    branch.pos_embed = params_add(p, name, SHAPE(1, 1 + grid * grid, width), INIT);
    branch.site = random_site(name);
    snprintf(name, sizeof name, "cls_token.%d", b);
    branch.cls_token = params_add(p, name, SHAPE(1, 1, width), INIT);
    snprintf(name, sizeof name, "norm.%d", b);
    branch.norm = layer_norm_new(p, name, width, EPS);
    snprintf(name, sizeof name, "head.%d", b);
    branch.head = linear_new(p, name, width, c->num_classes, true, INIT);
    return branch;
}

static bool has_branch(const CrossvitConfig *c, int b)
{
    return c->branches == BRANCH_BOTH || (c->branches == BRANCH_SMALL) == (b == 0);
}

/* linspace(0, drop_path_rate, total): rate `i` of all. A stage owns as many in turn as its large branch and its fusion have
 * blocks; block i of either branch takes the stage's i-th, every fusion block its last. */
static float drop_path_rate(const CrossvitConfig *c, int i)
{
    int total = 0;
    for (int s = 0; s < c->stages; s++)
        total += c->depth[s][1] + c->depth[s][2];
    return total > 1 ? (float)(c->drop_path_rate * i / (total - 1)) : 0.0f;
}

static Stage stage_new(const CrossvitConfig *c, Params *p, int s, int first_rate)
{
    Stage stage = {0};
    params_enter(p, "blocks.%d", s);
    for (int b = 0; b < BRANCHES; b++) {
        if (!has_branch(c, b))
            continue;
        stage.depth[b] = c->depth[s][b];
        stage.blocks[b] = mem_new((size_t)stage.depth[b] * sizeof(VitBlock));
        for (int i = 0; i < stage.depth[b]; i++) {
            char name[32];
            snprintf(name, sizeof name, "blocks.%d.%d", b, i);
            stage.blocks[b][i] = vit_block_new(p, name,
                                               &(VitBlockShape){.width = c->embed_dim[b],
                                                                .hidden = (int64_t)(c->embed_dim[b] * c->mlp_ratio[b]),
                                                                .heads = c->num_heads[b],
                                                                .qkv_bias = c->qkv_bias,
                                                                .eps = EPS,
                                                                .dropout = (float)c->drop_rate,
                                                                .attention_dropout = (float)c->attn_drop_rate,
                                                                .drop_path = drop_path_rate(c, first_rate + i),
                                                                .weight = INIT});
        }
    }
    int rates = c->depth[s][1] + c->depth[s][2];
    stage.fusion = fusion_new(c, p, c->depth[s][2], drop_path_rate(c, first_rate + rates - 1));
    params_leave(p);
    return stage;
}

Crossvit *crossvit_new(const CrossvitConfig *c, Params *p)
{
    Crossvit *m = mem_new(sizeof *m);
    m->dropout = (float)c->drop_rate;
    m->stage_count = c->stages;
    m->stages = mem_new((size_t)c->stages * sizeof *m->stages);
    for (int b = 0; b < BRANCHES; b++)
        if (has_branch(c, b))
            m->branches[b] = branch_new(c, p, b);
    for (int s = 0, rate = 0; s < c->stages; s++) {
        m->stages[s] = stage_new(c, p, s, rate);
        rate += c->depth[s][1] + c->depth[s][2];
    }
    return m;
}

void crossvit_free(Crossvit *m)
{
    if (!m)
        return;
    for (int s = 0; s < m->stage_count; s++) {
        for (int b = 0; b < BRANCHES; b++)
            mem_free(m->stages[s].blocks[b]);
        fusion_free(&m->stages[s].fusion);
    }
    mem_free(m->stages);
    mem_free(m);
}

/* ---- Forward */

/* [B,3,H,W] -> [B,1+N,C]: patches, the class token before them, positions. Only H is compared, as in the authors' code. */
static Tensor *embed(Tape *t, const Crossvit *m, int b, Tensor *x)
{
    const Branch *branch = &m->branches[b];
    Scope s = scope_open(t);
    if (tensor_dim(x, 2) != branch->side)
        x = tape_show(t, resize_bicubic(t, x, branch->side, branch->side), "image%d", b); /* [B,3,I,I]  */
    for (int i = 0; i < branch->patch_embed.count; i++)
        x = conv2d(t, &branch->patch_embed.layers[i], x);                         /* [B,C,g,g]  */
    Tensor *patches = tape_show(t, tokens_from_map(t, x), "patches%d", b);        /* [B,N,C]    */
    Tensor *cls = expand(t, branch->cls_token, tensor_dim(x, 0));                 /* [B,1,C]    */
    Tensor *tokens = add_rows(t, concat2(t, 1, cls, patches), branch->pos_embed); /* [B,1+N,C]  */
    return scope_close(t, s, dropout(t, tokens, m->dropout, branch->site));
}

/* The scope holds nothing but the tokens: closed again and again, it lets the last block's go. */
static void run_stage(Tape *t, const Crossvit *m, int s, Scope scope, Tensor *tokens[BRANCHES])
{
    const Stage *stage = &m->stages[s];
    for (int b = 0; b < BRANCHES; b++) {
        for (int i = 0; i < stage->depth[b]; i++) {
            tokens[b] = vit_block(t, &stage->blocks[b][i], tokens[b]);
            scope_close_n(t, scope, tokens, BRANCHES);
        }
        if (tokens[b])
            tape_show(t, tokens[b], "stage%d.encoder%d", s, b);
    }
    if (!tokens[0] || !tokens[1])
        return;
    fuse(t, &stage->fusion, tokens, s);
    scope_close_n(t, scope, tokens, BRANCHES);
    for (int b = 0; b < BRANCHES; b++)
        tape_show(t, tokens[b], "stage%d.tokens%d", s, b);
}

/* The class token decides: [B,1+N,C] -> [B,classes]. Norms of the other tokens would be thrown away. */
static Tensor *classify(Tape *t, const Branch *branch, int b, Tensor *tokens)
{
    Scope s = scope_open(t);
    Tensor *cls = layer_norm(t, &branch->norm, narrow(t, tokens, 1, 0, 1)); /* [B,1,C]     */
    cls = tape_show(t, reshape(t, cls, SHAPE(tensor_dim(cls, 0), branch->width)), "cls%d", b);
    return scope_close(t, s, tape_show(t, linear(t, &branch->head, cls), "branch_logits%d", b));
}

Tensor *crossvit_forward(Tape *t, const Crossvit *m, Tensor *x, Tensor *branch_logits[BRANCHES])
{
    Tensor *tokens[BRANCHES] = {0}, *logits[BRANCHES] = {0};
    Scope scope = scope_open(t);
    for (int b = 0; b < BRANCHES; b++)
        if (m->branches[b].exists)
            tokens[b] = embed(t, m, b, x);
    for (int s = 0; s < m->stage_count; s++)
        run_stage(t, m, s, scope, tokens);
    for (int b = 0; b < BRANCHES; b++)
        if (tokens[b])
            logits[b] = classify(t, &m->branches[b], b, tokens[b]);
    scope_close_n(t, scope, logits, BRANCHES);
    if (branch_logits)
        memcpy(branch_logits, logits, sizeof logits);
    if (!logits[0] || !logits[1])
        return logits[0] ? logits[0] : logits[1];
    return scale(t, add(t, logits[0], logits[1]), 0.5f); /* the mean of logits, not of probabilities */
}

int crossvit_stages(const Crossvit *m)
{
    return m->stage_count;
}

Tensor *crossvit_resize_positions(Tape *t, Tensor *pos_embed, int64_t grid)
{
    Scope s = scope_open(t);
    int64_t patches = tensor_dim(pos_embed, 1) - 1, old = (int64_t)(sqrt((double)patches) + 0.5);
    Tensor *map = map_from_tokens(t, narrow(t, pos_embed, 1, 1, patches), old, old); /* [1,C,g,g]    */
    Tensor *resized = tokens_from_map(t, resize_bicubic(t, map, grid, grid));        /* [1,g'^2,C]   */
    return scope_close(t, s, concat2(t, 1, narrow(t, pos_embed, 1, 0, 1), resized));
}

int crossvit_drop_path_rates(const CrossvitConfig *c, float *rates, int room)
{
    int count = 0;
    for (int s = 0, first = 0; s < c->stages; s++) {
        for (int b = 0; b < BRANCHES; b++)
            for (int i = 0; i < c->depth[s][b]; i++)
                for (int part = 0; part < 2; part++) /* attention and MLP draw apart */
                    if (drop_path_rate(c, first + i) > 0 && count++ < room)
                        rates[count - 1] = drop_path_rate(c, first + i);
        int own = c->depth[s][1] + c->depth[s][2], fusions = BRANCHES * (c->depth[s][2] ? c->depth[s][2] : 1);
        float last = drop_path_rate(c, first + own - 1);
        for (int i = 0; i < fusions; i++)
            if (last > 0 && count++ < room)
                rates[count - 1] = last;
        first += own;
    }
    return count;
}

bool crossvit_timm_name(const char *name, char renamed[static 256])
{
    const char *dot = strchr(name, '.');
    if (!dot || (strncmp(name, "pos_embed.", 10) && strncmp(name, "cls_token.", 10)))
        return false;
    snprintf(renamed, 256, "%.*s_%s", (int)(dot - name), name, dot + 1);
    return true;
}
