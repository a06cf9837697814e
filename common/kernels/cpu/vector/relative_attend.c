/* Attention with relative tables in one pass. A head's keys and values are few here (a window, a cluster): a tile of queries
 * has all its scores at once, [query][key], so that the softmax is a plain one, and the way back computes them again.
 *
 * The two sides, keys with R_k and values with R_v, are alike: scores are x . (row + table row) with x = q, and so is the
 * gradient of p, with x = d_o; o is the sum of (row + table row) with the weights p, and dq is, with ds. */
#include "common/base/error.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/relative_band.h"
#include <omp.h>

enum { CHUNKS = 16 }; /* partial gradients of the tables: their number never depends on the threads */

/* A score this far below the largest, in units of ln 2, has a probability of exactly 0 (vec_exp2). */
#define VANISHES 200.0f

/* Keys or values. */
typedef struct Side {
    RelativeShape shape;
    const float *table;              /* NULL: none, and the next two are not there either */
    float *table_rows, *table_lanes; /* [2M+1][padded(d)], [d][transposed_step] */
    float *rows, *lanes;             /* of the head at hand: [K][padded(d)], [d][key_step] */
    float *drows, *dtable;           /* gradients of the head's rows and, of a chunk, of the table */
} Side;

/* What a thread works with. */
typedef struct Work {
    Side side[2];
    float *p, *dp;  /* [TILE_QUERIES][key_step] */
    float *band;    /* [TILE_QUERIES][band_step of the larger] */
    float *q, *d_o; /* [TILE_QUERIES][padded(d)] and so on: rows of the tile */
    float *out;
    bool masked;                 /* some query of the tile does not see some key */
    bool constant[TILE_QUERIES]; /* whose probabilities do not depend on the scores */
    bool hidden[TILE_QUERIES];   /* where keys that are not seen have a part in the sum */
} Work;

enum { KEYS, VALUES };

static int64_t key_step(const AttentionShape *s)
{
    return padded(s->keys) + 16; /* rows that do not contend for the same sets of the cache */
}

static RelativeShape side_shape(const RelativeAttention *a, int side)
{
    const AttentionShape *s = &a->shape;
    return (RelativeShape){.batch = s->batch,
                           .queries = s->queries,
                           .keys = s->keys,
                           .heads = s->q_heads,
                           .width = side == KEYS ? s->width : s->value_width,
                           .clip = side == KEYS ? a->key_clip : a->value_clip};
}

static int64_t chunks_of(const AttentionShape *s)
{
    return smaller(CHUNKS, larger(1, s->batch * s->q_heads));
}

/* Cuts what all threads share: the tables as products want them and, on the way back, their partial gradients. */
static void cut_shared(const RelativeAttention *a, bool back, Cutter *c, Side *sides, float **partial)
{
    for (int i = 0; i < 2; i++) {
        Side *side = &sides[i];
        side->shape = side_shape(a, i);
        side->table = i == KEYS ? a->key_table : a->value_table;
        if (!side->table)
            continue;
        int64_t wide = padded(side->shape.width);
        if (back || i == VALUES)
            side->table_rows = cut(c, table_rows(&side->shape) * wide);
        if (back || i == KEYS)
            side->table_lanes = cut(c, side->shape.width * transposed_step(&side->shape));
        if (back)
            partial[i] = cut(c, chunks_of(&a->shape) * table_rows(&side->shape) * wide);
    }
}

/* Cuts what a thread has for itself. */
static void cut_work(const RelativeAttention *a, bool back, Cutter *c, Work *w)
{
    const AttentionShape *s = &a->shape;
    int64_t widest = padded(larger(s->width, s->value_width)), band = 0;
    for (int i = 0; i < 2; i++) {
        Side *side = &w->side[i];
        if (back || i == VALUES)
            side->rows = cut(c, s->keys * padded(side->shape.width));
        if (back || i == KEYS)
            side->lanes = cut(c, side->shape.width * key_step(s));
        if (back)
            side->drows = cut(c, s->keys * padded(side->shape.width));
        if (side->table)
            band = larger(band, band_step(&side->shape));
    }
    w->p = cut(c, TILE_QUERIES * key_step(s));
    w->dp = back ? cut(c, TILE_QUERIES * key_step(s)) : NULL;
    w->band = cut(c, TILE_QUERIES * band);
    w->q = cut(c, TILE_QUERIES * widest);
    w->d_o = back ? cut(c, TILE_QUERIES * widest) : NULL;
    w->out = cut(c, TILE_QUERIES * widest);
}

/* Everything, for the calling thread; scratch NULL only counts. */
static size_t cut_all(const RelativeAttention *a, bool back, void *scratch, int thread, int threads, Work *w,
                      float *partial[2])
{
    Cutter shared = {scratch, 0}, own = {0};
    *w = (Work){0};
    cut_shared(a, back, &shared, w->side, partial);
    Work counted = *w;
    cut_work(a, back, &own, &counted);
    Cutter mine = {scratch ? shared.next + own.bytes * (size_t)thread : NULL, 0};
    cut_work(a, back, &mine, w);
    return shared.bytes + own.bytes * (size_t)threads;
}

size_t LEVEL(relative_forward_scratch)(const Exec *exec, const RelativeAttention *a)
{
    Work w;
    float *partial[2];
    return cut_all(a, false, NULL, 0, exec->threads, &w, partial);
}

size_t LEVEL(relative_backward_scratch)(const Exec *exec, const RelativeAttention *a)
{
    Work w;
    float *partial[2];
    return cut_all(a, true, NULL, 0, exec->threads, &w, partial);
}

static void load_tables(Side *side)
{
    const RelativeShape *s = &side->shape;
    if (side->table_rows)
        LEVEL(rows_copy)(side->table, s->width, table_rows(s), s->width, 1, side->table_rows);
    if (side->table_lanes)
        transpose_rows(side->table, s->width, table_rows(s), s->width, side->table_lanes, transposed_step(s));
}

static void load_head(const AttentionShape *s, Side *side, HeadRows x, int64_t batch, int64_t head)
{
    int64_t step, width = side->shape.width;
    const float *rows = LEVEL(rows_see)(x, batch, head, 0, s->keys, width, NULL, &step);
    if (side->rows)
        LEVEL(rows_copy)(rows, step, s->keys, width, 1, side->rows);
    if (side->lanes)
        transpose_rows(rows, step, s->keys, width, side->lanes, key_step(s));
    if (side->drows)
        memset(side->drows, 0, (size_t)(s->keys * padded(width)) * sizeof *side->drows);
}

static void load_tile(const Tile *t, float scale, HeadRows x, int64_t width, float *rows)
{
    int64_t step;
    const float *from = LEVEL(rows_see)(x, t->batch, t->head, t->first, t->count, width, NULL, &step);
    LEVEL(rows_copy)(from, step, t->count, width, scale, rows);
}

/* scores [count][key_step] = x . (rows + table rows) for the first `keys` keys. */
static void side_scores(const AttentionShape *s, const Side *side, const Tile *t, int64_t keys, const float *x, Work *w,
                        float *scores)
{
    const RelativeShape *r = &side->shape;
    int64_t wide = padded(r->width), step = key_step(s);
    LEVEL(tile_product)
    (false, t->count, padded(keys), r->width, x, wide, 1, side->lanes, step, scores, step, false);
    if (!side->table || keys == 0)
        return;
    Band b = band_of(r, t->first, t->count, keys);
    LEVEL(tile_product)
    (false, t->count, padded(b.rows), r->width, x, wide, 1, side->table_lanes + b.low, transposed_step(r), w->band,
     band_step(r), false);
    for (int64_t i = 0; i < t->count; i++) {
        Shift shift = shift_of(r, &b, i);
        shift_out(&shift, keys, w->band + i * band_step(r), true, scores + i * step);
    }
}

/* The weights of the keys, given to the rows of the table. */
static Band band_weights(const AttentionShape *s, const Side *side, const Tile *t, int64_t keys, const float *weights,
                         Work *w)
{
    const RelativeShape *r = &side->shape;
    Band b = band_of(r, t->first, t->count, keys);
    for (int64_t i = 0; i < t->count; i++) {
        Shift shift = shift_of(r, &b, i);
        shift_in(&shift, keys, b.rows, weights + i * key_step(s), w->band + i * band_step(r));
    }
    return b;
}

/* w->out [count][padded(d)] = the sum of rows and table rows with these weights; x [count][padded(d)] (NULL: not wanted): the
 * gradients of rows and table += weights^T x. */
static void side_apply(const AttentionShape *s, const Side *side, const Tile *t, int64_t keys, const float *weights,
                       bool sums, const float *x, Work *w)
{
    const RelativeShape *r = &side->shape;
    int64_t wide = padded(r->width), step = key_step(s);
    if (sums)
        LEVEL(tile_product)(false, t->count, wide, keys, weights, step, 1, side->rows, wide, w->out, wide, false);
    if (x)
        LEVEL(tile_product)(false, keys, wide, t->count, weights, 1, step, x, wide, side->drows, wide, true);
    if (!side->table || keys == 0)
        return;
    Band b = band_weights(s, side, t, keys, weights, w);
    if (sums)
        LEVEL(tile_product)
    (false, t->count, wide, b.rows, w->band, band_step(r), 1, side->table_rows + b.low * wide, wide, w->out, wide,
     true);
    if (x)
        LEVEL(tile_product)
    (false, b.rows, wide, t->count, w->band, 1, band_step(r), x, wide, side->dtable + b.low * wide, wide, true);
}

/* Puts `value` where query i does not see a key. */
static void hide_keys(const AttentionShape *s, const Tile *t, int64_t i, int64_t keys, float value, float *row)
{
    int64_t low = clamped(0, t->low[i], keys), high = clamped(low, (int64_t)t->high[i] + 1, keys);
    for (int64_t j = 0; j < low; j++)
        row[j] = value;
    for (int64_t j = high; j < keys; j++)
        row[j] = value;
    if (!s->keep.data)
        return;
    const uint8_t *keep = (const uint8_t *)s->keep.data + table_start(s, &s->keep, t, 0) + i * s->keep.query_step;
    if (s->keep.key_step == 1) {
        for (int64_t j = 0; j < keys; j++)
            row[j] = keep[j] ? row[j] : value;
    } else if (!keep[0]) {
        for (int64_t j = 0; j < keys; j++)
            row[j] = value;
    }
}

static void fill_row(int64_t n, float value, float *row)
{
    for (int64_t j = 0; j < n; j++)
        row[j] = value;
}

/* A row of scores, in units of ln 2, becomes probabilities. Returns whether keys behind the first `keys` could count. */
static bool softmax_row(const AttentionShape *s, const Tile *t, int64_t i, int64_t keys, Work *w)
{
    float *row = w->p + i * key_step(s), largest = LOWEST, total = 0, shrink, blocked = blocked_score(s);
    if (w->masked)
        hide_keys(s, t, i, keys, blocked, row);
    LEVEL(few_softmax)(keys, row, &largest, &total, &shrink);
    bool empty = total == 0;
    w->constant[i] = empty;
    w->hidden[i] = w->masked && !empty && !(largest - blocked > VANISHES);
    for (int64_t j = 0; j < keys && !empty; j += LANES)
        vec_store_upto(row + j, vec_load_upto(row + j, keys - j, 0) * (1 / total), keys - j);
    if (empty)
        fill_row(keys, s->empty_row == EMPTY_UNIFORM ? 1 / (float)s->keys : 0, row);
    return (empty && s->empty_row == EMPTY_UNIFORM) || (w->hidden[i] && blocked >= LOWEST);
}

/* w->p [count][key_step] = the tile's probabilities for the first so many keys, which is returned; behind them they are 0.
 * w->q holds the queries, in units of ln 2. */
static int64_t tile_p(const AttentionShape *s, const Tile *t, Work *w)
{
    int64_t keys = t->to;
    bool more = keys == 0;
    w->masked = LEVEL(block_masked)(s, t, 0, s->keys);
    side_scores(s, &w->side[KEYS], t, keys, w->q, w, w->p);
    for (int64_t i = 0; i < t->count; i++)
        more |= softmax_row(s, t, i, keys, w);
    if (!more || keys == s->keys)
        return keys;
    side_scores(s, &w->side[KEYS], t, s->keys, w->q, w, w->p);
    for (int64_t i = 0; i < t->count; i++)
        softmax_row(s, t, i, s->keys, w);
    return s->keys;
}

static void forward_head(const RelativeAttention *a, HeadRows q, HeadRows k, HeadRows v, HeadRows o, int64_t task,
                         Work *w)
{
    const AttentionShape *s = &a->shape;
    int64_t batch = task / s->q_heads, head = task % s->q_heads;
    load_head(s, &w->side[KEYS], k, batch, head);
    load_head(s, &w->side[VALUES], v, batch, head);
    for (int64_t index = 0; index < tiles_of(s->queries); index++) {
        Tile t;
        LEVEL(tile_start)(s, batch, head, index, &t);
        load_tile(&t, s->scale * LOG2_E, q, s->width, w->q);
        int64_t keys = tile_p(s, &t, w);
        side_apply(s, &w->side[VALUES], &t, keys, w->p, true, NULL, w);
        LEVEL(rows_save)(w->out, padded(s->value_width), t.count, s->value_width, false, o, batch, head, t.first);
    }
}

static void prepare(const Exec *exec, const RelativeAttention *a, bool back, HeadRows x)
{
    size_t bytes = (back ? LEVEL(relative_backward_scratch) : LEVEL(relative_forward_scratch))(exec, a);
    contract(exec->scratch_bytes >= bytes, "relative attention: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             bytes);
    contract(x.type == F32, "relative attention: rows of %s, not of float32", dtype_name(x.type));
    Work w;
    float *partial[2];
    cut_all(a, back, exec->scratch, 0, exec->threads, &w, partial);
    for (int i = 0; i < 2; i++)
        load_tables(&w.side[i]);
}

void LEVEL(relative_forward)(const Exec *exec, const RelativeAttention *a, HeadRows q, HeadRows k, HeadRows v,
                             HeadRows o)
{
    int64_t tasks = a->shape.batch * a->shape.q_heads;
    prepare(exec, a, false, q);
#pragma omp parallel num_threads(exec->threads)
    {
        Work w;
        float *partial[2];
        cut_all(a, false, exec->scratch, omp_get_thread_num(), exec->threads, &w, partial);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++)
            forward_head(a, q, k, v, o, task, &w);
    }
}

/* ---- The way back */

/* dp becomes ds = p (dp - sum p dp); what does not depend on the scores has 0. */
static void score_gradients(const AttentionShape *s, const Tile *t, int64_t keys, Work *w)
{
    for (int64_t i = 0; i < t->count; i++) {
        const float *p = w->p + i * key_step(s);
        float *dp = w->dp + i * key_step(s);
        Vec sums = vec_set(0);
        for (int64_t j = 0; j < keys; j += LANES)
            sums += vec_load_upto(p + j, keys - j, 0) * vec_load_upto(dp + j, keys - j, 0);
        float delta = vec_sum(sums);
        for (int64_t j = 0; j < keys; j += LANES)
            vec_store_upto(dp + j, vec_load_upto(p + j, keys - j, 0) * (vec_load_upto(dp + j, keys - j, 0) - delta),
                           keys - j);
        if (w->constant[i])
            fill_row(keys, 0, dp);
        else if (w->hidden[i])
            hide_keys(s, t, i, keys, 0, dp);
    }
}

static void scale_rows(int64_t count, int64_t wide, float factor, float *rows)
{
    for (int64_t n = 0; n < count * wide; n++)
        rows[n] *= factor;
}

static void backward_tile(const RelativeAttention *a, const RelativeGradients *g, const Tile *t, Work *w)
{
    const AttentionShape *s = &a->shape;
    load_tile(t, s->scale * LOG2_E, g->q, s->width, w->q);
    load_tile(t, 1, g->d_o, s->value_width, w->d_o);
    int64_t keys = tile_p(s, t, w);
    side_scores(s, &w->side[VALUES], t, keys, w->d_o, w, w->dp);
    side_apply(s, &w->side[VALUES], t, keys, w->p, false, w->d_o, w);
    score_gradients(s, t, keys, w);
    load_tile(t, s->scale, g->q, s->width, w->q);
    side_apply(s, &w->side[KEYS], t, keys, w->dp, true, w->q, w);
    scale_rows(t->count, padded(s->width), s->scale, w->out);
    LEVEL(rows_save)(w->out, padded(s->width), t->count, s->width, false, g->dq, t->batch, t->head, t->first);
}

static void backward_head(const RelativeAttention *a, const RelativeGradients *g, int64_t task, Work *w)
{
    const AttentionShape *s = &a->shape;
    int64_t batch = task / s->q_heads, head = task % s->q_heads;
    load_head(s, &w->side[KEYS], g->k, batch, head);
    load_head(s, &w->side[VALUES], g->v, batch, head);
    for (int64_t index = 0; index < tiles_of(s->queries); index++) {
        Tile t;
        LEVEL(tile_start)(s, batch, head, index, &t);
        backward_tile(a, g, &t, w);
    }
    LEVEL(rows_save)(w->side[KEYS].drows, padded(s->width), s->keys, s->width, false, g->dk, batch, head, 0);
    LEVEL(rows_save)
    (w->side[VALUES].drows, padded(s->value_width), s->keys, s->value_width, false, g->dv, batch, head, 0);
}

/* dtable (+)= the chunks' partial sums, in order. */
static void add_chunks(const Side *side, int64_t chunks, const float *partial, bool add, float *dtable)
{
    int64_t width = side->shape.width, wide = padded(width), rows = table_rows(&side->shape);
    if (!add)
        memset(dtable, 0, (size_t)(rows * width) * sizeof *dtable);
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t m = 0; m < rows; m++)
            span_add(width, partial + (chunk * rows + m) * wide, dtable + m * width);
}

void LEVEL(relative_backward)(const Exec *exec, const RelativeAttention *a, const RelativeGradients *g)
{
    int64_t tasks = a->shape.batch * a->shape.q_heads, chunks = chunks_of(&a->shape);
    prepare(exec, a, true, g->q);
#pragma omp parallel num_threads(exec->threads)
    {
        Work w;
        float *partial[2];
        cut_all(a, true, exec->scratch, omp_get_thread_num(), exec->threads, &w, partial);
#pragma omp for schedule(dynamic)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            for (int i = 0; i < 2; i++) {
                Side *side = &w.side[i];
                if (!side->table)
                    continue;
                int64_t floats = table_rows(&side->shape) * padded(side->shape.width);
                side->dtable = partial[i] + chunk * floats;
                memset(side->dtable, 0, (size_t)floats * sizeof *side->dtable);
            }
            for (int64_t task = chunk * tasks / chunks; task < (chunk + 1) * tasks / chunks; task++)
                backward_head(a, g, task, &w);
        }
    }
    Work w;
    float *partial[2];
    cut_all(a, true, exec->scratch, 0, exec->threads, &w, partial);
    if (a->key_table && g->dkey_table)
        add_chunks(&w.side[KEYS], chunks, partial[KEYS], g->add_keys, g->dkey_table);
    if (a->value_table && g->dvalue_table)
        add_chunks(&w.side[VALUES], chunks, partial[VALUES], g->add_values, g->dvalue_table);
}
