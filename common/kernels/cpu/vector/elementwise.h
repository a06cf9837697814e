/* The entries of ElementwiseKernels that have files of their own. */
#pragma once
#include "common/kernels/cpu/vector/vector.h"
#include "common/kernels/elementwise.h"

size_t LEVEL(sum_rows_scratch)(int64_t rows, int64_t cols, int64_t period);
void LEVEL(sum_rows)(const Exec *, int64_t rows, int64_t cols, Rows x, int64_t period, bool add, float *sums);
void LEVEL(sum_columns)(const Exec *, int64_t rows, int64_t cols, Rows x, bool add, float *sums);
void LEVEL(dot_columns)(const Exec *, int64_t rows, int64_t cols, Rows a, Rows b, bool add, float *sums);
void LEVEL(permute)(const Exec *, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x,
                    void *y);
