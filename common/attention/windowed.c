#include "common/attention/windowed.h"

#include "common/attention/sight.h"
#include "common/autograd/op.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"

static WindowShape window_shape(const Windowed *w, const Tensor *x)
{
    char text[128];
    const int64_t *n = x->shape.dim;
    contract(w->block > 0 && w->back >= 0 && w->forward >= 0 && x->shape.rank == 4 && n[1] % w->block == 0,
             "windowed_attention: %s is not a number of blocks of %lld tokens", shape_text(x->shape, text),
             (long long)w->block);
    return (WindowShape){
        .batch = n[0], .blocks = n[1] / w->block, .block = w->block, .back = w->back, .forward = w->forward};
}

static void windows_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    KERNEL(t, windows, gather_gradient, n->args, op_as_heads(n->out->gradient), dx.add, op_as_heads(&dx.gradient));
}

/* The window of every block, beside each other: [B,N,H,d] -> [B n,W,H,d]. */
static Tensor *windows(Tape *t, const Windowed *w, Tensor *x)
{
    x = op_heads(t, x);
    OP_BEGIN(t, "windows", x);
    WindowShape s = window_shape(w, x);
    const int64_t *n = x->shape.dim;
    Tensor *y = tensor_make(t, x->type, SHAPE(n[0] * s.blocks, (s.back + 1 + s.forward) * s.block, n[2], n[3]));
    KERNEL(t, windows, gather, &s, w->outside, op_as_heads(x), op_as_heads(y));
    if (OP_RECORDS(t, x)) {
        Node *node = op_record(t, "windows", windows_backward, y, &s, sizeof s);
        OP_INPUTS(t, node, x);
    }
    return y;
}

/* Which keys of its window a query may see, apart from `causal`; NULL: all. */
static Tensor *window_sight(Tape *t, const Windowed *w, const Tensor *q, const Tensor *v_windows)
{
    if (w->hide_zeros)
        return nonzero_keys(t, v_windows);
    if (!w->real && w->back == 0 && w->forward == 0)
        return NULL;
    WindowShape s = window_shape(w, q);
    contract(!w->real || (w->real->type == U8 && tensor_count(w->real) == s.batch * s.blocks * s.block),
             "windowed_attention: %lld marks of what is a token", (long long)tensor_count(w->real));
    int64_t window = (s.back + 1 + s.forward) * s.block;
    Tensor *seen =
        tensor_make(t, U8, w->real ? SHAPE(s.batch * s.blocks, 1, s.block, window) : SHAPE(s.blocks, 1, 1, window));
    KERNEL(t, windows, sight, &s, w->real ? w->real->data : NULL, seen->data);
    return seen;
}

Tensor *windowed_attention(Tape *t, const Windowed *w, Tensor *q, Tensor *k, Tensor *v)
{
    Scope scope = scope_open(t);
    WindowShape s = window_shape(w, q);
    const Shape shape = q->shape;
    Tensor *k_windows = windows(t, w, k), *v_windows = windows(t, w, v);
    AttentionSpec spec = {.scale = w->scale,
                          .dropout = w->dropout,
                          .site = w->site,
                          .mask = {.causal = w->causal,
                                   .causal_offset = w->back * w->block,
                                   .keep = window_sight(t, w, q, v_windows),
                                   .blocked = w->blocked,
                                   .empty_row = w->empty_row}};
    q = reshape(t, q, SHAPE(s.batch * s.blocks, s.block, shape.dim[2], shape.dim[3]));
    Tensor *o = relative_attention(t, &spec, &w->relative, q, k_windows, v_windows);
    return scope_close(t, scope, reshape(t, o, SHAPE(shape.dim[0], shape.dim[1], shape.dim[2], tensor_dim(v, -1))));
}

/* ---- A text that grows */

Cache windowed_cache(const Windowed *w, States *owner, int64_t rows, int64_t heads, int64_t d, int64_t e)
{
    const CacheStream streams[] = {{.name = "keys", .heads = heads, .width = d},
                                   {.name = "values", .heads = heads, .width = e}};
    return cache_new(owner, CACHE_RING, rows, (w->back + 1) * w->block, COUNT_OF(streams), streams);
}

/* Tokens of one block: their keys are those from the first block that they reach back to. */
static Tensor *extend_block(Tape *t, const Windowed *w, Cache *past, Tensor *q, Tensor *k, Tensor *v)
{
    int64_t n = tensor_dim(q, 1), at = cache_seen(past, "keys");
    int64_t seen = at + n - MAX(at / w->block - w->back, 0) * w->block;
    cache_append(t, past, "keys", k);
    cache_append(t, past, "values", v);
    Tensor *keys = cache_last(t, past, "keys", seen), *values = cache_last(t, past, "values", seen);
    AttentionSpec spec = {.scale = w->scale,
                          .mask = {.causal = true,
                                   .causal_offset = seen - n,
                                   .keep = w->hide_zeros ? nonzero_keys(t, values) : NULL,
                                   .blocked = w->blocked,
                                   .empty_row = w->empty_row}};
    return relative_attention(t, &spec, &w->relative, q, keys, values);
}

Tensor *windowed_extend(Tape *t, const Windowed *w, Cache *past, Tensor *q, Tensor *k, Tensor *v)
{
    contract(w->causal && w->forward == 0 && !w->real, "windowed_extend: windows that see what is not there yet");
    Region before = region_open(t, EVAL, NO_GRAD);
    const int64_t *n = q->shape.dim;
    Tensor *y = tensor_make(t, q->type, SHAPE(n[0], n[1], n[2], tensor_dim(v, -1)));
    for (int64_t done = 0, run; done < n[1]; done += run) {
        Scope s = scope_open(t);
        run = MIN(w->block - cache_seen(past, "keys") % w->block, n[1] - done);
        Tensor *o = extend_block(t, w, past, narrow(t, q, 1, done, run), narrow(t, k, 1, done, run),
                                 narrow(t, v, 1, done, run));
        op_copy(t, o, narrow(t, y, 1, done, run), false);
        scope_close_n(t, s, NULL, 0);
    }
    region_close(t, before);
    return y;
}
