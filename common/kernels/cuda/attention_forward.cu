/* Forward pass of dense attention (Dao et al., FlashAttention, algorithm 1; Dao, FlashAttention-2): a block's
 * queries meet the keys a tile after the other. While the product of the keys runs, their values come into shared
 * memory, and the next keys while the values are summed. */
#include "common/kernels/cuda/attention.cuh"

/* A score this far below the largest, in units of ln 2, has a probability of exactly 0. */
#define VANISHES 200.0f

/* With 32 rows a warp (M 2) each value that a lane takes from shared memory is used twice; with 16 few queries keep
 * all warps busy. Wide sums leave registers for fewer keys. */
template <int M, int W> struct ForwardTile {
    enum { ROWS = 16 * M * ATTENTION_WARPS, KEYS = W <= 64 ? 64 : 32 };
    template <typename T> static constexpr size_t bytes(void)
    {
        return (ROWS + 2 * KEYS) * pitch<T>(W) * sizeof(T);
    }
};

/* What is the same for all threads of a block lies in shared memory. */
typedef struct ForwardBlock {
    Sight sight;
    Head q, k, v;
    Span seen;         /* keys */
    int first, column; /* the first query, and of the result the first column */
} ForwardBlock;

/* The keys that some query may see; if the others count, those before and behind; and for queries that see none,
 * all. */
enum ForwardPass { SEEN, BEFORE, BEHIND, MEAN, FORWARD_PASSES };

template <typename T, int M, int W, bool WIDE> struct Forward {
    enum { KEYS = ForwardTile<M, W>::KEYS };

    const ForwardBlock &block;
    T *queries, *keys, *values; /* shared */
    int row;                    /* the warp's first query */
    Softmax<M> state = {};
    Fragment<M, W> sums = {};

    __device__ bool idle(void) const
    {
        return row >= block.sight.queries;
    }

    __device__ bool lives(int r) const
    {
        return row + fragment_row(r / 2, r % 2 * 2) < block.sight.queries;
    }

    /* From products to weights of the values. */
    __device__ void weigh(Fragment<M, KEYS> &scores, int key)
    {
        float shrink[2 * M], unit = block.sight.unit;
        if (unit <= 0 || masked(block.sight, row, 16 * M, key, KEYS)) {
            mask_scores<false>(block.sight, row, key, scores);
            unit = 1;
        }
        softmax_meet(state, scores, unit, shrink);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < W / 8; n++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    sums.at[m][n][r] *= shrink[2 * m + r / 2];
    }

    /* Queries that see no key weigh all values the same. */
    __device__ void weigh_alike(Fragment<M, KEYS> &weights) const
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    weights.at[m][n][r] = state.total[2 * m + r / 2] == 0 ? 1 : 0;
    }

    /* Whole tiles of keys. */
    __device__ void meet(Span span, bool mean)
    {
        const bool by_tile = !WIDE && !mean;
        __syncthreads();
        if (by_tile && span.from < span.to)
            load_rows<T, KEYS, W>(keys, block.k, span.from, block.sight.keys, 0);
        for (int key = span.from; key < span.to; key += KEYS) {
            Fragment<M, KEYS> scores;
            if (WIDE && !mean)
                product_in_parts<T, M, KEYS, W>(scores, block.q, block.first, block.sight.queries, block.k, key,
                                                block.sight.keys, queries, keys);
            loads_wait(); /* the keys are there, and all are done with the values before */
            load_rows<T, KEYS, W>(values, block.v, key, block.sight.keys, block.column);
            if (by_tile && !idle()) {
                fragment_clear(scores);
                add_product<M, KEYS, W>(scores, queries + (row - block.first) * pitch<T>(W), keys);
            }
            loads_wait(); /* the values are there, and all are done with the keys */
            if (by_tile && key + KEYS < span.to)
                load_rows<T, KEYS, W>(keys, block.k, key + KEYS, block.sight.keys, 0);
            if (!idle()) {
                if (mean)
                    weigh_alike(scores);
                else
                    weigh(scores, key);
                add_weighted<M, KEYS, W>(sums, scores, values);
            }
        }
    }

    /* Whether keys that were left out count: they score `blocked`, which is finite and hardly below a row's largest
     * score. */
    __device__ bool needs_all(void) const
    {
        bool count = false;
        for (int r = 0; r < 2 * M; r++)
            count = count || (lives(r) && !(state.largest[r] - block.sight.blocked > VANISHES));
        return __syncthreads_or(count && block.sight.blocked >= LOWEST);
    }

    __device__ bool has_empty(void) const
    {
        bool empty = false;
        for (int r = 0; r < 2 * M; r++)
            empty = empty || (lives(r) && state.total[r] == 0);
        return __syncthreads_or(empty);
    }

    __device__ void run(EmptyRow empty_row)
    {
        bool all = false;
        const int everything = block.sight.keys;
#pragma unroll 1
        for (int pass = SEEN; pass < FORWARD_PASSES; pass++) {
            Span span = block.seen;
            if (pass == BEFORE)
                all = (span.from > 0 || span.to < everything) && needs_all();
            if (pass == MEAN) {
                softmax_end(state);
                all = empty_row == EMPTY_UNIFORM && has_empty();
            }
            if (pass != SEEN)
                span = {pass == BEHIND ? span.to : 0, pass == BEFORE ? span.from : everything};
            if (pass == SEEN || all)
                meet(span, pass == MEAN);
        }
    }

    __device__ void save(const Place &at, const AttentionShape &s, HeadRows o, float *lse) const
    {
        float factors[2 * M];
#pragma unroll
        for (int r = 0; r < 2 * M; r++) {
            int i = row + fragment_row(r / 2, r % 2 * 2);
            float total = state.total[r], largest = state.largest[r];
            factors[r] = total != 0 ? 1 / total : s.empty_row == EMPTY_UNIFORM && s.keys > 0 ? 1 / (float)s.keys : 0;
            float natural = largest == LOWEST ? largest : largest * LN_2; /* as in_log2 made it */
            if (lse && at.part == 0 && i < (int)s.queries && lane_index() % 4 == 0)
                lse[(at.batch * s.q_heads + at.head) * s.queries + i] = total != 0 ? natural + logf(total) : -INFINITY;
        }
        save_rows<T, M, W>(sums, factors, o, at.batch, at.head, s.value_width, row, (int)s.queries, block.column,
                           false);
    }
};

template <typename T, int M, int W, bool WIDE>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    forward_kernel(AttentionShape s, int tiles, int parts, HeadRows q, HeadRows k, HeadRows v, HeadRows o, float *lse)
{
    typedef ForwardTile<M, W> Tile;
    DYNAMIC_SHARED(T, shared);
    __shared__ ForwardBlock block;
    Place at = place_of(s.q_heads, tiles, parts);
    if (s.causal)
        at.tile = tiles - 1 - at.tile; /* the longest rows begin first */
    if (threadIdx.x == 0) {
        ForwardBlock own;
        own.sight = sight_of(s, at.batch, at.head);
        own.q = head_of(q, at.batch, at.head, s.width);
        own.k = head_of(k, at.batch, at.head / (s.q_heads / s.k_heads), s.width);
        own.v = head_of(v, at.batch, at.head / (s.q_heads / s.v_heads), s.value_width);
        own.first = at.tile * Tile::ROWS;
        own.column = at.part * W;
        own.seen = keys_seen(own.sight, own.first, Tile::ROWS, Tile::KEYS);
        block = own;
    }
    __syncthreads();
    T *keys = shared + Tile::ROWS * pitch<T>(W), *values = keys + Tile::KEYS * pitch<T>(W);
    Forward<T, M, W, WIDE> x = {block, shared, keys, values, block.first + (int)threadIdx.x / WARP * 16 * M};
    softmax_start(x.state);
    if (!WIDE)
        load_rows<T, Tile::ROWS, W>(x.queries, block.q, block.first, block.sight.queries, 0);
    x.run(s.empty_row);
    async_copies_wait();
    x.save(at, s, o, lse);
}

template <typename T, int M, int W, bool WIDE>
static void forward_width(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                          float *lse)
{
    typedef ForwardTile<M, W> Tile;
    int tiles = (int)blocks_for(s->queries, Tile::ROWS);
    int parts = WIDE && s->value_width > W ? (int)blocks_for(s->value_width, W) : 1;
    LAUNCH((forward_kernel<T, M, W, WIDE>), (unsigned)(s->batch * s->q_heads * tiles * parts), ATTENTION_THREADS,
           Tile::template bytes<T>(), exec, *s, tiles, parts, q, k, v, o, lse);
}

template <typename T, int M>
static void forward_rows(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                         float *lse)
{
    int64_t width = s->width > s->value_width ? s->width : s->value_width;
    if (width <= 32)
        forward_width<T, M, 32, false>(exec, s, q, k, v, o, lse);
    else if (width <= 64)
        forward_width<T, M, 64, false>(exec, s, q, k, v, o, lse);
    else if (width <= WIDEST)
        forward_width<T, M, WIDEST, false>(exec, s, q, k, v, o, lse);
    else
        forward_width<T, 1, WIDEST, true>(exec, s, q, k, v, o, lse);
}

template <typename T>
static void forward_type(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                         float *lse)
{
    if (s->queries <= ROWS_TILE)
        forward_rows<T, 1>(exec, s, q, k, v, o, lse);
    else
        forward_rows<T, 2>(exec, s, q, k, v, o, lse);
}

void attention_forward(const Exec *exec, const AttentionShape *s, HeadRows q, HeadRows k, HeadRows v, HeadRows o,
                       float *lse)
{
    if (all_bf16(q, k, v))
        forward_type<bf16>(exec, s, q, k, v, o, lse);
    else
        forward_type<float>(exec, s, q, k, v, o, lse);
}
