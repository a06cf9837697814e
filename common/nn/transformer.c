#include "common/nn/layers.h"

Tensor *split_heads(Tape *t, Tensor *x, int64_t heads)
{
    const int64_t *n = x->shape.dim;
    return reshape(t, x, SHAPE(n[0], n[1], heads, n[2] / heads));
}

Tensor *join_heads(Tape *t, Tensor *x)
{
    const int64_t *n = x->shape.dim;
    return reshape(t, x, SHAPE(n[0], n[1], n[2] * n[3]));
}

SelfAttention self_attention_new(Params *p, const char *name, int64_t width, int heads, bool qkv_bias, Init weight)
{
    params_enter(p, "%s", name);
    SelfAttention l = {.qkv = linear_new(p, "qkv", width, 3 * width, qkv_bias, weight),
                       .proj = linear_new(p, "proj", width, width, true, weight),
                       .heads = heads,
                       .site = random_site(params_name(p, "dropout"))};
    params_leave(p);
    return l;
}

/* q, k and v [B,N,H,d] as windows of the fused projection. */
static void project(Tape *t, const SelfAttention *l, const LayerNorm *norm, Tensor *x, Tensor *out[3])
{
    Tensor *qkv = norm_affine(t, x, norm, &l->qkv); /* [B,N,3C] */
    int64_t width = tensor_dim(x, -1);
    for (int i = 0; i < 3; i++)
        out[i] = split_heads(t, narrow(t, qkv, 2, i * width, width), l->heads);
}

Tensor *self_attention(Tape *t, const SelfAttention *l, const LayerNorm *norm, Tensor *x)
{
    Scope s = scope_open(t);
    Tensor *qkv[3];
    project(t, l, norm, x, qkv);
    AttentionSpec spec = {.dropout = l->attention_dropout, .site = l->site + 1};
    Tensor *y = linear(t, &l->proj, join_heads(t, attend(t, &spec, qkv[0], qkv[1], qkv[2])));
    return scope_close(t, s, dropout(t, y, l->dropout, l->site));
}

Tensor *self_attention_map(Tape *t, const SelfAttention *l, const LayerNorm *norm, Tensor *x)
{
    Scope s = scope_open(t);
    Tensor *qkv[3];
    project(t, l, norm, x, qkv);
    return scope_close(t, s, attention_probabilities(t, &(AttentionSpec){0}, qkv[0], qkv[1]));
}

Mlp mlp_new(Params *p, const char *name, int64_t width, int64_t hidden, Init weight)
{
    params_enter(p, "%s", name);
    Mlp l = {.fc1 = linear_new(p, "fc1", width, hidden, true, weight),
             .fc2 = linear_new(p, "fc2", hidden, width, true, weight),
             .site = random_site(params_name(p, "dropout"))};
    params_leave(p);
    return l;
}

/* With dropout between the two products: f's results exist, and some of them are taken away. */
static Tensor *thinned_mlp(Tape *t, const Mlp *l, const LayerNorm *norm, Tensor *x)
{
    Tensor *hidden = gelu(t, norm_affine(t, x, norm, &l->fc1)); /* [B,N,hidden] */
    return linear(t, &l->fc2, dropout(t, hidden, l->dropout, l->site));
}

Tensor *mlp(Tape *t, const Mlp *l, const LayerNorm *norm, Tensor *x)
{
    Scope s = scope_open(t);
    bool thinned = l->dropout > 0 && tape_training(t);
    Tensor *y = thinned ? thinned_mlp(t, l, norm, x) : feed_forward(t, x, norm, &l->fc1, UNARY_GELU, &l->fc2);
    return scope_close(t, s, dropout(t, y, l->dropout, l->site + 1));
}

VitBlock vit_block_new(Params *p, const char *name, const VitBlockShape *shape)
{
    params_enter(p, "%s", name);
    VitBlock b = {.drop_path = shape->drop_path, .site = random_site(params_name(p, "drop_path"))};
    b.norm1 = layer_norm_new(p, "norm1", shape->width, shape->eps);
    b.attn = self_attention_new(p, "attn", shape->width, shape->heads, shape->qkv_bias, shape->weight);
    b.attn.attention_dropout = shape->attention_dropout;
    b.attn.dropout = shape->dropout;
    b.norm2 = layer_norm_new(p, "norm2", shape->width, shape->eps);
    b.mlp = mlp_new(p, "mlp", shape->width, shape->hidden, shape->weight);
    b.mlp.dropout = shape->dropout;
    params_leave(p);
    return b;
}

Tensor *vit_block(Tape *t, const VitBlock *b, Tensor *x)
{
    Scope s = scope_open(t);
    Tensor *attended = self_attention(t, &b->attn, &b->norm1, x);
    x = add(t, x, drop_path(t, attended, b->drop_path, b->site));
    Tensor *mixed = mlp(t, &b->mlp, &b->norm2, x);
    return scope_close(t, s, add(t, x, drop_path(t, mixed, b->drop_path, b->site + 1)));
}
