/* The entries of LossKernels that have a file of their own. */
#pragma once
#include "common/kernels/cpu/vector/vector.h"
#include "common/kernels/loss.h"

void LEVEL(cross_entropy)(const Exec *, int64_t rows, int64_t cols, Rows logits, const int64_t *labels, int64_t ignore,
                          float *lse, float *losses);
void LEVEL(cross_entropy_gradient)(const Exec *, int64_t rows, int64_t cols, const float *dlosses, Rows logits,
                                   const int64_t *labels, int64_t ignore, const float *lse, bool add, Rows dlogits);
