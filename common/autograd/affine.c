/* Products with weights. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

Weight op_weight(const Tensor *w)
{
    Weight weight = {.data = w->data, .stride = w->shape.dim[0] ? tensor_count(w) / w->shape.dim[0] : 0};
    if (w->param) {
        weight.version = w->param->version;
        weight.packed = &w->param->packed;
    }
    return weight;
}

/* dy in x's type: a product is in bf16 where one of its sides is, and rounds the other in each call. */
static Rows beside_bf16(Tape *t, const Tensor *x, Rows dy, int64_t rows, int64_t cols)
{
    if (x->type != BF16 || dy.type == BF16)
        return dy;
    Rows half = {tensor_make(t, BF16, SHAPE(rows, cols))->data, cols, BF16};
    KERNEL(t, elementwise, scale, rows, cols, 1.0f, dy, false, half);
    return half;
}

static void affine_backward(Tape *t, Node *n)
{
    Tensor *x = n->saved[0], *w = n->saved[1];
    int64_t m, k, outputs;
    Rows exact = op_as_rows(n->out->gradient, &m, &outputs), from = op_as_rows(x, &m, &k);
    Rows dy = beside_bf16(t, x, exact, m, outputs);
    Slot dw = gradient_slot(t, n->in[1]), db = gradient_slot(t, n->in[2]), dx = gradient_slot(t, n->in[0]);
    if (dw.wanted) {
        KERNEL_SCRATCH(t, matmul, linear_weight_gradient_scratch, m, outputs, k);
        KERNEL(t, matmul, linear_weight_gradient, m, outputs, k, dy, from, dw.add, dw.gradient.data);
    }
    if (db.wanted)
        KERNEL(t, elementwise, sum_rows, m, outputs, exact, 1, db.add, db.gradient.data);
    if (dx.wanted) {
        Weight weight = op_weight(w);
        KERNEL(t, matmul, linear_input_gradient, m, outputs, k, dy, &weight, dx.add, op_as_rows(&dx.gradient, &m, &k));
    }
}

static Tensor *product(Tape *t, DType type, Tensor *x, Tensor *weight, Tensor *bias)
{
    x = op_rows(t, x);
    weight = contiguous(t, weight);
    bias = bias ? contiguous(t, bias) : NULL;
    OP_BEGIN(t, "affine", x, weight, bias);
    char text[128], other[128];
    contract(x->shape.rank >= 1 && weight->shape.rank == 2 && tensor_dim(x, -1) == tensor_dim(weight, 1) &&
                 (!bias || tensor_count(bias) == weight->shape.dim[0]),
             "affine: x %s, weight %s", shape_text(x->shape, text), shape_text(weight->shape, other));
    int64_t m, k, outputs = weight->shape.dim[0];
    Rows from = op_as_rows(x, &m, &k);
    Shape shape = x->shape;
    shape.dim[shape.rank - 1] = outputs;
    Tensor *y = tensor_make(t, type, shape);
    Weight w = op_weight(weight);
    t->macs += (double)m * (double)k * (double)outputs;
    KERNEL(t, matmul, linear, m, outputs, k, from, &w, op_floats(bias), ((Rows){y->data, outputs, type}));
    if (OP_RECORDS(t, x, weight, bias)) {
        Node *n = op_record(t, "affine", affine_backward, y, NULL, 0);
        OP_INPUTS(t, n, x, weight, bias);
        OP_SAVES(t, n, x, weight);
    }
    return y;
}

Tensor *affine(Tape *t, Tensor *x, Tensor *weight, Tensor *bias)
{
    return product(t, F32, x, weight, bias);
}

Tensor *affine_inner(Tape *t, Tensor *x, Tensor *weight, Tensor *bias)
{
    return product(t, t->inner, x, weight, bias);
}
