/* Backward pass of dense attention by queries: dq. While dp is computed from the values, the keys come into shared
 * memory, and the next values while scores and dq are computed from the keys. */
#include "common/kernels/cuda/attention.cuh"

template <int W> struct QueryTile {
    enum { KEYS = W <= 64 ? 64 : 32 };
    template <typename T> static constexpr size_t bytes(void)
    {
        return 2 * (ROWS_TILE + KEYS) * pitch<T>(W) * sizeof(T);
    }
};

/* What is the same for all threads of a block. */
typedef struct QueryBlock {
    Sight sight;
    Head q, k, v, d_o;
    Span seen; /* keys */
    int first, column;
    bool whole;
} QueryBlock;

template <typename T, int W, bool WIDE> struct QueryGradient {
    enum { KEYS = QueryTile<W>::KEYS };

    const QueryBlock &block;
    T *queries, *d_o, *keys, *values; /* shared */
    int row;                          /* the warp's first query */
    RowStatistics of_row[2] = {};
    Fragment<1, W> sums = {};

    /* dp becomes ds. */
    __device__ void gradients(Fragment<1, KEYS> &scores, int key, Fragment<1, KEYS> &slopes) const
    {
        const Sight &sight = block.sight;
        float unit = sight.unit;
        bool hides = masked(sight, row, 16, key, KEYS);
        if (hides) {
            mask_scores<false>(sight, row, key, scores);
            unit = 1;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int r = 0; r < 4; r++)
                slopes.at[0][n][r] =
                    probability(of_row[r / 2], scores.at[0][n][r], unit) * (slopes.at[0][n][r] - of_row[r / 2].delta);
        if (hides && block.whole)
            clear_unseen<false>(
                sight, row, key, [&](int, int r) { return of_row[r / 2].floor; }, slopes);
    }

    __device__ void products(int key, int next, Fragment<1, KEYS> &scores, Fragment<1, KEYS> &slopes)
    {
        const int offset = (row - block.first) * pitch<T>(W);
        loads_wait(); /* the values are there, and all are done with the keys before */
        load_rows<T, KEYS, W>(keys, block.k, key, block.sight.keys, 0);
        fragment_clear(slopes);
        add_product<1, KEYS, W>(slopes, d_o + offset, values);
        loads_wait(); /* the keys are there, and all are done with the values */
        if (next < block.seen.to)
            load_rows<T, KEYS, W>(values, block.v, next, block.sight.keys, 0);
        fragment_clear(scores);
        add_product<1, KEYS, W>(scores, queries + offset, keys);
    }

    __device__ void products_in_parts(int key, Fragment<1, KEYS> &scores, Fragment<1, KEYS> &slopes)
    {
        const Sight &sight = block.sight;
        product_in_parts<T, 1, KEYS, W>(slopes, block.d_o, block.first, sight.queries, block.v, key, sight.keys, d_o,
                                        values);
        product_in_parts<T, 1, KEYS, W>(scores, block.q, block.first, sight.queries, block.k, key, sight.keys, queries,
                                        keys);
        __syncthreads();
        load_rows<T, KEYS, W>(keys, block.k, key, sight.keys, block.column);
        loads_wait();
    }

    __device__ void meet_keys(void)
    {
        if (!WIDE) {
            load_rows<T, ROWS_TILE, W>(queries, block.q, block.first, block.sight.queries, 0);
            load_rows<T, ROWS_TILE, W>(d_o, block.d_o, block.first, block.sight.queries, 0);
            load_rows<T, KEYS, W>(values, block.v, block.seen.from, block.sight.keys, 0);
        }
#pragma unroll 1
        for (int key = block.seen.from; key < block.seen.to; key += KEYS) {
            Fragment<1, KEYS> scores, slopes;
            if (WIDE)
                products_in_parts(key, scores, slopes);
            else
                products(key, key + KEYS, scores, slopes);
            if (row < block.sight.queries) {
                gradients(scores, key, slopes);
                add_weighted<1, KEYS, W>(sums, slopes, keys);
            }
        }
        async_copies_wait();
    }
};

/* Where samples share dq, a block adds up all of them. */
template <typename T, int W, bool WIDE>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    queries_kernel(Backward c, int tiles, int parts, int64_t batches)
{
    DYNAMIC_SHARED(T, shared);
    __shared__ QueryBlock block;
    const AttentionShape &s = c.shape;
    Place at = place_of(s.q_heads, tiles, parts);
    if (s.causal)
        at.tile = tiles - 1 - at.tile; /* the longest rows begin first */
    const int first = at.tile * ROWS_TILE, row = first + (int)threadIdx.x / WARP * 16;
    T *d_o = shared + ROWS_TILE * pitch<T>(W), *keys = d_o + ROWS_TILE * pitch<T>(W);
    T *values = keys + QueryTile<W>::KEYS * pitch<T>(W);
    QueryGradient<T, W, WIDE> x = {block, shared, d_o, keys, values, row};
    for (int64_t b = at.batch; b < s.batch; b += batches) {
        const int64_t start = (b * s.q_heads + at.head) * s.queries;
        __syncthreads();
        if (threadIdx.x == 0) {
            QueryBlock own;
            own.sight = sight_of(s, b, at.head);
            own.q = head_of(c.q, b, at.head, s.width);
            own.d_o = head_of(c.d_o, b, at.head, s.value_width);
            own.k = head_of(c.k, b, at.head / (s.q_heads / s.k_heads), s.width);
            own.v = head_of(c.v, b, at.head / (s.q_heads / s.v_heads), s.value_width);
            own.seen = keys_seen(own.sight, first, ROWS_TILE, QueryTile<W>::KEYS);
            own.first = first;
            own.column = at.part * W;
            own.whole = c.statistics.whole[(b * s.q_heads + at.head) * tiles + at.tile];
            block = own;
        }
        __syncthreads();
        for (int half = 0; half < 2; half++)
            x.of_row[half] = statistics_at(c.statistics, start, row + fragment_row(0, 2 * half), (int)s.queries);
        x.meet_keys();
    }
    const float factors[2] = {s.scale, s.scale};
    save_rows<T, 1, W>(x.sums, factors, c.dq, at.batch, at.head, s.width, row, (int)s.queries, at.part * W, c.add);
}

template <typename T, int W, bool WIDE> static void queries_width(const Exec *exec, const Backward *c)
{
    const AttentionShape *s = &c->shape;
    int tiles = (int)blocks_for(s->queries, ROWS_TILE), parts = WIDE && s->width > W ? (int)blocks_for(s->width, W) : 1;
    int64_t batches = shared_by_all(s, c->dq) ? 1 : s->batch;
    LAUNCH((queries_kernel<T, W, WIDE>), (unsigned)(batches * s->q_heads * tiles * parts), ATTENTION_THREADS,
           QueryTile<W>::template bytes<T>(), exec, *c, tiles, parts, batches);
}

template <typename T> static void queries_type(const Exec *exec, const Backward *c)
{
    int64_t width = c->shape.width > c->shape.value_width ? c->shape.width : c->shape.value_width;
    if (width <= 32)
        queries_width<T, 32, false>(exec, c);
    else if (width <= 64)
        queries_width<T, 64, false>(exec, c);
    else if (width <= WIDEST)
        queries_width<T, WIDEST, false>(exec, c);
    else
        queries_width<T, WIDEST, true>(exec, c);
}

void attention_backward_queries(const Exec *exec, const Backward *c)
{
    if (all_bf16(c->q, c->k, c->v) && c->d_o.type == BF16)
        queries_type<bf16>(exec, c);
    else
        queries_type<float>(exec, c);
}
