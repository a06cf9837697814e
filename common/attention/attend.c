#include "common/attention/attention.h"

#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include "common/base/memory.h"

#include <float.h>
#include <math.h>

static HeadRows head_rows(const Tensor *x)
{
    int64_t width = x->shape.dim[2] * x->shape.dim[3], tokens = x->shape.dim[1];
    HeadRows h = {.data = x->data, .token_step = width, .type = x->type};
    int64_t per_batch = tokens * width;
    if (tensor_is_window(x)) {
        /* A run is either one token (a window of a fused projection) or a sample's tokens (a window of the sequence). */
        bool by_token = x->run == width;
        h.token_step = by_token ? x->stride : width;
        per_batch = by_token ? tokens * x->stride : x->stride;
    }
    h.batch_step = x->shape.dim[0] == 1 ? 0 : per_batch;
    return h;
}

/* x, or a contiguous copy where neither kind of window fits. */
static Tensor *as_heads(Tape *t, Tensor *x)
{
    contract(x->shape.rank == 4, "attend: rank %d, not [B,N,heads,width]", x->shape.rank);
    int64_t width = x->shape.dim[2] * x->shape.dim[3], sample = x->shape.dim[1] * width;
    bool fits = !tensor_is_window(x) || x->run == width || x->run == sample;
    return fits && !x->channels_last ? x : contiguous(t, x);
}

static ScoreTable score_table(const Tensor *x, int64_t queries, int64_t keys)
{
    if (!x)
        return (ScoreTable){0};
    contract(x->shape.rank == 4 && !tensor_is_window(x), "attend: a mask is a contiguous [B,H,Q,K]");
    const int64_t *n = x->shape.dim;
    contract((n[2] == 1 || n[2] == queries) && (n[3] == 1 || n[3] == keys), "attend: a mask of %lld x %lld for %lld x %lld",
             (long long)n[2], (long long)n[3], (long long)queries, (long long)keys);
    return (ScoreTable){.data = x->data,
                        .batch = n[0],
                        .heads = n[1],
                        .batch_step = n[1] * n[2] * n[3],
                        .head_step = n[2] * n[3],
                        .query_step = n[2] == 1 ? 0 : n[3],
                        .key_step = n[3] == 1 ? 0 : 1};
}

static AttentionShape attention_shape(const AttentionSpec *spec, const Tensor *q, const Tensor *k, const Tensor *v)
{
    const AttentionMask *m = &spec->mask;
    static const float blocked[] = {-INFINITY, -FLT_MAX, -1e9f};
    char a[128], b[128], c[128];
    const int64_t *n = q->shape.dim;
    int64_t batch = MAX(n[0], MAX(k->shape.dim[0], v->shape.dim[0]));
    contract(k->shape.dim[3] == n[3] && v->shape.dim[1] == k->shape.dim[1] && n[2] % k->shape.dim[2] == 0 &&
                 n[2] % v->shape.dim[2] == 0,
             "attend: q %s, k %s, v %s", shape_text(q->shape, a), shape_text(k->shape, b), shape_text(v->shape, c));
    return (AttentionShape){
        .batch = batch,
        .queries = n[1],
        .keys = k->shape.dim[1],
        .q_heads = n[2],
        .k_heads = k->shape.dim[2],
        .v_heads = v->shape.dim[2],
        .width = n[3],
        .value_width = v->shape.dim[3],
        .scale = spec->scale != 0 ? spec->scale : 1.0f / sqrtf((float)n[3]),
        .causal = m->causal,
        .causal_offset = m->causal_offset,
        .left = m->window ? m->left : -1,
        .right = m->window ? m->right : -1,
        .key_lengths = m->key_lengths ? m->key_lengths->data : NULL,
        .keep = score_table(m->keep, n[1], k->shape.dim[1]),
        .bias = score_table(m->bias, n[1], k->shape.dim[1]),
        .blocked = blocked[m->blocked],
        .empty_row = m->empty_row,
    };
}

/* in: q, k, v, bias; saved: q, k, v, o, lse, and what the masks point to. */
static void attend_backward(Tape *t, Node *n)
{
    AttentionShape shape = *(AttentionShape *)n->args;
    Tensor *const *saved = n->saved;
    const Tensor *lse = saved[4], *dlse = n->extra_out ? n->extra_out->gradient : NULL;
    Tensor *d_o = n->out->gradient;
    if (!d_o) { /* only the log-sum-exp was used */
        d_o = tensor_make(t, F32, n->out->shape);
        KERNEL(t, elementwise, fill, tensor_count(d_o), 0.0f, d_o->data);
    }
    Slot dq = gradient_slot(t, n->in[0]), dk = gradient_slot(t, n->in[1]), dv = gradient_slot(t, n->in[2]);
    Slot dbias = gradient_slot(t, n->in[3]);
    ScoreTable db = {0};
    if (dbias.wanted) {
        db = score_table(&dbias.gradient, shape.queries, shape.keys);
        if (!dbias.add)
            KERNEL(t, elementwise, fill, tensor_count(&dbias.gradient), 0.0f, dbias.gradient.data);
    }
    /* The kernel adds to all three or to none. */
    bool wants_any = dq.wanted || dk.wanted || dv.wanted, add = false;
    Slot *slots[] = {&dq, &dk, &dv};
    for (int i = 0; i < 3; i++)
        add |= slots[i]->wanted && slots[i]->add;
    for (int i = 0; i < 3; i++)
        if (add && slots[i]->wanted && !slots[i]->add)
            KERNEL(t, elementwise, fill, tensor_count(&slots[i]->gradient), 0.0f, slots[i]->gradient.data);
    HeadRows none = {0};
    if (wants_any || dbias.wanted)
        KERNEL(t, attention, backward, &shape, head_rows(saved[0]), head_rows(saved[1]), head_rows(saved[2]),
               head_rows(saved[3]), lse->data, head_rows(d_o), op_floats(dlse), add,
               dq.wanted ? head_rows(&dq.gradient) : none, dk.wanted ? head_rows(&dk.gradient) : none,
               dv.wanted ? head_rows(&dv.gradient) : none, db);
}

Tensor *attend_with_lse(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v, Tensor **lse_out)
{
    q = as_heads(t, q);
    k = as_heads(t, k);
    v = as_heads(t, v);
    const AttentionMask *m = &spec->mask;
    AttentionShape shape = attention_shape(spec, q, k, v);
    contract(spec->dropout == 0 || !tape_training(t), "attend_with_lse: no dropout");
    bool records = OP_RECORDS(t, q, k, v, m->bias);
    Tensor *o = tensor_make(t, F32, SHAPE(shape.batch, shape.queries, shape.q_heads, shape.value_width));
    Tensor *lse = records || lse_out ? tensor_make(t, F32, SHAPE(shape.batch, shape.q_heads, shape.queries)) : NULL;
    t->macs += (double)(shape.batch * shape.q_heads * shape.queries) * (double)shape.keys *
               (double)(shape.width + shape.value_width);
    KERNEL(t, attention, forward, &shape, head_rows(q), head_rows(k), head_rows(v), head_rows(o), op_floats(lse));
    if (records) {
        Node *n = op_record(t, "attend", attend_backward, o, &shape, sizeof shape);
        OP_INPUTS(t, n, q, k, v, m->bias);
        OP_SAVES(t, n, q, k, v, o, lse, (Tensor *)m->key_lengths, (Tensor *)m->keep, m->bias);
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
    q = as_heads(t, q);
    k = as_heads(t, k);
    Tensor *lse;
    Scope s = scope_open(t);
    attend_with_lse(t, spec, q, k, k, &lse);
    AttentionShape shape = attention_shape(spec, q, k, k);
    Tensor *p = tensor_make(t, F32, SHAPE(shape.batch, shape.q_heads, shape.queries, shape.keys));
    KERNEL(t, attention, probabilities, &shape, head_rows(q), head_rows(k), lse->data, p->data);
    region_close(t, before);
    return scope_close(t, s, p);
}

/* With dropout the probabilities have to exist: softmax(q k^T) is written out, thinned, and applied. */
static Tensor *attend_with_dropout(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v)
{
    Tensor *p = attention_softmax(t, spec, attention_scores(t, spec, q, k));
    return attention_apply(t, dropout(t, p, spec->dropout, spec->site), v);
}

Tensor *attend(Tape *t, const AttentionSpec *spec, Tensor *q, Tensor *k, Tensor *v)
{
    if (spec->dropout > 0 && tape_training(t))
        return attend_with_dropout(t, spec, q, k, v);
    return attend_with_lse(t, spec, q, k, v, NULL);
}
