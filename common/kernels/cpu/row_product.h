/* Products with a weight whose rows are computed in tiles, by whichever thread: for kernels that do more with a tile than
 * multiply it. Made by oneDNN (dnnl_matmul.c), which their callers do not see. */
#pragma once
#include "common/kernels/exec.h"

/* y[M,N] = x[M,K] w[N,K]^T + bias[N], for the pieces of a cut of M. */
typedef struct RowProduct {
    struct Plan *plan[2];          /* of a whole tile, of the last piece */
    struct dnnl_memory *memory[2]; /* the weight as the plan wants it, or NULL */
    const void *weight[2];         /* where there is no such memory: the weight as it lies */
    const float *bias;
    int64_t tile;
} RowProduct;

/* How M rows are cut into tasks, which computes each a piece, or two. Equal rows of one matrix give equal bits, which oneDNN
 * does not promise: on AVX2 its version 2.6 sums what remains of six rows in another order than six, and makes its own
 * parts of more than 48 rows that are no multiple of 48. There all pieces have good sizes; the last one repeats some of
 * the rows before it, and belongs to the task that computed those. */
typedef struct RowCut {
    int64_t rows, tile, tasks;
    int64_t last; /* rows of the last piece where those are fewer than a tile, else 0 */
    bool sixes;
} RowCut;

typedef struct RowPiece {
    int64_t first, rows;
} RowPiece;

/* Tiles of at least about `tile` rows that leave no single row over: of one row oneDNN 2.6 takes sums in another order where
 * bf16 rows have gaps, and oneDNN 3.7 reads a transposed one as if it had none. `overwrites`: a row may be computed twice. */
RowCut row_cut(int64_t rows, int64_t tile, bool overwrites);
int row_pieces(const RowCut *cut, int64_t task, RowPiece pieces[static 2]); /* how many */

/* Of x and y only type and stride count. The weight has a place for its packed copies. */
RowProduct row_product_new(const Exec *exec, const RowCut *cut, int64_t n, int64_t k, Rows x, const Weight *w,
                           const float *bias, Rows y);
/* A piece of the cut. */
void row_product_run(const RowProduct *p, int64_t rows, Rows x, Rows y, int thread);
void packed_free(struct Packed **packed);

/* task(context, index, thread) for every index below `count`, on up to exec->threads threads; `flops` is the whole
 * work: a few microseconds are not worth waking a thread for. */
void tasks_run(const Exec *exec, int64_t count, double flops, void (*task)(void *context, int64_t index, int thread),
               void *context);
