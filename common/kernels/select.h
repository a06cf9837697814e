/* Which values are the largest: what a router asks of its scores. Ties go to the lowest index, and a NaN counts as
 * -infinity. */
#pragma once
#include "common/kernels/exec.h"

/* scores [B,H,N,K]: N rows (tokens) offered to each of K columns (clusters), each of which takes w <= N of them. */
typedef struct TopRows {
    int64_t batch, heads, rows, cols, count; /* B, H, N, K, w */
} TopRows;

typedef struct SelectKernels {
    /* index[r] = the first column of row r's largest value. R rows of at least one column. */
    void (*largest)(const Exec *, int64_t rows, int64_t cols, Rows x, int32_t *index);

    /* index [B,K*w,H]: for each (b,h,k) the w rows n of largest score, ascending. Exec's scratch holds at least
     * top_rows_scratch bytes. */
    size_t (*top_rows_scratch)(const Exec *, const TopRows *);
    void (*top_rows)(const Exec *, const TopRows *, const float *scores, int32_t *index);
} SelectKernels;
