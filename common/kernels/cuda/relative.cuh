/* Tiles of relative positions: TILE queries of a head meet TILE keys, or sum rows of them. A block is (WARP, PHASES) threads: lane
 * is a key or a column, and a thread has the SHARE queries phase, phase + PHASES, ... of the tile. */
#pragma once
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

enum { TILE = WARP, PHASES = 8, SHARE = TILE / PHASES, BAND = 2 * TILE - 1 };

/* Keys or values: what query i sees of key j is rows[j] + table[c(i,j)], either of which may be absent (data NULL). */
typedef struct Side {
    RelativeShape shape;
    HeadRows rows;
    const float *table;
} Side;

/* A head of a sample, by the number of both. */
typedef struct Group {
    int64_t batch, head;
} Group;

DEVICE Group group_of(const RelativeShape &s, int64_t group)
{
    Group g = {group / s.heads, group % s.heads};
    return g;
}

/* c(i,j) */
DEVICE int64_t table_row(const RelativeShape &s, int64_t i, int64_t j)
{
    int64_t distance = j - i - (s.keys - s.queries);
    return (distance < -s.clip ? -s.clip : distance > s.clip ? s.clip : distance) + s.clip;
}

BOTH_SIDES int64_t table_rows(const RelativeShape &s)
{
    return 2 * s.clip + 1;
}

typedef struct ProductTiles {
    float x[TILE][TILE + 1], rows[TILE][TILE + 1], band[BAND][TILE + 1];
} ProductTiles;

/* TILE columns from `column` on of what the products need; zeros beyond the ends. */
DEVICE void load_tiles(const Side &side, Group g, HeadRows x, int64_t first, int64_t key, int64_t column,
                       ProductTiles *t)
{
    const RelativeShape &s = side.shape;
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    bool live = column + lane < s.width;
    for (int i = phase; i < TILE; i += PHASES) {
        bool query = live && first + i < s.queries, there = live && side.rows.data && key + i < s.keys;
        t->x[i][lane] = query ? rows_get(head_row(x, s.width, g.batch, first + i, g.head), 0, column + lane) : 0;
        t->rows[i][lane] =
            there ? rows_get(head_row(side.rows, s.width, g.batch, key + i, g.head), 0, column + lane) : 0;
    }
    for (int i = phase; i < BAND && side.table;
         i += PHASES) /* row i: key - query is i - (TILE - 1) more than of the first */
        t->band[i][lane] = live ? side.table[table_row(s, first + TILE - 1, key + i) * s.width + column + lane] : 0;
}

/* products[n] = x_i . (row_j + table row) for the thread's queries i and the key j = key + lane. */
DEVICE void tile_products(const Side &side, Group g, HeadRows x, int64_t first, int64_t key, ProductTiles *t,
                          float products[SHARE])
{
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    for (int n = 0; n < SHARE; n++)
        products[n] = 0;
    for (int64_t column = 0; column < side.shape.width; column += TILE) {
        load_tiles(side, g, x, first, key, column, t);
        __syncthreads();
        for (int c = 0; c < TILE; c++) {
            float row = t->rows[lane][c];
#pragma unroll
            for (int n = 0; n < SHARE; n++) {
                int i = phase + n * PHASES;
                float both = side.table ? row + t->band[lane - i + TILE - 1][c] : row;
                products[n] += t->x[i][c] * both;
            }
        }
        __syncthreads();
    }
}

/* sums[n] = the sum over j of weights[i,j] (row_j + table row), of the thread's queries i and column c; weights of TILE queries,
 * `step` apart, those beyond the last query not read. */
DEVICE void tile_sums(const Side &side, Group g, int64_t first, int64_t c, const float *weights, int64_t step,
                      float sums[SHARE])
{
    const RelativeShape &s = side.shape;
    int phase = (int)threadIdx.y;
    for (int n = 0; n < SHARE; n++)
        sums[n] = 0;
    for (int64_t j = 0; j < s.keys; j++) {
        float row = side.rows.data ? rows_get(head_row(side.rows, s.width, g.batch, j, g.head), 0, c) : 0;
#pragma unroll
        for (int n = 0; n < SHARE; n++) {
            int i = phase + n * PHASES;
            if (first + i >= s.queries)
                continue;
            float both = side.table ? row + side.table[table_row(s, first + i, j) * s.width + c] : row;
            sums[n] += weights[i * step + j] * both;
        }
    }
}

/* A gradient of a table: dtable[m] (+)= scale * sum of scores[g,i,j] x_i over i, j with c(i,j) = m and the `groups` groups from
 * `group` on, whose scores [groups,Q,K] these are. `partial` holds at least table_gradient_bytes. */
size_t table_gradient_bytes(const RelativeShape *, int64_t groups);
void table_gradient(const Exec *, const RelativeShape *, int64_t group, int64_t groups, float scale,
                    const float *scores, HeadRows x, float *partial, bool add, float *dtable);

size_t relative_forward_scratch(const Exec *, const RelativeAttention *);
void relative_forward(const Exec *, const RelativeAttention *, HeadRows q, HeadRows k, HeadRows v, HeadRows o);
size_t relative_backward_scratch(const Exec *, const RelativeAttention *);
void relative_backward(const Exec *, const RelativeAttention *, const RelativeGradients *);
