/* Tiles of queries: which keys they see, their masks, and the way between rows in memory and lanes. */
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/functions.h"

typedef int32_t QuadInt __attribute__((vector_size(16)));
typedef uint8_t QuadByte __attribute__((vector_size(4)));

static int64_t clamp(int64_t low, int64_t x, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* The keys low .. high that query i sees, as far as causal, window and length go; none: high < low. */
static void sight_of(const AttentionShape *s, int64_t batch, int64_t i, int64_t *low, int64_t *high)
{
    int64_t here = i + s->causal_offset, keys = s->keys;
    int64_t first = s->left >= 0 ? here - s->left : 0, last = keys - 1;
    if (s->causal)
        last = smaller(last, here);
    if (s->right >= 0)
        last = smaller(last, here + s->right);
    if (s->key_lengths)
        last = smaller(last, (int64_t)s->key_lengths[batch] - 1);
    *low = clamp(0, first, keys);
    *high = clamp(-1, last, keys - 1);
}

void LEVEL(tile_start)(const AttentionShape *s, int64_t batch, int64_t head, int64_t index, Tile *t)
{
    t->batch = batch;
    t->head = head;
    t->first = index * TILE_QUERIES;
    t->count = smaller(TILE_QUERIES, s->queries - t->first);
    t->lanes = round_up(t->count, LANES);
    t->columns = round_up(t->count, NARROW);
    t->whole = t->floored = false;
    t->from = t->all_from = 0;
    t->to = t->all_to = s->keys;
    if (!s->causal && s->left < 0 && s->right < 0 && !s->key_lengths) {
        for (int64_t i = 0; i < t->lanes && (s->bias.data || s->keep.data); i++) {
            t->low[i] = 0;
            t->high[i] = (int32_t)s->keys - 1;
        }
        return;
    }
    t->from = s->keys;
    t->to = 0;
    for (int64_t i = 0; i < t->lanes; i++) {
        int64_t low, high;
        sight_of(s, batch, t->first + smaller(i, t->count - 1), &low, &high);
        t->low[i] = (int32_t)low;
        t->high[i] = (int32_t)high;
        t->all_from = larger(t->all_from, low);
        t->all_to = smaller(t->all_to, high + 1);
        if (low <= high) {
            t->from = smaller(t->from, low);
            t->to = larger(t->to, high + 1);
        }
    }
    t->from = smaller(t->from, t->to) / 2 * 2;
}

/* A part of a table, transposed into lanes. */
static void load_bias(const AttentionShape *s, const Tile *t, int64_t first, int64_t keys, float *lanes)
{
    const ScoreTable *table = &s->bias;
    const float *bias = (const float *)table->data + table_start(s, table, t, first);
    if (table->key_step == 1 && table->query_step != 0) {
        LEVEL(lanes_from_rows)(bias, table->query_step, t->count, t->lanes, keys, lanes);
    } else {
        for (int64_t j = 0; j < keys; j++)
            for (int64_t i = 0; i < t->lanes; i++)
                lanes[j * TILE_QUERIES + i] = bias[smaller(i, t->count - 1) * table->query_step + j * table->key_step];
    }
}

static void load_keep(const AttentionShape *s, const Tile *t, int64_t first, int64_t keys, int32_t *lanes)
{
    const ScoreTable *table = &s->keep;
    const uint8_t *keep = (const uint8_t *)table->data + table_start(s, table, t, first);
    int64_t key_step = table->key_step, query_step = table->query_step, quads = key_step == 1 ? keys / 4 * 4 : 0;
    for (int64_t i = 0; i < t->lanes; i += 4) {
        for (int64_t j = 0; j < quads; j += 4) {
            Quad r[4];
            for (int64_t n = 0; n < 4; n++) {
                QuadByte bytes;
                memcpy(&bytes, keep + smaller(i + n, t->count - 1) * query_step + j, 4);
                r[n] = (Quad)(__builtin_convertvector(bytes, QuadInt) != 0);
            }
            transpose_quads(r);
            for (int64_t n = 0; n < 4; n++)
                memcpy(lanes + (j + n) * TILE_QUERIES + i, &r[n], sizeof r[n]);
        }
        for (int64_t j = quads; j < keys; j++)
            for (int64_t n = i; n < i + 4; n++)
                lanes[j * TILE_QUERIES + n] = -(keep[smaller(n, t->count - 1) * query_step + j * key_step] != 0);
    }
}

static inline VecInt int_load(const int32_t *p)
{
    VecInt v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Which lanes, from lane i, see key j; `row` is its row in the buffers. */
static inline VecInt seen(const Tile *t, MaskBuffers m, int64_t j, int64_t row, int64_t i)
{
    VecInt key = (int32_t)j - (VecInt){0};
    VecInt inside = (key >= int_load(t->low + i)) & (key <= int_load(t->high + i));
    return m.keep ? inside & int_load(m.keep + row * TILE_QUERIES + i) : inside;
}

/* Of a block: the first lane of the tile that sees any of its keys, as far as a whole vector can be left out. The first
 * block leaves none out, for it begins the sums. */
static int64_t first_lane(const Tile *t, int64_t first, int64_t count)
{
    int64_t i = 0;
    if (t->whole || first == t->from || first + count <= t->all_to)
        return 0;
    while (i < t->count - 1 && t->high[i] < first)
        i++;
    return i / LANES * LANES;
}

/* Scores become such in units of ln 2. */
static void tile_mask(const AttentionShape *s, const Tile *t, const Block *block, MaskBuffers m, float *scores)
{
    const Vec blocked = vec_set(blocked_score(s));
    int64_t first = block->first, keys = block->count;
    if (m.bias)
        load_bias(s, t, first, keys, m.bias);
    if (m.keep)
        load_keep(s, t, first, keys, m.keep);
    for (int64_t j = 0; j < keys; j++) {
        for (int64_t i = block->lane; i < t->lanes; i += LANES) {
            float *score = scores + j * TILE_QUERIES + i;
            Vec x = vec_load(score) * block->unit;
            if (m.bias)
                x += vec_in_log2(vec_load(m.bias + j * TILE_QUERIES + i));
            x = vec_select(seen(t, m, first + j, j, i), x, blocked);
            if (t->floored)
                x = vec_max(x, vec_load(t->floor + i));
            vec_store(score, x);
        }
    }
}

void LEVEL(tile_replace_blocked)(const Tile *t, const Block *block, MaskBuffers m, const float *other, float *values)
{
    for (int64_t j = 0; j < block->count; j++) {
        for (int64_t i = block->lane; i < t->lanes; i += LANES) {
            float *value = values + j * TILE_QUERIES + i;
            VecInt live = seen(t, m, block->first + j, j, i);
            if (t->floored)
                live &= vec_load(t->floor + i) < 0.0f;
            vec_store(value, vec_select(live, vec_load(value), vec_load(other + i)));
        }
    }
}

/* Whether the table hides any of these keys from any query of the tile: most blocks of a sequence have no padding. */
static bool keep_hides(const AttentionShape *s, const Tile *t, int64_t first, int64_t count)
{
    const ScoreTable *table = &s->keep;
    const uint8_t *keep = (const uint8_t *)table->data + table_start(s, table, t, first);
    int64_t rows = table->query_step ? t->count : 1, keys = table->key_step ? count : smaller(count, 1);
    for (int64_t i = 0; i < rows; i++)
        if (memchr(keep + i * table->query_step, 0, (size_t)keys))
            return true;
    return false;
}

bool LEVEL(block_masked)(const AttentionShape *s, const Tile *t, int64_t first, int64_t count)
{
    return s->bias.data || t->floored || first < t->all_from || first + count > t->all_to ||
           (s->keep.data && keep_hides(s, t, first, count));
}

void LEVEL(tile_scores)(const AttentionShape *s, const Tile *t, HeadRows k, int64_t first, int64_t count, Scoring *w,
                        Block *block)
{
    int64_t head = t->head / (s->q_heads / s->k_heads);
    block->first = first;
    block->count = count;
    block->keys = LEVEL(rows_gather)(k, t->batch, head, first, count, s->width, s->keys, &w->keys, &block->key_step);
    block->masked = LEVEL(block_masked)(s, t, first, count);
    block->lane = first_lane(t, first, count);
    block->unit = w->halves ? s->scale * LOG2_E : 1;
    LEVEL(tile_product)
    (w->halves, count, t->columns - block->lane, terms(w->halves, s->width), block->keys, block->key_step, 1,
     w->queries + block->lane, TILE_QUERIES, w->scores + block->lane, TILE_QUERIES, false);
    if (block->masked) {
        tile_mask(s, t, block, w->mask, w->scores);
        block->unit = 1;
    }
}

/* Two keys' p of the lanes from i on, in the place of their scores: as floats, or woven into the row of the first. */
static inline void put_p(bool woven, int64_t j, int64_t i, Vec first, Vec second, float *scores)
{
    if (woven) {
        vec_store(scores + j / 2 * TILE_QUERIES + i, vec_pairs(first, second));
    } else {
        vec_store(scores + j * TILE_QUERIES + i, first);
        vec_store(scores + (j + 1) * TILE_QUERIES + i, second);
    }
}

/* Of the lanes from i on; returns the factor for what was summed before. */
static inline Vec softmax_lanes(int64_t i, const Block *block, bool woven, Softmax *state, float *scores)
{
    const float *column = scores + i;
    int64_t keys = block->count, j = 0;
    Vec before = vec_load(state->largest + i), most = vec_set(-__builtin_inff());
    for (int64_t n = 0; n < keys; n++)
        most = vec_max(vec_load(column + n * TILE_QUERIES), most);
    Vec m = vec_max(most * block->unit, before), factor = vec_exp2(before - m);
    Vec sum = vec_load(state->total + i) * factor;
    for (; j + 2 <= keys; j += 2, column += 2 * TILE_QUERIES) {
        Vec first = vec_exp2(vec_load(column) * block->unit - m);
        Vec second = vec_exp2(vec_load(column + TILE_QUERIES) * block->unit - m);
        put_p(woven, j, i, first, second, scores);
        sum = sum + first + second;
    }
    if (j < keys) {
        Vec last = vec_exp2(vec_load(column) * block->unit - m);
        put_p(woven, j, i, last, vec_set(0), scores);
        sum += last;
    }
    vec_store(state->largest + i, m);
    vec_store(state->total + i, sum);
    return factor;
}

bool LEVEL(tile_softmax)(const Tile *t, const Block *block, bool woven, Softmax *state, float *scores, float *shrink)
{
    bool shrinks = false;
    for (int64_t i = block->lane; i < t->lanes; i += LANES) {
        Vec before = vec_load(state->largest + i);
        vec_store(shrink + i, softmax_lanes(i, block, woven, state, scores));
        shrinks = shrinks || vec_any(vec_load(state->largest + i) > before);
    }
    return shrinks;
}

void LEVEL(softmax_start)(Softmax *state)
{
    for (int i = 0; i < TILE_QUERIES; i++) {
        state->largest[i] = LOWEST;
        state->total[i] = 0;
    }
}

bool LEVEL(statistics_of_lse)(const AttentionShape *s, const Tile *t, const float *lse, Statistics *stats)
{
    const float *of_tile = lse + (t->batch * s->q_heads + t->head) * s->queries + t->first;
    bool exact = true;
    stats->recomputed = false;
    for (int64_t i = 0; i < t->lanes; i++) {
        float x = i < t->count ? of_tile[i] : 0;
        exact = exact && x > -EXACT_LSE && x < EXACT_LSE;
        stats->largest[i] = i < t->count ? x * LOG2_E : -LOWEST; /* idle lanes have p = 0 */
        stats->log_total[i] = 0;
    }
    return exact;
}

void LEVEL(statistics_again)(const AttentionShape *s, Tile *t, HeadRows k, Scoring *w, Statistics *stats)
{
    Softmax state;
    float shrink[TILE_QUERIES];
    Block block;
    LEVEL(softmax_start)(&state);
    t->whole = true;
    for (int64_t j = 0; j < s->keys; j += TILE_KEYS) {
        LEVEL(tile_scores)(s, t, k, j, smaller(TILE_KEYS, s->keys - j), w, &block);
        LEVEL(tile_softmax)(t, &block, false, &state, w->scores, shrink);
    }
    stats->recomputed = true;
    /* Rows that see no key have a part in every block. */
    t->from = 0;
    t->to = s->keys;
    for (int64_t i = 0; i < t->lanes; i += LANES) {
        Vec total = vec_load(state.total + i);
        VecInt empty = total == 0.0f;
        Vec of_empty = vec_set(s->empty_row == EMPTY_UNIFORM ? (float)s->keys : __builtin_inff());
        vec_store(stats->largest + i, vec_select(empty, vec_set(0), vec_load(state.largest + i)));
        vec_store(stats->log_total + i, vec_log(vec_select(empty, of_empty, total)) * LOG2_E);
    }
    if (s->empty_row == EMPTY_UNIFORM)
        LEVEL(tile_floor_empty)(t, state.total);
}

bool LEVEL(tile_floor_empty)(Tile *t, const float *totals)
{
    for (int64_t i = 0; i < t->lanes; i++) {
        t->floor[i] = totals[i] == 0 ? 0 : -__builtin_inff();
        t->floored = t->floored || totals[i] == 0;
    }
    return t->floored;
}

void LEVEL(tile_probabilities)(const Tile *t, const Block *block, const Statistics *stats, float *scores)
{
    for (int64_t i = 0; i < t->lanes; i += LANES) {
        Vec largest = vec_load(stats->largest + i), log_total = vec_load(stats->log_total + i);
        for (int64_t j = 0; j < block->count; j++) {
            float *score = scores + j * TILE_QUERIES + i;
            vec_store(score, vec_exp2(vec_load(score) * block->unit - largest - log_total));
        }
    }
}
