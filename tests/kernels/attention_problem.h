/* A problem of attention for the kernels' tests, drawn from a case: odd sizes, masks, shared and grouped heads, windows of a
 * fused projection. Buffers are allocated to the float, so that a sanitizer sees what lies outside. */
#pragma once
#include "common/base/memory.h"
#include "support/operand.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One comparison. Zero means off; sizes must be given. */
typedef struct Case {
    int batch, queries, keys, q_heads, k_heads, v_heads, width, value_width;
    bool causal;
    int left, right; /* window + 1: 0 is no limit */
    bool lengths, dlse, add, fused, bf16;
    bool share_q, share_kv; /* one for all samples */
    char keep[5], bias[5];  /* the axes B H Q K: 'x' full, '1' broadcast, 'k' as many heads as k, 'd' B / 2 */
    float blocked;          /* 0: -INFINITY */
    EmptyRow empty_row;
    bool empty_rows; /* some rows of keep and bias hide every key */
} Case;

static uint32_t random_state = 1;

static inline uint32_t random_word(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static inline int random_below(int n)
{
    return (int)(random_word() % (uint32_t)n);
}

static inline float random_value(void)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)random_word() * 0x1p-24f - 0.5f;
    return sum * 1.7f;
}

static inline Case plain_case(int batch, int queries, int keys, int heads, int width)
{
    return (Case){.batch = batch,
                  .queries = queries,
                  .keys = keys,
                  .q_heads = heads,
                  .k_heads = heads,
                  .v_heads = heads,
                  .width = width,
                  .value_width = width};
}

/* The n-th of a long list: everything together. */
static inline Case drawn_case(int n)
{
    static const int tokens[] = {1, 2, 4, 7, 16, 33, 64, 90, 131};
    static const int widths[] = {1, 4, 5, 8, 16, 24, 32, 40, 64};
    static const char marks[] = "xx1";
    static const float blocked[] = {0, 0, -FLT_MAX, -1e9f};
    int groups = 1 + random_below(2), k_heads = 1 + random_below(2);
    Case c = {.batch = 1 + random_below(3),
              .queries = tokens[random_below(9)],
              .keys = tokens[random_below(9)],
              .q_heads = groups * k_heads * 2,
              .k_heads = k_heads,
              .v_heads = random_below(2) ? k_heads * 2 : 1,
              .width = widths[random_below(9)],
              .value_width = widths[random_below(9)],
              .causal = random_below(2),
              .lengths = random_below(3) == 0,
              .dlse = random_below(2),
              .add = random_below(2),
              .fused = random_below(2),
              .bf16 = random_below(4) == 0,
              .share_q = random_below(4) == 0,
              .share_kv = random_below(4) == 0,
              .blocked = blocked[random_below(4)],
              .empty_row = (EmptyRow)random_below(2),
              .empty_rows = random_below(3) == 0};
    if (random_below(3) == 0)
        c.left = 1 + random_below(50);
    if (random_below(3) == 0)
        c.right = 1 + random_below(50);
    for (int axis = 0; axis < 4 && n % 2; axis++)
        c.bias[axis] = marks[random_below(3)];
    for (int axis = 0; axis < 4 && n % 3; axis++)
        c.keep[axis] = marks[random_below(3)];
    return c;
}

/* A tensor [B,N,H,w], perhaps a window of a wider one; `gap` floats lie between two tokens. */
typedef struct Tensor {
    HeadRows rows;
    size_t count; /* elements, gaps included */
    int64_t heads, width;
} Tensor;

enum { GAP_MARK = 77 };

static inline void put(const Tensor *x, size_t i, float value)
{
    if (x->rows.type == BF16)
        ((uint16_t *)x->rows.data)[i] = bf16_from_float(value);
    else
        ((float *)x->rows.data)[i] = value;
}

static inline double get(const Tensor *x, size_t i)
{
    return x->rows.type == BF16 ? bf16_to_float(((uint16_t *)x->rows.data)[i]) : ((float *)x->rows.data)[i];
}

static inline size_t at(const Tensor *x, int64_t b, int64_t n, int64_t h, int64_t c)
{
    return (size_t)(b * x->rows.batch_step + n * x->rows.token_step + h * x->width + c);
}

static inline Tensor tensor(const Case *c, int64_t tokens, int64_t heads, int64_t width, bool shared)
{
    int64_t gap = c->fused ? 5 : 0, step = heads * width + gap;
    Tensor x = {{NULL, shared ? 0 : tokens * step, step, c->bf16 ? BF16 : F32}, 0, heads, width};
    x.count = (size_t)((shared ? 1 : c->batch) * tokens * step);
    x.rows.data = operand_new(x.count * dtype_bytes(x.rows.type) + !x.count);
    for (size_t i = 0; i < x.count; i++)
        put(&x, i, (int64_t)i % step < heads * width ? random_value() : GAP_MARK);
    return x;
}

static inline Tensor copy_of(const Tensor *x)
{
    Tensor y = *x;
    y.rows.data = operand_new(x->count * dtype_bytes(x->rows.type) + !x->count);
    memcpy(y.rows.data, x->rows.data, x->count * dtype_bytes(x->rows.type));
    return y;
}

typedef struct Problem {
    AttentionShape shape;
    Tensor q, k, v, o, d_o, dq, dk, dv; /* the gradients hold what `add` adds to */
    float *lse, *dlse, *dbias;
    ScoreTable dbias_table;
    size_t bias_count;
    bool add;
} Problem;

static inline int64_t axis_length(char mark, int64_t full, int64_t k_heads)
{
    return mark == '1' ? 1 : mark == 'k' ? k_heads : mark == 'd' ? full / 2 : full;
}

static inline ScoreTable table(const Case *c, const char *axes, size_t bytes, size_t *count)
{
    int64_t b = axis_length(axes[0], c->batch, 0), h = axis_length(axes[1], c->q_heads, c->k_heads);
    int64_t q = axis_length(axes[2], c->queries, 0), k = axis_length(axes[3], c->keys, 0);
    *count = (size_t)(b * h * q * k);
    return (ScoreTable){operand_new(*count * bytes + !*count),
                        b,
                        h,
                        b == 1 ? 0 : h * q * k,
                        h == 1 ? 0 : q * k,
                        q == 1 ? 0 : k,
                        k == 1 ? 0 : 1};
}

static inline int64_t table_at(const AttentionShape *s, const ScoreTable *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return b % t->batch * t->batch_step + h / (s->q_heads / t->heads) * t->head_step + i * t->query_step +
           j * t->key_step;
}

static inline Problem problem(const Case *c)
{
    Problem p = {0};
    AttentionShape *s = &p.shape;
    *s = (AttentionShape){.batch = c->batch,
                          .queries = c->queries,
                          .keys = c->keys,
                          .q_heads = c->q_heads,
                          .k_heads = c->k_heads,
                          .v_heads = c->v_heads,
                          .width = c->width,
                          .value_width = c->value_width,
                          .scale = 1 / sqrtf((float)(c->width + 1)),
                          .causal = c->causal,
                          .causal_offset = c->keys - c->queries,
                          .left = c->left - 1,
                          .right = c->right - 1,
                          .blocked = c->blocked != 0 ? c->blocked : -INFINITY,
                          .empty_row = c->empty_row};
    p.q = tensor(c, c->queries, c->q_heads, c->width, c->share_q);
    p.k = tensor(c, c->keys, c->k_heads, c->width, c->share_kv);
    p.v = tensor(c, c->keys, c->v_heads, c->value_width, c->share_kv);
    p.o = tensor(c, c->queries, c->q_heads, c->value_width, false);
    p.d_o = tensor(c, c->queries, c->q_heads, c->value_width, false);
    p.dq = tensor(c, c->queries, c->q_heads, c->width, c->share_q);
    p.dk = tensor(c, c->keys, c->k_heads, c->width, c->share_kv);
    p.dv = tensor(c, c->keys, c->v_heads, c->value_width, c->share_kv);
    p.add = c->add;
    size_t rows = (size_t)(c->batch * c->q_heads * c->queries);
    p.lse = operand_new(rows * 4 + 1);
    if (c->dlse) {
        p.dlse = operand_new(rows * 4 + 1);
        for (size_t i = 0; i < rows; i++)
            p.dlse[i] = random_value();
    }
    if (c->lengths) {
        int32_t *lengths = operand_new((size_t)c->batch * 4);
        for (int b = 0; b < c->batch; b++)
            lengths[b] = c->empty_rows && b == 0 ? 0 : random_below(c->keys + 2);
        s->key_lengths = lengths;
    }
    if (c->keep[0]) {
        size_t count;
        s->keep = table(c, c->keep, 1, &count);
        int64_t run = s->keep.key_step ? c->keys : 1; /* one row of the table */
        for (size_t i = 0; i < count; i++) {
            bool hidden = c->empty_rows && (int64_t)i / run % 3 == 0;
            ((uint8_t *)s->keep.data)[i] = hidden ? 0 : random_below(4) > 0;
        }
    }
    if (c->bias[0]) {
        s->bias = table(c, c->bias, 4, &p.bias_count);
        float *bias = s->bias.data;
        int64_t run = s->bias.key_step ? c->keys : 1;
        for (size_t i = 0; i < p.bias_count; i++) {
            bias[i] = random_below(9) == 0 ? -INFINITY : random_value();
            if (c->empty_rows && (int64_t)i / run % 4 == 1)
                bias[i] = (int64_t)i / run % 8 == 1 ? -INFINITY : -FLT_MAX;
        }
        p.dbias = operand_new(p.bias_count * 4 + 1);
        p.dbias_table = s->bias;
        p.dbias_table.data = p.dbias;
    }
    return p;
}

static inline void problem_free(Problem *p)
{
    Tensor *all[] = {&p->q, &p->k, &p->v, &p->o, &p->d_o, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < COUNT_OF(all); i++)
        operand_free(all[i]->rows.data);
    operand_free(p->lse);
    operand_free(p->dlse);
    operand_free((void *)p->shape.key_lengths);
    operand_free(p->shape.keep.data);
    operand_free(p->shape.bias.data);
    operand_free(p->dbias);
}

/* No keys, no queries, no samples. */
static inline void check_emptiness(void (*check)(const Case *), EmptyRow empty_row)
{
    Case no_keys = plain_case(2, 5, 0, 2, 8), no_queries = plain_case(2, 0, 5, 2, 8),
         no_batch = plain_case(0, 5, 5, 2, 8);
    no_keys.empty_row = no_queries.empty_row = empty_row;
    check(&no_keys);
    check(&no_queries);
    check(&no_batch);
}
