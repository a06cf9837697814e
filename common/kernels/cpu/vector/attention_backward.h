/* What the files of the backward pass share: its arguments, a thread's buffers, and the work on one tile of queries. */
#pragma once
#include "common/kernels/cpu/vector/attention_tile.h"

/* The arguments of one call. */
typedef struct Backward {
    const AttentionShape *shape;
    HeadRows q, k, v, o, d_o, dq, dk, dv;
    const float *lse, *dlse;
    bool add;
    ScoreTable dbias;
    bool halves; /* products are of pairs of bf16 */
} Backward;

/* The buffers of one thread. */
typedef struct Work {
    Scoring scoring; /* its scores become p */
    Gathered values;
    Gathered woven_keys;       /* where products are of pairs; else the keys of `scoring` do */
    float *rows;               /* [TILE_QUERIES][padded(larger(d, e))] */
    float *q_rows;             /* [TILE_QUERIES][padded(d)], times scale; or woven */
    float *do_rows;            /* [TILE_QUERIES][padded(e)]; or woven */
    float *do_lanes;           /* [terms(e)][TILE_QUERIES] */
    float *ds;                 /* [TILE_KEYS][TILE_QUERIES]: first dp; of pairs every row is half full */
    float *woven_ds;           /* [TILE_KEYS / 2][TILE_QUERIES] */
    float *dq;                 /* [d][TILE_QUERIES] */
    float *dq_rows;            /* [FEW][padded(d)] */
    float *dk, *dv;            /* [heads of the unit][keys of the unit][padded(d or e)] */
    Statistics stats;          /* of the tile at hand */
    float delta[TILE_QUERIES]; /* D of the tile at hand */
} Work;

/* Fetches what products want of the tile, its statistics and D. Returns whether the tile has few queries and can be
 * treated as such: then it has no lanes. */
bool LEVEL(load_tile)(const Backward *, Tile *, Work *);

/* Scores become p, and dp becomes ds. Where products are of pairs both become rows of bf16 in their place, and ds is woven
 * too. */
void LEVEL(score_gradients)(const Backward *, const Tile *, const Block *, Work *);
