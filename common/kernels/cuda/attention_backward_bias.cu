/* Backward pass of dense attention by the bias: ds, summed over the axes along which the bias is the same, in a
 * fixed order. */
#include "common/kernels/cuda/attention.cuh"

enum { PART = 64 /* columns of the width at a time */, KEYS = 64 };

template <typename T> static constexpr size_t bias_bytes(void)
{
    size_t operands = (ROWS_TILE + KEYS) * pitch<T>(PART) * sizeof(T), sums = ROWS_TILE * KEYS * sizeof(float);
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

/* What the block adds to the gradient: rows and columns that share a number are added in order. */
DEVICE void save_bias(const Fragment<1, KEYS> &sums, const AttentionShape &s, const ScoreTable &table, float *to,
                      int first, int key, float *shared)
{
    __syncthreads();
    for (int n = 0; n < KEYS / 8; n++)
        for (int r = 0; r < 4; r++)
            shared[((int)threadIdx.x / WARP * 16 + fragment_row(0, r)) * KEYS + fragment_column(n, r)] =
                sums.at[0][n][r];
    __syncthreads();
    int rows = table.query_step ? smaller(ROWS_TILE, (int)s.queries - first) : 1;
    int columns = table.key_step ? smaller(KEYS, (int)s.keys - key) : 1;
    int rows_each = table.query_step ? 1 : ROWS_TILE, columns_each = table.key_step ? 1 : KEYS;
    for (int i = (int)threadIdx.x; i < rows * columns; i += ATTENTION_THREADS) {
        int row = i / columns, column = i % columns;
        float sum = 0;
        for (int n = 0; n < rows_each; n++)
            for (int m = 0; m < columns_each; m++)
                sum += shared[(row + n) * KEYS + column + m];
        to[(first + row) * table.query_step + (key + column) * table.key_step] += sum;
    }
}

template <typename T>
__global__ void __launch_bounds__(ATTENTION_THREADS) bias_kernel(Backward c, int query_parts, int key_parts)
{
    DYNAMIC_SHARED(T, shared);
    const AttentionShape &s = c.shape;
    const ScoreTable &table = c.dbias;
    const Place at = place_of(table.heads, query_parts, key_parts);
    const int64_t group = s.q_heads / table.heads;
    const int first = at.tile * ROWS_TILE, first_key = at.part * KEYS;
    const int query_end = table.query_step ? smaller(first + ROWS_TILE, (int)s.queries) : (int)s.queries;
    const int key_end = table.key_step ? smaller(first_key + KEYS, (int)s.keys) : (int)s.keys;
    __shared__ Sight sight; /* registers are for the sums */
    Fragment<1, KEYS> sums;
    fragment_clear(sums);
    for (int64_t b = at.batch; b < s.batch; b += table.batch)
        for (int64_t h = at.head * group; h < (at.head + 1) * group; h++) {
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
    save_bias(sums, s, table, (float *)table.data + at.batch * table.batch_step + at.head * table.head_step, first,
              first_key, (float *)shared);
}

void attention_backward_bias(const Exec *exec, const Backward *c)
{
    const AttentionShape *s = &c->shape;
    const ScoreTable *table = &c->dbias;
    int query_parts = table->query_step ? (int)blocks_for(s->queries, ROWS_TILE) : s->queries > 0;
    int key_parts = table->key_step ? (int)blocks_for(s->keys, KEYS) : s->keys > 0;
    int64_t batches = table->batch < s->batch ? table->batch : s->batch;
    unsigned blocks = (unsigned)(batches * table->heads * query_parts * key_parts);
    if (all_bf16(c->q, c->k, c->v) && c->d_o.type == BF16)
        LAUNCH(bias_kernel<bf16>, blocks, ATTENTION_THREADS, bias_bytes<bf16>(), exec, *c, query_parts, key_parts);
    else
        LAUNCH(bias_kernel<float>, blocks, ATTENTION_THREADS, bias_bytes<float>(), exec, *c, query_parts, key_parts);
}
