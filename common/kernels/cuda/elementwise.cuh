/* The entries of ElementwiseKernels that have a file of their own. */
#pragma once
#include "common/kernels/cuda/launch.cuh"

size_t cuda_sum_rows_scratch(int64_t rows, int64_t cols, int64_t period);
void cuda_sum_rows(const Exec *, int64_t rows, int64_t cols, Rows x, int64_t period, bool add, float *sums);
void cuda_sum_columns(const Exec *, int64_t rows, int64_t cols, Rows x, bool add, float *sums);
void cuda_dot_columns(const Exec *, int64_t rows, int64_t cols, Rows a, Rows b, bool add, float *sums);
void cuda_permute(const Exec *, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x, void *y);
void cuda_copy(const Exec *, int64_t rows, size_t bytes, const void *x, size_t x_step, void *y, size_t y_step);

/* sums [count] (+)= partial [chunks,count], added in order. */
void cuda_add_chunks(const Exec *, int64_t count, int64_t chunks, const float *partial, bool add, float *sums);
