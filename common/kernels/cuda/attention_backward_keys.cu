/* Backward pass of dense attention by keys: dk and dv. Scores stand with a key a row, so that p^T and ds^T are
 * weights of the rows of do and q as they lie in shared memory. While scores are computed, do comes, and the next
 * queries while the rest is. */
#include "common/kernels/cuda/attention.cuh"

template <int W> struct KeyTile {
    enum { QUERIES = W <= 64 ? 64 : 32 };
    template <typename T> static constexpr size_t bytes(void)
    {
        return (2 * ROWS_TILE + 3 * QUERIES) * pitch<T>(W) * sizeof(T) + QUERIES * sizeof(RowStatistics);
    }
};

/* What is the same for all threads of a block while it meets one head. */
typedef struct KeyBlock {
    Sight sight;
    Head q, k, v, d_o;
    Span seeing; /* queries */
    int first, column;
    const RowStatistics *rows; /* of the head's queries */
    const int *whole;          /* of their tiles */
    bool dk, dv;               /* wanted */
} KeyBlock;

template <typename T, int W, bool WIDE> struct KeyGradients {
    enum { QUERIES = KeyTile<W>::QUERIES };

    const KeyBlock &block;
    T *keys, *values, *queries, *d_o; /* shared; queries twice */
    RowStatistics *of_query;          /* shared */
    int row;                          /* the warp's first key */
    Fragment<1, W> dk = {}, dv = {};

    __device__ bool whole(int query) const
    {
        return block.whole[query / ROWS_TILE];
    }

    /* The first tile from `query` on that has a part in the gradients. */
    __device__ int next_tile(int query) const
    {
        while (query < block.sight.queries && !(query >= block.seeing.from && query < block.seeing.to) &&
               !(block.dv && whole(query)))
            query += QUERIES;
        return query;
    }

    /* Scores become p, and dp becomes ds. */
    __device__ void gradients(int query, Fragment<1, QUERIES> &scores, Fragment<1, QUERIES> &slopes) const
    {
        const Sight &sight = block.sight;
        float unit = sight.unit;
        bool hides = masked(sight, query, QUERIES, row, 16);
        if (hides) {
            mask_scores<true>(sight, query, row, scores);
            unit = 1;
        }
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const RowStatistics of_row = of_query[fragment_column(n, side)];
#pragma unroll
                for (int r = side; r < 4; r += 2) {
                    scores.at[0][n][r] = probability(of_row, scores.at[0][n][r], unit);
                    slopes.at[0][n][r] = scores.at[0][n][r] * (slopes.at[0][n][r] - of_row.delta);
                }
            }
        if (hides && block.dk && whole(query))
            clear_unseen<true>(
                sight, query, row, [&](int n, int r) { return of_query[fragment_column(n, r)].floor; }, slopes);
    }

    __device__ void load_d_o(int query, int column)
    {
        load_rows<T, QUERIES, W>(d_o, block.d_o, query, block.sight.queries, column);
        if (threadIdx.x < QUERIES) {
            int i = query + (int)threadIdx.x; /* zeros for a query that is not there: its row of do is 0 too */
            async_copy_16(of_query + threadIdx.x, block.rows + smaller(i, block.sight.queries - 1),
                          i < block.sight.queries);
        }
    }

    __device__ void products(int query, int next, const T *now, T *later, Fragment<1, QUERIES> &scores,
                             Fragment<1, QUERIES> &slopes)
    {
        const int offset = (row - block.first) * pitch<T>(W);
        loads_wait(); /* the queries are there, and all are done with what was before */
        load_d_o(query, 0);
        fragment_clear(scores);
        add_product<1, QUERIES, W>(scores, keys + offset, now);
        loads_wait(); /* do is there */
        if (next < block.sight.queries)
            load_rows<T, QUERIES, W>(later, block.q, next, block.sight.queries, 0);
        fragment_clear(slopes);
        if (block.dk)
            add_product<1, QUERIES, W>(slopes, values + offset, d_o);
    }

    __device__ void products_in_parts(int query, T *now, Fragment<1, QUERIES> &scores, Fragment<1, QUERIES> &slopes)
    {
        const Sight &sight = block.sight;
        product_in_parts<T, 1, QUERIES, W>(scores, block.k, block.first, sight.keys, block.q, query, sight.queries,
                                           keys, now);
        product_in_parts<T, 1, QUERIES, W>(slopes, block.v, block.first, sight.keys, block.d_o, query, sight.queries,
                                           values, d_o);
        __syncthreads();
        load_rows<T, QUERIES, W>(now, block.q, query, sight.queries, block.column);
        load_d_o(query, block.column);
        loads_wait();
    }

    __device__ void meet_queries(void)
    {
        int query = next_tile(0), next, turn = 0;
        if (!WIDE) {
            load_rows<T, ROWS_TILE, W>(keys, block.k, block.first, block.sight.keys, 0);
            load_rows<T, ROWS_TILE, W>(values, block.v, block.first, block.sight.keys, 0);
            load_rows<T, QUERIES, W>(queries, block.q, query, block.sight.queries, 0);
        }
#pragma unroll 1
        for (; query < block.sight.queries; query = next, turn = !turn) {
            Fragment<1, QUERIES> scores, slopes;
            T *now = queries + turn * QUERIES * pitch<T>(W), *later = queries + !turn * QUERIES * pitch<T>(W);
            next = next_tile(query + QUERIES);
            if (WIDE)
                products_in_parts(query, now, scores, slopes);
            else
                products(query, next, now, later, scores, slopes);
            if (row >= block.sight.keys)
                continue;
            gradients(query, scores, slopes);
            if (block.dv)
                add_weighted<1, QUERIES, W>(dv, scores, d_o);
            if (block.dk)
                add_weighted<1, QUERIES, W>(dk, slopes, now);
        }
        async_copies_wait();
    }
};

/* A block adds up the heads of queries that share a head of keys, and where samples share the gradients all samples. */
template <typename T, int W, bool WIDE>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    keys_kernel(Backward c, int tiles, int parts, int64_t heads, int64_t batches)
{
    typedef KeyTile<W> Tile;
    DYNAMIC_SHARED(T, shared);
    __shared__ KeyBlock block;
    const AttentionShape &s = c.shape;
    const Place at = place_of(heads, tiles, parts);
    const int64_t group = s.q_heads / heads, query_tiles = blocks_for(s.queries, ROWS_TILE);
    const int first = at.tile * ROWS_TILE, row = first + (int)threadIdx.x / WARP * 16;
    T *values = shared + ROWS_TILE * pitch<T>(W), *queries = values + ROWS_TILE * pitch<T>(W);
    T *d_o = queries + 2 * Tile::QUERIES * pitch<T>(W);
    RowStatistics *of_query = (RowStatistics *)(d_o + Tile::QUERIES * pitch<T>(W));
    KeyGradients<T, W, WIDE> x = {block, shared, values, queries, d_o, of_query, row};
    for (int64_t b = at.batch; b < s.batch; b += batches)
        for (int64_t h = at.head * group; h < (at.head + 1) * group; h++) {
            __syncthreads();
            if (threadIdx.x == 0) {
                KeyBlock own;
                own.sight = sight_of(s, b, h);
                own.q = head_of(c.q, b, h, s.width);
                own.d_o = head_of(c.d_o, b, h, s.value_width);
                own.k = head_of(c.k, b, h / (s.q_heads / s.k_heads), s.width);
                own.v = head_of(c.v, b, h / (s.q_heads / s.v_heads), s.value_width);
                own.seeing = queries_seeing(own.sight, first, ROWS_TILE, Tile::QUERIES);
                own.first = first;
                own.column = at.part * W;
                own.rows = c.statistics.rows + (b * s.q_heads + h) * s.queries;
                own.whole = c.statistics.whole + (b * s.q_heads + h) * query_tiles;
                own.dk = c.dk.data;
                own.dv = c.dv.data;
                block = own;
            }
            __syncthreads();
            x.meet_queries();
        }
    const float scale[2] = {s.scale, s.scale}, one[2] = {1, 1};
    if (c.dk.data)
        save_rows<T, 1, W>(x.dk, scale, c.dk, at.batch, at.head, s.width, row, (int)s.keys, at.part * W, c.add);
    if (c.dv.data)
        save_rows<T, 1, W>(x.dv, one, c.dv, at.batch, at.head, s.value_width, row, (int)s.keys, at.part * W, c.add);
}

template <typename T, int W, bool WIDE> static void keys_width(const Exec *exec, const Backward *c, int64_t width)
{
    const AttentionShape *s = &c->shape;
    int tiles = (int)blocks_for(s->keys, ROWS_TILE), parts = WIDE ? (int)blocks_for(width, W) : 1;
    int64_t heads = c->dk.data ? s->k_heads : s->v_heads;
    int64_t batches = shared_by_all(s, c->dk.data ? c->dk : c->dv) ? 1 : s->batch;
    LAUNCH((keys_kernel<T, W, WIDE>), (unsigned)(batches * heads * tiles * parts), ATTENTION_THREADS,
           KeyTile<W>::template bytes<T>(), exec, *c, tiles, parts, heads, batches);
}

template <typename T> static void keys_type(const Exec *exec, const Backward *c)
{
    int64_t width = c->shape.width > c->shape.value_width ? c->shape.width : c->shape.value_width;
    if (width <= 32)
        keys_width<T, 32, false>(exec, c, width);
    else if (width <= 64)
        keys_width<T, 64, false>(exec, c, width);
    else if (width <= WIDEST)
        keys_width<T, WIDEST, false>(exec, c, width);
    else
        keys_width<T, WIDEST, true>(exec, c, width);
}

void attention_backward_keys(const Exec *exec, const Backward *c)
{
    if (all_bf16(c->q, c->k, c->v) && c->d_o.type == BF16)
        keys_type<bf16>(exec, c);
    else
        keys_type<float>(exec, c);
}
