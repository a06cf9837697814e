#include "common/attention/relative.h"

#include "common/attention/masks.h"
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

/* ---- Both tables in one pass */

/* in: q, k, v, R_k, R_v; saved: the same and what the mask points to. */
static void attention_backward(Tape *t, Node *n)
{
    const RelativeAttention *a = n->args;
    Tensor *const *saved = n->saved, *d[3];
    for (int i = 0; i < 3; i++) /* whole, and handed over: q, k and v may be one tensor */
        d[i] = tensor_make(t, F32, saved[i]->shape);
    Slot keys = gradient_slot(t, n->in[3]), values = gradient_slot(t, n->in[4]);
    bool one = n->in[3] && n->in[3] == n->in[4]; /* then the values' gradient comes after the keys' */
    RelativeGradients g = {.q = op_as_heads(saved[0]),
                           .k = op_as_heads(saved[1]),
                           .v = op_as_heads(saved[2]),
                           .d_o = op_as_heads(n->out->gradient),
                           .dq = op_as_heads(d[0]),
                           .dk = op_as_heads(d[1]),
                           .dv = op_as_heads(d[2]),
                           .dkey_table = keys.gradient.data,
                           .dvalue_table = values.gradient.data,
                           .add_keys = keys.add,
                           .add_values = values.add || one};
    KERNEL_SCRATCH(t, relative, backward_scratch, &t->exec, a);
    KERNEL(t, relative, backward, a, &g);
    for (int i = 0; i < 3; i++)
        gradient_give(t, n->in[i], d[i]);
}

static int64_t clip_of(const Tensor *table, int64_t width)
{
    char text[128];
    contract(!table || (table->shape.rank == 2 && table->shape.dim[0] % 2 == 1 && table->shape.dim[1] == width &&
                        table->type == F32),
             "relative_attention: a table %s, not [2M+1,%lld]", table ? shape_text(table->shape, text) : "",
             (long long)width);
    return table ? table->shape.dim[0] / 2 : 0;
}

static Tensor *in_one_pass(Tape *t, const AttentionSpec *spec, const RelativeTables *tables, Tensor *q, Tensor *k,
                           Tensor *v)
{
    q = op_heads(t, q);
    k = op_heads(t, k);
    v = op_heads(t, v);
    Tensor *key_table = tables->keys ? contiguous(t, tables->keys) : NULL;
    Tensor *value_table = tables->values ? contiguous(t, tables->values) : NULL;
    const AttentionMask *m = &spec->mask;
    OP_BEGIN(t, "relative_attention", q, k, v, key_table, value_table, (Tensor *)m->keep, (Tensor *)m->key_lengths);
    const int64_t *n = q->shape.dim, width = n[3], value_width = v->shape.dim[3];
    contract(n[1] <= k->shape.dim[1], "relative_attention: %lld queries are the last of %lld keys", (long long)n[1],
             (long long)k->shape.dim[1]);
    RelativeAttention a = {.shape = {.batch = n[0],
                                     .queries = n[1],
                                     .keys = k->shape.dim[1],
                                     .q_heads = n[2],
                                     .k_heads = n[2],
                                     .v_heads = n[2],
                                     .width = width,
                                     .value_width = value_width,
                                     .scale = spec->scale != 0 ? spec->scale : 1.0f / sqrtf((float)width)},
                           .key_table = op_floats(key_table),
                           .value_table = op_floats(value_table),
                           .key_clip = clip_of(key_table, width),
                           .value_clip = clip_of(value_table, value_width)};
    masks_set(&a.shape, m);
    Tensor *o = tensor_make(t, F32, SHAPE(n[0], n[1], n[2], value_width));
    double pairs = (double)(n[0] * n[1] * n[2]) * (double)a.shape.keys;
    t->macs += pairs * (double)(width + value_width + (key_table ? width : 0) + (value_table ? value_width : 0));
    KERNEL_SCRATCH(t, relative, forward_scratch, &t->exec, &a);
    KERNEL(t, relative, forward, &a, op_as_heads(q), op_as_heads(k), op_as_heads(v), op_as_heads(o));
    if (OP_RECORDS(t, q, k, v, key_table, value_table)) {
        Node *node = op_record(t, "relative_attention", attention_backward, o, &a, sizeof a);
        OP_INPUTS(t, node, q, k, v, key_table, value_table);
        OP_SAVES(t, node, q, k, v, key_table, value_table, (Tensor *)m->keep, (Tensor *)m->key_lengths);
    }
    return o;
}

/* For what the single pass does not know: dropout of the probabilities, a bias, heads or samples that others share. */
static Tensor *in_steps(Tape *t, const AttentionSpec *spec, const RelativeTables *tables, Tensor *q, Tensor *k,
                        Tensor *v)
{
    Tensor *s = attention_scores(t, spec, q, k);
    if (tables->keys)
        s = add(t, s, relative_scores(t, spec, q, tables->keys, k->shape.dim[1]));
    Tensor *p = dropout(t, attention_softmax(t, spec, s), spec->dropout, spec->site);
    Tensor *o = attention_apply(t, p, v);
    return tables->values ? add(t, o, relative_apply(t, p, tables->values)) : o;
}

static bool one_pass_knows(const Tape *t, const AttentionSpec *spec, const Tensor *q, const Tensor *k, const Tensor *v)
{
    const int64_t *n = q->shape.dim, *nk = k->shape.dim, *nv = v->shape.dim;
    return !(spec->dropout > 0 && tape_training(t)) && !spec->mask.bias && nk[0] == n[0] && nv[0] == n[0] &&
           nk[2] == n[2] && nv[2] == n[2];
}

Tensor *relative_attention(Tape *t, const AttentionSpec *spec, const RelativeTables *tables, Tensor *q, Tensor *k,
                           Tensor *v)
{
    if (!tables->keys && !tables->values)
        return attend(t, spec, q, k, v);
    Scope scope = scope_open(t);
    DType type = q->type;
    q = convert(t, q, F32);
    k = convert(t, k, F32);
    v = convert(t, v, F32);
    Tensor *o = (one_pass_knows(t, spec, q, k, v) ? in_one_pass : in_steps)(t, spec, tables, q, k, v);
    return scope_close(t, scope, convert(t, o, type));
}
