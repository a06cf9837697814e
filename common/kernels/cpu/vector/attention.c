/* Forward pass of dense attention (Dao et al., FlashAttention, algorithm 1; Milakov and Gimelshein, Online normalizer
 * calculation for softmax): a tile of queries meets one block of keys after the other and keeps, a query, the largest
 * score m, the sum of 2^(score - m), and that sum with the values as weights; a new m scales down what was summed. */
#include "common/base/error.h"
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/functions.h"
#include "common/kernels/cpu/vector/levels.h"
#include <omp.h>

/* A score this far below the largest, in units of ln 2, has a probability of exactly 0 (vec_exp2). */
#define VANISHES 200.0f

typedef struct Forward {
    const AttentionShape *shape;
    HeadRows q, k, v, o;
    float *lse;
} Forward;

/* The buffers of one thread. */
typedef struct Work {
    Scoring scoring;
    Gathered values;
    float *sums; /* [e][TILE_QUERIES]: of 2^(score - largest) v */
    float *rows; /* [TILE_QUERIES][padded(larger(d, e))] */
} Work;

static size_t cut_work(const AttentionShape *s, bool halves, void *scratch, Work *w)
{
    Cutter c = {scratch, 0};
    w->scoring = cut_scoring(s, halves, &c);
    w->values = cut_gathered(&c, halves ? WOVEN : FLOATS, s->keys, s->value_width);
    w->sums = cut(&c, s->value_width * TILE_QUERIES);
    w->rows = cut(&c, TILE_QUERIES * padded(larger(s->width, s->value_width)));
    return c.bytes;
}

static size_t forward_scratch(const Exec *exec, const AttentionShape *s)
{
    Work w;
    size_t floats = cut_work(s, false, NULL, &w), halves = cut_work(s, true, NULL, &w);
    return (floats > halves ? floats : halves) * (size_t)exec->threads;
}

static void load_queries(const AttentionShape *s, HeadRows q, const Tile *t, Work *w)
{
    int64_t step = step_of(w->scoring.halves ? HALVES : FLOATS, s->width);
    if (w->scoring.halves) {
        LEVEL(halves_copy)(q, t->batch, t->head, t->first, t->count, s->width, w->rows);
    } else {
        int64_t q_step;
        const float *rows = LEVEL(rows_see)(q, t->batch, t->head, t->first, t->count, s->width, w->rows, &q_step);
        LEVEL(rows_copy)(rows, q_step, t->count, s->width, s->scale * LOG2_E, w->rows);
    }
    LEVEL(lanes_from_rows)
    (w->rows, step, t->count, t->columns, terms(w->scoring.halves, s->width), w->scoring.queries);
}

static void scale_sums(const Tile *t, int64_t lane, int64_t width, const float *factors, float *sums)
{
    for (int64_t c = 0; c < width; c++) {
        for (int64_t i = lane; i < t->lanes; i += LANES) {
            float *sum = sums + c * TILE_QUERIES + i;
            vec_store(sum, vec_load(sum) * vec_load(factors + i));
        }
    }
}

/* The keys from .. to - 1, for a tile of few queries. Their sums lie in w->sums as rows, [count][padded(e)]. */
static void meet_keys_few(const Forward *f, const Tile *t, Work *w, Softmax *state)
{
    const AttentionShape *s = f->shape;
    int64_t d = s->width, e = s->value_width, step, end;
    int64_t k_head = t->head / (s->q_heads / s->k_heads), v_head = t->head / (s->q_heads / s->v_heads);
    const float *rows = LEVEL(rows_see)(f->q, t->batch, t->head, t->first, t->count, d, w->rows, &step);
    LEVEL(rows_copy)(rows, step, t->count, d, s->scale * LOG2_E, w->scoring.queries);
    LEVEL(softmax_start)(state);
    memset(w->sums, 0, (size_t)(t->count * padded(e)) * sizeof *w->sums);
    for (int64_t j = t->from; j < t->to; j = end) {
        int64_t key_step, value_step;
        end = block_end(t, j, t->to);
        const float *keys =
            LEVEL(rows_gather)(f->k, t->batch, k_head, j, end - j, d, s->keys, &w->scoring.keys, &key_step);
        const float *values =
            LEVEL(rows_gather)(f->v, t->batch, v_head, j, end - j, e, s->keys, &w->values, &value_step);
        for (int64_t i = 0; i < t->count; i++) {
            float *scores = w->scoring.scores, shrink;
            LEVEL(few_products)(w->scoring.queries + i * padded(d), keys, key_step, end - j, d, 1, scores);
            if (LEVEL(block_masked)(s, t, j, end - j))
                LEVEL(few_mask)(s, t, i, j, end - j, scores);
            LEVEL(few_softmax)(end - j, scores, &state->largest[i], &state->total[i], &shrink);
            LEVEL(few_add_rows)(scores, values, value_step, end - j, e, shrink, w->sums + i * padded(e));
        }
    }
}

/* The tile meets the keys from .. to - 1. */
static void meet_keys(const Forward *f, const Tile *t, int64_t from, int64_t to, Work *w, Softmax *state)
{
    const AttentionShape *s = f->shape;
    int64_t width = s->value_width, v_head = t->head / (s->q_heads / s->v_heads), end;
    bool halves = w->scoring.halves;
    LEVEL(softmax_start)(state);
    if (from >= to)
        memset(w->sums, 0, (size_t)(width * TILE_QUERIES) * sizeof *w->sums);
    for (int64_t j = from; j < to; j = end) {
        float shrink[TILE_QUERIES];
        Block block;
        int64_t step;
        end = block_end(t, j, to);
        LEVEL(tile_scores)(s, t, f->k, j, end - j, &w->scoring, &block);
        if (LEVEL(tile_softmax)(t, &block, halves, state, w->scoring.scores, shrink) && j > from)
            scale_sums(t, block.lane, width, shrink, w->sums);
        const float *values = LEVEL(rows_gather)(f->v, t->batch, v_head, j, end - j, width, s->keys, &w->values, &step);
        LEVEL(tile_product)
        (halves, width, t->columns - block.lane, terms(halves, end - j), values, 1, step,
         w->scoring.scores + block.lane, TILE_QUERIES, w->sums + block.lane, TILE_QUERIES, j > from);
    }
}

/* Whether keys were left out that count: they score `blocked`, which is finite, and some row's largest score is hardly
 * above that. */
static bool needs_all_keys(const AttentionShape *s, const Tile *t, const Softmax *state)
{
    float blocked = blocked_score(s);
    bool count = false;
    for (int64_t i = 0; i < t->count; i++)
        count = count || !(state->largest[i] - blocked > VANISHES);
    return count && blocked >= LOWEST && (t->from > 0 || t->all_to < s->keys);
}

/* Whether a row has met no key, where such a row is the mean of all. */
static bool has_empty_row(const AttentionShape *s, const Tile *t, const Softmax *state)
{
    bool empty = false;
    for (int64_t i = 0; i < t->count; i++)
        empty = empty || state->total[i] == 0;
    return empty && s->empty_row == EMPTY_UNIFORM && s->keys > 0;
}

static void finish(const Forward *f, const Tile *t, const Softmax *state, bool few, Work *w)
{
    const AttentionShape *s = f->shape;
    float factors[TILE_QUERIES], lse[TILE_QUERIES];
    for (int64_t i = 0; i < t->lanes; i += LANES) {
        Vec total = vec_load(state->total + i), largest = vec_load(state->largest + i);
        vec_store(factors + i, vec_select(total == 0.0f, vec_set(0), 1.0f / total));
        Vec natural = vec_select(largest == LOWEST, largest, largest * LN_2); /* as blocked_score made it */
        vec_store(lse + i, natural + vec_log(total));
    }
    for (int64_t i = 0; t->floored && i < t->count; i++)
        lse[i] = t->floor[i] == 0 ? -__builtin_inff() : lse[i];
    if (f->lse)
        memcpy(f->lse + (t->batch * s->q_heads + t->head) * s->queries + t->first, lse, (size_t)t->count * 4);
    int64_t wide = padded(s->value_width);
    for (int64_t i = 0; few && i < t->count; i++)
        LEVEL(rows_copy)(w->sums + i * wide, wide, 1, s->value_width, factors[i], w->rows + i * wide);
    if (!few)
        LEVEL(save_lanes)
    (w->sums, t->count, s->value_width, factors, w->rows, false, f->o, t->batch, t->head, t->first);
    else LEVEL(rows_save)(w->rows, wide, t->count, s->value_width, false, f->o, t->batch, t->head, t->first);
}

static void forward_tile(const Forward *f, int64_t task, Work *w)
{
    const AttentionShape *s = f->shape;
    int64_t tiles = tiles_of(s->queries), row = task / tiles;
    Tile t;
    LEVEL(tile_start)(s, row / s->q_heads, row % s->q_heads, task % tiles, &t);
    Softmax state;
    if (s->queries <= FEW) {
        meet_keys_few(f, &t, w, &state);
        if (!needs_all_keys(s, &t, &state) && !has_empty_row(s, &t, &state)) {
            finish(f, &t, &state, true, w);
            return;
        }
    }
    load_queries(s, f->q, &t, w);
    meet_keys(f, &t, t.from, t.to, w, &state);
    t.whole = needs_all_keys(s, &t, &state);
    if (t.whole)
        meet_keys(f, &t, 0, s->keys, w, &state);
    if (has_empty_row(s, &t, &state) && LEVEL(tile_floor_empty)(&t, state.total)) {
        t.whole = true;
        meet_keys(f, &t, 0, s->keys, w, &state);
    }
    finish(f, &t, &state, false, w);
}

/* The buffers of the calling thread. */
static Work own_work(const Exec *exec, const AttentionShape *s, bool halves)
{
    Work w;
    size_t bytes = cut_work(s, halves, NULL, &w);
    cut_work(s, halves, (char *)exec->scratch + bytes * (size_t)omp_get_thread_num(), &w);
    return w;
}

static void forward(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                    float *lse)
{
    const Forward f = {s, q, k, v, o, lse};
    int64_t tasks = s->batch * s->q_heads * tiles_of(s->queries);
    int64_t chunk = chunk_of(exec, tasks);
    bool halves = pairs_pay(s, q, k, v);
    contract(exec->scratch_bytes >= forward_scratch(exec, s), "attention: %zu bytes of scratch, not %zu",
             exec->scratch_bytes, forward_scratch(exec, s));
#pragma omp parallel num_threads(exec->threads)
    {
        Work w = own_work(exec, s, halves);
#pragma omp for schedule(dynamic, chunk)
        for (int64_t i = 0; i < tasks; i++)
            forward_tile(&f, i, &w);
    }
}

/* ---- probabilities ---- */

static void probability_tile(const AttentionShape *s, HeadRows q, HeadRows k, const float *lse, int64_t task, Work *w,
                             float *p)
{
    int64_t tiles = tiles_of(s->queries), row = task / tiles;
    float ones[TILE_QUERIES];
    Tile t;
    LEVEL(tile_start)(s, row / s->q_heads, row % s->q_heads, task % tiles, &t);
    Statistics stats;
    Block block;
    t.whole = true;
    load_queries(s, q, &t, w);
    if (!LEVEL(statistics_of_lse)(s, &t, lse, &stats))
        LEVEL(statistics_again)(s, &t, k, &w->scoring, &stats);
    for (int i = 0; i < TILE_QUERIES; i++)
        ones[i] = 1;
    for (int64_t j = 0; j < s->keys; j += TILE_KEYS) {
        LEVEL(tile_scores)(s, &t, k, j, smaller(TILE_KEYS, s->keys - j), &w->scoring, &block);
        LEVEL(tile_probabilities)(&t, &block, &stats, w->scoring.scores);
        LEVEL(rows_from_lanes)
        (w->scoring.scores, t.count, block.count, ones, p + (row * s->queries + t.first) * s->keys + j, s->keys);
    }
}

static void probabilities(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, const float *lse, float *p)
{
    int64_t tasks = s->batch * s->q_heads * tiles_of(s->queries);
    int64_t chunk = chunk_of(exec, tasks);
    bool halves = pairs_pay(s, q, k, k);
    contract(exec->scratch_bytes >= forward_scratch(exec, s), "attention: %zu bytes of scratch, not %zu",
             exec->scratch_bytes, forward_scratch(exec, s));
#pragma omp parallel num_threads(exec->threads)
    {
        Work w = own_work(exec, s, halves);
#pragma omp for schedule(dynamic, chunk)
        for (int64_t i = 0; i < tasks; i++)
            probability_tile(s, q, k, lse, i, &w, p);
    }
}

const AttentionKernels LEVEL(attention_kernels) = {
    .forward_scratch = forward_scratch,
    .forward = forward,
    .backward_scratch = LEVEL(attention_backward_scratch),
    .backward = LEVEL(attention_backward),
    .probabilities = probabilities,
    .softmax = LEVEL(attention_softmax),
    .softmax_gradient = LEVEL(attention_softmax_gradient),
};
