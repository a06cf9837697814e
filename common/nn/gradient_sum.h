/* The gradients of a step, summed over the ranks while backward still computes: the flat buffer in buckets from its end, each
 * on its way as soon as all of it is whole (Li et al., 2020, "PyTorch Distributed", section 3.2.3). What the ranks have of a
 * step's loss must add up to it.
 *
 *     params_zero_gradients(p);
 *     gradient_sum_begin(g);
 *     ...                          // forward, tape_backward
 *     gradient_sum_finish(g);      // every rank has the same gradients, and has the same parameters touched
 *
 * With one rank g is NULL, and nothing happens. */
#pragma once
#include "common/nn/params.h"

typedef struct GradientSum GradientSum;

/* Between the ranks of the tape. A bucket has at least so many floats, or is the last; 0: a megabyte of them. */
GradientSum *gradient_sum_new(Params *p, Tape *t, int64_t bucket_floats);
void gradient_sum_free(GradientSum *g);

void gradient_sum_begin(GradientSum *g);
void gradient_sum_finish(GradientSum *g);
