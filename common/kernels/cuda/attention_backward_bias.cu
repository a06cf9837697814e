/* Backward pass of dense attention by the bias: ds, summed over the axes along which the bias is the same, in a
 * fixed order. */
#include "common/kernels/cuda/attention.cuh"

enum { PART = 64 /* columns of the width at a time */, KEYS = 64, TILE = ROWS_TILE * KEYS };

template <typename T> static constexpr size_t bias_bytes(void)
{
    size_t operands = (ROWS_TILE + KEYS) * pitch<T>(PART) * sizeof(T), sums = TILE * sizeof(float);
    return operands > sums ? operands : sums;
}

/* ds of a tile of queries and a tile of keys is added to the sums. */
template <typename T>
DEVICE void add_tile(const Backward &c, const Sight &sight, int64_t batch, int64_t head, int first, int key, T *shared,
                     Fragment<1, KEYS> &sums)
{
    const AttentionShape &s = c.shape;
    const Head k = head_of(c.k, batch, head / (s.q_heads / s.k_heads), s.width);
    const Head v = head_of(c.v, batch, head / (s.q_heads / s.v_heads), s.value_width);
    const int row = first + (int)threadIdx.x / WARP * 16;
    T *columns = shared + ROWS_TILE * pitch<T>(PART);
    Fragment<1, KEYS> scores, slopes;
    RowStatistics of_row[2];
    product_in_parts<T, 1, KEYS, PART>(scores, head_of(c.q, batch, head, s.width), first, sight.queries, k, key,
                                       sight.keys, shared, columns);
    product_in_parts<T, 1, KEYS, PART>(slopes, head_of(c.d_o, batch, head, s.value_width), first, sight.queries, v, key,
                                       sight.keys, shared, columns);
    mask_scores<false>(sight, row, key, scores);
    for (int half = 0; half < 2; half++)
        of_row[half] = statistics_at(c.statistics, (batch * s.q_heads + head) * s.queries,
                                     row + fragment_row(0, 2 * half), sight.queries);
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            slopes.at[0][n][r] =
                probability(of_row[r / 2], scores.at[0][n][r], 1) * (slopes.at[0][n][r] - of_row[r / 2].delta);
    clear_unseen<false>(
        sight, row, key, [&](int, int r) { return of_row[r / 2].floor; }, slopes);
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            sums.at[0][n][r] += slopes.at[0][n][r];
}

/* Where too few blocks would have too many samples to add up, each is `chunks` blocks, and their sums are added in
 * order. */
typedef struct BiasParts {
    int query_parts, key_parts, chunks;
    int64_t tiles;   /* of the gradient: blocks without the chunks */
    int64_t samples; /* and heads, that add to one tile */
} BiasParts;

static BiasParts bias_parts(const AttentionShape *s, const ScoreTable *table)
{
    const int64_t wanted = 512; /* blocks, that keep a GPU busy */
    BiasParts p = {};
    if (s->batch == 0 || s->queries == 0 || s->keys == 0)
        return p;
    p.query_parts = table->query_step ? (int)blocks_for(s->queries, ROWS_TILE) : 1;
    p.key_parts = table->key_step ? (int)blocks_for(s->keys, KEYS) : 1;
    p.tiles = table->batch * table->heads * p.query_parts * p.key_parts;
    p.samples = s->batch / table->batch * (s->q_heads / table->heads);
    int64_t chunks = p.tiles > wanted ? 1 : wanted / p.tiles;
    p.chunks = (int)(chunks < p.samples ? chunks : p.samples);
    return p;
}

size_t attention_bias_bytes(const AttentionShape *s, const ScoreTable *table)
{
    BiasParts p = table->data ? bias_parts(s, table) : BiasParts{};
    return p.chunks > 1 ? (size_t)(p.tiles * p.chunks) * TILE * sizeof(float) : 0;
}

DEVICE void store_tile(const Fragment<1, KEYS> &sums, float *tile)
{
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            tile[((int)threadIdx.x / WARP * 16 + fragment_row(0, r)) * KEYS + fragment_column(n, r)] = sums.at[0][n][r];
}

/* A tile, in shared memory, is added to the gradient: rows and columns that share a number in order. */
DEVICE void save_bias(const AttentionShape &s, const ScoreTable &table, const Place &at, const float *tile)
{
    const int first = at.tile * ROWS_TILE, key = at.part * KEYS;
    float *to = (float *)table.data + at.batch * table.batch_step + at.head * table.head_step;
    int rows = table.query_step ? smaller(ROWS_TILE, (int)s.queries - first) : 1;
    int columns = table.key_step ? smaller(KEYS, (int)s.keys - key) : 1;
    int rows_each = table.query_step ? 1 : ROWS_TILE, columns_each = table.key_step ? 1 : KEYS;
    for (int i = (int)threadIdx.x; i < rows * columns; i += ATTENTION_THREADS) {
        int row = i / columns, column = i % columns;
        float sum = 0;
        for (int n = 0; n < rows_each; n++)
            for (int m = 0; m < columns_each; m++)
                sum += tile[(row + n) * KEYS + column + m];
        to[(first + row) * table.query_step + (key + column) * table.key_step] += sum;
    }
}

template <typename T>
__global__ void __launch_bounds__(ATTENTION_THREADS) bias_kernel(Backward c, BiasParts parts, float *chunks)
{
    DYNAMIC_SHARED(T, shared);
    __shared__ Sight sight; /* registers are for the sums */
    const AttentionShape &s = c.shape;
    const ScoreTable &table = c.dbias;
    Place at = place_of(table.heads, parts.query_parts, parts.key_parts * parts.chunks);
    const int64_t chunk = at.part % parts.chunks, group = s.q_heads / table.heads;
    at.part /= parts.chunks;
    const int first = at.tile * ROWS_TILE, first_key = at.part * KEYS;
    const int query_end = table.query_step ? smaller(first + ROWS_TILE, (int)s.queries) : (int)s.queries;
    const int key_end = table.key_step ? smaller(first_key + KEYS, (int)s.keys) : (int)s.keys;
    Fragment<1, KEYS> sums;
    fragment_clear(sums);
    for (int64_t n = chunk * parts.samples / parts.chunks; n < (chunk + 1) * parts.samples / parts.chunks; n++) {
        const int64_t b = at.batch + n / group * table.batch, h = at.head * group + n % group;
        __syncthreads();
        if (threadIdx.x == 0) {
            const Sight own = sight_of(s, b, h);
            sight = own;
        }
        __syncthreads();
        for (int query = first; query < query_end; query += ROWS_TILE) {
            Span seen = keys_seen(sight, query, ROWS_TILE, KEYS);
#pragma unroll 1
            for (int key = larger(first_key, seen.from); key < smaller(key_end, seen.to); key += KEYS)
                add_tile(c, sight, b, h, query, key, shared, sums);
        }
    }
    if (parts.chunks > 1) {
        store_tile(sums, chunks + (int64_t)blockIdx.x * TILE);
        return;
    }
    __syncthreads();
    store_tile(sums, (float *)shared);
    __syncthreads();
    save_bias(s, table, at, (const float *)shared);
}

__global__ void __launch_bounds__(ATTENTION_THREADS)
    bias_chunks_kernel(AttentionShape s, ScoreTable table, BiasParts parts, const float *chunks)
{
    DYNAMIC_SHARED(float, tile);
    chunks += (int64_t)blockIdx.x * parts.chunks * TILE;
    for (int i = (int)threadIdx.x; i < TILE; i += ATTENTION_THREADS) {
        float sum = 0;
        for (int chunk = 0; chunk < parts.chunks; chunk++)
            sum += chunks[chunk * TILE + i];
        tile[i] = sum;
    }
    __syncthreads();
    save_bias(s, table, place_of(table.heads, parts.query_parts, parts.key_parts), tile);
}

void attention_backward_bias(const Exec *exec, const Backward *c, float *chunks)
{
    const BiasParts p = bias_parts(&c->shape, &c->dbias);
    const unsigned blocks = (unsigned)(p.tiles * p.chunks);
    if (all_bf16(c->q, c->k, c->v) && c->d_o.type == BF16)
        LAUNCH(bias_kernel<bf16>, blocks, ATTENTION_THREADS, bias_bytes<bf16>(), exec, *c, p, chunks);
    else
        LAUNCH(bias_kernel<float>, blocks, ATTENTION_THREADS, bias_bytes<float>(), exec, *c, p, chunks);
    if (p.chunks > 1)
        LAUNCH(bias_chunks_kernel, (unsigned)p.tiles, ATTENTION_THREADS, TILE * sizeof(float), exec, c->shape, c->dbias,
               p, chunks);
}
