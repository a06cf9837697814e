/* Softmax of scores that lie written out, [B,H,Q,K], under the masks of attention: a warp a row. */
#include "common/kernels/cuda/attention.cuh"

enum { ROWS = 8 /* of a block, a warp each */ };

/* The row of the running warp; false behind the last. */
DEVICE bool row_of_warp(const AttentionShape &s, int64_t *row, int64_t *batch, int64_t *head, int *i)
{
    *row = (int64_t)blockIdx.x * ROWS + (int)threadIdx.x / WARP;
    *i = (int)(*row % s.queries);
    *head = *row / s.queries % s.q_heads;
    *batch = *row / s.queries / s.q_heads;
    return *batch < s.batch;
}

/* In units of ln 2. */
DEVICE float written_score(const Sight &sight, float score, int i, int j)
{
    if (!sees(sight, i, j))
        return sight.blocked;
    float bias = sight.bias ? in_log2(sight.bias[i * sight.bias_query + j * sight.bias_key]) : 0;
    return in_log2(score) + bias;
}

__global__ void softmax_kernel(AttentionShape s, const float *scores, float *p, float *lse)
{
    int64_t row, batch, head;
    int i;
    if (!row_of_warp(s, &row, &batch, &head, &i))
        return;
    const Sight sight = sight_of(s, batch, head);
    float most = LOWEST, total = 0;
    scores += row * s.keys;
    p += row * s.keys;
    for (int j = lane_index(); j < sight.keys; j += WARP) {
        float score = written_score(sight, scores[j], i, j);
        most = fmaxf(most, score);
        p[j] = score;
    }
    most = warp_max(most);
    for (int j = lane_index(); j < sight.keys; j += WARP) {
        p[j] = fast_exp2(p[j] - most);
        total += p[j];
    }
    total = warp_sum(total);
    float factor = total != 0 ? 1 / total : 0, otherwise = s.empty_row == EMPTY_UNIFORM ? 1 / (float)s.keys : 0;
    for (int j = lane_index(); j < sight.keys; j += WARP)
        p[j] = total != 0 ? p[j] * factor : otherwise;
    float natural = most == LOWEST ? most : most * LN_2; /* as in_log2 made it */
    if (lane_index() == 0)
        lse[row] = total != 0 ? natural + logf(total) : -INFINITY;
}

void attention_softmax(const Exec *exec, const AttentionShape *s, const float *scores, float *p, float *lse)
{
    LAUNCH(softmax_kernel, (unsigned)blocks_for(s->batch * s->q_heads * s->queries, ROWS), ROWS * WARP, 0, exec, *s,
           scores, p, lse);
}

/* ds = p (dp - sum p dp), and 0 for keys that are not seen and queries that see none. */
__global__ void gradient_kernel(AttentionShape s, const float *p, const float *lse, const float *dp, float *ds)
{
    int64_t row, batch, head;
    int i;
    if (!row_of_warp(s, &row, &batch, &head, &i))
        return;
    const Sight sight = sight_of(s, batch, head);
    const bool empty = lse[row] == -INFINITY;
    float delta = 0;
    p += row * s.keys;
    dp += row * s.keys;
    ds += row * s.keys;
    for (int j = lane_index(); j < sight.keys; j += WARP)
        delta = fmaf(p[j], dp[j], delta);
    delta = warp_sum(delta);
    for (int j = lane_index(); j < sight.keys; j += WARP)
        ds[j] = empty || !sees(sight, i, j) ? 0 : p[j] * (dp[j] - delta);
}

/* A thread a number of dbias: adds all ds that belong to it in order. */
__global__ void bias_sums_kernel(AttentionShape s, const float *ds, ScoreTable table, int64_t rows, int64_t columns,
                                 int64_t count)
{
    int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, group = s.q_heads / table.heads;
    if (at >= count)
        return;
    int64_t column = at % columns, row = at / columns % rows;
    int64_t head = at / columns / rows % table.heads, batch = at / columns / rows / table.heads;
    int64_t row_end = table.query_step ? row + 1 : s.queries, column_end = table.key_step ? column + 1 : s.keys;
    float sum = 0;
    for (int64_t b = batch; b < s.batch; b += table.batch)
        for (int64_t h = head * group; h < (head + 1) * group; h++)
            for (int64_t i = row; i < row_end; i++)
                for (int64_t j = column; j < column_end; j++)
                    sum += ds[((b * s.q_heads + h) * s.queries + i) * s.keys + j];
    ((float *)table
         .data)[batch * table.batch_step + head * table.head_step + row * table.query_step + column * table.key_step] +=
        sum;
}

void attention_softmax_gradient(const Exec *exec, const AttentionShape *s, const float *p, const float *lse,
                                const float *dp, float *ds, ScoreTable dbias)
{
    LAUNCH(gradient_kernel, (unsigned)blocks_for(s->batch * s->q_heads * s->queries, ROWS), ROWS * WARP, 0, exec, *s, p,
           lse, dp, ds);
    if (!dbias.data)
        return;
    int64_t rows = dbias.query_step ? s->queries : s->queries > 0, columns = dbias.key_step ? s->keys : s->keys > 0;
    int64_t batches = dbias.batch < s->batch ? dbias.batch : s->batch, count = batches * dbias.heads * rows * columns;
    LAUNCH(bias_sums_kernel, (unsigned)blocks_for(count, ROWS * WARP), ROWS * WARP, 0, exec, *s, ds, dbias, rows,
           columns, count);
}
