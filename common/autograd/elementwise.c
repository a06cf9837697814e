/* Elementwise ops, sums and broadcasts. A tensor's layout does not matter here as long as both sides share it. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include "common/base/memory.h"

/* The whole tensor as one matrix: rows of its last axis, or all of it as one row where memory has no gap. */
static Rows flat(const Tensor *x, int64_t *rows, int64_t *cols)
{
    if (!tensor_is_window(x)) {
        *rows = 1;
        *cols = tensor_count(x);
        return (Rows){x->data, *cols, x->type};
    }
    return tensor_blocks(x, rows, cols);
}

static bool same_layout(const Tensor *a, const Tensor *b)
{
    return a->run == b->run && a->stride == b->stride && a->channels_last == b->channels_last;
}

/* y has x's shape and no gaps: x as blocks, y as the same blocks one after the other. */
static Rows beside(const Tensor *y, int64_t cols)
{
    return (Rows){y->data, cols, y->type};
}

/* ---- One input */

typedef struct UnaryArgs {
    Unary function;
} UnaryArgs;

static void unary_backward(Tape *t, Node *n)
{
    Tensor *x = n->saved[0];
    Slot dx = gradient_slot(t, n->in[0]);
    int64_t rows, cols;
    Rows from = flat(x, &rows, &cols);
    KERNEL(t, elementwise, unary_gradient, ((UnaryArgs *)n->args)->function, rows, cols, beside(n->out->gradient, cols),
           from, dx.add, flat(&dx.gradient, &rows, &cols));
}

static Tensor *unary(Tape *t, Unary function, const char *name, Tensor *x)
{
    op_begin(t, name, 1, &x);
    Tensor *y = op_like(t, x);
    int64_t rows, cols;
    Rows from = flat(x, &rows, &cols);
    KERNEL(t, elementwise, unary, function, rows, cols, from, beside(y, cols));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, name, unary_backward, y, &(UnaryArgs){function}, sizeof(UnaryArgs));
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, x);
    }
    return y;
}

#define UNARY_OP(op, function)                                                                                         \
    Tensor *op(Tape *t, Tensor *x)                                                                                     \
    {                                                                                                                  \
        return unary(t, function, #op, x);                                                                             \
    }
UNARY_OP(gelu, UNARY_GELU)
UNARY_OP(gelu_tanh, UNARY_GELU_TANH)
UNARY_OP(relu, UNARY_RELU)
UNARY_OP(silu, UNARY_SILU)
UNARY_OP(sigmoid, UNARY_SIGMOID)
UNARY_OP(hyperbolic_tangent, UNARY_TANH)
UNARY_OP(exponential, UNARY_EXPONENTIAL)
UNARY_OP(logarithm, UNARY_LOGARITHM)
UNARY_OP(square, UNARY_SQUARE)
UNARY_OP(square_root, UNARY_SQUARE_ROOT)

/* ---- Two inputs */

typedef struct BinaryArgs {
    Binary function;
} BinaryArgs;

static void scaled_into(Tape *t, Tensor *x, float factor, const Tensor *from)
{
    Slot dx = gradient_slot(t, x);
    if (!dx.wanted)
        return;
    int64_t rows, cols;
    Rows to = flat(&dx.gradient, &rows, &cols);
    KERNEL(t, elementwise, scale, rows, cols, factor, beside(from, cols), dx.add, to);
}

static void product_into(Tape *t, Tensor *x, const Tensor *dy, const Tensor *other)
{
    if (!x->needs_gradient)
        return;
    Tensor *g = tensor_make(t, F32, x->shape);
    g->channels_last = x->channels_last;
    int64_t rows, cols;
    Rows factor = flat(other, &rows, &cols);
    KERNEL(t, elementwise, binary, BINARY_MULTIPLY, rows, cols, beside(dy, cols), factor, beside(g, cols));
    gradient_give(t, x, g);
}

/* y = a / b: da = dy / b, db = - da y. */
static void quotient_into(Tape *t, Tensor *a, Tensor *b, const Tensor *dy, const Tensor *divisor, const Tensor *y)
{
    Tensor *da = op_like(t, dy), *product = op_like(t, dy);
    int64_t rows, cols;
    Rows by = flat(divisor, &rows, &cols);
    KERNEL(t, elementwise, binary, BINARY_DIVIDE, rows, cols, beside(dy, cols), by, beside(da, cols));
    if (b->needs_gradient) {
        KERNEL(t, elementwise, binary, BINARY_MULTIPLY, rows, cols, beside(da, cols), beside(y, cols),
               beside(product, cols));
        scaled_into(t, b, -1.0f, product);
    }
    gradient_give(t, a, da);
}

static void binary_backward(Tape *t, Node *n)
{
    Tensor *a = n->in[0], *b = n->in[1], *dy = n->out->gradient;
    switch (((BinaryArgs *)n->args)->function) {
    case BINARY_ADD:
        gradient_give(t, a, dy);
        gradient_give(t, b, dy);
        break;
    case BINARY_SUBTRACT:
        gradient_give(t, a, dy);
        scaled_into(t, b, -1.0f, dy);
        break;
    case BINARY_DIVIDE:
        quotient_into(t, a, b, dy, n->saved[0], n->saved[1]);
        break;
    default:
        product_into(t, a, dy, n->saved[1]);
        product_into(t, b, dy, n->saved[0]);
        break;
    }
}

static Tensor *binary(Tape *t, Binary function, const char *name, Tensor *a, Tensor *b)
{
    char left[128], right[128];
    contract(shape_equal(a->shape, b->shape), "%s: %s and %s", name, shape_text(a->shape, left),
             shape_text(b->shape, right));
    if (!same_layout(a, b)) {
        a = contiguous(t, a);
        b = contiguous(t, b);
    }
    OP_BEGIN(t, name, a, b);
    Tensor *y = op_like(t, a->type == F32 ? a : b); /* of two types the wider one */
    int64_t rows, cols;
    Rows from = flat(a, &rows, &cols);
    KERNEL(t, elementwise, binary, function, rows, cols, from, flat(b, &rows, &cols), beside(y, cols));
    if (OP_RECORDS(t, a, b)) {
        Node *n = op_record(t, name, binary_backward, y, &(BinaryArgs){function}, sizeof(BinaryArgs));
        OP_INPUTS(t, n, a, b);
        if (function == BINARY_MULTIPLY)
            OP_SAVES(t, n, a, b);
        if (function == BINARY_DIVIDE)
            OP_SAVES(t, n, b, y);
    }
    return y;
}

Tensor *add(Tape *t, Tensor *a, Tensor *b)
{
    return binary(t, BINARY_ADD, "add", a, b);
}

Tensor *subtract(Tape *t, Tensor *a, Tensor *b)
{
    return binary(t, BINARY_SUBTRACT, "subtract", a, b);
}

Tensor *multiply(Tape *t, Tensor *a, Tensor *b)
{
    return binary(t, BINARY_MULTIPLY, "multiply", a, b);
}

Tensor *divide(Tape *t, Tensor *a, Tensor *b)
{
    return binary(t, BINARY_DIVIDE, "divide", a, b);
}

/* ---- A constant factor */

typedef struct ScaleArgs {
    float factor;
} ScaleArgs;

static void scale_backward(Tape *t, Node *n)
{
    scaled_into(t, n->in[0], ((ScaleArgs *)n->args)->factor, n->out->gradient);
}

Tensor *scale(Tape *t, Tensor *x, float factor)
{
    OP_BEGIN(t, "scale", x);
    Tensor *y = op_like(t, x);
    int64_t rows, cols;
    Rows from = flat(x, &rows, &cols);
    KERNEL(t, elementwise, scale, rows, cols, factor, from, false, beside(y, cols));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "scale", scale_backward, y, &(ScaleArgs){factor}, sizeof(ScaleArgs));
        OP_INPUTS(t, n, x);
    }
    return y;
}

/* ---- One factor that is learned */

/* saved: x, factor. */
static void scale_by_backward(Tape *t, Node *n)
{
    Tensor *x = n->saved[0], *factor = n->saved[1], *dy = n->out->gradient;
    Slot dfactor = gradient_slot(t, n->in[1]), dx = gradient_slot(t, n->in[0]);
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols), dout = op_as_rows(dy, &rows, &cols);
    if (dfactor.wanted) {
        Tensor *sums = tensor_make(t, F32, SHAPE(rows));
        KERNEL(t, elementwise, dot_columns, rows, cols, from, dout, false, sums->data);
        KERNEL(t, elementwise, sum_columns, 1, rows, ((Rows){sums->data, rows, F32}), dfactor.add,
               dfactor.gradient.data);
    }
    if (dx.wanted)
        KERNEL(t, elementwise, scale_rows, rows, cols, factor->data, rows, dout, dx.add,
               op_as_rows(&dx.gradient, &rows, &cols));
}

Tensor *scale_by(Tape *t, Tensor *x, Tensor *factor)
{
    x = op_rows(t, x);
    factor = contiguous(t, factor);
    OP_BEGIN(t, "scale_by", x, factor);
    contract(tensor_count(factor) == 1 && factor->type == F32, "scale_by: %lld factors",
             (long long)tensor_count(factor));
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols);
    Tensor *y = tensor_make(t, x->type, x->shape);
    KERNEL(t, elementwise, scale_rows, rows, cols, factor->data, rows, from, false, beside(y, cols));
    if (OP_RECORDS(t, x, factor)) {
        Node *n = op_record(t, "scale_by", scale_by_backward, y, NULL, 0);
        OP_INPUTS(t, n, x, factor);
        OP_SAVES(t, n, x, factor);
    }
    return y;
}

/* ---- A table repeated over the rows */

static void add_rows_backward(Tape *t, Node *n)
{
    Tensor *x = n->in[0], *table = n->in[1], *dy = n->out->gradient;
    int64_t cols = tensor_dim(dy, -1), rows = cols ? tensor_count(dy) / cols : 0;
    gradient_give(t, x, dy);
    Slot dtable = gradient_slot(t, table);
    if (dtable.wanted)
        KERNEL(t, elementwise, sum_rows, rows, cols, beside(dy, cols), cols ? tensor_count(table) / cols : 1,
               dtable.add, dtable.gradient.data);
}

Tensor *add_rows(Tape *t, Tensor *x, Tensor *table)
{
    x = op_rows(t, x);
    table = contiguous(t, table);
    OP_BEGIN(t, "add_rows", x, table);
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols);
    int64_t period = cols ? tensor_count(table) / cols : 1;
    contract(table->shape.rank >= 1 && tensor_dim(table, -1) == cols && period > 0 && rows % period == 0,
             "add_rows: %lld rows of %lld cannot take a table of %lld rows of %lld", (long long)rows, (long long)cols,
             (long long)period, (long long)tensor_dim(table, -1));
    Tensor *y = tensor_make(t, x->type, x->shape);
    KERNEL(t, elementwise, add_rows, rows, cols, from, table->data, period, beside(y, cols));
    if (OP_RECORDS(t, x, table)) {
        Node *n = op_record(t, "add_rows", add_rows_backward, y, NULL, 0);
        OP_INPUTS(t, n, x, table);
    }
    return y;
}

Tensor *constant(Tape *t, Shape shape, float value)
{
    OP_BEGIN(t, "constant", NULL);
    Tensor *y = tensor_make(t, F32, shape);
    KERNEL(t, elementwise, fill, tensor_count(y), value, y->data);
    return y;
}

/* ---- Sums */

typedef struct SumArgs {
    float factor;
} SumArgs;

static void sum_all_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    int64_t rows, cols;
    Rows to = flat(&dx.gradient, &rows, &cols);
    /* The scalar gradient, read as a factor for rows of ones: it stays on the device. */
    Tensor *ones = tensor_make(t, F32, SHAPE(cols));
    KERNEL(t, elementwise, fill, cols, ((SumArgs *)n->args)->factor, ones->data);
    KERNEL(t, elementwise, scale_rows, rows, cols, n->out->gradient->data, rows, ((Rows){ones->data, 0, F32}), dx.add,
           to);
}

static Tensor *scaled_sum(Tape *t, const char *name, Tensor *x, float factor)
{
    OP_BEGIN(t, name, x);
    Scope s = scope_open(t);
    int64_t rows, cols;
    Rows from = flat(x, &rows, &cols);
    Tensor *parts = tensor_make(t, F32, SHAPE(rows)), *total = tensor_make(t, F32, (Shape){0});
    KERNEL(t, elementwise, sum_columns, rows, cols, from, false, parts->data);
    KERNEL(t, elementwise, sum_columns, 1, rows, ((Rows){parts->data, rows, F32}), false, total->data);
    Tensor *y = tensor_make(t, F32, (Shape){0});
    KERNEL(t, elementwise, scale, 1, 1, factor, ((Rows){total->data, 1, F32}), false, ((Rows){y->data, 1, F32}));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, name, sum_all_backward, y, &(SumArgs){factor}, sizeof(SumArgs));
        OP_INPUTS(t, n, x);
    }
    return scope_close(t, s, y);
}

Tensor *sum_all(Tape *t, Tensor *x)
{
    return scaled_sum(t, "sum_all", x, 1.0f);
}

Tensor *mean_all(Tape *t, Tensor *x)
{
    return scaled_sum(t, "mean_all", x, 1.0f / (float)tensor_count(x));
}

static void mean_tokens_backward(Tape *t, Node *n)
{
    const Shape s = n->in[0]->shape; /* contiguous */
    Slot dx = gradient_slot(t, n->in[0]);
    float *dy = n->out->gradient->data, *to = dx.gradient.data;
    for (int64_t b = 0; b < s.dim[0]; b++)
        KERNEL(t, elementwise, scale, s.dim[1], s.dim[2], 1.0f / (float)s.dim[1], ((Rows){dy + b * s.dim[2], 0, F32}),
               dx.add, ((Rows){to + b * s.dim[1] * s.dim[2], s.dim[2], F32}));
}

Tensor *mean_tokens(Tape *t, Tensor *x)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "mean_tokens", x);
    const Shape s = x->shape;
    contract(s.rank == 3, "mean_tokens: rank %d, not 3", s.rank);
    Scope scope = scope_open(t);
    Tensor *sums = tensor_make(t, F32, SHAPE(s.dim[0], 1, s.dim[2]));
    for (int64_t b = 0; b < s.dim[0]; b++)
        KERNEL(t, elementwise, sum_rows, s.dim[1], s.dim[2],
               ((Rows){(float *)x->data + b * s.dim[1] * s.dim[2], s.dim[2], F32}), 1, false,
               (float *)sums->data + b * s.dim[2]);
    Tensor *y = op_like(t, sums);
    int64_t count = tensor_count(y);
    KERNEL(t, elementwise, scale, 1, count, 1.0f / (float)s.dim[1], beside(sums, count), false, beside(y, count));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "mean_tokens", mean_tokens_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return scope_close(t, scope, y);
}
