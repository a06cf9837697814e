/* Rotary positions (Su et al. 2021, RoFormer, eq. 34): the channels of a query or key are turned in pairs, pair i by the
 * angle p f_i, so that q . k depends on the distance alone. Letters: P positions; c pairs. */
#pragma once
#include "common/autograd/tape.h"
#include "common/kernels/rotary.h"

typedef struct Rotary {
    Tensor *table; /* [P,2c]: the sines of position p's angles, then their cosines */
    RotaryPairing pairing;
} Rotary;

/* Such a table from frequencies f [c]; f_i = 10000^(-i/c) is the paper's. Without gradient. */
Tensor *rotary_table(Tape *t, Tensor *frequencies, int64_t positions);

/* x [B,N,H,d], of which the first 2c channels turn -> [B,N,H,d]. positions int32 [B|1,N|1,H|1], each below P; NULL: n. */
Tensor *rotary(Tape *t, Tensor *x, const Rotary *r, const Tensor *positions);
