/* The struct of masks as the kernels read it: what the fused pass and the softmax of written scores share. */
#pragma once
#include "common/attention/attention.h"
#include "common/autograd/op.h"

/* Sets the masks of a shape whose batch, queries, keys and q_heads are set. m->bias must be contiguous. */
void masks_set(AttentionShape *s, const AttentionMask *m);

/* Where the kernels add the bias's gradient, zeroed if nothing is there yet; data NULL: not wanted. */
ScoreTable bias_gradient(Tape *t, Tensor *bias, const AttentionShape *s);
