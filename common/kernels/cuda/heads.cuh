/* Rows of heads, [B,N,H,width], seen as rows of a matrix. */
#pragma once
#include "common/kernels/cuda/number.cuh"

/* Head h of token n of sample b, as row 0. */
DEVICE Rows head_row(HeadRows x, int64_t width, int64_t b, int64_t n, int64_t h)
{
    int64_t at = b * x.batch_step + n * x.token_step + h * width;
    Rows row = {(char *)x.data + at * (x.type == F32 ? 4 : 2), 0, x.type};
    return row;
}

/* What rows_width looks at: every row begins at a multiple of 4 elements where `width` and this stride are ones. */
static inline Rows rows_of_heads(HeadRows x)
{
    Rows rows = {x.data, x.batch_step | x.token_step, x.type};
    return rows;
}
