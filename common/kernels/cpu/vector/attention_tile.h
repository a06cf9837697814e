/* The parts that the passes of attention are made of.
 *
 * Queries are taken in tiles of up to TILE_QUERIES, keys in blocks of up to TILE_KEYS, and the lanes of a vector are
 * queries: a tile's scores lie in memory as [key][query]. So the softmax runs down the lanes without ever crossing them,
 * and K and V are read as they are stored, one number at a time into a whole vector: only the tile of queries is
 * transposed. Each of the two products of the forward pass and the five of the backward pass is then the same small
 * matrix product (tile_product).
 *
 * Scores are kept in units of ln 2 inside the kernels (score * log2 e), so that probabilities are powers of two.
 *
 * Where q, k and v are bf16 and the level multiplies pairs of bf16 (HALF_PRODUCTS), the same products run over words that
 * hold a pair each, along the depth. What a product takes in is then bf16, p and ds too; what it gives, and everything
 * between two products, stays fp32. A row as it lies in memory is a row of pairs (HALVES), which is what a depth along
 * the width wants; a depth down the rows wants two rows woven into one (WOVEN). */
#pragma once
#include "common/kernels/attention.h"
#include "common/kernels/cpu/vector/vector.h"

enum {
    TILE_QUERIES = 64,
    TILE_KEYS = 96,
    STRIP_KEYS = 16,               /* keys of a block which some queries do not see */
    FEW = 4,                       /* queries up to which lanes run along keys (attention_few.c) */
    NARROW = LANES < 8 ? LANES : 8 /* the narrowest product: columns come in multiples of it */
};

#define LOG2_E 1.44269504088896341f
#define LN_2 0.693147180559945309f
#define LOWEST (-3.402823466e38f)

/* One tile of queries of one sample and head, and the keys that they may see. */
typedef struct Tile {
    int64_t batch, head;
    int64_t first, count;     /* queries first .. first + count - 1 */
    int64_t columns, lanes;   /* count, rounded up to what products compute and to whole vectors; lanes behind
                               `columns` hold numbers without a meaning */
    int64_t from, to;         /* keys before and behind which no query sees any; `from` is even */
    int64_t all_from, all_to; /* keys that every query sees, as far as causal, window and lengths go */
    bool whole;               /* every key counts for every query, seen or not */
    bool floored;
    float floor[TILE_QUERIES];                     /* where `floored`: no score is below this */
    int32_t low[TILE_QUERIES], high[TILE_QUERIES]; /* the keys low .. high that a query sees */
} Tile;

/* Where the tables of a mask lie, a key after the other as the scores do. */
typedef struct MaskBuffers {
    float *bias;   /* [TILE_KEYS][TILE_QUERIES]; NULL: no bias */
    int32_t *keep; /* the same, -1 attend, 0 not; NULL: no table */
} MaskBuffers;

/* How rows lie in a buffer of 32-bit words. */
typedef enum Form {
    FLOATS, /* [rows][padded(width)]: a float a word */
    HALVES, /* [rows][padded(width) / 2]: bf16, as they were; a word is a pair along the row */
    WOVEN   /* [rows / 2][padded(width)]: word c is the pair of rows 2i and 2i + 1 at c; a missing last row is 0 */
} Form;

/* The rows of one head of K or V as products want them, and close together. Kept from tile to tile. */
typedef struct Gathered {
    Form form;
    float *rows; /* of which from .. to - 1 are there */
    int64_t batch, head, from, to;
} Gathered;

/* What a thread needs to compute scores. */
typedef struct Scoring {
    bool halves;    /* products are of pairs of bf16 */
    float *queries; /* [terms(d)][TILE_QUERIES]; floats are times scale * log2 e */
    Gathered keys;
    float *scores; /* [TILE_KEYS][TILE_QUERIES] */
    MaskBuffers mask;
} Scoring;

/* A block of keys that a tile has met. */
typedef struct Block {
    int64_t first, count;
    const float *keys; /* row j of the block at j * key_step */
    int64_t key_step;
    int64_t lane; /* queries of the tile before this one see none of the keys and are left out: a multiple of LANES */
    bool masked;
    float unit; /* a score times this is in units of ln 2 */
} Block;

/* A softmax under way, a lane a query: the largest score, and the sum of 2^(score - largest). */
typedef struct Softmax {
    float largest[TILE_QUERIES], total[TILE_QUERIES];
} Softmax;

/* The end of it: probabilities are 2^(score - largest - log_total). Two numbers, because their sum, the log-sum-exp,
 * loses the second one where scores are huge (a finite `blocked`, or a mask given as a bias). */
typedef struct Statistics {
    float largest[TILE_QUERIES], log_total[TILE_QUERIES];
    bool recomputed; /* some row's log-sum-exp did not say enough: tile_replace_blocked is needed */
} Statistics;

/* Beyond this a log-sum-exp is not precise enough to give probabilities. */
#define EXACT_LSE 4096.0f

/* c [rows, columns] (+)= a [rows, depth] b [depth, columns]. a(r, k) is a[r * a_row + k * a_depth]; rows of b and c
 * follow at b_row and c_row. columns is a multiple of NARROW. Terms are added in the order of k.
 * pairs (only where HALF_PRODUCTS): the words of a and b are pairs of bf16, and depth counts pairs. */
void LEVEL(tile_product)(bool pairs, int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                         int64_t a_depth, const float *b, int64_t b_row, float *c, int64_t c_row, bool add);

/* Whether some query of the tile does not see some of these keys, or sees them with a bias. */
bool LEVEL(block_masked)(const AttentionShape *, const Tile *, int64_t first, int64_t count);

void LEVEL(tile_start)(const AttentionShape *, int64_t batch, int64_t head, int64_t index, Tile *);

/* Scores of the tile against the keys first .. first + count - 1, masked, into w->scores. */
void LEVEL(tile_scores)(const AttentionShape *, const Tile *, HeadRows k, int64_t first, int64_t count, Scoring *w,
                        Block *block);

void LEVEL(softmax_start)(Softmax *);
/* Takes a block in, from its lane on: scores become 2^(score - largest), where `woven` as pairs, [terms(keys)][TILE_QUERIES]. What was
 * summed before must be multiplied by `shrink`; returns whether that is other than 1 anywhere. */
bool LEVEL(tile_softmax)(const Tile *, const Block *, bool woven, Softmax *, float *scores, float *shrink);

/* From the log-sum-exp [B,H,Q] of the forward pass; false if that is not precise enough. */
bool LEVEL(statistics_of_lse)(const AttentionShape *, const Tile *, const float *lse, Statistics *stats);
/* By meeting all keys again. May widen the tile's range of keys, and set its floor. */
void LEVEL(statistics_again)(const AttentionShape *, Tile *, HeadRows k, Scoring *w, Statistics *stats);

/* Scores become probabilities. */
void LEVEL(tile_probabilities)(const Tile *, const Block *, const Statistics *, float *scores);

/* Where a row's total is 0, no score is below 0 from here on: all keys weigh the same. Returns whether there is one. */
bool LEVEL(tile_floor_empty)(Tile *, const float *totals);

/* Puts a query's `other` where it may not see a key; the mask's buffers are as tile_scores of the same block left them. */
void LEVEL(tile_replace_blocked)(const Tile *, const Block *, MaskBuffers, const float *other, float *values);

/* Rows first .. first + count - 1 of a head as floats: in place, or in the buffer [count][padded(width)]. Row i begins
 * i * step after the result. */
const float *LEVEL(rows_see)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                             float *buffer, int64_t *step);
/* Rows of K or V that products read again and again: in place, or gathered where they are bf16 or scattered(). The head
 * has `all` rows; those of the next block are fetched if they are many. WOVEN rows begin at an even one. */
const float *LEVEL(rows_gather)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                                int64_t all, Gathered *gathered, int64_t *step);
/* copy [count][padded(width)] = rows times factor, and zeros. */
void LEVEL(rows_copy)(const float *rows, int64_t step, int64_t count, int64_t width, float factor, float *copy);
/* Rows of bf16, first .. first + count - 1 of a head, as HALVES and WOVEN. */
void LEVEL(halves_copy)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                        float *copy);
void LEVEL(halves_weave)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                         float *woven);
/* Rows into memory, in the type they have there. */
void LEVEL(rows_save)(const float *rows, int64_t step, int64_t count, int64_t width, bool add, HeadRows y,
                      int64_t batch, int64_t head, int64_t first);

/* lanes [width][TILE_QUERIES] = rows [count][width] of words transposed; lanes count .. columns - 1 are 0. */
void LEVEL(lanes_from_rows)(const float *rows, int64_t step, int64_t count, int64_t columns, int64_t width,
                            float *transposed);
/* The way back for floats, column i (a query) times factors[i]. */
void LEVEL(rows_from_lanes)(const float *transposed, int64_t count, int64_t width, const float *factors, float *rows,
                            int64_t step);

/* The same into memory; the buffer holds [TILE_QUERIES][padded(width)]. */
void LEVEL(save_lanes)(const float *transposed, int64_t count, int64_t width, const float *factors, float *buffer,
                       bool add, HeadRows y, int64_t batch, int64_t head, int64_t first);

static inline void transpose_quads(Quad r[4])
{
    Quad a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    Quad c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Floats of a row in a buffer. */
static inline int64_t padded(int64_t width)
{
    return round_up(width, 8);
}

/* Words that n terms of a product take. */
static inline int64_t terms(bool halves, int64_t n)
{
    return halves ? (n + 1) / 2 : n;
}

static inline int64_t step_of(Form form, int64_t width)
{
    return form == HALVES ? padded(width) / 2 : padded(width);
}

/* Whether the products of these are of pairs. Few queries are a matter of memory, not of products. */
static inline bool pairs_pay(const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v)
{
    return HALF_PRODUCTS && s->queries > FEW && s->scale >= 0 && q.type == BF16 && k.type == BF16 && v.type == BF16;
}

static inline int64_t tiles_of(int64_t queries)
{
    return (queries + TILE_QUERIES - 1) / TILE_QUERIES;
}

static inline int64_t blocks_of(int64_t keys)
{
    return (keys + TILE_KEYS - 1) / TILE_KEYS;
}

/* Where the block that begins with key j ends. Behind the keys that all queries see come narrow blocks, so that queries
 * which see nothing of one can be left out. */
static inline int64_t block_end(const Tile *t, int64_t j, int64_t to)
{
    int64_t seen = t->all_to / STRIP_KEYS * STRIP_KEYS, end = round_up(j + 1, TILE_KEYS);
    bool strips = !t->whole && t->all_to < t->to && t->columns > LANES;
    if (strips)
        end = j < seen ? smaller(end, seen) : round_up(j + 1, STRIP_KEYS);
    return smaller(end, to);
}

/* Where a row begins, in elements. */
static inline int64_t row_start(HeadRows x, int64_t batch, int64_t head, int64_t row, int64_t width)
{
    return batch * x.batch_step + row * x.token_step + head * width;
}

/* Whether a block of rows would contend for a few sets of the first-level cache, or need a page each. */
static inline bool scattered(HeadRows x, int64_t width)
{
    return x.token_step != width && (x.token_step % 256 == 0 || x.token_step > 512);
}

/* A score in units of ln 2. A finite one that would overflow stays the lowest number. (Asked of the score itself: where the
 * product is compared with infinity, GCC 14 concludes that the score was infinite, and drops the test.) */
static inline float in_log2(float score)
{
    return score >= LOWEST && score < LOWEST / LOG2_E ? LOWEST : score * LOG2_E;
}

/* The same of a vector. */
static inline Vec vec_in_log2(Vec score)
{
    return vec_select(score >= LOWEST, vec_max(score * LOG2_E, vec_set(LOWEST)), score);
}

/* What a key that may not be seen scores. */
static inline float blocked_score(const AttentionShape *s)
{
    return in_log2(s->blocked);
}

/* Where the table's values of this tile begin, [queries, keys] at its steps. */
static inline int64_t table_start(const AttentionShape *s, const ScoreTable *table, const Tile *t, int64_t key)
{
    int64_t head = t->head / (s->q_heads / table->heads);
    return t->batch % table->batch * table->batch_step + head * table->head_step + t->first * table->query_step +
           key * table->key_step;
}

/* Cuts a buffer of `floats` off scratch, with a line of cache between two buffers. Scratch NULL only counts. */
typedef struct Cutter {
    char *next;
    size_t bytes;
} Cutter;

static inline float *cut(Cutter *c, int64_t floats)
{
    size_t bytes = ((size_t)floats * 4 + 63) / 64 * 64 + 64;
    float *buffer = (float *)c->next;
    if (c->next)
        c->next += bytes;
    c->bytes += bytes;
    return buffer;
}

/* [TILE_KEYS][TILE_QUERIES]. Zeros, so that lanes which no product writes hold numbers. */
static inline float *cut_scores(Cutter *c)
{
    float *scores = cut(c, TILE_KEYS * TILE_QUERIES);
    if (scores)
        memset(scores, 0, TILE_KEYS * TILE_QUERIES * sizeof *scores);
    return scores;
}

/* Tasks that a thread takes at a time. */
static inline int64_t chunk_of(const Exec *exec, int64_t tasks)
{
    return larger(1, tasks / (exec->threads * 32));
}

static inline Gathered cut_gathered(Cutter *c, Form form, int64_t rows, int64_t width)
{
    return (Gathered){form, cut(c, terms(form == WOVEN, rows) * step_of(form, width)), -1, -1, 0, 0};
}

static inline Scoring cut_scoring(const AttentionShape *s, bool halves, Cutter *c)
{
    Scoring w = {.halves = halves};
    w.queries = cut(c, terms(halves, s->width) * TILE_QUERIES);
    w.keys = cut_gathered(c, halves ? HALVES : FLOATS, s->keys, s->width);
    w.scores = cut_scores(c);
    w.mask.bias = s->bias.data ? cut(c, TILE_KEYS * TILE_QUERIES) : NULL;
    w.mask.keep = s->keep.data ? (int32_t *)cut(c, TILE_KEYS * TILE_QUERIES) : NULL;
    return w;
}

/* ---- few queries: scores [query][TILE_KEYS], a call for each of them ---- */

/* products[j] = factor * q . key j, for count keys; room for count rounded up to 4. */
void LEVEL(few_products)(const float *q, const float *keys, int64_t step, int64_t count, int64_t width, float factor,
                         float *products);
/* Products become scores, as in tile_scores. i is the query in its tile. */
void LEVEL(few_mask)(const AttentionShape *, const Tile *, int64_t i, int64_t first, int64_t count, float *scores);
/* As tile_softmax. */
void LEVEL(few_softmax)(int64_t count, float *scores, float *largest, float *total, float *shrink);
/* sums [width] = shrink * sums + sum_j weights[j] row j. */
void LEVEL(few_add_rows)(const float *weights, const float *rows, int64_t step, int64_t count, int64_t width,
                         float shrink, float *sums);
/* Row j of sums += weights[j] * row, [width]. */
void LEVEL(few_spread)(const float *weights, const float *row, int64_t count, int64_t width, float *sums, int64_t step);
/* Scores become p, and dp becomes ds = p (dp - delta); lse in units of ln 2. */
void LEVEL(few_gradients)(int64_t count, float lse, float delta, float *scores, float *ds);

size_t LEVEL(attention_backward_scratch)(const Exec *, const AttentionShape *);
void LEVEL(attention_softmax)(const Exec *, const AttentionShape *, const float *scores, float *p, float *lse);
void LEVEL(attention_softmax_gradient)(const Exec *, const AttentionShape *, const float *p, const float *lse,
                                       const float *dp, float *ds, ScoreTable dbias);
void LEVEL(attention_backward)(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                               const float *lse, HeadRows d_o, const float *dlse, bool add, HeadRows dq, HeadRows dk,
                               HeadRows dv, ScoreTable dbias);
