/* Tensors [B,N,heads,width] as the kernels of attention read them. */
#pragma once
#include "common/autograd/op.h"
#include "common/kernels/attention.h"

/* x, or a contiguous copy where neither kind of window (of a fused projection, of the sequence) fits. */
Tensor *as_heads(Tape *t, Tensor *x);

/* Of a tensor that went through as_heads, or of its gradient. A batch of 1 has a step of 0: all samples share it. */
HeadRows head_rows(const Tensor *x);
