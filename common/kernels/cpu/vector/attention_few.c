/* The few queries of a tile that would leave most lanes idle (one class token against all patches): here lanes run along
 * the rows of keys and values, which are read once, as fast as memory gives them. A row's scores lie one after the
 * other, [query][TILE_KEYS]. */
#include "common/kernels/cpu/vector/attention_tile.h"

/* Four keys' products with q, [width]. */
static inline Quad four_products(const float *q, const float *const keys[4], int64_t width)
{
    Vec sums[4] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES)
        for (int n = 0; n < 4; n++)
            sums[n] += vec_load(q + c) * vec_load(keys[n] + c);
    if (c < width)
        for (int n = 0; n < 4; n++)
            sums[n] += vec_load_part(q + c, width - c, 0) * vec_load_part(keys[n] + c, width - c, 0);
    Quad quads[4] = {vec_quad(sums[0]), vec_quad(sums[1]), vec_quad(sums[2]), vec_quad(sums[3])};
    transpose_quads(quads);
    return (quads[0] + quads[1]) + (quads[2] + quads[3]);
}

void LEVEL(few_products)(const float *q, const float *keys, int64_t step, int64_t count, int64_t width, float factor,
                         float *products)
{
    for (int64_t j = 0; j < count; j += 4) {
        /* The last key stands in for those behind it: a key's sum is the same wherever it stands. */
        const float *row = keys + j * step, *last = keys + (count - 1) * step, *rows[4];
        for (int n = 0; n < 4; n++)
            rows[n] = j + n < count ? row + n * step : last;
        Quad sums = four_products(q, rows, width) * factor;
        memcpy(products + j, &sums, sizeof sums);
    }
}

void LEVEL(few_mask)(const AttentionShape *s, const Tile *t, int64_t i, int64_t first, int64_t count, float *scores)
{
    const float blocked = blocked_score(s);
    const ScoreTable *bias_table = &s->bias, *keep_table = &s->keep;
    const float *bias = bias_table->data;
    const uint8_t *keep = keep_table->data;
    if (bias)
        bias += table_start(s, bias_table, t, first) + i * bias_table->query_step;
    if (keep)
        keep += table_start(s, keep_table, t, first) + i * keep_table->query_step;
    for (int64_t j = 0; j < count; j++) {
        bool seen = first + j >= t->low[i] && first + j <= t->high[i] && (!keep || keep[j * keep_table->key_step]);
        float b = bias ? bias[j * bias_table->key_step] : 0;
        scores[j] = seen ? scores[j] + in_log2(b) : blocked;
    }
}

void LEVEL(few_softmax)(int64_t count, float *scores, float *largest, float *total, float *shrink)
{
    Vec before = vec_set(*largest), most = before, sum = vec_set(0);
    for (int64_t j = 0; j < count; j += LANES)
        most = vec_max(vec_load_upto(scores + j, count - j, LOWEST), most);
    Vec m = vec_set(vec_largest(most));
    for (int64_t j = 0; j < count; j += LANES) {
        Vec p = vec_exp2(vec_load_upto(scores + j, count - j, -__builtin_inff()) - m);
        vec_store_upto(scores + j, p, count - j);
        sum += p;
    }
    *shrink = vec_exp2(before - m)[0];
    *largest = m[0];
    *total = *total * *shrink + vec_sum(sum);
}

void LEVEL(few_add_rows)(const float *weights, const float *rows, int64_t step, int64_t count, int64_t width,
                         float shrink, float *sums)
{
    for (int64_t c = 0; c < width; c += LANES) {
        const float *column = rows + c;
        int64_t live = width - c, j = 0;
        Vec a[4] = {vec_load_upto(sums + c, live, 0) * shrink, vec_set(0), vec_set(0), vec_set(0)};
        for (; j + 4 <= count; j += 4)
            for (int n = 0; n < 4; n++)
                a[n] += weights[j + n] * vec_load_upto(column + (j + n) * step, live, 0);
        for (; j < count; j++)
            a[0] += weights[j] * vec_load_upto(column + j * step, live, 0);
        vec_store_upto(sums + c, (a[0] + a[1]) + (a[2] + a[3]), live);
    }
}

void LEVEL(few_spread)(const float *weights, const float *row, int64_t count, int64_t width, float *sums, int64_t step)
{
    for (int64_t c = 0; c < width; c += LANES) {
        Vec x = vec_load_upto(row + c, width - c, 0);
        for (int64_t j = 0; j < count; j++) {
            float *sum = sums + j * step + c;
            vec_store_upto(sum, vec_load_upto(sum, width - c, 0) + weights[j] * x, width - c);
        }
    }
}

void LEVEL(few_gradients)(int64_t count, float lse, float delta, float *scores, float *ds)
{
    for (int64_t j = 0; j < count; j += LANES) {
        Vec p = vec_exp2(vec_load_upto(scores + j, count - j, -__builtin_inff()) - lse);
        vec_store_upto(scores + j, p, count - j);
        vec_store_upto(ds + j, p * (vec_load_upto(ds + j, count - j, 0) - delta), count - j);
    }
}
