/* Products with a weight whose rows are computed in tiles, by whichever thread: for kernels that do more with a tile than
 * multiply it. Made by oneDNN (dnnl_matmul.c), which their callers do not see. */
#pragma once
#include "common/kernels/exec.h"

/* y[M,N] = x[M,K] w[N,K]^T + bias[N], for tiles of one size and for what remains of M. */
typedef struct RowProduct {
    struct Plan *plan[2];          /* of a whole tile, of the rest */
    struct dnnl_memory *memory[2]; /* the weight as the plan wants it, or NULL */
    const void *weight[2];         /* where there is no such memory: the weight as it lies */
    const float *bias;
    int64_t tile;
} RowProduct;

/* The smallest tile of at least `rows` rows that leaves no single row over: of one row oneDNN 2.6 takes sums in another
 * order where bf16 rows have gaps, and oneDNN 3.7 reads a transposed one as if it had none. */
int64_t row_tile(int64_t m, int64_t rows);

/* Of x and y only type and stride count. The weight has a place for its packed copies. */
RowProduct row_product_new(const Exec *exec, int64_t m, int64_t n, int64_t k, int64_t tile, Rows x, const Weight *w,
                           const float *bias, Rows y);
/* A tile, or what remains of M. */
void row_product_run(const RowProduct *p, int64_t rows, Rows x, Rows y, int thread);
void packed_free(struct Packed **packed);

/* task(context, index, thread) for every index below `count`, on up to exec->threads threads; `flops` is the whole
 * work: a few microseconds are not worth waking a thread for. */
void tasks_run(const Exec *exec, int64_t count, double flops, void (*task)(void *context, int64_t index, int thread),
               void *context);
