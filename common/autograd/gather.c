/* Rows chosen by an index. The way back of a gather is a scatter, and the other way round. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

typedef struct GatherArgs {
    Choices choices;
} GatherArgs;

static void scatter(Tape *t, const Choices *c, HeadRows x, float *factors, float eps, bool add, HeadRows y)
{
    KERNEL_SCRATCH(t, gather, scatter_scratch, c);
    KERNEL(t, gather, scatter, c, x, factors, eps, add, y);
}

/* ---- A table of rows */

/* The rows of a table as the one head of one sample. */
static HeadRows table_rows(const Tensor *x)
{
    int64_t rows, cols;
    Rows r = op_as_rows(x, &rows, &cols);
    return (HeadRows){.data = r.data, .token_step = r.stride, .type = r.type};
}

/* saved: ids. */
static void embedding_backward(Tape *t, Node *n)
{
    Slot dtable = gradient_slot(t, n->in[0]);
    scatter(t, &((GatherArgs *)n->args)->choices, table_rows(n->out->gradient), NULL, 0, dtable.add,
            table_rows(&dtable.gradient));
}

Tensor *embedding(Tape *t, Tensor *table, Tensor *ids)
{
    table = op_rows(t, table);
    ids = contiguous(t, ids);
    OP_BEGIN(t, "embedding", table, ids);
    char text[128];
    Shape shape = ids->shape;
    contract(table->shape.rank == 2 && shape.rank < MAX_RANK, "embedding: a table %s", shape_text(table->shape, text));
    shape.dim[shape.rank++] = table->shape.dim[1];
    GatherArgs args = {{.batch = 1,
                        .rows = table->shape.dim[0],
                        .count = tensor_count(ids),
                        .heads = 1,
                        .width = table->shape.dim[1],
                        .index = ids->data,
                        .type = ids->type}};
    Tensor *y = tensor_make(t, table->type, shape);
    KERNEL(t, gather, gather, &args.choices, table_rows(table), NULL, false, table_rows(y));
    if (OP_RECORDS(t, table)) {
        Node *n = op_record(t, "embedding", embedding_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, table);
        OP_SAVES(t, n, ids);
    }
    return y;
}

/* ---- Rows per sample and head */

/* The choices of `index` [B,M,H] among the rows of x's heads. Rows that the samples share are one sample's, which chooses
 * B M times. */
static Choices choices_of(const char *op, const Tensor *x, const Tensor *index, int64_t rows)
{
    char text[128], other[128];
    const int64_t *n = x->shape.dim, *i = index->shape.dim;
    contract(index->shape.rank == 3 && index->type == I32 && (i[0] == n[0] || n[0] == 1) && i[2] == n[2],
             "%s: x %s, index %s of %s", op, shape_text(x->shape, text), shape_text(index->shape, other),
             dtype_name(index->type));
    return (Choices){.batch = n[0],
                     .rows = rows,
                     .count = i[0] == n[0] ? i[1] : i[0] * i[1],
                     .heads = n[2],
                     .width = n[3],
                     .index = index->data,
                     .type = I32};
}

static void gather_rows_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    scatter(t, &((GatherArgs *)n->args)->choices, op_as_heads(n->out->gradient), NULL, 0, dx.add,
            op_as_heads(&dx.gradient));
}

Tensor *gather_rows(Tape *t, Tensor *x, Tensor *index)
{
    x = op_heads(t, x);
    index = contiguous(t, index);
    OP_BEGIN(t, "gather_rows", x, index);
    GatherArgs args = {choices_of("gather_rows", x, index, x->shape.dim[1])};
    const Choices *c = &args.choices;
    Tensor *y = tensor_make(t, x->type, SHAPE(index->shape.dim[0], index->shape.dim[1], c->heads, c->width));
    KERNEL(t, gather, gather, c, op_as_heads(x), NULL, false, op_as_heads(y));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "gather_rows", gather_rows_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, index);
    }
    return y;
}

/* saved: index, factors or NULL. */
static void scatter_rows_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    KERNEL(t, gather, gather, &((GatherArgs *)n->args)->choices, op_as_heads(n->out->gradient), op_floats(n->saved[1]),
           dx.add, op_as_heads(&dx.gradient));
}

static Tensor *scattered(Tape *t, const char *op, Tensor *x, Tensor *index, int64_t rows, bool mean, float eps)
{
    x = op_heads(t, x);
    index = contiguous(t, index);
    OP_BEGIN(t, op, x, index);
    GatherArgs args = {choices_of(op, x, index, rows)};
    const Choices *c = &args.choices;
    contract(index->shape.dim[0] == c->batch && index->shape.dim[1] == x->shape.dim[1],
             "%s: %lld x %lld rows, %lld x %lld choices", op, (long long)c->batch, (long long)x->shape.dim[1],
             (long long)index->shape.dim[0], (long long)index->shape.dim[1]);
    Scope s = scope_open(t);
    Tensor *y = tensor_make(t, x->type, SHAPE(c->batch, rows, c->heads, c->width));
    Tensor *factors = mean ? tensor_make(t, F32, SHAPE(c->batch, rows, c->heads)) : NULL;
    scatter(t, c, op_as_heads(x), op_floats(factors), eps, false, op_as_heads(y));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, op, scatter_rows_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, index, factors);
    }
    return scope_close(t, s, y);
}

Tensor *scatter_rows(Tape *t, Tensor *x, Tensor *index, int64_t rows)
{
    return scattered(t, "scatter_rows", x, index, rows, false, 0);
}

Tensor *scatter_mean(Tape *t, Tensor *x, Tensor *index, int64_t rows, float eps)
{
    return scattered(t, "scatter_mean", x, index, rows, true, eps);
}
