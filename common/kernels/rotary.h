/* Rotary positions (Su et al. 2021, RoFormer, eq. 15 and 34): pairs of channels are turned by an angle that grows with the
 * position. P positions, c = half the channels that turn. */
#pragma once
#include "common/kernels/attention.h"

typedef enum RotaryPairing { ROTARY_HALVES, ROTARY_NEIGHBOURS } RotaryPairing; /* i with i + c; 2i with 2i + 1 */

typedef struct RotaryShape {
    int64_t batch, tokens, heads, width;
    int64_t half; /* c: channels 0 .. 2c-1 turn, the others pass */
    RotaryPairing pairing;
    bool back;                /* turns the other way round: the gradient */
    int64_t table_rows;       /* P */
    const int32_t *positions; /* of token n of head h of sample b, at b, n, h times their steps; NULL: n */
    int64_t batch_step, token_step, head_step;
} RotaryShape;

typedef struct RotaryKernels {
    /* table [P,2c]: the sines, then the cosines of p * frequencies[i], of which angle and function are taken in double. */
    void (*table)(const Exec *, int64_t positions, int64_t half, const float *frequencies, float *table);

    /* y (+)= x, turned: (y_i, y_k) = (x_i cos - x_k sin, x_k cos + x_i sin) of each pair. x and y fp32 or bf16. */
    void (*rotate)(const Exec *, const RotaryShape *, const float *table, HeadRows x, bool add, HeadRows y);
} RotaryKernels;
