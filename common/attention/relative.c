#include "common/attention/relative.h"

#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include <math.h>

typedef struct RelativeArgs {
    RelativeShape shape;
    float scale;
} RelativeArgs;

static RelativeShape relative_shape(int64_t batch, int64_t queries, int64_t keys, int64_t heads, const Tensor *table)
{
    char text[128];
    contract(table->shape.rank == 2 && table->shape.dim[0] % 2 == 1 && table->type == F32,
             "relative: a table %s, not [2M+1,d]", shape_text(table->shape, text));
    contract(queries <= keys, "relative: %lld queries are the last of %lld keys", (long long)queries, (long long)keys);
    return (RelativeShape){.batch = batch,
                           .queries = queries,
                           .keys = keys,
                           .heads = heads,
                           .width = table->shape.dim[1],
                           .clip = table->shape.dim[0] / 2};
}

/* table += of s [B,H,Q,K] and x [B,Q,H,d]. */
static void table_gradient(Tape *t, const RelativeArgs *a, Tensor *table, const Tensor *s, const Tensor *x)
{
    Slot dtable = gradient_slot(t, table);
    if (dtable.wanted)
        KERNEL(t, relative, table_gradient, &a->shape, a->scale, s->data, op_as_heads(x), dtable.add,
               dtable.gradient.data);
}

static void scores_backward(Tape *t, Node *n)
{
    const RelativeArgs *a = n->args;
    Tensor *q = n->saved[0], *table = n->saved[1], *ds = n->out->gradient;
    KERNEL_SCRATCH(t, relative, scratch, &t->exec, &a->shape);
    Slot dq = gradient_slot(t, n->in[0]);
    if (dq.wanted)
        KERNEL(t, relative, apply, &a->shape, a->scale, ds->data, table->data, dq.add, op_as_heads(&dq.gradient));
    table_gradient(t, a, n->in[1], ds, q);
}

Tensor *relative_scores(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *table, int64_t keys)
{
    q = op_heads(t, q);
    table = contiguous(t, table);
    OP_BEGIN(t, "relative_scores", q, table);
    const int64_t *n = q->shape.dim;
    contract(q->type == F32 && table->shape.rank == 2 && table->shape.dim[1] == n[3],
             "relative_scores: q of width %lld, a table of width %lld", (long long)n[3],
             (long long)tensor_dim(table, -1));
    RelativeArgs args = {.shape = relative_shape(n[0], n[1], keys, n[2], table),
                         .scale = spec->scale != 0 ? spec->scale : 1.0f / sqrtf((float)n[3])};
    Tensor *s = tensor_make(t, F32, SHAPE(n[0], n[2], n[1], keys));
    KERNEL_SCRATCH(t, relative, scratch, &t->exec, &args.shape);
    KERNEL(t, relative, scores, &args.shape, args.scale, op_as_heads(q), table->data, false, s->data);
    t->macs += (double)tensor_count(s) * (double)n[3];
    if (OP_RECORDS(t, q, table)) {
        Node *node = op_record(t, "relative_scores", scores_backward, s, &args, sizeof args);
        OP_INPUTS(t, node, q, table);
        OP_SAVES(t, node, q, table);
    }
    return s;
}

static void apply_backward(Tape *t, Node *n)
{
    const RelativeArgs *a = n->args;
    Tensor *p = n->saved[0], *table = n->saved[1], *dy = n->out->gradient;
    KERNEL_SCRATCH(t, relative, scratch, &t->exec, &a->shape);
    Slot dp = gradient_slot(t, n->in[0]);
    if (dp.wanted)
        KERNEL(t, relative, scores, &a->shape, a->scale, op_as_heads(dy), table->data, dp.add, dp.gradient.data);
    table_gradient(t, a, n->in[1], p, dy);
}

Tensor *relative_apply(Tape *t, Tensor *p, Tensor *table)
{
    p = contiguous(t, p);
    table = contiguous(t, table);
    OP_BEGIN(t, "relative_apply", p, table);
    const int64_t *n = p->shape.dim;
    contract(p->shape.rank == 4 && p->type == F32, "relative_apply: rank %d, not [B,H,Q,K]", p->shape.rank);
    RelativeArgs args = {.shape = relative_shape(n[0], n[2], n[3], n[1], table), .scale = 1};
    Tensor *y = tensor_make(t, F32, SHAPE(n[0], n[2], n[1], args.shape.width));
    KERNEL_SCRATCH(t, relative, scratch, &t->exec, &args.shape);
    KERNEL(t, relative, apply, &args.shape, 1, p->data, table->data, false, op_as_heads(y));
    t->macs += (double)tensor_count(p) * (double)args.shape.width;
    if (OP_RECORDS(t, p, table)) {
        Node *node = op_record(t, "relative_apply", apply_backward, y, &args, sizeof args);
        OP_INPUTS(t, node, p, table);
        OP_SAVES(t, node, p, table);
    }
    return y;
}

Tensor *relative_attention(Tape *t, const AttentionSpec *spec, const RelativeTables *tables, Tensor *q, Tensor *k,
                           Tensor *v)
{
    if (!tables->keys && !tables->values)
        return attend(t, spec, q, k, v);
    Scope scope = scope_open(t);
    Tensor *s = attention_scores(t, spec, q, k);
    if (tables->keys)
        s = add(t, s, relative_scores(t, spec, q, tables->keys, k->shape.dim[1]));
    Tensor *p = dropout(t, attention_softmax(t, spec, s), spec->dropout, spec->site);
    Tensor *o = attention_apply(t, p, v);
    if (tables->values)
        o = add(t, o, relative_apply(t, p, tables->values));
    return scope_close(t, scope, o);
}
