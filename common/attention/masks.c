#include "common/attention/masks.h"

#include <float.h>
#include <math.h>

/* A mask or bias as the kernels read it. */
static ScoreTable score_table(const Tensor *x, DType type, const AttentionShape *a)
{
    if (!x)
        return (ScoreTable){0};
    const int64_t *n = x->shape.dim;
    char text[128];
    bool batch_fits = n[0] == a->batch || (n[0] > 0 && a->batch % n[0] == 0);
    contract(x->shape.rank == 4 && x->type == type && !tensor_is_window(x) && batch_fits && n[1] > 0 &&
                 a->q_heads % n[1] == 0 && (n[2] == 1 || n[2] == a->queries) && (n[3] == 1 || n[3] == a->keys),
             "attend: a mask %s of %s for %lld x %lld x %lld x %lld scores", shape_text(x->shape, text),
             dtype_name(x->type), (long long)a->batch, (long long)a->q_heads, (long long)a->queries,
             (long long)a->keys);
    return (ScoreTable){.data = x->data,
                        .batch = n[0],
                        .heads = n[1],
                        .batch_step = n[1] * n[2] * n[3],
                        .head_step = n[2] * n[3],
                        .query_step = n[2] == 1 ? 0 : n[3],
                        .key_step = n[3] == 1 ? 0 : 1};
}

void masks_set(AttentionShape *s, const AttentionMask *m)
{
    static const float blocked[] = {-INFINITY, -FLT_MAX, -1e9f};
    s->causal = m->causal;
    s->causal_offset = m->causal_offset;
    s->left = m->window ? m->left : -1;
    s->right = m->window ? m->right : -1;
    s->blocked = blocked[m->blocked];
    s->empty_row = m->empty_row;
    if (m->key_lengths) {
        char text[128];
        contract(m->key_lengths->type == I32 && tensor_count(m->key_lengths) == s->batch,
                 "attend: key_lengths of %s, %s", dtype_name(m->key_lengths->type),
                 shape_text(m->key_lengths->shape, text));
        s->key_lengths = m->key_lengths->data;
    }
    s->keep = score_table(m->keep, U8, s);
    s->bias = score_table(m->bias, F32, s);
}

ScoreTable bias_gradient(Tape *t, Tensor *bias, const AttentionShape *s)
{
    Slot slot = gradient_slot(t, bias);
    if (!slot.wanted)
        return (ScoreTable){0};
    if (!slot.add)
        KERNEL(t, elementwise, fill, tensor_count(&slot.gradient), 0.0f, slot.gradient.data);
    return score_table(&slot.gradient, F32, s);
}
