/* What every kernel gets first, and the ways in which it sees memory. */
#pragma once
#include "common/kernels/dtype.h"
#include <stdbool.h>

typedef struct Exec {
    int threads;          /* how many may work; results never depend on it */
    void *scratch;        /* for temporary values inside one call, 64-byte aligned */
    size_t scratch_bytes; /* a kernel that needs more says so through its *_scratch function */
    void *stream;         /* cudaStream_t on a GPU, else NULL */
} Exec;

/* A matrix in memory: row r begins r * stride elements after data. */
typedef struct Rows {
    void *data;
    int64_t stride;
    DType type;
} Rows;

/* The same matrix from one of its rows on. */
static inline Rows rows_from(Rows x, int64_t row)
{
    x.data = (char *)x.data + row * x.stride * (int64_t)dtype_bytes(x.type);
    return x;
}

/* [B, N, heads, width]: sample b begins at b * batch_step (0: all share one), token n at n * token_step, and heads
 * follow each other without a gap. */
typedef struct HeadRows {
    void *data;
    int64_t batch_step, token_step;
    DType type;
} HeadRows;

/* A weight matrix [n, k] as a layer stores it (out, in). `packed` is where a backend keeps its own rearranged copies:
 * NULL for a tensor that is not a parameter, which is then packed in each call. A copy is stale once `version` has
 * moved. */
typedef struct Weight {
    const float *data;
    int64_t stride;
    uint64_t version;
    struct Packed **packed;
} Weight;
