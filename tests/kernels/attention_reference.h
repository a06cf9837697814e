/* The definition of attention, softmax(q k^T) v and its gradient, written out in double. */
#pragma once
#include "attention_problem.h"

typedef struct Reference {
    double *p, *o, *lse; /* [B,H,Q,K], [B,Q,H,e], [B,H,Q] */
    double *dq, *dk, *dv, *dbias;
} Reference;

static inline bool visible(const AttentionShape *s, int64_t b, int64_t h, int64_t i, int64_t j)
{
    int64_t here = i + s->causal_offset;
    return !(s->causal && j > here) && !(s->left >= 0 && j < here - s->left) &&
           !(s->right >= 0 && j > here + s->right) && !(s->key_lengths && j >= s->key_lengths[b]) &&
           !(s->keep.data && !((uint8_t *)s->keep.data)[table_at(s, &s->keep, b, h, i, j)]);
}

static inline double score(const Problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const AttentionShape *s = &p->shape;
    double sum = 0;
    if (!visible(s, b, h, i, j))
        return s->blocked;
    for (int64_t c = 0; c < s->width; c++)
        sum += get(&p->q, at(&p->q, b, i, h, c)) * get(&p->k, at(&p->k, b, j, h / (s->q_heads / s->k_heads), c));
    sum *= s->scale;
    return s->bias.data ? sum + ((float *)s->bias.data)[table_at(s, &s->bias, b, h, i, j)] : sum;
}

/* p [K] of one row, and its log-sum-exp; a row without keys has -INFINITY. */
static inline double softmax_row(const Problem *p, int64_t b, int64_t h, int64_t i, double *row)
{
    const AttentionShape *s = &p->shape;
    double largest = -INFINITY, total = 0;
    for (int64_t j = 0; j < s->keys; j++)
        largest = fmax(largest, row[j] = score(p, b, h, i, j));
    for (int64_t j = 0; j < s->keys && largest > -INFINITY; j++)
        total += row[j] = exp(row[j] - largest);
    for (int64_t j = 0; j < s->keys; j++)
        row[j] = total > 0 ? row[j] / total : s->empty_row == EMPTY_UNIFORM ? 1.0 / (double)s->keys : 0;
    return total > 0 ? largest + log(total) : -INFINITY;
}

static inline void reference_row(const Problem *p, Reference *r, int64_t b, int64_t h, int64_t i)
{
    const AttentionShape *s = &p->shape;
    int64_t hk = h / (s->q_heads / s->k_heads), hv = h / (s->q_heads / s->v_heads),
            row = (b * s->q_heads + h) * s->queries + i;
    double *probability = r->p + row * s->keys, delta = p->dlse ? -p->dlse[row] : 0;
    r->lse[row] = softmax_row(p, b, h, i, probability);
    for (int64_t c = 0; c < s->value_width; c++) {
        double sum = 0, slope = get(&p->d_o, at(&p->d_o, b, i, h, c));
        for (int64_t j = 0; j < s->keys; j++) {
            sum += probability[j] * get(&p->v, at(&p->v, b, j, hv, c));
            r->dv[at(&p->dv, b, j, hv, c)] += probability[j] * slope;
        }
        r->o[((b * s->queries + i) * s->q_heads + h) * s->value_width + c] = sum;
        delta += sum * slope;
    }
    if (r->lse[row] == -INFINITY)
        return; /* constant, so without a gradient */
    for (int64_t j = 0; j < s->keys; j++) {
        double dp = 0;
        for (int64_t c = 0; c < s->value_width; c++)
            dp += get(&p->d_o, at(&p->d_o, b, i, h, c)) * get(&p->v, at(&p->v, b, j, hv, c));
        double ds = visible(s, b, h, i, j) ? probability[j] * (dp - delta) : 0;
        for (int64_t c = 0; c < s->width; c++) {
            r->dq[at(&p->dq, b, i, h, c)] += s->scale * ds * get(&p->k, at(&p->k, b, j, hk, c));
            r->dk[at(&p->dk, b, j, hk, c)] += s->scale * ds * get(&p->q, at(&p->q, b, i, h, c));
        }
        if (p->dbias)
            r->dbias[table_at(s, &s->bias, b, h, i, j)] += ds;
    }
}

static inline double *start_of_gradient(const Tensor *x, bool add)
{
    double *sums = mem_new(x->count * sizeof *sums + 1);
    for (size_t i = 0; i < x->count && add; i++)
        sums[i] = get(x, i);
    return sums;
}

static inline Reference reference(const Problem *p)
{
    const AttentionShape *s = &p->shape;
    size_t rows = (size_t)(s->batch * s->q_heads * s->queries);
    Reference r = {mem_new(rows * (size_t)s->keys * 8 + 1),
                   mem_new(rows * (size_t)s->value_width * 8 + 1),
                   mem_new(rows * 8 + 1),
                   start_of_gradient(&p->dq, p->add),
                   start_of_gradient(&p->dk, p->add),
                   start_of_gradient(&p->dv, p->add),
                   mem_new(p->bias_count * 8 + 1)};
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->q_heads; h++)
            for (int64_t i = 0; i < s->queries; i++)
                reference_row(p, &r, b, h, i);
    return r;
}

static inline void reference_free(Reference *r)
{
    double *all[] = {r->p, r->o, r->lse, r->dq, r->dk, r->dv, r->dbias};
    for (int i = 0; i < COUNT_OF(all); i++)
        mem_free(all[i]);
}
