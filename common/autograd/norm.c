/* Normalisation: the example to read for how an op is written. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

/* saved: x, gamma, mean [rows], rstd [rows]; in: x, gamma, beta. */
static void standardize_backward(Tape *t, Node *n)
{
    Tensor *x = n->saved[0], *gamma = n->saved[1], *mean = n->saved[2], *rstd = n->saved[3];
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols), dy = op_as_rows(n->out->gradient, &rows, &cols);
    Slot dx = gradient_slot(t, n->in[0]), dgamma = gradient_slot(t, n->in[1]), dbeta = gradient_slot(t, n->in[2]);
    Rows to = dx.wanted ? op_as_rows(&dx.gradient, &rows, &cols) : (Rows){0};
    bool add_affine = slots_agree(t, 2, (Slot *[]){&dgamma, &dbeta});
    KERNEL_SCRATCH(t, norm, layer_norm_gradient_scratch, rows, cols);
    KERNEL(t, norm, layer_norm_gradient, rows, cols, dy, from, op_floats(gamma), mean->data, rstd->data, dx.add, to,
           add_affine, dgamma.gradient.data, dbeta.gradient.data);
}

static Tensor *standardized(Tape *t, DType type, Tensor *x, Tensor *gamma, Tensor *beta, float eps)
{
    x = op_rows(t, x);
    OP_BEGIN(t, "standardize", x, gamma, beta);
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols), none = {0};
    contract((!gamma || tensor_count(gamma) == cols) && (!beta || tensor_count(beta) == cols),
             "standardize: rows of %lld values, gamma of %lld", (long long)cols,
             (long long)(gamma ? tensor_count(gamma) : 0));
    bool records = OP_RECORDS(t, x, gamma, beta);
    Tensor *y = tensor_make(t, type, x->shape);
    Tensor *mean = records ? tensor_make(t, F32, SHAPE(rows)) : NULL;
    Tensor *rstd = records ? tensor_make(t, F32, SHAPE(rows)) : NULL;
    KERNEL(t, norm, layer_norm, rows, cols, from, none, none, op_floats(gamma), op_floats(beta), eps,
           ((Rows){y->data, cols, type}), op_floats(mean), op_floats(rstd));
    if (records) {
        Node *n = op_record(t, "standardize", standardize_backward, y, NULL, 0);
        OP_INPUTS(t, n, x, gamma, beta);
        OP_SAVES(t, n, x, gamma, mean, rstd);
    }
    return y;
}

Tensor *standardize(Tape *t, Tensor *x, Tensor *gamma, Tensor *beta, float eps)
{
    return standardized(t, F32, x, gamma, beta, eps);
}

Tensor *standardize_inner(Tape *t, Tensor *x, Tensor *gamma, Tensor *beta, float eps)
{
    return standardized(t, t->inner, x, gamma, beta, eps);
}

typedef struct NormalizeArgs {
    float eps;
} NormalizeArgs;

/* saved: x, inverse [rows]. */
static void normalize_l2_backward(Tape *t, Node *n)
{
    int64_t rows, cols;
    Rows x = op_as_rows(n->saved[0], &rows, &cols), dy = op_as_rows(n->out->gradient, &rows, &cols);
    Slot dx = gradient_slot(t, n->in[0]);
    KERNEL(t, norm, l2_norm_gradient, rows, cols, dy, x, n->saved[1]->data, ((NormalizeArgs *)n->args)->eps, dx.add,
           op_as_rows(&dx.gradient, &rows, &cols));
}

Tensor *normalize_l2(Tape *t, Tensor *x, float eps)
{
    x = op_rows(t, x);
    OP_BEGIN(t, "normalize_l2", x);
    int64_t rows, cols;
    Rows from = op_as_rows(x, &rows, &cols);
    Scope s = scope_open(t);
    Tensor *y = tensor_make(t, x->type, x->shape);
    Tensor *inverse = OP_RECORDS(t, x) ? tensor_make(t, F32, SHAPE(rows)) : NULL;
    KERNEL(t, norm, l2_norm, rows, cols, from, eps, ((Rows){y->data, cols, y->type}), op_floats(inverse));
    if (inverse) {
        Node *n = op_record(t, "normalize_l2", normalize_l2_backward, y, &(NormalizeArgs){eps}, sizeof(NormalizeArgs));
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, x, inverse);
    }
    return scope_close(t, s, y);
}
