/* The mechanisms of common/attention that stand in one place: rotary.h, relative.h, windowed.h. */
#pragma once
#include "common/attention/rotary.h"
#include "common/attention/windowed.h"
#include "support/op_case.h"
#include "support/references.h"

#include <float.h>

/* ---- Rotary */

static const float frequencies[] = {1, 0.4f};

static Tensor *rotated(Tape *t, Tensor *x, RotaryPairing pairing, const Tensor *positions)
{
    Rotary r = {rotary_table(t, tensor_from(t, F32, SHAPE(2), frequencies), 40), pairing};
    return rotary(t, x, &r, positions);
}

/* Channel i of a pair, and its partner. */
static void rotated_of(const Values *in, RotaryPairing pairing, const int32_t *positions, const int64_t *p, double *y)
{
    const int64_t *n = in->shape.dim;
    memcpy(y, in->x, (size_t)shape_count(in->shape) * sizeof *y);
    for (int64_t row = 0; row < n[0] * n[1] * n[2]; row++) {
        int64_t b = row / n[2] / n[1], token = row / n[2] % n[1], h = row % n[2], position = token;
        if (positions)
            position = positions[(b % p[0] * p[1] + token % p[1]) * p[2] + h % p[2]];
        for (int i = 0; i < 2; i++) {
            int64_t a = row * n[3] + (pairing == ROTARY_HALVES ? i : 2 * i), c = a + (pairing == ROTARY_HALVES ? 2 : 1);
            double angle = (double)position * (double)frequencies[i];
            y[a] = in->x[a] * cos(angle) - in->x[c] * sin(angle);
            y[c] = in->x[c] * cos(angle) + in->x[a] * sin(angle);
        }
    }
}

static Tensor *run_halves(Tape *t, Tensor *const *in)
{
    return rotated(t, in[0], ROTARY_HALVES, NULL);
}

static void halves(const Values *in, double *y)
{
    rotated_of(in, ROTARY_HALVES, NULL, NULL, y);
}

static Tensor *run_neighbours(Tape *t, Tensor *const *in)
{
    return rotated(t, in[0], ROTARY_NEIGHBOURS, NULL);
}

static void neighbours(const Values *in, double *y)
{
    rotated_of(in, ROTARY_NEIGHBOURS, NULL, NULL, y);
}

static const int32_t positions[] = {7, 0, 3, 39, 11, 5, 2, 2, 30, 1};

static Tensor *run_token_positions(Tape *t, Tensor *const *in)
{
    return rotated(t, in[0], ROTARY_HALVES, tensor_from(t, I32, SHAPE(1, 5, 1), positions));
}

static void token_positions(const Values *in, double *y)
{
    rotated_of(in, ROTARY_HALVES, positions, (const int64_t[]){1, 5, 1}, y);
}

static Tensor *run_all_positions(Tape *t, Tensor *const *in)
{
    return rotated(t, in[0], ROTARY_NEIGHBOURS, tensor_from(t, I32, SHAPE(2, 1, 3), positions));
}

static void all_positions(const Values *in, double *y)
{
    rotated_of(in, ROTARY_NEIGHBOURS, positions, (const int64_t[]){2, 1, 3}, y);
}

/* The table has no gradient: it is read, not multiplied. */
static Tensor *run_table(Tape *t, Tensor *const *in)
{
    return add(t, in[0], rotary_table(t, tensor_from(t, F32, SHAPE(2), frequencies), 40));
}

static void table_added(const Values *in, double *y)
{
    for (int n = 0; n < 160; n++) {
        double angle = (double)(n / 4) * (double)frequencies[n % 2];
        y[n] = in->x[n] + (n % 4 < 2 ? sin(angle) : cos(angle));
    }
}

/* ---- Relative tables */

/* The row of the table for query i and key j. */
static int64_t table_row(Shape table, int64_t queries, int64_t keys, int64_t i, int64_t j)
{
    int64_t clip = table.dim[0] / 2, distance = j - i - (keys - queries);
    return MIN(MAX(distance, -clip), clip) + clip;
}

static double dot_of(int64_t n, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++)
        sum += a[c] * b[c];
    return sum;
}

static Tensor *run_relative_scores(Tape *t, Tensor *const *in)
{
    return relative_scores(t, &(AttentionSpec){.scale = 0.7f}, in[0], in[1], 9);
}

static void relative_scores_of(const Values *in, double *y)
{
    const int64_t *n = in[0].shape.dim, d = n[3], keys = 9;
    for (int64_t b = 0; b < n[0]; b++)
        for (int64_t h = 0; h < n[2]; h++)
            for (int64_t i = 0; i < n[1]; i++)
                for (int64_t j = 0; j < keys; j++)
                    *y++ = (double)0.7f * dot_of(d, in[0].x + ((b * n[1] + i) * n[2] + h) * d,
                                                 in[1].x + table_row(in[1].shape, n[1], keys, i, j) * d);
}

static Tensor *run_relative_apply(Tape *t, Tensor *const *in)
{
    return relative_apply(t, in[0], in[1]);
}

static void relative_applied(const Values *in, double *y)
{
    const int64_t *n = in[0].shape.dim, e = in[1].shape.dim[1];
    for (int64_t b = 0; b < n[0]; b++)
        for (int64_t i = 0; i < n[2]; i++)
            for (int64_t h = 0; h < n[1]; h++)
                for (int64_t c = 0; c < e; c++, y++) {
                    *y = 0;
                    for (int64_t j = 0; j < n[3]; j++)
                        *y += in[0].x[((b * n[1] + h) * n[2] + i) * n[3] + j] *
                              in[1].x[table_row(in[1].shape, n[2], n[3], i, j) * e + c];
                }
}

/* ---- A query of a window: columns of keys and values as the papers write them out. in: q, k, v, R_k, R_v (or fewer).
 * `real`: padding, or NULL. */
static void windowed_query(const Windowed *w, const Values *in, const uint8_t *real, int64_t b, int64_t token,
                           int64_t h, double *out)
{
    const int64_t *n = in[0].shape.dim, *nv = in[2].shape.dim, d = n[3], e = nv[3];
    const double blocked[] = {-INFINITY, -(double)FLT_MAX, -1e9};
    int64_t window = (w->back + 1 + w->forward) * w->block, first = (token / w->block - w->back) * w->block;
    int64_t queries = w->block, i = token % w->block, kh = h / (n[2] / in[1].shape.dim[2]), vh = h / (n[2] / nv[2]);
    double s[64], values[64][8], scale = w->scale != 0 ? (double)w->scale : 1 / sqrt((double)d);
    const double *query = in[0].x + ((b * n[1] + token) * n[2] + h) * d;
    for (int64_t j = 0; j < window; j++) {
        int64_t at = first + j;
        bool inside = at >= 0 && at < n[1], zeros = true;
        double key[8];
        for (int64_t c = 0; c < d; c++)
            key[c] = inside ? in[1].x[((b * n[1] + at) * in[1].shape.dim[2] + kh) * d + c] : (double)w->outside;
        for (int64_t c = 0; c < e; c++) {
            values[j][c] = inside ? in[2].x[((b * n[1] + at) * nv[2] + vh) * e + c] : (double)w->outside;
            zeros = zeros && values[j][c] == 0;
        }
        for (int64_t c = 0; c < d && in[3].x; c++)
            key[c] += in[3].x[table_row(in[3].shape, queries, window, i, j) * d + c];
        for (int64_t c = 0; c < e && in[4].x; c++)
            values[j][c] += in[4].x[table_row(in[4].shape, queries, window, i, j) * e + c];
        bool seen = inside && !(w->causal && at > token) && !(w->hide_zeros && zeros);
        seen = seen && (!real || (real[b * n[1] + token] && real[b * n[1] + at]));
        s[j] = seen ? scale * dot_of(d, query, key) : blocked[w->blocked];
    }
    softmax_of(window, s);
    for (int64_t c = 0; c < e; c++) {
        out[c] = 0;
        for (int64_t j = 0; j < window; j++)
            out[c] += s[j] * values[j][c];
    }
}

static void windowed_of(const Windowed *w, const Values *in, const uint8_t *real, double *y)
{
    const int64_t *n = in[0].shape.dim;
    for (int64_t b = 0; b < n[0]; b++)
        for (int64_t token = 0; token < n[1]; token++)
            for (int64_t h = 0; h < n[2]; h++, y += in[2].shape.dim[3])
                windowed_query(w, in, real, b, token, h, y);
}

static const Windowed look_both_ways = {.block = 3, .back = 1, .forward = 1};

static Tensor *run_windowed(Tape *t, Tensor *const *in)
{
    return windowed_attention(t, &look_both_ways, in[0], in[1], in[2]);
}

static void windowed_values(const Values *in, double *y)
{
    windowed_of(&look_both_ways, (const Values[5]){in[0], in[1], in[2]}, NULL, y);
}

static const Windowed block_alone = {.block = 4, .scale = 0.6f};

static Tensor *run_block_alone(Tape *t, Tensor *const *in)
{
    return windowed_attention(t, &block_alone, in[0], in[1], in[2]);
}

static void block_alone_values(const Values *in, double *y)
{
    windowed_of(&block_alone, (const Values[5]){in[0], in[1], in[2]}, NULL, y);
}

/* lucidrains/local-attention: -1 outside, the lowest float where nothing is seen, a padded query sees nothing. */
static const Windowed filled = {.block = 3, .back = 2, .causal = true, .outside = -1, .blocked = BLOCKED_FINITE_MIN};
static const uint8_t real_tokens[2 * 9] = {1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};

static Tensor *run_filled(Tape *t, Tensor *const *in)
{
    Windowed w = filled;
    w.real = tensor_from(t, U8, SHAPE(2, 9), real_tokens);
    return windowed_attention(t, &w, in[0], in[1], in[2]);
}

static void filled_values(const Values *in, double *y)
{
    windowed_of(&filled, (const Values[5]){in[0], in[1], in[2]}, real_tokens, y);
}

static Tensor *run_filled_tables(Tape *t, Tensor *const *in)
{
    Windowed w = filled;
    w.real = tensor_from(t, U8, SHAPE(2, 9), real_tokens);
    w.relative = (RelativeTables){in[3], in[4]};
    return windowed_attention(t, &w, in[0], in[1], in[2]);
}

static void filled_tables(const Values *in, double *y)
{
    windowed_of(&filled, in, real_tokens, y);
}

/* Roy et al.: tables, causal, and keys whose values are zeros are padding; here of the tokens 0, 4 and 5 of sample 0. */
static const Windowed official = {
    .block = 3, .back = 1, .causal = true, .hide_zeros = true, .scale = 1, .blocked = BLOCKED_1E9};

static bool zero_value(int64_t b, int64_t token)
{
    return b == 0 && (token == 0 || token == 4 || token == 5);
}

static Tensor *run_official(Tape *t, Tensor *const *in)
{
    float marks[2 * 9 * 2 * 5];
    for (int n = 0; n < COUNT_OF(marks); n++)
        marks[n] = !zero_value(n / 90, n / 10 % 9);
    Windowed w = official;
    w.relative = (RelativeTables){in[3], in[4]};
    return windowed_attention(t, &w, in[0], in[1], multiply(t, in[2], tensor_from(t, F32, SHAPE(2, 9, 2, 5), marks)));
}

static void official_values(const Values *in, double *y)
{
    double v[2 * 9 * 2 * 5];
    for (int n = 0; n < COUNT_OF(v); n++)
        v[n] = zero_value(n / 90, n / 10 % 9) ? 0 : in[2].x[n];
    windowed_of(&official, (const Values[5]){in[0], in[1], {v, in[2].shape}, in[3], in[4]}, NULL, y);
}

static Tensor *run_one_table(Tape *t, Tensor *const *in)
{
    Windowed w = look_both_ways;
    w.relative.keys = in[3];
    return windowed_attention(t, &w, in[0], in[1], in[2]);
}

static void one_table(const Values *in, double *y)
{
    windowed_of(&look_both_ways, (const Values[5]){in[0], in[1], in[2], in[3]}, NULL, y);
}

/* Without blocks: one window of everything. */
static Tensor *run_relative_attention(Tape *t, Tensor *const *in)
{
    return relative_attention(t, &(AttentionSpec){0}, &(RelativeTables){in[3], in[4]}, in[0], in[1], in[2]);
}

static void relative_attention_values(const Values *in, double *y)
{
    windowed_of(&(Windowed){.block = in[0].shape.dim[1]}, in, NULL, y);
}

/* One tensor is query, key and value, and one table serves both. */
static Tensor *run_relative_itself(Tape *t, Tensor *const *in)
{
    return relative_attention(t, &(AttentionSpec){0}, &(RelativeTables){in[1], in[1]}, in[0], in[0], in[0]);
}

static void relative_itself(const Values *in, double *y)
{
    relative_attention_values((const Values[5]){in[0], in[0], in[0], in[1], in[1]}, y);
}

static Tensor *run_windowed_dropout(Tape *t, Tensor *const *in)
{
    Windowed w = official;
    w.relative = (RelativeTables){in[3], in[4]};
    w.dropout = 0.3f;
    return windowed_attention(t, &w, in[0], in[1], in[2]);
}

static const OpCase mechanism_cases[] = {
    {.op = "rotary", .in = {HEADS(2, 5, 3, 4)}, .run = run_halves, .reference = halves},
    {.op = "rotary",
     .variant = "neighbours",
     .in = {HEADS(2, 5, 3, 4)},
     .run = run_neighbours,
     .reference = neighbours},
    {.op = "rotary", .variant = "a part", .in = {HEADS(2, 5, 3, 7)}, .run = run_neighbours, .reference = neighbours},
    {.op = "rotary",
     .variant = "positions of the tokens",
     .in = {HEADS(2, 5, 3, 4)},
     .run = run_token_positions,
     .reference = token_positions},
    {.op = "rotary",
     .variant = "positions of samples and heads",
     .in = {SHARED(2, 5, 3, 5)},
     .run = run_all_positions,
     .reference = all_positions},
    {.op = "rotary_table",
     .in = {SHARED(40, 4)},
     .run = run_table,
     .reference = table_added,
     .released_elsewhere = true},
    {.op = "relative_scores",
     .in = {HEADS(2, 5, 3, 4), SHARED(7, 4)},
     .run = run_relative_scores,
     .reference = relative_scores_of},
    {.op = "relative_scores",
     .variant = "no clip",
     .in = {HEADS(2, 5, 3, 7), SHARED(21, 7)},
     .run = run_relative_scores,
     .reference = relative_scores_of},
    {.op = "relative_apply",
     .in = {HEADS(2, 3, 5, 9), SHARED(7, 4)},
     .run = run_relative_apply,
     .reference = relative_applied},
    {.op = "relative_apply",
     .variant = "one row for all",
     .in = {HEADS(2, 3, 5, 5), SHARED(1, 3)},
     .run = run_relative_apply,
     .reference = relative_applied},
    {.op = "relative_attention",
     .in = {HEADS(2, 5, 2, 3), HEADS(2, 5, 2, 3), HEADS(2, 5, 2, 5), SHARED(5, 3), SHARED(9, 5)},
     .run = run_relative_attention,
     .reference = relative_attention_values},
    {.op = "relative_attention",
     .variant = "one tensor, one table",
     .in = {HEADS(2, 5, 2, 3), SHARED(5, 3)},
     .run = run_relative_itself,
     .reference = relative_itself},
    {.op = "relative_attention",
     .variant = "shared heads",
     .in = {HEADS(2, 5, 4, 3), HEADS(2, 5, 2, 3), HEADS(2, 5, 4, 5), SHARED(5, 3), SHARED(9, 5)},
     .run = run_relative_attention,
     .reference = relative_attention_values},
    {.op = "windowed_attention",
     .in = {HEADS(2, 9, 4, 3), HEADS(2, 9, 2, 3), HEADS(2, 9, 1, 5)},
     .run = run_windowed,
     .reference = windowed_values},
    {.op = "windowed_attention",
     .variant = "its own block",
     .in = {HEADS(2, 8, 2, 3), HEADS(2, 8, 2, 3), HEADS(2, 8, 2, 3)},
     .run = run_block_alone,
     .reference = block_alone_values},
    {.op = "windowed_attention",
     .variant = "padding and -1 outside",
     .in = {SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 5)},
     .run = run_filled,
     .reference = filled_values},
    {.op = "windowed_attention",
     .variant = "tables, zeros are padding",
     .in = {SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 5), SHARED(7, 3), SHARED(7, 5)},
     .run = run_official,
     .reference = official_values,
     .released_elsewhere = true},
    {.op = "windowed_attention",
     .variant = "tables, padding and -1 outside",
     .in = {SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 3), SHARED(2, 9, 2, 5), SHARED(7, 3), SHARED(7, 5)},
     .run = run_filled_tables,
     .reference = filled_tables},
    {.op = "windowed_attention",
     .variant = "a table of keys",
     .in = {HEADS(2, 6, 2, 3), HEADS(2, 6, 2, 3), HEADS(2, 6, 2, 5), SHARED(23, 3)},
     .run = run_one_table,
     .reference = one_table},
    {.op = "windowed_attention",
     .variant = "dropout",
     .in = {HEADS(2, 6, 2, 3), HEADS(2, 6, 2, 3), HEADS(2, 6, 2, 5), SHARED(7, 3), SHARED(7, 5)},
     .run = run_windowed_dropout},
};
