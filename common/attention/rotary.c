#include "common/attention/rotary.h"

#include "common/autograd/op.h"
#include "common/autograd/ops.h"

Tensor *rotary_table(Tape *t, Tensor *frequencies, int64_t positions)
{
    frequencies = contiguous(t, frequencies);
    OP_BEGIN(t, "rotary_table", frequencies);
    contract(frequencies->type == F32, "rotary_table: frequencies of %s", dtype_name(frequencies->type));
    int64_t half = tensor_count(frequencies);
    Tensor *table = tensor_make(t, F32, SHAPE(positions, 2 * half));
    KERNEL(t, rotary, table, positions, half, frequencies->data, table->data);
    return table;
}

/* saved: table, positions. */
static void rotary_backward(Tape *t, Node *n)
{
    RotaryShape s = *(const RotaryShape *)n->args;
    Slot dx = gradient_slot(t, n->in[0]);
    s.back = true;
    KERNEL(t, rotary, rotate, &s, n->saved[0]->data, op_as_heads(n->out->gradient), dx.add, op_as_heads(&dx.gradient));
}

static RotaryShape rotary_shape(const Rotary *r, const Tensor *x, const Tensor *positions)
{
    char text[128];
    const int64_t *n = x->shape.dim, *table = r->table->shape.dim;
    contract(r->table->shape.rank == 2 && r->table->type == F32 && table[1] % 2 == 0 && table[1] <= n[3],
             "rotary: a table %s for heads of %lld", shape_text(r->table->shape, text), (long long)n[3]);
    RotaryShape s = {.batch = n[0],
                     .tokens = n[1],
                     .heads = n[2],
                     .width = n[3],
                     .half = table[1] / 2,
                     .pairing = r->pairing,
                     .table_rows = table[0]};
    if (!positions) {
        contract(n[1] <= table[0], "rotary: %lld tokens, a table of %lld positions", (long long)n[1],
                 (long long)table[0]);
        return s;
    }
    const int64_t *p = positions->shape.dim;
    contract(positions->shape.rank == 3 && positions->type == I32 && (p[0] == n[0] || p[0] == 1) &&
                 (p[1] == n[1] || p[1] == 1) && (p[2] == n[2] || p[2] == 1),
             "rotary: positions %s of %s", shape_text(positions->shape, text), dtype_name(positions->type));
    s.positions = positions->data;
    s.batch_step = p[0] == 1 ? 0 : p[1] * p[2];
    s.token_step = p[1] == 1 ? 0 : p[2];
    s.head_step = p[2] == 1 ? 0 : 1;
    return s;
}

Tensor *rotary(Tape *t, Tensor *x, const Rotary *r, const Tensor *positions)
{
    x = op_heads(t, x);
    Rotary use = {contiguous(t, r->table), r->pairing};
    OP_BEGIN(t, "rotary", x, use.table, (Tensor *)positions);
    RotaryShape s = rotary_shape(&use, x, positions);
    Tensor *y = tensor_make(t, x->type, x->shape);
    KERNEL(t, rotary, rotate, &s, use.table->data, op_as_heads(x), false, op_as_heads(y));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "rotary", rotary_backward, y, &s, sizeof s);
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, use.table, (Tensor *)positions);
    }
    return y;
}
