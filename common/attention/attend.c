#include "common/attention/attention.h"

#include "common/attention/masks.h"
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include <math.h>

static int64_t common_batch(const Tensor *q, const Tensor *k, const Tensor *v)
{
    const Tensor *const all[] = {q, k, v};
    int64_t batch = 1;
    for (int i = 0; i < 3; i++)
        if (all[i]->shape.dim[0] != 1)
            batch = all[i]->shape.dim[0];
    return batch;
}

static AttentionShape attention_shape(const AttentionMask *m, float scale, const Tensor *q, const Tensor *k,
                                      const Tensor *v)
{
    char a[128], b[128], c[128];
    const int64_t *n = q->shape.dim, *nk = k->shape.dim, *nv = v->shape.dim, batch = common_batch(q, k, v);
    contract((n[0] == batch || n[0] == 1) && (nk[0] == batch || nk[0] == 1) && (nv[0] == batch || nv[0] == 1) &&
                 nk[3] == n[3] && nv[1] == nk[1] && nk[2] > 0 && nv[2] > 0 && n[2] % nk[2] == 0 && n[2] % nv[2] == 0,
             "attend: q %s, k %s, v %s", shape_text(q->shape, a), shape_text(k->shape, b), shape_text(v->shape, c));
    AttentionShape s = {
        .batch = batch,
        .queries = n[1],
        .keys = nk[1],
        .q_heads = n[2],
        .k_heads = nk[2],
        .v_heads = nv[2],
        .width = n[3],
        .value_width = nv[3],
        .scale = scale != 0 ? scale : 1.0f / sqrtf((float)n[3]),
    };
    masks_set(&s, m);
    return s;
}

/* Whether two inputs share elements, and so their gradients: the windows of one fused projection lie side by side and do
 * not. */
static bool overlap(const Tensor *a, const Tensor *b)
{
    const Tensor *owner_a = a->root ? a->root : a, *owner_b = b->root ? b->root : b;
    if (owner_a != owner_b || tensor_count(a) == 0 || tensor_count(b) == 0)
        return false;
    const Tensor *low = a->offset <= b->offset ? a : b, *high = low == a ? b : a;
    int64_t distance = high->offset - low->offset, between = distance % low->stride;
    if (distance > tensor_offset(low, tensor_count(low) - 1))
        return false;
    return low->stride != high->stride || between < low->run || low->stride - between < high->run;
}

/* Where the gradients of q, k and v go. The kernel adds to all three or to none, and writes them side by side: where two
 * inputs overlap (q = k), they get places of their own first. */
typedef struct InputGradients {
    Tensor to[3];     /* data NULL: not wanted */
    Tensor *apart[3]; /* to be handed over afterwards, or NULL */
    bool add;
} InputGradients;

static InputGradients input_gradients(Tape *t, Tensor *const *in)
{
    InputGradients g = {0};
    if (overlap(in[0], in[1]) || overlap(in[0], in[2]) || overlap(in[1], in[2])) {
        for (int i = 0; i < 3; i++)
            if (in[i]->needs_gradient) {
                g.apart[i] = tensor_make(t, in[i]->type, in[i]->shape);
                g.to[i] = *g.apart[i];
            }
        return g;
    }
    Slot slots[3];
    for (int i = 0; i < 3; i++)
        slots[i] = gradient_slot(t, in[i]);
    g.add = slots_agree(t, 3, (Slot *[]){&slots[0], &slots[1], &slots[2]});
    for (int i = 0; i < 3; i++)
        g.to[i] = slots[i].gradient;
    return g;
}

/* in: q, k, v, bias; saved: q, k, v, o, lse, and what the masks point to. */
static void attend_backward(Tape *t, Node *n)
{
    const AttentionShape *shape = n->args;
    Tensor *const *saved = n->saved, *d_o = n->out->gradient;
    const Tensor *lse = saved[4], *dlse = n->extra_out ? n->extra_out->gradient : NULL;
    if (!d_o) { /* only the log-sum-exp was used */
        d_o = tensor_make(t, F32, n->out->shape);
        KERNEL(t, elementwise, fill, tensor_count(d_o), 0.0f, d_o->data);
    }
    InputGradients g = input_gradients(t, n->in);
    ScoreTable dbias = bias_gradient(t, n->in[3], shape);
    HeadRows d[3] = {0};
    for (int i = 0; i < 3; i++)
        if (g.to[i].data)
            d[i] = op_as_heads(&g.to[i]);
    for (int i = 0; i < 3 && shape->batch == 0 && !g.add; i++) /* keys that no sample shares */
        if (g.to[i].data)
            KERNEL(t, elementwise, fill, tensor_count(&g.to[i]), 0.0f, g.to[i].data);
    KERNEL_SCRATCH(t, attention, backward_scratch, &t->exec, shape);
    KERNEL(t, attention, backward, shape, op_as_heads(saved[0]), op_as_heads(saved[1]), op_as_heads(saved[2]),
           op_as_heads(saved[3]), lse->data, op_as_heads(d_o), op_floats(dlse), g.add, d[0], d[1], d[2], dbias);
    for (int i = 0; i < 3; i++)
        if (g.apart[i])
            gradient_give(t, n->in[i], g.apart[i]);
}

Tensor *attend_with_lse(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v, Tensor **lse_out)
{
    q = op_heads(t, q);
    k = op_heads(t, k);
    v = op_heads(t, v);
    AttentionMask m = spec->mask;
    m.bias = m.bias ? contiguous(t, m.bias) : NULL;
    OP_BEGIN(t, "attend", q, k, v, m.bias, (Tensor *)m.keep, (Tensor *)m.key_lengths);
    contract(spec->dropout == 0 || !tape_training(t), "attend_with_lse: no dropout");
    AttentionShape shape = attention_shape(&m, spec->scale, q, k, v);
    bool records = OP_RECORDS(t, q, k, v, m.bias);
    Tensor *o = tensor_make(t, q->type, SHAPE(shape.batch, shape.queries, shape.q_heads, shape.value_width));
    Tensor *lse = records || lse_out ? tensor_make(t, F32, SHAPE(shape.batch, shape.q_heads, shape.queries)) : NULL;
    t->macs += (double)(shape.batch * shape.q_heads * shape.queries) * (double)shape.keys *
               (double)(shape.width + shape.value_width);
    KERNEL_SCRATCH(t, attention, forward_scratch, &t->exec, &shape);
    KERNEL(t, attention, forward, &shape, op_as_heads(q), op_as_heads(k), op_as_heads(v), op_as_heads(o),
           op_floats(lse));
    if (records) {
        Node *n = op_record(t, "attend", attend_backward, o, &shape, sizeof shape);
        OP_INPUTS(t, n, q, k, v, m.bias);
        OP_SAVES(t, n, q, k, v, o, lse, (Tensor *)m.key_lengths, (Tensor *)m.keep, m.bias);
        if (lse_out) {
            n->extra_out = lse;
            lse->needs_gradient = true;
            lse->refs++;
        }
    }
    if (lse_out)
        *lse_out = lse;
    return o;
}

Tensor *attention_probabilities(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    q = op_heads(t, q);
    k = op_heads(t, k);
    Tensor *lse;
    attend_with_lse(t, spec, q, k, k, &lse);
    AttentionMask m = spec->mask;
    m.bias = m.bias ? contiguous(t, m.bias) : NULL;
    AttentionShape shape = attention_shape(&m, spec->scale, q, k, k);
    Tensor *p = tensor_make(t, F32, SHAPE(shape.batch, shape.q_heads, shape.queries, shape.keys));
    KERNEL_SCRATCH(t, attention, forward_scratch, &t->exec, &shape);
    KERNEL(t, attention, probabilities, &shape, op_as_heads(q), op_as_heads(k), lse->data, p->data);
    region_close(t, before);
    return scope_close(t, s, p);
}

/* With dropout the probabilities have to exist: softmax(q k^T) is written out, thinned, and applied. */
static Tensor *attend_with_dropout(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v)
{
    Scope s = scope_open(t);
    Tensor *scores = attention_scores(t, spec, convert(t, q, F32), convert(t, k, F32));
    if (scores->shape.dim[0] == 1 && v->shape.dim[0] != 1) /* every sample draws its own */
        scores = expand(t, scores, v->shape.dim[0]);
    Tensor *p = dropout(t, attention_softmax(t, spec, scores), spec->dropout, spec->site);
    return scope_close(t, s, convert(t, attention_apply(t, p, convert(t, v, F32)), q->type));
}

Tensor *attend(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v)
{
    if (spec->dropout > 0 && tape_training(t))
        return attend_with_dropout(t, spec, q, k, v);
    return attend_with_lse(t, spec, q, k, v, NULL);
}
