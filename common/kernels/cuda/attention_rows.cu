/* What is asked of rows of probabilities: the statistics from which backward computes them again, and the rows
 * themselves. */
#include "common/kernels/cuda/attention.cuh"

enum { PART = 64 /* columns of the width at a time */, KEYS = 64 };

/* Beyond this a log-sum-exp is not precise enough to give probabilities. */
#define EXACT_LSE 4096.0f

template <typename T> static constexpr size_t two_tiles(void)
{
    return (ROWS_TILE + KEYS) * pitch<T>(PART) * sizeof(T);
}

/* ---- statistics */

typedef struct StatisticsCall {
    AttentionShape shape;
    int tiles;
    HeadRows q, k, o, d_o;
    const float *lse, *dlse;
    Statistics out;
} StatisticsCall;

/* By the lanes of a warp. */
DEVICE float delta_of(const StatisticsCall &c, const Place &at, int i)
{
    float sum = 0;
    const Head o = head_of(c.o, at.batch, at.head, c.shape.value_width);
    const Head d_o = head_of(c.d_o, at.batch, at.head, c.shape.value_width);
    for (int column = lane_index(); c.o.data && column < o.width; column += WARP)
        sum = fmaf(head_get(o, i, column), head_get(d_o, i, column), sum);
    return warp_sum(sum);
}

/* From the log-sum-exp alone. Returns whether that says enough. */
DEVICE bool statistics_of_lse(const AttentionShape &s, float lse, RowStatistics *row)
{
    bool empty = lse == -INFINITY;
    row->largest = empty ? 0 : lse * LOG2_E;
    row->log_total = !empty ? 0 : s.empty_row == EMPTY_UNIFORM ? log2f((float)s.keys) : INFINITY;
    row->floor = empty ? 0 : -INFINITY;
    return empty || fabsf(lse) < EXACT_LSE;
}

/* By meeting all keys again: `largest` and the log of the total. */
template <typename T> DEVICE void statistics_again(const StatisticsCall &c, const Place &at, T *shared)
{
    __shared__ Sight sight; /* the same for all threads, as q and k */
    __shared__ Head q, k;
    const AttentionShape &s = c.shape;
    if (threadIdx.x == 0) {
        sight = sight_of(s, at.batch, at.head);
        q = head_of(c.q, at.batch, at.head, s.width);
        k = head_of(c.k, at.batch, at.head / (s.q_heads / s.k_heads), s.width);
    }
    __syncthreads();
    const int first = at.tile * ROWS_TILE, row = first + (int)threadIdx.x / WARP * 16;
    Softmax<1> state;
    softmax_start(state);
#pragma unroll 1
    for (int key = 0; key < sight.keys; key += KEYS) {
        Fragment<1, KEYS> scores;
        float shrink[2];
        product_in_parts<T, 1, KEYS, PART>(scores, q, first, sight.queries, k, key, sight.keys, shared,
                                           shared + ROWS_TILE * pitch<T>(PART));
        mask_scores<false>(sight, row, key, scores);
        softmax_meet(state, scores, 1, shrink);
    }
    softmax_end(state);
    for (int half = 0; half < 2; half++) {
        int i = row + fragment_row(0, 2 * half);
        RowStatistics *out = c.out.rows + (at.batch * s.q_heads + at.head) * s.queries + i;
        if (i < sight.queries && lane_index() % 4 == 0 && out->floor < 0) {
            out->largest = state.largest[half];
            out->log_total = log2f(state.total[half]);
        }
    }
}

template <typename T> __global__ void __launch_bounds__(ATTENTION_THREADS, 4) statistics_kernel(StatisticsCall c)
{
    DYNAMIC_SHARED(T, shared);
    const AttentionShape &s = c.shape;
    const Place at = place_of(s.q_heads, c.tiles, 1);
    const int64_t start = (at.batch * s.q_heads + at.head) * s.queries;
    const int end = smaller((at.tile + 1) * ROWS_TILE, (int)s.queries);
    bool again = false, whole = false;
    for (int i = at.tile * ROWS_TILE + (int)threadIdx.x / WARP; i < end; i += ATTENTION_WARPS) {
        RowStatistics row;
        bool exact = statistics_of_lse(s, c.lse[start + i], &row);
        row.delta = delta_of(c, at, i) - (c.dlse ? c.dlse[start + i] : 0);
        again = again || !exact;
        whole = whole || !exact || (row.floor == 0 && row.log_total < INFINITY);
        if (lane_index() == 0)
            c.out.rows[start + i] = row;
    }
    again = __syncthreads_or(again); /* and the rows written are seen by all */
    whole = __syncthreads_or(whole);
    if (threadIdx.x == 0)
        c.out.whole[blockIdx.x] = whole;
    if (again)
        statistics_again(c, at, shared);
}

static size_t row_bytes(const AttentionShape *s)
{
    return (size_t)(s->batch * s->q_heads * s->queries) * sizeof(RowStatistics);
}

size_t attention_statistics_bytes(const AttentionShape *s)
{
    size_t tiles = (size_t)(s->batch * s->q_heads * blocks_for(s->queries, ROWS_TILE));
    return row_bytes(s) + (tiles * sizeof(int) + 15) / 16 * 16;
}

Statistics attention_statistics(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows o,
                                HeadRows d_o, const float *lse, const float *dlse)
{
    contract(exec->scratch_bytes >= attention_statistics_bytes(s), "attention: %zu bytes of scratch, not %zu",
             exec->scratch_bytes, attention_statistics_bytes(s));
    int tiles = (int)blocks_for(s->queries, ROWS_TILE);
    Statistics out = {(RowStatistics *)exec->scratch, (int *)((char *)exec->scratch + row_bytes(s))};
    StatisticsCall c = {*s, tiles, q, k, o, d_o, lse, dlse, out};
    unsigned blocks = (unsigned)(s->batch * s->q_heads * tiles);
    if (all_bf16(q, k, k))
        LAUNCH(statistics_kernel<bf16>, blocks, ATTENTION_THREADS, two_tiles<bf16>(), exec, c);
    else
        LAUNCH(statistics_kernel<float>, blocks, ATTENTION_THREADS, two_tiles<float>(), exec, c);
    return out;
}

/* ---- probabilities */

template <typename T>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    probabilities_kernel(AttentionShape s, int tiles, int parts, HeadRows q, HeadRows k, Statistics statistics,
                         float *p)
{
    DYNAMIC_SHARED(T, shared);
    const Place at = place_of(s.q_heads, tiles, parts);
    const Sight sight = sight_of(s, at.batch, at.head);
    const int first = at.tile * ROWS_TILE, row = first + (int)threadIdx.x / WARP * 16, key = at.part * KEYS;
    const int64_t start = (at.batch * s.q_heads + at.head) * s.queries;
    Fragment<1, KEYS> scores;
    product_in_parts<T, 1, KEYS, PART>(scores, head_of(q, at.batch, at.head, s.width), first, sight.queries,
                                       head_of(k, at.batch, at.head / (s.q_heads / s.k_heads), s.width), key,
                                       sight.keys, shared, shared + ROWS_TILE * pitch<T>(PART));
    mask_scores<false>(sight, row, key, scores);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = row + fragment_row(0, 2 * half);
        if (i >= sight.queries)
            continue;
        const RowStatistics of_row = statistics.rows[start + i];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
            save_pair(p + (start + i) * s.keys, key + fragment_column(n, 0), sight.keys,
                      probability(of_row, scores.at[0][n][2 * half], 1),
                      probability(of_row, scores.at[0][n][2 * half + 1], 1), false);
    }
}

void attention_probabilities(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, const float *lse,
                             float *p)
{
    const HeadRows none = {NULL, 0, 0, F32};
    Statistics statistics = attention_statistics(exec, s, q, k, none, none, lse, NULL);
    int tiles = (int)blocks_for(s->queries, ROWS_TILE), parts = (int)blocks_for(s->keys, KEYS);
    unsigned blocks = (unsigned)(s->batch * s->q_heads * tiles * parts);
    if (all_bf16(q, k, k))
        LAUNCH(probabilities_kernel<bf16>, blocks, ATTENTION_THREADS, two_tiles<bf16>(), exec, *s, tiles, parts, q, k,
               statistics, p);
    else
        LAUNCH(probabilities_kernel<float>, blocks, ATTENTION_THREADS, two_tiles<float>(), exec, *s, tiles, parts, q, k,
               statistics, p);
}
