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

static void affine_backward(Tape *t, Node *n)
{
    Tensor *x = n->saved[0], *w = n->saved[1];
    int64_t m, k, outputs;
    Rows dy = op_as_rows(n->out->gradient, &m, &outputs), from = op_as_rows(x, &m, &k);
    Slot dw = gradient_slot(t, n->in[1]), db = gradient_slot(t, n->in[2]), dx = gradient_slot(t, n->in[0]);
    if (dw.wanted)
        KERNEL(t, matmul, linear_weight_gradient, m, outputs, k, dy, from, dw.add, dw.gradient.data);
    if (db.wanted)
        KERNEL(t, elementwise, sum_rows, m, outputs, dy, 1, db.add, db.gradient.data);
    if (dx.wanted) {
        Weight weight = op_weight(w);
        KERNEL(t, matmul, linear_input_gradient, m, outputs, k, dy, &weight, dx.add, op_as_rows(&dx.gradient, &m, &k));
    }
}

Tensor *affine(Tape *t, Tensor *x, Tensor *weight, Tensor *bias)
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
    Tensor *y = tensor_make(t, F32, shape);
    Weight w = op_weight(weight);
    t->macs += (double)m * (double)k * (double)outputs;
    KERNEL(t, matmul, linear, m, outputs, k, from, &w, op_floats(bias), ((Rows){y->data, outputs, F32}));
    if (OP_RECORDS(t, x, weight, bias)) {
        Node *n = op_record(t, "affine", affine_backward, y, NULL, 0);
        OP_INPUTS(t, n, x, weight, bias);
        OP_SAVES(t, n, x, weight);
    }
    return y;
}
