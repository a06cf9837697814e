#include "models/ninformer/ninformer.h"

#include <math.h>
#include <stdio.h>

static const float EPS = 1e-5f;

/* ---- Parameters, under the names of the authors' state_dict */

typedef struct MixerBlock {
    LayerNorm token_norm, channel_norm;
    Mlp token, channel;
} MixerBlock;

typedef struct NinBlock {
    LayerNorm norm; /* of (2) and of (3) */
    MixerBlock mixer;
    Linear proj;
    Mlp ffn;
} NinBlock;

struct Ninformer {
    NinformerConfig config;
    Conv2d patcher;
    NinBlock *blocks;        /* [num_layers]; of the three networks' blocks one kind exists */
    MixerBlock *mixer;       /* likewise */
    VitBlock *vit;           /* likewise */
    Tensor *positions;       /* of vit: [1,N,D] */
    LayerNorm norm;          /* of vit */
    uint32_t positions_site; /* of vit */
    Linear classifier;
};

/* (6), `net.0` and `net.3` of a torch Sequential. */
static Mlp feed_forward_new(Params *p, const char *name, int64_t width, const NinformerConfig *c)
{
    params_enter(p, "%s.net", name);
    Mlp f = {.fc1 = linear_torch_new(p, "0", width, c->d_ffn, true),
             .fc2 = linear_torch_new(p, "3", c->d_ffn, width, true),
             .dropout = (float)c->dropout,
             .site = random_site(params_name(p, "dropout"))};
    params_leave(p);
    return f;
}

static MixerBlock mixer_new(Params *p, const NinformerConfig *c)
{
    MixerBlock b = {.token_norm = layer_norm_new(p, "token_mix.0", c->d_model, EPS),
                    .token = feed_forward_new(p, "token_mix.2", c->seq_len, c),
                    .channel_norm = layer_norm_new(p, "channel_mix.0", c->d_model, EPS),
                    .channel = feed_forward_new(p, "channel_mix.1", c->d_model, c)};
    return b;
}

static NinBlock block_new(Params *p, const NinformerConfig *c)
{
    NinBlock b = {.norm = layer_norm_new(p, "norm", c->d_model, EPS)};
    params_enter(p, "mgu");
    if (c->gate != GATE_UNMIXED) {
        params_enter(p, "Mixer");
        b.mixer = mixer_new(p, c);
        params_leave(p);
    }
    b.proj = linear_torch_new(p, "proj", c->d_model, c->d_model, true);
    params_leave(p);
    b.ffn = feed_forward_new(p, "ffn", c->d_model, c);
    return b;
}

/* Weights begin within torch's bound for the width, as the other networks' do. */
static VitBlock vit_new(Params *p, const char *name, const NinformerConfig *c)
{
    return vit_block_new(p, name,
                         &(VitBlockShape){.width = c->d_model,
                                          .hidden = c->d_ffn,
                                          .heads = c->num_heads,
                                          .qkv_bias = true,
                                          .eps = EPS,
                                          .dropout = (float)c->dropout,
                                          .attention_dropout = (float)c->dropout,
                                          .weight = {INIT_UNIFORM, 1 / sqrt((double)c->d_model)}});
}

static void layer_new(Ninformer *m, Params *p, int i)
{
    const NinformerConfig *c = &m->config;
    char name[32];
    snprintf(name, sizeof name, "model.%d", i);
    if (c->network == NETWORK_VIT) {
        m->vit[i] = vit_new(p, name, c);
        return;
    }
    params_enter(p, "%s", name);
    if (c->network == NETWORK_MIXER)
        m->mixer[i] = mixer_new(p, c);
    else
        m->blocks[i] = block_new(p, c);
    params_leave(p);
}

Ninformer *ninformer_new(const NinformerConfig *c, Params *p)
{
    Ninformer *m = mem_new(sizeof *m);
    size_t layers = (size_t)c->num_layers;
    m->config = *c;
    m->blocks = c->network == NETWORK_NINFORMER ? mem_new(layers * sizeof *m->blocks) : NULL;
    m->mixer = c->network == NETWORK_MIXER ? mem_new(layers * sizeof *m->mixer) : NULL;
    m->vit = c->network == NETWORK_VIT ? mem_new(layers * sizeof *m->vit) : NULL;
    if (m->vit) {
        m->positions = params_add(p, "positions", SHAPE(1, c->seq_len, c->d_model), (Init){INIT_NORMAL, 0.02});
        m->positions_site = random_site("positions");
    }
    for (int i = 0; i < c->num_layers; i++)
        layer_new(m, p, i);
    if (m->vit)
        m->norm = layer_norm_new(p, "norm", c->d_model, EPS);
    m->patcher =
        conv2d_new(p, "patcher", c->in_channels, c->d_model, c->patch_size, (Convolve){.stride = c->patch_size});
    m->classifier = linear_torch_new(p, "classifier", c->d_model, c->num_classes, true);
    return m;
}

void ninformer_free(Ninformer *m)
{
    if (!m)
        return;
    mem_free(m->blocks);
    mem_free(m->mixer);
    mem_free(m->vit);
    mem_free(m);
}

/* ---- Forward */

/* (5): [B,N,D] -> [B,N,D] */
static Tensor *mix(Tape *t, const MixerBlock *b, Tensor *z)
{
    static const int swap[] = {0, 2, 1};
    Scope s = scope_open(t);
    Tensor *columns = permute(t, layer_norm(t, &b->token_norm, z), swap); /* [B,D,N] */
    Tensor *mixed = permute(t, mlp(t, &b->token, NULL, columns), swap);   /* [B,N,D] */
    Tensor *a = add(t, z, mixed);                                         /* [B,N,D] */
    return scope_close(t, s, add(t, a, mlp(t, &b->channel, &b->channel_norm, a)));
}

/* What (2) adds to X: [B,N,D] -> [B,N,D], of block i. */
static Tensor *gated(Tape *t, const Ninformer *m, int i, Tensor *z)
{
    const NinBlock *b = &m->blocks[i];
    Gate gate = m->config.gate;
    Scope s = scope_open(t);
    Tensor *u = tape_show(t, linear(t, &b->proj, z), "block%d.u", i);
    Tensor *v = gate == GATE_UNMIXED ? z : tape_show(t, mix(t, &b->mixer, z), "block%d.v", i);
    return scope_close(t, s, gate == GATE_SUM ? add(t, u, v) : multiply(t, u, v));
}

/* (2) and (3): [B,N,D] -> [B,N,D] */
static Tensor *block(Tape *t, const Ninformer *m, int i, Tensor *x)
{
    const NinBlock *b = &m->blocks[i];
    Scope s = scope_open(t);
    x = add(t, x, gated(t, m, i, layer_norm(t, &b->norm, x)));
    x = add(t, x, mlp(t, &b->ffn, &b->norm, x));
    return scope_close(t, s, tape_show(t, x, "block%d.out", i));
}

static Tensor *layer(Tape *t, const Ninformer *m, int i, Tensor *x)
{
    return m->blocks ? block(t, m, i, x) : m->mixer ? mix(t, &m->mixer[i], x) : vit_block(t, &m->vit[i], x);
}

Tensor *ninformer_forward(Tape *t, const Ninformer *m, Tensor *image)
{
    Scope s = scope_open(t);
    Tensor *x = tape_show(t, tokens_from_map(t, conv2d(t, &m->patcher, image)), "tokens"); /* [B,N,D] (1) */
    if (m->positions)
        x = dropout(t, add_rows(t, x, m->positions), (float)m->config.dropout, m->positions_site);
    for (int i = 0; i < m->config.num_layers; i++)
        x = scope_close(t, s, layer(t, m, i, x)); /* [B,N,D]         */
    if (m->vit)
        x = layer_norm(t, &m->norm, x);
    x = mean_tokens(t, x);                                        /* [B,1,D]         */
    x = reshape(t, x, SHAPE(tensor_dim(x, 0), tensor_dim(x, 2))); /* [B,D]           */
    return scope_close(t, s, linear(t, &m->classifier, x));       /* [B,classes] (4) */
}
