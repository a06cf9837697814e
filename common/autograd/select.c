/* Ops that answer with indices: no gradient goes through them. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

Tensor *nearest(Tape *t, Tensor *scores)
{
    scores = op_rows(t, scores);
    OP_BEGIN(t, "nearest", scores);
    char text[128];
    Shape shape = scores->shape;
    contract(shape.rank >= 1 && tensor_dim(scores, -1) > 0, "nearest: scores %s", shape_text(shape, text));
    shape.rank--;
    Tensor *index = tensor_make(t, I32, shape);
    int64_t rows, cols;
    Rows from = op_as_rows(scores, &rows, &cols);
    KERNEL(t, select, largest, rows, cols, from, index->data);
    return index;
}

Tensor *top_rows(Tape *t, Tensor *scores, int64_t w)
{
    scores = contiguous(t, scores);
    OP_BEGIN(t, "top_rows", scores);
    char text[128];
    const int64_t *n = scores->shape.dim;
    contract(scores->shape.rank == 4 && scores->type == F32 && w >= 0 && w <= n[2], "top_rows: %lld of scores %s of %s",
             (long long)w, shape_text(scores->shape, text), dtype_name(scores->type));
    TopRows s = {.batch = n[0], .heads = n[1], .rows = n[2], .cols = n[3], .count = w};
    Tensor *index = tensor_make(t, I32, SHAPE(s.batch, s.cols * w, s.heads));
    KERNEL_SCRATCH(t, select, top_rows_scratch, &t->exec, &s);
    KERNEL(t, select, top_rows, &s, scores->data, index->data);
    return index;
}
