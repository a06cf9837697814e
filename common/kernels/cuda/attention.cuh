/* What the kernels of attention share: who sees whom, how rows come into shared memory and results go out, and the
 * softmax.
 *
 * A block has 4 warps. It holds a tile of queries (or, for dk and dv, of keys) and meets the other side a tile after
 * the other; a warp computes 16 M rows of each product (attention_product.cuh). W is the width for which registers
 * and shared memory are laid out: narrower heads are filled up with zeros. WIDE: heads beyond the widest W are met W
 * columns at a time, and a block makes W columns of the result.
 *
 * As in the CPU's kernels (cpu/vector/attention_tile.h), scores are in units of ln 2, and a hidden key whose score
 * is finite counts like any other. */
#pragma once
#include "common/kernels/cuda/attention_product.cuh"

#define LOG2_E 1.44269504088896341f
#define LN_2 0.693147180559945309f
#define LOWEST (-3.402823466e38f)

enum {
    ATTENTION_WARPS = 4,
    ATTENTION_THREADS = ATTENTION_WARPS * WARP,
    ROWS_TILE = 16 * ATTENTION_WARPS, /* rows of a block where M is 1 */
    WIDEST = 128
};

/* ---- Who sees whom */

/* Of one sample and head. */
typedef struct Sight {
    int queries, keys;
    int low, high; /* query i sees the keys i + low .. i + high */
    int length;    /* before this one */
    float unit;    /* a product times this is a score */
    float blocked; /* what a hidden key scores */
    const float *bias;
    const uint8_t *keep;
    int64_t bias_query, bias_key, keep_query, keep_key; /* steps */
} Sight;

/* Positions from .. to - 1. */
typedef struct Span {
    int from, to;
} Span;

DEVICE int smaller(int a, int b)
{
    return a < b ? a : b;
}

DEVICE int larger(int a, int b)
{
    return a > b ? a : b;
}

/* The steps of a mask are small enough that positions can be added to them. */
DEVICE int step_within(int64_t step)
{
    const int64_t far = 1 << 30;
    return (int)(step < -far ? -far : step > far ? far : step);
}

/* A finite score that would overflow stays the lowest number. */
DEVICE float in_log2(float score)
{
    return score >= LOWEST ? fmaxf(score * LOG2_E, LOWEST) : score;
}

DEVICE int64_t table_start(const AttentionShape &s, const ScoreTable &table, int64_t batch, int64_t head)
{
    return batch % table.batch * table.batch_step + head / (s.q_heads / table.heads) * table.head_step;
}

DEVICE Sight sight_of(const AttentionShape &s, int64_t batch, int64_t head)
{
    const int64_t far = 1 << 30;
    int64_t before = s.left >= 0 ? s.left : far, after = s.right >= 0 ? s.right : far;
    if (s.causal && after > 0)
        after = 0;
    Sight x;
    x.queries = (int)s.queries;
    x.keys = (int)s.keys;
    x.low = step_within(s.causal_offset - before);
    x.high = step_within(s.causal_offset + after);
    x.length = s.key_lengths ? smaller(s.key_lengths[batch], x.keys) : x.keys;
    x.unit = s.scale * LOG2_E;
    x.blocked = in_log2(s.blocked);
    x.bias = s.bias.data ? (const float *)s.bias.data + table_start(s, s.bias, batch, head) : NULL;
    x.keep = s.keep.data ? (const uint8_t *)s.keep.data + table_start(s, s.keep, batch, head) : NULL;
    x.bias_query = s.bias.query_step;
    x.bias_key = s.bias.key_step;
    x.keep_query = s.keep.query_step;
    x.keep_key = s.keep.key_step;
    return x;
}

DEVICE bool sees(const Sight &x, int i, int j)
{
    return j >= i + x.low && j <= i + x.high && j < x.length && i < x.queries &&
           (!x.keep || x.keep[i * x.keep_query + j * x.keep_key]);
}

DEVICE float score_of(const Sight &x, float product, int i, int j)
{
    if (!sees(x, i, j))
        return j < x.keys ? x.blocked : -INFINITY;
    float score = product * x.unit;
    return x.bias ? score + in_log2(x.bias[i * x.bias_query + j * x.bias_key]) : score;
}

/* What lies in 0 .. all - 1 of a span, widened to whole tiles. */
DEVICE Span tiles_around(int from, int to, int all, int tile)
{
    Span span = {larger(from, 0), smaller(to, all)};
    if (span.from >= span.to)
        return {0, 0};
    span.from = span.from / tile * tile;
    span.to = (span.to + tile - 1) / tile * tile;
    return span;
}

/* Tiles of keys that some of the queries first .. first + count - 1 may see. */
DEVICE Span keys_seen(const Sight &x, int first, int count, int tile)
{
    int last = smaller(first + count, x.queries) - 1;
    return tiles_around(first + x.low, smaller(last + x.high + 1, x.length), x.keys, tile);
}

/* Tiles of queries that may see some of the keys first .. first + count - 1. */
DEVICE Span queries_seeing(const Sight &x, int first, int count, int tile)
{
    if (first >= x.length)
        return {0, 0};
    return tiles_around(first - x.high, smaller(first + count, x.length) - x.low, x.queries, tile);
}

/* Whether some of these queries does not see some of these keys, or sees it with a bias. */
DEVICE bool masked(const Sight &x, int query, int queries, int key, int keys)
{
    int last = smaller(query + queries, x.queries) - 1;
    return x.bias || x.keep || key < last + x.low || key + keys - 1 > query + x.high || key + keys > x.length;
}

/* Products of the queries from `query` on (the rows, or with KEY_ROWS the columns) with the keys from `key` on
 * become scores. */
template <bool KEY_ROWS, int M, int N>
DEVICE void mask_scores(const Sight &x, int query, int key, Fragment<M, N> &scores)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int row = fragment_row(m, r), column = fragment_column(n, r);
                scores.at[m][n][r] =
                    score_of(x, scores.at[m][n][r], query + (KEY_ROWS ? column : row), key + (KEY_ROWS ? row : column));
            }
}

/* A gradient of scores is 0 where a query does not see the key, and for a query that sees none: floor(n, r) is that
 * of its statistics. */
template <bool KEY_ROWS, int N, typename Floor>
DEVICE void clear_unseen(const Sight &x, int query, int key, Floor floor, Fragment<1, N> &slopes)
{
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            int row = fragment_row(0, r), column = fragment_column(n, r);
            if (!(floor(n, r) < 0 && sees(x, query + (KEY_ROWS ? column : row), key + (KEY_ROWS ? row : column))))
                slopes.at[0][n][r] = 0;
        }
}

/* ---- Rows of one head */

typedef struct Head {
    const void *data;
    int64_t step;
    int width;
    DType type;
} Head;

DEVICE Head head_of(HeadRows x, int64_t batch, int64_t head, int64_t width)
{
    int64_t at = batch * x.batch_step + head * width;
    const void *data =
        x.type == F32 ? (const void *)((const float *)x.data + at) : (const void *)((const bf16 *)x.data + at);
    return {data, x.token_step, (int)width, x.type};
}

DEVICE float head_get(const Head &x, int64_t row, int column)
{
    int64_t at = row * x.step + column;
    return x.type == F32 ? ((const float *)x.data)[at] : to_float(((const bf16 *)x.data)[at]);
}

DEVICE void convert(float value, float *to)
{
    *to = value;
}

DEVICE void convert(float value, bf16 *to)
{
    *to = to_bf16(value);
}

/* Begins to bring rows first .. first + ROWS - 1, columns column .. column + W - 1, into shared memory,
 * [ROWS][pitch(W)]; zeros behind row `count` and behind the width. */
template <typename T, int ROWS, int W> DEVICE void load_rows(T *to, const Head &x, int first, int count, int column)
{
    constexpr int piece = 16 / (int)sizeof(T), pieces = W / piece;
    const bool whole = x.type == (sizeof(T) == 4 ? F32 : BF16) && x.width % piece == 0 && x.step % piece == 0 &&
                       (uintptr_t)x.data % 16 == 0;
    for (int i = (int)threadIdx.x; i < ROWS * pieces; i += ATTENTION_THREADS) {
        int row = i / pieces, c = i % pieces * piece;
        T *place = to + row * pitch<T>(W) + c;
        bool real = first + row < count && column + c < x.width;
        if (whole) {
            async_copy_16(place, (const T *)x.data + (real ? (first + row) * x.step + column + c : 0), real);
        } else {
#pragma unroll 1
            for (int n = 0; n < piece; n++)
                convert(real && column + c + n < x.width ? head_get(x, first + row, column + c + n) : 0, place + n);
        }
    }
}

/* All that was begun is there, for all. */
DEVICE void loads_wait(void)
{
    async_copies_wait();
    __syncthreads();
}

/* scores = rows columns^T over the whole width, W columns at a time through two buffers. */
template <typename T, int M, int N, int W>
DEVICE void product_in_parts(Fragment<M, N> &scores, const Head &rows, int row, int row_count, const Head &columns,
                             int column, int column_count, T *row_buffer, T *column_buffer)
{
    fragment_clear(scores);
    for (int c = 0; c < rows.width; c += W) {
        __syncthreads();
        load_rows<T, 16 * M * ATTENTION_WARPS, W>(row_buffer, rows, row, row_count, c);
        load_rows<T, N, W>(column_buffer, columns, column, column_count, c);
        loads_wait();
        add_product<M, N, W>(scores, row_buffer + (int)threadIdx.x / WARP * 16 * M * pitch<T>(W), column_buffer);
    }
}

/* ---- Results */

/* Two values side by side, the first at `at`; only those that lie before `end`. */
template <typename T> DEVICE void save_pair(T *row, int at, int end, float first, float second, bool add)
{
    if (at + 1 < end && (uintptr_t)(row + at) % (2 * sizeof(T)) == 0) {
        Floats<2> old = add ? floats_load<2>(row + at) : floats_of<2>(0);
        floats_store<2>(row + at, {{old.at[0] + first, old.at[1] + second}});
    } else {
        if (at < end)
            convert((add ? to_float(row[at]) : 0) + first, row + at);
        if (at + 1 < end)
            convert((add ? to_float(row[at + 1]) : 0) + second, row + at + 1);
    }
}

/* Columns column .. of y's rows first .. before `count` (+)= the sums of a warp, row r times factors. */
template <typename T, int M, int W>
DEVICE void save_rows(const Fragment<M, W> &sums, const float (&factors)[2 * M], HeadRows y, int64_t batch,
                      int64_t head, int64_t width, int first, int count, int column, bool add)
{
    const Head to = head_of(y, batch, head, width);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = first + fragment_row(m, 2 * half);
            float factor = factors[2 * m + half];
            if (row >= count)
                continue;
#pragma unroll
            for (int n = 0; n < W / 8; n++) {
                float a = sums.at[m][n][2 * half] * factor, b = sums.at[m][n][2 * half + 1] * factor;
                int at = column + width_column<T>(n, 0);
                if (to.type == F32)
                    save_pair((float *)to.data + row * to.step, at, to.width, a, b, add);
                else
                    save_pair((bf16 *)to.data + row * to.step, at, to.width, a, b, add);
            }
        }
}

/* ---- Softmax */

/* Over the four lanes that share a row. */
DEVICE float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

DEVICE float quad_sum(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

/* Of a lane's 2 M rows: the largest score, and this lane's part of the sum of 2^(score - largest). */
template <int M> struct Softmax {
    float largest[2 * M], total[2 * M];
};

template <int M> DEVICE void softmax_start(Softmax<M> &state)
{
#pragma unroll
    for (int row = 0; row < 2 * M; row++) {
        state.largest[row] = LOWEST;
        state.total[row] = 0;
    }
}

/* Products (times unit: scores) become 2^(score - largest). What was summed before must be multiplied by `shrink`. */
template <int M, int N>
DEVICE void softmax_meet(Softmax<M> &state, Fragment<M, N> &scores, float unit, float (&shrink)[2 * M])
{
#pragma unroll
    for (int row = 0; row < 2 * M; row++) {
        float(&x)[N / 8][4] = scores.at[row / 2];
        const int r = row % 2 * 2;
        float most = -INFINITY, sum = 0;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
            most = fmaxf(most, fmaxf(x[n][r], x[n][r + 1]));
        float largest = fmaxf(state.largest[row], quad_max(most) * unit);
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
            x[n][r] = fast_exp2(fmaf(x[n][r], unit, -largest));
            x[n][r + 1] = fast_exp2(fmaf(x[n][r + 1], unit, -largest));
            sum += x[n][r] + x[n][r + 1];
        }
        shrink[row] = fast_exp2(state.largest[row] - largest);
        state.total[row] = state.total[row] * shrink[row] + sum;
        state.largest[row] = largest;
    }
}

template <int M> DEVICE void softmax_end(Softmax<M> &state)
{
#pragma unroll
    for (int row = 0; row < 2 * M; row++)
        state.total[row] = quad_sum(state.total[row]);
}

/* What backward needs of a query. p = 2^(max(score - largest, floor) - log_total). Two numbers, because their sum, the
 * log-sum-exp, loses the second where scores are huge. */
typedef struct alignas(16) RowStatistics {
    float largest, log_total;
    float delta; /* sum do o - dlse */
    float floor; /* -infinity; 0 for a query that sees no key: its p are equal, or 0 */
} RowStatistics;

/* Of all queries, [B,H,Q]; and of each tile of ROWS_TILE of them, [B,H,tiles], whether keys that a query does not
 * see have a part in its p. They lie in the scratch of backward and probabilities. */
typedef struct Statistics {
    RowStatistics *rows;
    int *whole;
} Statistics;

/* Nothing comes of a query that is not there. */
DEVICE RowStatistics statistics_at(const Statistics &statistics, int64_t start, int i, int count)
{
    RowStatistics none = {0, INFINITY, 0, -INFINITY};
    return i < count ? statistics.rows[start + i] : none;
}

DEVICE float probability(const RowStatistics &row, float score, float unit)
{
    return fast_exp2(fmaxf(fmaf(score, unit, -row.largest), row.floor) - row.log_total);
}

/* ---- The parts (attention_*.cu) */

/* The block's part of `blockIdx.x` = ((batch * heads + head) * tiles + tile) * parts + part. */
typedef struct Place {
    int64_t batch, head;
    int tile, part;
} Place;

DEVICE Place place_of(int64_t heads, int tiles, int parts)
{
    int64_t at = (int64_t)blockIdx.x / parts;
    return {at / tiles / heads, at / tiles % heads, (int)(at % tiles), (int)((int64_t)blockIdx.x % parts)};
}

size_t attention_statistics_bytes(const AttentionShape *); /* a multiple of 16 */
/* o, d_o without data: delta is not computed. */
Statistics attention_statistics(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, HeadRows o, HeadRows d_o,
                                const float *lse, const float *dlse);

/* Whether products may be of bf16. */
static inline bool all_bf16(HeadRows q, HeadRows k, HeadRows v)
{
    return q.type == BF16 && k.type == BF16 && v.type == BF16;
}

/* Whether all samples add to the same gradient. */
static inline bool shared_by_all(const AttentionShape *s, HeadRows gradient)
{
    return gradient.data && gradient.batch_step == 0 && s->batch > 1;
}

/* The arguments of backward, with D[i] = sum_e do[i,e] o[i,e] - dlse[i] and the like in `statistics`:
 *
 *   dv[j] = sum_i p[i,j] do[i]             dp[i,j] = do[i] . v[j]         ds[i,j] = p[i,j] (dp[i,j] - D[i])
 *   dq[i] = scale sum_j ds[i,j] k[j]       dk[j] = scale sum_i ds[i,j] q[i]       dbias[i,j] = ds[i,j]
 *
 * A pass over tiles of queries gives dq, another over tiles of keys dk and dv, and a third dbias: p and ds are
 * computed again in each, so that no two blocks add to one number. */
typedef struct Backward {
    AttentionShape shape;
    HeadRows q, k, v, d_o, dq, dk, dv;
    ScoreTable dbias;
    Statistics statistics;
    bool add;
} Backward;

void attention_backward_queries(const Exec *, const Backward *);
/* dk and dv, of which one may have no data. Where both are there they have as many heads. */
void attention_backward_keys(const Exec *, const Backward *);
/* `chunks`: attention_bias_bytes of scratch. */
size_t attention_bias_bytes(const AttentionShape *, const ScoreTable *dbias);
void attention_backward_bias(const Exec *, const Backward *, float *chunks);

void attention_forward(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                       float *lse);
void attention_probabilities(const Exec *, const AttentionShape *, HeadRows q, HeadRows k, const float *lse, float *p);
void attention_softmax(const Exec *, const AttentionShape *, const float *scores, float *p, float *lse);
void attention_softmax_gradient(const Exec *, const AttentionShape *, const float *p, const float *lse, const float *dp,
                                float *ds, ScoreTable dbias);
