#include "common/attention/sight.h"

#include "common/autograd/op.h"

Tensor *nonzero_keys(Tape *t, const Tensor *v)
{
    Tensor *x = (Tensor *)v;
    OP_BEGIN(t, "nonzero_keys", x);
    const int64_t *n = v->shape.dim;
    contract(v->shape.rank == 4, "nonzero_keys: rank %d, not 4", v->shape.rank);
    Tensor *seen = tensor_make(t, U8, SHAPE(n[0], n[2], 1, n[1]));
    KERNEL(t, sight, nonzero, n[0], n[1], n[2], n[3], op_as_heads(v), seen->data);
    return seen;
}
