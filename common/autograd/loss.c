/* Softmax and the loss of classifiers. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

static void softmax_backward(Tape *t, Node *n)
{
    int64_t rows, cols;
    Rows y = op_as_rows(n->saved[0], &rows, &cols), dy = op_as_rows(n->out->gradient, &rows, &cols);
    Slot dx = gradient_slot(t, n->in[0]);
    KERNEL(t, loss, softmax_gradient, rows, cols, dy, y, dx.add, op_as_rows(&dx.gradient, &rows, &cols));
}

Tensor *softmax(Tape *t, Tensor *x)
{
    x = op_rows(t, x);
    OP_BEGIN(t, "softmax", x);
    Tensor *y = tensor_make(t, F32, x->shape);
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols);
    KERNEL(t, loss, softmax, rows, cols, from, op_as_rows(y, &rows, &cols));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "softmax", softmax_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, y);
    }
    return y;
}

/* saved: probabilities, targets. */
static void soft_cross_entropy_backward(Tape *t, Node *n)
{
    int64_t rows, cols;
    Slot dx = gradient_slot(t, n->in[0]);
    Rows to = op_as_rows(&dx.gradient, &rows, &cols);
    KERNEL(t, loss, soft_cross_entropy_gradient, rows, cols, n->out->gradient->data, n->saved[0]->data,
           n->saved[1]->data, dx.add, to);
}

Tensor *soft_cross_entropy(Tape *t, Tensor *logits, Tensor *targets, Tensor **probabilities)
{
    logits = op_rows(t, logits);
    targets = contiguous(t, targets);
    OP_BEGIN(t, "soft_cross_entropy", logits, targets);
    char text[128], other[128];
    contract(shape_equal(logits->shape, targets->shape) && targets->type == F32,
             "soft_cross_entropy: logits %s, targets %s of %s", shape_text(logits->shape, text),
             shape_text(targets->shape, other), dtype_name(targets->type));
    int64_t rows, cols;
    Rows from = op_as_rows(logits, &rows, &cols);
    Tensor *losses = tensor_make(t, F32, SHAPE(rows)), *p = tensor_make(t, F32, logits->shape);
    KERNEL(t, loss, soft_cross_entropy, rows, cols, from, targets->data, p->data, losses->data);
    if (OP_RECORDS(t, logits)) {
        Node *n = op_record(t, "soft_cross_entropy", soft_cross_entropy_backward, losses, NULL, 0);
        OP_INPUTS(t, n, logits);
        OP_SAVES(t, n, p, targets);
    }
    if (probabilities)
        *probabilities = p;
    return losses;
}

typedef struct CrossEntropyArgs {
    int64_t ignore;
} CrossEntropyArgs;

/* saved: logits, labels, lse. */
static void cross_entropy_backward(Tape *t, Node *n)
{
    int64_t rows, cols;
    Rows logits = op_as_rows(n->saved[0], &rows, &cols);
    Slot dx = gradient_slot_within(t, n->in[0]);
    KERNEL(t, loss, cross_entropy_gradient, rows, cols, n->out->gradient->data, logits, n->saved[1]->data,
           ((CrossEntropyArgs *)n->args)->ignore, n->saved[2]->data, dx.add, op_as_rows(&dx.gradient, &rows, &cols));
}

Tensor *cross_entropy(Tape *t, Tensor *logits, Tensor *labels, int64_t ignore)
{
    logits = op_rows(t, logits);
    labels = contiguous(t, labels);
    OP_BEGIN(t, "cross_entropy", logits, labels);
    char text[128], other[128];
    int64_t rows, cols;
    Rows from = op_as_rows(logits, &rows, &cols);
    contract(logits->shape.rank == 2 && shape_equal(labels->shape, SHAPE(rows)) && labels->type == I64,
             "cross_entropy: logits %s, labels %s of %s", shape_text(logits->shape, text),
             shape_text(labels->shape, other), dtype_name(labels->type));
    Scope s = scope_open(t);
    Tensor *lse = tensor_make(t, F32, SHAPE(rows)), *losses = tensor_make(t, F32, SHAPE(rows));
    KERNEL(t, loss, cross_entropy, rows, cols, from, labels->data, ignore, lse->data, losses->data);
    if (OP_RECORDS(t, logits)) {
        Node *n = op_record(t, "cross_entropy", cross_entropy_backward, losses, &(CrossEntropyArgs){ignore},
                            sizeof(CrossEntropyArgs));
        OP_INPUTS(t, n, logits);
        OP_SAVES(t, n, logits, labels, lse);
    }
    return scope_close(t, s, losses);
}
