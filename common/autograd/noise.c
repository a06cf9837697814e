/* Noise that regularises: active in the TRAIN phase, drawn from Philox, so the backward draws the same numbers again. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

typedef struct DropoutArgs {
    PhiloxDraw draw;
    float rate;
    RowMap map;
} DropoutArgs;

static Rows flat_from(const Tensor *x, int64_t first, int64_t count)
{
    return (Rows){(char *)x->data + (size_t)first * dtype_bytes(x->type), count, x->type};
}

/* Piece by piece: of rows that lie side by side in the whole batch. */
static void drop(Tape *t, const DropoutArgs *a, const Tensor *x, bool add, const Tensor *y)
{
    int64_t count = tensor_count(x), place;
    for (int64_t at = 0, n; at < count; at += n) {
        n = row_map_piece(&a->map, x->shape, at, &place);
        KERNEL(t, noise, dropout, a->draw, place, n, a->rate, flat_from(x, at, n), add, flat_from(y, at, n));
    }
}

static void dropout_backward(Tape *t, Node *n)
{
    const DropoutArgs *a = n->args;
    Slot dx = gradient_slot(t, n->in[0]);
    contract(!tensor_is_window(&dx.gradient), "dropout: the gradient of a window");
    drop(t, a, n->out->gradient, dx.add, &dx.gradient);
}

/* With draws from outside the mask has to be kept: the way back cannot draw it again. */
static Tensor *replayed_dropout(Tape *t, Tensor *x, float rate, uint32_t site)
{
    Random r = {.draw = tape_draw(t, site), .replay = t->replay};
    Tensor *factors = tensor_make(t, F32, x->shape);
    float *host = op_host(t, factors);
    for (int64_t i = 0; host && i < tensor_count(x); i++)
        host[i] = random_uniform(&r) >= (double)rate ? 1.0f / (1.0f - rate) : 0.0f;
    op_from_host(t, factors);
    return convert(t, multiply(t, x, factors), x->type);
}

Tensor *dropout(Tape *t, Tensor *x, float rate, uint32_t site)
{
    if (!tape_training(t) || rate == 0)
        return x;
    contract(rate > 0 && rate < 1, "dropout: a rate of %g", (double)rate);
    if (t->replay)
        return replayed_dropout(t, x, rate, site);
    x = contiguous(t, x);
    OP_BEGIN(t, "dropout", x);
    DropoutArgs args = {tape_draw(t, site), rate, t->rows};
    Tensor *y = tensor_make(t, x->type, x->shape);
    drop(t, &args, x, false, y);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "dropout", dropout_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x);
    }
    return y;
}

/* saved: factors [B], each 0 or 1 / keep. */
static void drop_path_backward(Tape *t, Node *n)
{
    Tensor *factors = n->saved[0];
    Slot dx = gradient_slot(t, n->in[0]);
    int64_t batch = tensor_count(factors), each = batch ? tensor_count(n->out) / batch : 0;
    contract(!tensor_is_window(&dx.gradient), "drop_path: the gradient of a window");
    KERNEL(t, elementwise, scale_rows, batch, each, factors->data, 1,
           ((Rows){n->out->gradient->data, each, n->out->type}), dx.add,
           ((Rows){dx.gradient.data, each, n->out->type}));
}

Tensor *drop_path(Tape *t, Tensor *x, float rate, uint32_t site)
{
    if (!tape_training(t) || rate == 0)
        return x;
    contract(rate > 0 && rate < 1 && x->shape.rank >= 1, "drop_path: a rate of %g", (double)rate);
    x = contiguous(t, x);
    OP_BEGIN(t, "drop_path", x);
    int64_t batch = x->shape.dim[0], each = batch ? tensor_count(x) / batch : 0;
    Random r = {.draw = tape_draw(t, site), .replay = t->replay};
    Tensor *factors = tensor_make(t, F32, SHAPE(batch));
    const double keep = 1.0 - rate;
    float *host = op_host(t, factors);
    for (int64_t b = 0; host && b < batch; b++) {
        r.next = (uint64_t)tape_element(t, factors->shape, b);
        host[b] = (float)(floor(keep + random_uniform(&r)) / keep);
    }
    op_from_host(t, factors);
    Tensor *y = tensor_make(t, x->type, x->shape);
    KERNEL(t, elementwise, scale_rows, batch, each, factors->data, 1, ((Rows){x->data, each, x->type}), false,
           ((Rows){y->data, each, x->type}));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "drop_path", drop_path_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
        OP_SAVES(t, n, factors);
    }
    return y;
}

Tensor *uniform(Tape *t, Shape shape, uint32_t site)
{
    Random r = {.draw = tape_draw(t, site), .replay = t->replay};
    Tensor *y = tensor_make(t, F32, shape);
    int64_t count = tensor_count(y), place;
    for (int64_t at = 0, n; !t->replay && at < count; at += n) {
        n = row_map_piece(&t->rows, shape, at, &place);
        KERNEL(t, noise, uniform, r.draw, place, n, (float *)y->data + at);
    }
    if (!t->replay)
        return y;
    float *host = op_host(t, y);
    for (int64_t i = 0; host && i < count; i++)
        host[i] = (float)random_uniform(&r);
    op_from_host(t, y);
    return y;
}
