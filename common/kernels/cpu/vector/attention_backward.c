/* Backward pass of dense attention (Dao et al., FlashAttention, algorithm 4). With p the probabilities, o the output and
 * D[i] = sum_e do[i,e] o[i,e] - dlse[i]:
 *
 *   dv[j] = sum_i p[i,j] do[i]             dp[i,j] = do[i] . v[j]         ds[i,j] = p[i,j] (dp[i,j] - D[i])
 *   dq[i] = scale sum_j ds[i,j] k[j]       dk[j] = scale sum_i ds[i,j] q[i]       dbias[i,j] = ds[i,j]
 *
 * p is computed again, block by block, from the log-sum-exp. Where there are enough samples and heads, one unit of work
 * computes all gradients of a head; where there are not, one pass over tiles of queries gives dq and another over blocks
 * of keys dk and dv, at 7 products instead of 5. Both add in the same order (samples, heads, tiles, keys), so the result
 * does not depend on which of them ran. */
#include "common/base/error.h"
#include "common/kernels/cpu/vector/attention_backward.h"
#include <omp.h>

/* How one pass is cut into units: unit (c, g, x) has the samples c, c + batches, ..., the g-th of `heads` equal groups
 * of heads, and the x-th part of the tiles or of the keys. */
typedef struct Pass {
    bool dq, dkv, dbias;
    int64_t batches, heads;
    int64_t tile_parts, key_parts; /* a tile or a block each, or 1: all of them */
} Pass;

typedef struct Unit {
    int64_t batch, batch_step;
    int64_t head, head_end;
    int64_t tile, tile_end;
    int64_t key, key_end;
} Unit;

/* Where the rows of dk or dv are summed: row j of the unit's keys at j * step. */
typedef struct Sums {
    float *rows;
    int64_t step;
} Sums;

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* In how many groups heads fall that share no key, no value and no bias. */
static int64_t head_groups(const AttentionShape *s, const ScoreTable *bias)
{
    int64_t groups = common_divisor(s->k_heads, s->v_heads);
    return bias->data ? common_divisor(groups, bias->heads) : groups;
}

static size_t cut_work(const AttentionShape *s, bool halves, void *scratch, Work *w)
{
    Cutter c = {scratch, 0};
    int64_t d = padded(s->width), e = padded(s->value_width), groups = head_groups(s, &s->bias);
    w->scoring = cut_scoring(s, halves, &c);
    w->values = cut_gathered(&c, halves ? HALVES : FLOATS, s->keys, s->value_width);
    w->woven_keys = cut_gathered(&c, WOVEN, halves ? s->keys : 0, s->width);
    w->rows = cut(&c, TILE_QUERIES * larger(d, e));
    w->q_rows = cut(&c, TILE_QUERIES * d);
    w->do_rows = cut(&c, TILE_QUERIES * e);
    w->do_lanes = cut(&c, TILE_QUERIES * e);
    w->ds = cut_scores(&c);
    w->woven_ds = cut(&c, halves ? TILE_KEYS / 2 * TILE_QUERIES : 0);
    w->dq = cut(&c, TILE_QUERIES * d);
    w->dq_rows = cut(&c, FEW * d);
    w->dk = cut(&c, s->k_heads / groups * s->keys * d);
    w->dv = cut(&c, s->v_heads / groups * s->keys * e);
    return c.bytes;
}

size_t LEVEL(attention_backward_scratch)(const Exec *exec, const AttentionShape *s)
{
    Work w;
    size_t floats = cut_work(s, false, NULL, &w), halves = cut_work(s, true, NULL, &w);
    return (floats > halves ? floats : halves) * (size_t)exec->threads;
}

/* ds of query i and the keys from `first` on, which follow each other at `step`. */
static void add_bias_gradient(const Backward *x, const Tile *t, int64_t i, int64_t first, int64_t count,
                              const float *ds, int64_t step)
{
    const ScoreTable *table = &x->dbias;
    float *to = (float *)table->data + table_start(x->shape, table, t, first) + i * table->query_step;
    for (int64_t j = 0; j < count; j++)
        to[j * table->key_step] += ds[j * step];
}

/* Whether all samples add to the same gradient. */
static bool shared(const AttentionShape *s, HeadRows gradient)
{
    return gradient.data && gradient.batch_step == 0 && s->batch > 1;
}

/* One sum over keys' rows begins at the first sample that adds to it, and is saved after the last. */
static bool sum_begins(const Backward *x, const Unit *u, HeadRows gradient, int64_t batch)
{
    return gradient.data && (!shared(x->shape, gradient) || batch == u->batch);
}

static bool sum_ends(const Backward *x, const Unit *u, HeadRows gradient, int64_t batch)
{
    return gradient.data && (!shared(x->shape, gradient) || batch + u->batch_step >= x->shape->batch);
}

/* Whether rows can be summed where they end up. */
static bool in_place(const Backward *x, HeadRows gradient, int64_t width)
{
    return !x->halves && gradient.type == F32 && width % NARROW == 0 && !scattered(gradient, width);
}

/* The sums of one head's gradient, `buffer` being those of all heads of the unit. */
static Sums sums_of(const Backward *x, const Unit *u, HeadRows gradient, int64_t batch, int64_t head,
                    int64_t first_head, int64_t width, float *buffer)
{
    if (in_place(x, gradient, width))
        return (Sums){(float *)gradient.data + row_start(gradient, batch, head, u->key, width), gradient.token_step};
    int64_t wide = padded(width);
    return (Sums){buffer + (head - first_head) * (u->key_end - u->key) * wide, wide};
}

static void start_sums(const Backward *x, const Unit *u, HeadRows gradient, int64_t batch, int64_t group, int64_t width,
                       float *buffer)
{
    int64_t first = u->head / group;
    if (!sum_begins(x, u, gradient, batch) || (x->add && in_place(x, gradient, width)))
        return;
    for (int64_t h = first; h < u->head_end / group; h++) {
        Sums sums = sums_of(x, u, gradient, batch, h, first, width, buffer);
        for (int64_t j = 0; j < u->key_end - u->key; j++)
            for (int64_t c = 0; c < width; c += NARROW)
                memset(sums.rows + j * sums.step + c, 0, NARROW * sizeof *sums.rows);
    }
}

static void end_sums(const Backward *x, const Unit *u, HeadRows gradient, int64_t batch, int64_t group, int64_t width,
                     float factor, float *buffer)
{
    int64_t first = u->head / group;
    if (!sum_ends(x, u, gradient, batch) || in_place(x, gradient, width))
        return;
    for (int64_t h = first; h < u->head_end / group; h++) {
        Sums sums = sums_of(x, u, gradient, batch, h, first, width, buffer);
        if (factor != 1)
            LEVEL(rows_copy)(sums.rows, sums.step, u->key_end - u->key, width, factor, sums.rows);
        LEVEL(rows_save)(sums.rows, sums.step, u->key_end - u->key, width, x->add, gradient, batch, h, u->key);
    }
}

static void add_dq(const Backward *x, const Tile *t, const Block *block, Work *w)
{
    const AttentionShape *s = x->shape;
    const float *keys = block->keys, *ds = w->ds + block->lane;
    int64_t step = block->key_step;
    if (x->halves) {
        ds = w->woven_ds + block->lane;
        keys = LEVEL(rows_gather)(x->k, t->batch, t->head / (s->q_heads / s->k_heads), block->first, block->count,
                                  s->width, s->keys, &w->woven_keys, &step);
    }
    LEVEL(tile_product)
    (x->halves, s->width, t->columns - block->lane, terms(x->halves, block->count), keys, 1, step, ds, TILE_QUERIES,
     w->dq + block->lane, TILE_QUERIES, true);
}

/* What one tile and the keys first .. first + count - 1 give to each gradient. */
static void meet_block(const Backward *x, const Pass *pass, const Unit *u, const Tile *t, int64_t first, int64_t count,
                       Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t v_group = s->q_heads / s->v_heads, k_group = s->q_heads / s->k_heads;
    int64_t d = padded(s->width), e = padded(s->value_width), step;
    Block block;
    LEVEL(tile_scores)(s, t, x->k, first, count, &w->scoring, &block);
    int64_t lane = block.lane, row = terms(x->halves, lane), depth = terms(x->halves, t->count) - row;
    const float *values =
        LEVEL(rows_gather)(x->v, t->batch, t->head / v_group, first, count, s->value_width, s->keys, &w->values, &step);
    LEVEL(tile_product)
    (x->halves, count, t->columns - lane, terms(x->halves, s->value_width), values, step, 1, w->do_lanes + lane,
     TILE_QUERIES, w->ds + lane, TILE_QUERIES, false);
    if (w->stats.recomputed && block.masked)
        LEVEL(tile_replace_blocked)(t, &block, w->scoring.mask, w->delta, w->ds); /* dp = D, so ds = 0 */
    LEVEL(score_gradients)(x, t, &block, w);
    if (pass->dkv && x->dk.data) {
        Sums dk = sums_of(x, u, x->dk, t->batch, t->head / k_group, u->head / k_group, s->width, w->dk);
        LEVEL(tile_product)
        (x->halves, count, round_up(s->width, NARROW), depth, w->ds + row, TILE_QUERIES, 1, w->q_rows + row * d, d,
         dk.rows + (first - u->key) * dk.step, dk.step, true);
    }
    if (pass->dkv && x->dv.data) {
        Sums dv = sums_of(x, u, x->dv, t->batch, t->head / v_group, u->head / v_group, s->value_width, w->dv);
        LEVEL(tile_product)
        (x->halves, count, round_up(s->value_width, NARROW), depth, w->scoring.scores + row, TILE_QUERIES, 1,
         w->do_rows + row * e, e, dv.rows + (first - u->key) * dv.step, dv.step, true);
    }
    if (pass->dq)
        add_dq(x, t, &block, w);
    for (int64_t i = lane; pass->dbias && i < t->count; i++)
        add_bias_gradient(x, t, i, first, count, w->ds + i, TILE_QUERIES);
}

/* The same for a tile of few queries, whose scores are rows. */
static void meet_block_few(const Backward *x, const Pass *pass, const Unit *u, const Tile *t, int64_t first,
                           int64_t count, Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t v_group = s->q_heads / s->v_heads, k_group = s->q_heads / s->k_heads;
    int64_t d = padded(s->width), e = padded(s->value_width), key_step, value_step;
    float *p = w->scoring.scores, *ds = w->ds;
    Sums dk = sums_of(x, u, x->dk, t->batch, t->head / k_group, u->head / k_group, s->width, w->dk);
    Sums dv = sums_of(x, u, x->dv, t->batch, t->head / v_group, u->head / v_group, s->value_width, w->dv);
    const float *keys = LEVEL(rows_gather)(x->k, t->batch, t->head / k_group, first, count, s->width, s->keys,
                                           &w->scoring.keys, &key_step);
    const float *values = LEVEL(rows_gather)(x->v, t->batch, t->head / v_group, first, count, s->value_width, s->keys,
                                             &w->values, &value_step);
    for (int64_t i = 0; i < t->count; i++) {
        const float *q = w->q_rows + i * d, *d_o = w->do_rows + i * e;
        LEVEL(few_products)(q, keys, key_step, count, s->width, LOG2_E, p);
        if (LEVEL(block_masked)(s, t, first, count))
            LEVEL(few_mask)(s, t, i, first, count, p);
        LEVEL(few_products)(d_o, values, value_step, count, s->value_width, 1, ds);
        LEVEL(few_gradients)(count, w->stats.largest[i], w->delta[i], p, ds);
        if (pass->dkv && x->dk.data)
            LEVEL(few_spread)(ds, q, count, s->width, dk.rows + (first - u->key) * dk.step, dk.step);
        if (pass->dkv && x->dv.data)
            LEVEL(few_spread)(p, d_o, count, s->value_width, dv.rows + (first - u->key) * dv.step, dv.step);
        if (pass->dq)
            LEVEL(few_add_rows)(ds, keys, key_step, count, s->width, 1, w->dq_rows + i * d);
        if (pass->dbias)
            add_bias_gradient(x, t, i, first, count, ds, 1);
    }
}

/* Where there are few queries dq is summed in rows, even if lanes computed a part of it: samples may share the sum. */
static void start_dq(const AttentionShape *s, bool begins, bool few, const Work *w)
{
    bool in_rows = s->queries <= FEW;
    if (begins && in_rows)
        memset(w->dq_rows, 0, (size_t)(FEW * padded(s->width)) * sizeof *w->dq_rows);
    if (in_rows ? !few : begins)
        memset(w->dq, 0, (size_t)(s->width * TILE_QUERIES) * sizeof *w->dq);
}

static void end_dq(const Backward *x, const Tile *t, bool ends, bool few, const Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t wide = padded(s->width);
    float factors[TILE_QUERIES];
    for (int i = 0; i < TILE_QUERIES; i++)
        factors[i] = s->queries <= FEW ? 1 : s->scale;
    if (s->queries > FEW) {
        if (ends)
            LEVEL(save_lanes)(w->dq, t->count, s->width, factors, w->rows, x->add, x->dq, t->batch, t->head, t->first);
        return;
    }
    if (!few) {
        const HeadRows sums = {w->dq_rows, 0, wide, F32};
        LEVEL(save_lanes)(w->dq, t->count, s->width, factors, w->rows, true, sums, 0, 0, 0);
    }
    if (ends) {
        LEVEL(rows_copy)(w->dq_rows, wide, t->count, s->width, s->scale, w->rows);
        LEVEL(rows_save)(w->rows, wide, t->count, s->width, x->add, x->dq, t->batch, t->head, t->first);
    }
}

static void run_tile(const Backward *x, const Pass *pass, const Unit *u, int64_t batch, int64_t head, int64_t index,
                     Work *w)
{
    const AttentionShape *s = x->shape;
    Tile t;
    LEVEL(tile_start)(s, batch, head, index, &t);
    bool few = LEVEL(load_tile)(x, &t, w);
    if (pass->dq)
        start_dq(s, sum_begins(x, u, x->dq, batch), few, w);
    int64_t to = smaller(t.to, u->key_end), end;
    for (int64_t j = larger(t.from, u->key); j < to; j = end) {
        end = block_end(&t, j, to);
        if (few)
            meet_block_few(x, pass, u, &t, j, end - j, w);
        else
            meet_block(x, pass, u, &t, j, end - j, w);
    }
    if (pass->dq)
        end_dq(x, &t, sum_ends(x, u, x->dq, batch), few, w);
}

static void run_unit(const Backward *x, const Pass *pass, const Unit *u, Work *w)
{
    const AttentionShape *s = x->shape;
    int64_t k_group = s->q_heads / s->k_heads, v_group = s->q_heads / s->v_heads;
    for (int64_t b = u->batch; b < s->batch; b += u->batch_step) {
        if (pass->dkv) {
            start_sums(x, u, x->dk, b, k_group, s->width, w->dk);
            start_sums(x, u, x->dv, b, v_group, s->value_width, w->dv);
        }
        for (int64_t h = u->head; h < u->head_end; h++)
            for (int64_t i = u->tile; i < u->tile_end; i++)
                run_tile(x, pass, u, b, h, i, w);
        if (pass->dkv) {
            end_sums(x, u, x->dk, b, k_group, s->width, x->halves ? s->scale : 1, w->dk);
            end_sums(x, u, x->dv, b, v_group, s->value_width, 1, w->dv);
        }
    }
}

static Unit unit_of(const AttentionShape *s, const Pass *pass, int64_t index)
{
    int64_t tiles = tiles_of(s->queries), heads = s->q_heads / pass->heads;
    int64_t block = index % pass->key_parts, tile = index / pass->key_parts % pass->tile_parts;
    int64_t rest = index / pass->key_parts / pass->tile_parts;
    int64_t head = rest % pass->heads * heads, batch = rest / pass->heads;
    Unit u = {batch, pass->batches, head, head + heads, 0, tiles, 0, s->keys};
    if (pass->tile_parts > 1) {
        u.tile = tile;
        u.tile_end = tile + 1;
    }
    if (pass->key_parts > 1) {
        u.key = block * TILE_KEYS;
        u.key_end = smaller(u.key + TILE_KEYS, s->keys);
    }
    return u;
}

static void run_pass(const Exec *exec, const Backward *x, const Pass *pass)
{
    const AttentionShape *s = x->shape;
    int64_t units = pass->batches * pass->heads * pass->tile_parts * pass->key_parts;
    int64_t chunk = chunk_of(exec, units);
#pragma omp parallel num_threads(exec->threads)
    {
        Work w;
        size_t bytes = cut_work(s, x->halves, NULL, &w);
        cut_work(s, x->halves, (char *)exec->scratch + bytes * (size_t)omp_get_thread_num(), &w);
#pragma omp for schedule(dynamic, chunk)
        for (int64_t i = 0; i < units; i++) {
            Unit u = unit_of(s, pass, i);
            run_unit(x, pass, &u, &w);
        }
    }
}

/* Whether whole heads keep the threads busy: the passes apart cost 7/5 as much. */
static bool enough_units(const Exec *exec, int64_t units)
{
    int64_t rounds = (units + exec->threads - 1) / exec->threads;
    return rounds * exec->threads * 5 <= units * 7;
}

void LEVEL(attention_backward)(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v,
                               HeadRows o, const float *lse, HeadRows d_o, const float *dlse, bool add, HeadRows dq,
                               HeadRows dk, HeadRows dv, ScoreTable dbias)
{
    /* The gradient of a bias is ds itself, which is not to be rounded. */
    bool halves = pairs_pay(s, q, k, v) && d_o.type == BF16 && !dbias.data;
    const Backward x = {s, q, k, v, o, d_o, dq, dk, dv, lse, dlse, add, dbias, halves};
    int64_t tiles = larger(tiles_of(s->queries), 1), blocks = larger(blocks_of(s->keys), 1);
    bool dq_shared = shared(s, dq), dkv_shared = shared(s, dk) || shared(s, dv), dkv = dk.data || dv.data;
    int64_t bias_batches = dbias.data ? dbias.batch : s->batch, bias_heads = dbias.data ? dbias.heads : s->q_heads;
    contract(exec->scratch_bytes >= LEVEL(attention_backward_scratch)(exec, s),
             "attention backward: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             LEVEL(attention_backward_scratch)(exec, s));
    contract(!dbias.data || (s->bias.data && dbias.heads == s->bias.heads), "attention backward: dbias is not of bias");
    if (s->batch == 0)
        return;

    Pass all = {dq.data, dkv, dbias.data, dkv_shared ? 1 : bias_batches, head_groups(s, &dbias), 1, 1};
    if (!dq_shared && enough_units(exec, all.batches * all.heads)) {
        run_pass(exec, &x, &all);
        return;
    }
    bool apart = dq_shared || !dq.data; /* dbias in a pass of its own */
    int64_t bias_parts = dbias.data && dbias.query_step == 0 ? 1 : tiles;
    if (dq.data && apart)
        run_pass(exec, &x,
                 &(Pass){.dq = true,
                         .batches = dq_shared ? 1 : s->batch,
                         .heads = s->q_heads,
                         .tile_parts = tiles,
                         .key_parts = 1});
    if (dbias.data || !apart)
        run_pass(exec, &x,
                 &(Pass){.dq = !apart,
                         .dbias = dbias.data,
                         .batches = bias_batches,
                         .heads = bias_heads,
                         .tile_parts = bias_parts,
                         .key_parts = 1});
    if (dkv)
        run_pass(exec, &x,
                 &(Pass){.dkv = true,
                         .batches = dkv_shared ? 1 : s->batch,
                         .heads = common_divisor(s->k_heads, s->v_heads),
                         .tile_parts = 1,
                         .key_parts = blocks});
}
