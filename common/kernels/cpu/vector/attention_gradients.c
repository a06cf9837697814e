/* The backward pass on one tile of queries: what products want of it, and from scores to the gradients of scores. */
#include "common/kernels/cpu/vector/attention_backward.h"

static void find_delta(const Backward *x, const Tile *t, Work *w)
{
    const AttentionShape *s = x->shape;
    const float *dlse = x->dlse ? x->dlse + (t->batch * s->q_heads + t->head) * s->queries + t->first : NULL;
    int64_t step, width = s->value_width, wide = padded(width);
    const float *o = LEVEL(rows_see)(x->o, t->batch, t->head, t->first, t->count, width, w->rows, &step);
    for (int64_t i = 0; i < t->lanes; i++) {
        float sum = 0;
        if (i < t->count) {
            Vec sums = vec_set(0);
            for (int64_t c = 0; c < width; c += LANES)
                sums += vec_load_upto(o + i * step + c, width - c, 0) *
                        vec_load_upto(w->do_rows + i * wide + c, width - c, 0);
            sum = vec_sum(sums) - (dlse ? dlse[i] : 0);
        }
        w->delta[i] = sum;
    }
}

/* What products of floats want of the tile. */
static void load_floats(const Backward *x, const Tile *t, bool lanes, Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t d = padded(s->width), e = padded(s->value_width), step;
    const float *q = LEVEL(rows_see)(x->q, t->batch, t->head, t->first, t->count, s->width, w->q_rows, &step);
    if (lanes) {
        LEVEL(rows_copy)(q, step, t->count, s->width, s->scale * LOG2_E, w->rows);
        LEVEL(lanes_from_rows)(w->rows, d, t->count, t->columns, s->width, w->scoring.queries);
        LEVEL(lanes_from_rows)(w->do_rows, e, t->count, t->columns, s->value_width, w->do_lanes);
    }
    LEVEL(rows_copy)(q, step, t->count, s->width, s->scale, w->q_rows);
}

/* The same for products of pairs. */
static void load_pairs(const Backward *x, const Tile *t, Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t d = s->width, e = s->value_width;
    LEVEL(halves_copy)(x->q, t->batch, t->head, t->first, t->count, d, w->rows);
    LEVEL(lanes_from_rows)(w->rows, step_of(HALVES, d), t->count, t->columns, terms(true, d), w->scoring.queries);
    LEVEL(halves_copy)(x->d_o, t->batch, t->head, t->first, t->count, e, w->rows);
    LEVEL(lanes_from_rows)(w->rows, step_of(HALVES, e), t->count, t->columns, terms(true, e), w->do_lanes);
    LEVEL(halves_weave)(x->q, t->batch, t->head, t->first, t->count, d, w->q_rows);
    LEVEL(halves_weave)(x->d_o, t->batch, t->head, t->first, t->count, e, w->do_rows);
}

bool LEVEL(load_tile)(const Backward *x, Tile *t, Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t step;
    const float *d_o =
        LEVEL(rows_see)(x->d_o, t->batch, t->head, t->first, t->count, s->value_width, w->do_rows, &step);
    LEVEL(rows_copy)(d_o, step, t->count, s->value_width, 1, w->do_rows);
    find_delta(x, t, w);
    bool exact = LEVEL(statistics_of_lse)(s, t, x->lse, &w->stats);
    if (x->halves)
        load_pairs(x, t, w);
    else
        load_floats(x, t, s->queries > FEW || !exact, w);
    if (!exact)
        LEVEL(statistics_again)(s, t, x->k, &w->scoring, &w->stats);
    return exact && s->queries <= FEW;
}

/* p and ds of one key and the lanes from i on. */
static inline void key_gradients(const Block *block, const Work *w, int64_t j, int64_t i, Vec *p, Vec *ds)
{
    Vec largest = vec_load(w->stats.largest + i), log_total = vec_load(w->stats.log_total + i);
    *p = vec_exp2(vec_load(w->scoring.scores + j * TILE_QUERIES + i) * block->unit - largest - log_total);
    *ds = *p * (vec_load(w->ds + j * TILE_QUERIES + i) - vec_load(w->delta + i));
}

static void score_gradients_in_floats(const Tile *t, const Block *block, Work *w)
{
    for (int64_t i = block->lane; i < t->lanes; i += LANES) {
        for (int64_t j = 0; j < block->count; j++) {
            Vec p, ds;
            key_gradients(block, w, j, i, &p, &ds);
            vec_store(w->scoring.scores + j * TILE_QUERIES + i, p);
            vec_store(w->ds + j * TILE_QUERIES + i, ds);
        }
    }
}

static void put_halves(float *row, int64_t i, Vec x)
{
    VecHalf halves = vec_to_half_fast(x);
    memcpy((uint16_t *)row + i, &halves, sizeof halves);
}

/* A row's lanes are read before they are written over. */
static void score_gradients_in_pairs(const Tile *t, const Block *block, Work *w)
{
    for (int64_t i = block->lane; i < t->lanes; i += LANES) {
        for (int64_t j = 0; j < block->count; j += 2) {
            Vec p[2] = {vec_set(0), vec_set(0)}, ds[2] = {vec_set(0), vec_set(0)};
            int64_t keys = smaller(2, block->count - j);
            for (int64_t n = 0; n < keys; n++) {
                key_gradients(block, w, j + n, i, &p[n], &ds[n]);
                put_halves(w->scoring.scores + (j + n) * TILE_QUERIES, i, p[n]);
                put_halves(w->ds + (j + n) * TILE_QUERIES, i, ds[n]);
            }
            vec_store(w->woven_ds + j / 2 * TILE_QUERIES + i, vec_pairs(ds[0], ds[1]));
        }
    }
}

void LEVEL(score_gradients)(const Backward *x, const Tile *t, const Block *block, Work *w)
{
    if (x->halves)
        score_gradients_in_pairs(t, block, w);
    else
        score_gradients_in_floats(t, block, w);
}
