/* What ranks tell each other on the way forward, and back: the loss of a run is the sum of those that the ranks have. With one
 * rank each of these is x itself. */
#pragma once
#include "common/autograd/tape.h"

/* The sum over the ranks, the same on each; x F32, of one shape everywhere. */
Tensor *comm_sum(Tape *t, Tensor *x);

/* [B,...] of every rank -> [ranks B,...] in the order of the whole batch (tape_map_rows; without a map rank after rank). */
Tensor *comm_gather_rows(Tape *t, Tensor *x);

/* This rank's part of the mean over all elements of all ranks, a scalar: the parts add up to it. */
Tensor *comm_mean(Tape *t, Tensor *x);
