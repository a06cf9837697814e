#include "models/routing/lucidrains_layers.h"

#include "common/base/memory.h"
#include "common/nn/init.h"

static const float EPS = 1e-5f;

struct Lucidrains {
    Tensor *token_emb;    /* [V,E] */
    Tensor *sinu_pos_emb; /* [max_seq_len,d] */
    Linear project_in, project_out;
    LayerStack *layers;
    LayerNorm norm;
    Linear out;
    int64_t vocabulary, longest, multiple;
};

/* ---- Parameters */

static void add_output(Params *p, const LucidrainsConfig *c, Lucidrains *m)
{
    if (c->return_embeddings)
        return;
    if (!c->tie_embedding) {
        m->out = linear_torch_new(p, "out", c->emb_dim, c->num_tokens, true);
        return;
    }
    m->out.weight = m->token_emb;
    params_alias(p, "out.tensor", m->token_emb);
}

int64_t lucidrains_block(const LucidrainsConfig *c)
{
    for (int i = 0; i < c->n_local_attn_heads_count; i++)
        if (c->n_local_attn_heads[i] > 0)
            return c->local_attn_window_size;
    return 1;
}

void lucidrains_repeat_names(Params *p, int first, size_t cut, int count, const char *const *places)
{
    for (int i = first; i < params_count(p); i++) {
        Param *param = params_at(p, i);
        size_t own = param->aliases.count;
        for (int place = 0; place < count; place++) {
            params_enter(p, "%s", places[place]);
            params_alias(p, param->name + cut, &param->value);
            for (size_t a = 0; a < own; a++)
                params_alias(p, param->aliases.items[a] + cut, &param->value);
            params_leave(p);
        }
    }
}

Lucidrains *lucidrains_new(const LucidrainsConfig *c, Params *p)
{
    Lucidrains *m = mem_new(sizeof *m);
    bool projects = c->emb_dim != c->dim;
    m->vocabulary = c->num_tokens;
    m->longest = c->max_seq_len;
    m->multiple = lucidrains_block(c);
    m->sinu_pos_emb = params_add_buffer(p, "sinu_pos_emb.emb", SHAPE(c->max_seq_len, c->dim_head), INIT_ZEROS);
    params_init_function(p, m->sinu_pos_emb, init_sinusoids);
    m->token_emb = params_add(p, "token_emb.weight", SHAPE(c->num_tokens, c->emb_dim), (Init){INIT_NORMAL, 0.02});
    params_enter(p, projects ? "routing_transformer.fn.layers" : "routing_transformer.layers");
    m->layers = layer_stack_new(p, c);
    params_leave(p);
    if (projects) {
        m->project_in = linear_torch_new(p, "routing_transformer.project_in", c->emb_dim, c->dim, true);
        m->project_out = linear_torch_new(p, "routing_transformer.project_out", c->dim, c->emb_dim, true);
    }
    m->norm = layer_norm_new(p, "norm", c->emb_dim, EPS);
    add_output(p, c, m);
    return m;
}

void lucidrains_free(Lucidrains *m)
{
    if (!m)
        return;
    layer_stack_free(m->layers);
    mem_free(m);
}

/* ---- Forward */

Tensor *lucidrains_forward(Tape *t, const Lucidrains *m, const LucidrainsInput *in, Tensor **aux)
{
    Scope s = scope_open(t);
    Tensor *x = embedding(t, m->token_emb, in->tokens); /* [B,N,E] */
    if (m->project_in.weight)
        x = linear(t, &m->project_in, x);                       /* [B,N,C] */
    x = layer_stack(t, m->layers, x, in, m->sinu_pos_emb, aux); /* [B,N,C] */
    if (m->project_out.weight)
        x = linear(t, &m->project_out, x); /* [B,N,E] */
    x = layer_norm(t, &m->norm, x);
    if (m->out.weight)
        x = linear(t, &m->out, x); /* [B,N,V] */
    Tensor *both[] = {x, *aux ? *aux : tensor_from(t, F32, (Shape){0}, &(float){0})};
    scope_close_n(t, s, both, 2);
    *aux = both[1];
    return both[0];
}

Caches *lucidrains_caches(Tape *t, const Lucidrains *m, int64_t rows)
{
    return layer_stack_caches(t, m->layers, rows);
}

void lucidrains_update_means(Tape *t, const Lucidrains *m)
{
    layer_stack_update_means(t, m->layers);
}

int64_t lucidrains_vocabulary(const Lucidrains *m)
{
    return m->vocabulary;
}

int64_t lucidrains_longest(const Lucidrains *m)
{
    return m->longest;
}

int64_t lucidrains_multiple(const Lucidrains *m)
{
    return m->multiple;
}
