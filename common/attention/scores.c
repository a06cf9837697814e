/* Attention with scores and probabilities written out: what the fused pass of attend.c never does. */
#include "common/attention/attention.h"

#include "common/attention/masks.h"
#include "common/autograd/op.h"

#include <math.h>

/* One head of [B,N,H,d] as a matrix [N,d], and the matrix [N,M] of a head of a table [B,H,N,M]. */
static Rows head_of(const Tensor *x, int64_t b, int64_t h)
{
    const int64_t *n = x->shape.dim;
    return (Rows){(float *)x->data + (n[0] == 1 ? 0 : b) * n[1] * n[2] * n[3] + h * n[3], n[2] * n[3], F32};
}

static Rows table_of(const Tensor *x, int64_t b, int64_t h)
{
    const int64_t *n = x->shape.dim;
    return (Rows){(float *)x->data + (b * n[1] + h) * n[2] * n[3], n[3], F32};
}

/* out(b,h) (+)= op(a(b,h)) op(b(b,h)) for every head; the flags say which sides are tables. */
typedef struct Product {
    const Tensor *a, *b, *out;
    bool a_table, b_table, out_table;
    bool a_transposed, b_transposed;
    int64_t m, n, k;
    int64_t batch, heads;
} Product;

static void every_head(Tape *t, const Product *p, bool add)
{
    /* A head that several others share (its gradient is their sum) is overwritten by the first and added to by the rest. */
    int64_t out_heads = p->out->shape.dim[p->out_table ? 1 : 2], out_batch = p->out->shape.dim[0];
    int64_t a_heads = p->a->shape.dim[p->a_table ? 1 : 2], b_heads = p->b->shape.dim[p->b_table ? 1 : 2];
    int64_t group = p->heads / out_heads;
    for (int64_t i = 0; i < p->batch; i++)
        for (int64_t h = 0; h < p->heads; h++) {
            int64_t ah = h / (p->heads / a_heads), bh = h / (p->heads / b_heads), oh = h / group;
            bool shared = h % group != 0 || (out_batch == 1 && i > 0);
            Rows a = p->a_table ? table_of(p->a, i, ah) : head_of(p->a, i, ah);
            Rows b = p->b_table ? table_of(p->b, i, bh) : head_of(p->b, i, bh);
            Rows out = p->out_table ? table_of(p->out, i, oh) : head_of(p->out, i, oh);
            KERNEL(t, matmul, matmul, 1, p->m, p->n, p->k, a, 0, p->a_transposed, b, 0, p->b_transposed, add || shared,
                   out, 0);
        }
}

/* Gradients are made whole and handed over: inputs may be shared or windows. */
static void give_product(Tape *t, Tensor *x, Product p)
{
    if (!x->needs_gradient)
        return;
    Tensor *g = tensor_make(t, F32, x->shape);
    p.out = g;
    if (p.batch == 0) /* of keys that no sample shares */
        KERNEL(t, elementwise, fill, tensor_count(g), 0.0f, g->data);
    every_head(t, &p, false);
    gradient_give(t, x, g);
}

typedef struct ScoresArgs {
    float scale;
} ScoresArgs;

static void scores_backward(Tape *t, Node *n)
{
    Tensor *q = n->saved[0], *k = n->saved[1];
    Tensor *ds = tensor_make(t, F32, n->out->shape);
    int64_t count = tensor_count(ds);
    KERNEL(t, elementwise, scale, 1, count, ((ScoresArgs *)n->args)->scale,
           ((Rows){n->out->gradient->data, count, F32}), false, ((Rows){ds->data, count, F32}));
    const int64_t *s = ds->shape.dim;
    give_product(t, n->in[0],
                 (Product){.a = ds,
                           .a_table = true,
                           .b = k,
                           .m = s[2],
                           .n = q->shape.dim[3],
                           .k = s[3],
                           .batch = s[0],
                           .heads = s[1]});
    give_product(t, n->in[1],
                 (Product){.a = ds,
                           .a_table = true,
                           .a_transposed = true,
                           .b = q,
                           .m = s[3],
                           .n = q->shape.dim[3],
                           .k = s[2],
                           .batch = s[0],
                           .heads = s[1]});
}

Tensor *attention_scores(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k)
{
    q = contiguous(t, q);
    k = contiguous(t, k);
    OP_BEGIN(t, "attention_scores", q, k);
    char a[128], b[128];
    const int64_t *n = q->shape.dim, *m = k->shape.dim;
    int64_t batch = n[0] == 1 ? m[0] : n[0], keys = m[1];
    contract(q->shape.rank == 4 && k->shape.rank == 4 && (m[0] == batch || m[0] == 1) && m[3] == n[3] && m[2] > 0 &&
                 n[2] % m[2] == 0,
             "attention_scores: q %s, k %s", shape_text(q->shape, a), shape_text(k->shape, b));
    float factor = spec->scale != 0 ? spec->scale : 1.0f / sqrtf((float)n[3]);
    Scope scope = scope_open(t);
    Tensor *raw = tensor_make(t, F32, SHAPE(batch, n[2], n[1], keys)), *y = factor == 1 ? raw : op_like(t, raw);
    every_head(t,
               &(Product){.a = q,
                          .b = k,
                          .b_transposed = true,
                          .out = raw,
                          .out_table = true,
                          .m = n[1],
                          .n = keys,
                          .k = n[3],
                          .batch = batch,
                          .heads = n[2]},
               false);
    int64_t count = tensor_count(y);
    if (y != raw)
        KERNEL(t, elementwise, scale, 1, count, factor, ((Rows){raw->data, count, F32}), false,
               ((Rows){y->data, count, F32}));
    t->macs += (double)count * (double)n[3];
    if (OP_RECORDS(t, q, k)) {
        Node *node = op_record(t, "attention_scores", scores_backward, y, &(ScoresArgs){factor}, sizeof(ScoresArgs));
        OP_INPUTS(t, node, q, k);
        OP_SAVES(t, node, q, k);
    }
    return scope_close(t, scope, y);
}

/* in: scores, bias; saved: p, lse, and what the masks point to. */
static void softmax_backward(Tape *t, Node *n)
{
    const AttentionShape *shape = n->args;
    Tensor *p = n->saved[0], *lse = n->saved[1], *ds = tensor_make(t, F32, n->out->shape);
    ScoreTable dbias = bias_gradient(t, n->in[1], shape);
    KERNEL(t, attention, softmax_gradient, shape, p->data, lse->data, n->out->gradient->data, ds->data, dbias);
    if (n->in[0]->needs_gradient)
        gradient_give(t, n->in[0], ds);
}

Tensor *attention_softmax(Tape *t, const AttentionSpec *spec, Tensor *scores)
{
    AttentionMask m = spec->mask;
    scores = contiguous(t, scores);
    m.bias = m.bias ? contiguous(t, m.bias) : NULL;
    OP_BEGIN(t, "attention_softmax", scores, m.bias, (Tensor *)m.keep, (Tensor *)m.key_lengths);
    char text[128];
    const int64_t *n = scores->shape.dim;
    contract(scores->shape.rank == 4, "attention_softmax: scores %s", shape_text(scores->shape, text));
    AttentionShape shape = {.batch = n[0], .queries = n[2], .keys = n[3], .q_heads = n[1]};
    masks_set(&shape, &m);
    Scope scope = scope_open(t);
    Tensor *p = tensor_make(t, F32, scores->shape), *lse = tensor_make(t, F32, SHAPE(n[0], n[1], n[2]));
    KERNEL(t, attention, softmax, &shape, scores->data, p->data, lse->data);
    if (OP_RECORDS(t, scores, m.bias)) {
        Node *node = op_record(t, "attention_softmax", softmax_backward, p, &shape, sizeof shape);
        OP_INPUTS(t, node, scores, m.bias);
        OP_SAVES(t, node, p, lse, (Tensor *)m.key_lengths, (Tensor *)m.keep);
    }
    return scope_close(t, scope, p);
}

static void apply_backward(Tape *t, Node *n)
{
    Tensor *p = n->saved[0], *v = n->saved[1], *dy = n->out->gradient;
    const int64_t *s = p->shape.dim;
    give_product(t, n->in[0],
                 (Product){.a = dy,
                           .b = v,
                           .b_transposed = true,
                           .out_table = true,
                           .m = s[2],
                           .n = s[3],
                           .k = v->shape.dim[3],
                           .batch = s[0],
                           .heads = s[1]});
    give_product(t, n->in[1],
                 (Product){.a = p,
                           .a_table = true,
                           .a_transposed = true,
                           .b = dy,
                           .m = s[3],
                           .n = v->shape.dim[3],
                           .k = s[2],
                           .batch = s[0],
                           .heads = s[1]});
}

Tensor *attention_apply(Tape *t, Tensor *p, Tensor *v)
{
    p = contiguous(t, p);
    v = contiguous(t, v);
    OP_BEGIN(t, "attention_apply", p, v);
    char a[128], b[128];
    const int64_t *s = p->shape.dim, *n = v->shape.dim;
    contract(p->shape.rank == 4 && v->shape.rank == 4 && (n[0] == s[0] || n[0] == 1) && n[1] == s[3] && n[2] > 0 &&
                 s[1] % n[2] == 0,
             "attention_apply: p %s, v %s", shape_text(p->shape, a), shape_text(v->shape, b));
    Tensor *y = tensor_make(t, F32, SHAPE(s[0], s[2], s[1], n[3]));
    every_head(
        t,
        &(Product){
            .a = p, .a_table = true, .b = v, .out = y, .m = s[2], .n = n[3], .k = s[3], .batch = s[0], .heads = s[1]},
        false);
    t->macs += (double)tensor_count(p) * (double)n[3];
    if (OP_RECORDS(t, p, v)) {
        Node *node = op_record(t, "attention_apply", apply_backward, y, NULL, 0);
        OP_INPUTS(t, node, p, v);
        OP_SAVES(t, node, p, v);
    }
    return y;
}
