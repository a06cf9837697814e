/* The definition of attention, softmax(q k^T) v and its gradient, written out in double, and comparison with it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attention_problem.h"
#include "support/device.h"
#include "support/largest_error.h"

typedef struct Reference {
    double *p, *o, *lse;               /* [B,H,Q,K], [B,Q,H,e], [B,H,Q] */
    double *dq, *dk, *dv, *dbias, *ds; /* ds [B,H,Q,K]: of the scores */
} Reference;

static inline bool visible(const AttentionShape *s, int64_t b, int64_t h, int64_t i, int64_t j)
{
    int64_t here = i + s->causal_offset;
    return !(s->causal && j > here) && !(s->left >= 0 && j < here - s->left) &&
           !(s->right >= 0 && j > here + s->right) && !(s->key_lengths && j >= s->key_lengths[b]) &&
           !(s->keep.data && !((uint8_t *)s->keep.data)[table_at(s, &s->keep, b, h, i, j)]);
}

/* Scaled, before mask and bias. */
static inline double raw_score(const Problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const AttentionShape *s = &p->shape;
    double sum = 0;
    for (int64_t c = 0; c < s->width; c++)
        sum += get(&p->q, at(&p->q, b, i, h, c)) * get(&p->k, at(&p->k, b, j, h / (s->q_heads / s->k_heads), c));
    return s->scale * sum;
}

static inline double score(const Problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const AttentionShape *s = &p->shape;
    if (!visible(s, b, h, i, j))
        return s->blocked;
    double sum = raw_score(p, b, h, i, j);
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

/* The gradient that reaches p[b,h,i,j]. */
static inline double probability_slope(const Problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    int64_t hv = h / (p->shape.q_heads / p->shape.v_heads);
    double sum = 0;
    for (int64_t c = 0; c < p->shape.value_width; c++)
        sum += get(&p->d_o, at(&p->d_o, b, i, h, c)) * get(&p->v, at(&p->v, b, j, hv, c));
    return sum;
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
        double dp = probability_slope(p, b, h, i, j);
        double ds = r->ds[row * s->keys + j] = visible(s, b, h, i, j) ? probability[j] * (dp - delta) : 0;
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
                   mem_new(p->bias_count * 8 + 1),
                   mem_new(rows * (size_t)s->keys * 8 + 1)};
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->q_heads; h++)
            for (int64_t i = 0; i < s->queries; i++)
                reference_row(p, &r, b, h, i);
    return r;
}

static inline void reference_free(Reference *r)
{
    double *all[] = {r->p, r->o, r->lse, r->dq, r->dk, r->dv, r->dbias, r->ds};
    for (int i = 0; i < COUNT_OF(all); i++)
        mem_free(all[i]);
}

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* The emulated GPU takes every fifth case, and these twice: its blocks then run in another order. Where its accesses are
 * watched, which is slow, every 31st. */
static inline bool left_out(void)
{
    static int cases;
    return testing_emulated() && cases++ % (SANITIZED || testing_once() ? 31 : 5);
}

static inline int most_threads(void)
{
    return testing_once() ? 1 : testing_emulated() ? 2 : 3;
}

/* Whether got equals wanted to `tolerance` of the largest value. */
static inline bool close_enough(const char *what, size_t i, double got, double wanted, double largest, double tolerance)
{
    error_seen(fabs(got - wanted), tolerance * (1 + largest), what);
    if (got == wanted || fabs(got - wanted) <= tolerance * (1 + largest))
        return true;
    print_error("%s[%zu] is %.9g, not %.9g\n", what, i, got, wanted);
    return false;
}

static inline bool floats_close(const char *what, const float *got, const double *wanted, size_t count,
                                double tolerance)
{
    bool same = true;
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = isfinite(wanted[i]) && fabs(wanted[i]) < 1e6 ? fmax(largest, fabs(wanted[i])) : largest;
    for (size_t i = 0; i < count && same; i++) {
        double scale = isfinite(wanted[i]) ? fmax(largest, fabs(wanted[i])) : largest;
        same = close_enough(what, i, got[i], wanted[i], scale, tolerance);
    }
    return same;
}

static inline void describe(const Case *c, const char *level)
{
    print_error("level %s: batch %d, %d queries, %d keys, heads %d/%d/%d, width %d/%d, causal %d, window %d %d, "
                "lengths %d, dlse %d, add %d, fused %d, bf16 %d, shared q %d kv %d, keep '%s', bias '%s', blocked %g, "
                "empty row %d %d\n",
                level, c->batch, c->queries, c->keys, c->q_heads, c->k_heads, c->v_heads, c->width, c->value_width,
                c->causal, c->left - 1, c->right - 1, c->lengths, c->dlse, c->add, c->fused, c->bf16, c->share_q,
                c->share_kv, c->keep, c->bias, (double)c->blocked, c->empty_row, c->empty_rows);
}
