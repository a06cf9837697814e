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
