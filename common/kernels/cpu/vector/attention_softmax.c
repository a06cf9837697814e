/* Softmax of scores that lie written out, [B,H,Q,K], under the masks of attention: a row at a time, lanes along the keys. */
#include "common/kernels/cpu/vector/attention_tile.h"

#include <math.h>

static int64_t row_of(const AttentionShape *s, const Tile *t, int64_t i)
{
    return (t->batch * s->q_heads + t->head) * s->queries + t->first + i;
}

/* row = row * factor, or a number where the factor is 0. */
static void scale_row(int64_t count, float factor, float otherwise, float *row)
{
    for (int64_t j = 0; j < count; j += LANES)
        vec_store_upto(row + j, factor != 0 ? vec_load_upto(row + j, count - j, 0) * factor : vec_set(otherwise),
                       count - j);
}

/* Returns the row's log-sum-exp. */
static float softmax_row(const AttentionShape *s, const Tile *t, int64_t i, bool masked, const float *scores, float *p)
{
    float largest = LOWEST, total = 0, shrink;
    for (int64_t j = 0; j < s->keys; j += LANES)
        vec_store_upto(p + j, vec_in_log2(vec_load_upto(scores + j, s->keys - j, 0)), s->keys - j);
    if (masked)
        LEVEL(few_mask)(s, t, i, 0, s->keys, p);
    LEVEL(few_softmax)(s->keys, p, &largest, &total, &shrink);
    bool empty = total == 0;
    float natural = largest == LOWEST ? largest : largest * LN_2; /* as vec_in_log2 made it */
    scale_row(s->keys, empty ? 0 : 1 / total, s->empty_row == EMPTY_UNIFORM ? 1 / (float)s->keys : 0, p);
    return empty ? -INFINITY : natural + logf(total);
}

void LEVEL(attention_softmax)(const Exec *exec, const AttentionShape *s, const float *scores, float *p, float *lse)
{
    int64_t tiles = tiles_of(s->queries), tasks = s->batch * s->q_heads * tiles;
#pragma omp parallel for num_threads(exec->threads) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        Tile t;
        LEVEL(tile_start)(s, task / tiles / s->q_heads, task / tiles % s->q_heads, task % tiles, &t);
        bool masked = LEVEL(block_masked)(s, &t, 0, s->keys);
        for (int64_t i = 0; i < t.count; i++) {
            int64_t row = row_of(s, &t, i);
            lse[row] = softmax_row(s, &t, i, masked, scores + row * s->keys, p + row * s->keys);
        }
    }
}

typedef struct Gradient {
    const AttentionShape *shape;
    AttentionShape sight; /* the same without bias, a hidden key scoring 0 */
    const float *p, *lse, *dp;
    float *ds;
    ScoreTable dbias;
} Gradient;

/* ds = p (dp - sum p dp), and 0 for keys that are not seen. */
static void gradient_row(const Gradient *g, const Tile *t, int64_t i, bool masked, const float *p, const float *dp,
                         float *ds)
{
    int64_t keys = g->shape->keys;
    Vec sums = vec_set(0);
    for (int64_t j = 0; j < keys; j += LANES)
        sums += vec_load_upto(p + j, keys - j, 0) * vec_load_upto(dp + j, keys - j, 0);
    float delta = vec_sum(sums);
    for (int64_t j = 0; j < keys; j += LANES)
        vec_store_upto(ds + j, vec_load_upto(p + j, keys - j, 0) * (vec_load_upto(dp + j, keys - j, 0) - delta),
                       keys - j);
    if (masked)
        LEVEL(few_mask)(&g->sight, t, i, 0, keys, ds);
}

static void add_bias_gradient(const Gradient *g, const Tile *t, int64_t i, const float *ds)
{
    const ScoreTable *table = &g->dbias;
    float *to = (float *)table->data + table_start(g->shape, table, t, 0) + i * table->query_step;
    for (int64_t j = 0; j < g->shape->keys; j++)
        to[j * table->key_step] += ds[j];
}

static void gradient_tile(const Gradient *g, int64_t batch, int64_t head, int64_t index)
{
    const AttentionShape *s = g->shape;
    Tile t;
    LEVEL(tile_start)(s, batch, head, index, &t);
    bool masked = LEVEL(block_masked)(&g->sight, &t, 0, s->keys);
    for (int64_t i = 0; i < t.count; i++) {
        int64_t row = row_of(s, &t, i);
        float *ds = g->ds + row * s->keys;
        if (g->lse[row] == -INFINITY) /* constant */
            scale_row(s->keys, 0, 0, ds);
        else
            gradient_row(g, &t, i, masked, g->p + row * s->keys, g->dp + row * s->keys, ds);
        if (g->dbias.data)
            add_bias_gradient(g, &t, i, ds);
    }
}

/* One task has all rows that add to the same part of the bias, and meets them in order. */
void LEVEL(attention_softmax_gradient)(const Exec *exec, const AttentionShape *s, const float *p, const float *lse,
                                       const float *dp, float *ds, ScoreTable dbias)
{
    Gradient g = {s, *s, p, lse, dp, ds, dbias};
    g.sight.bias.data = NULL;
    g.sight.blocked = 0;
    int64_t tiles = tiles_of(s->queries), batches = dbias.data ? dbias.batch : s->batch;
    int64_t groups = dbias.data ? dbias.heads : s->q_heads, heads = groups > 0 ? s->q_heads / groups : 0;
    int64_t parts = dbias.data && dbias.query_step == 0 ? smaller(1, tiles) : tiles;
#pragma omp parallel for num_threads(exec->threads) schedule(static)
    for (int64_t task = 0; task < batches * groups * parts; task++) {
        int64_t group = task / parts % groups, first = parts == tiles ? task % parts : 0;
        int64_t end = parts == tiles ? first + 1 : tiles;
        for (int64_t b = task / parts / groups; b < s->batch; b += batches)
            for (int64_t h = group * heads; h < (group + 1) * heads; h++)
                for (int64_t i = first; i < end; i++)
                    gradient_tile(&g, b, h, i);
    }
}
