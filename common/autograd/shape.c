/* Ops that move or rename elements. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"

#include "common/base/memory.h"

#include <string.h>

Rows op_as_rows(const Tensor *x, int64_t *rows, int64_t *cols)
{
    Rows out;
    bool good = tensor_rows(x, rows, cols, &out);
    contract(good, "rows asked of a window that has none");
    return out;
}

/* A run is either one token (a window of a fused projection) or a sample's tokens (a window of the sequence). */
Tensor *op_heads(Tape *t, Tensor *x)
{
    char text[128];
    contract(x->shape.rank == 4, "%s is not [B,N,heads,width]", shape_text(x->shape, text));
    int64_t width = x->shape.dim[2] * x->shape.dim[3], sample = x->shape.dim[1] * width;
    bool fits = !tensor_is_window(x) || x->run == width || x->run == sample;
    return fits && !x->channels_last ? x : contiguous(t, x);
}

HeadRows op_as_heads(const Tensor *x)
{
    int64_t width = x->shape.dim[2] * x->shape.dim[3], tokens = x->shape.dim[1];
    HeadRows h = {.data = x->data, .token_step = width, .type = x->type};
    int64_t per_batch = tokens * width;
    if (tensor_is_window(x)) {
        bool by_token = x->run == width;
        h.token_step = by_token ? x->stride : width;
        per_batch = by_token ? tokens * x->stride : x->stride;
    }
    h.batch_step = x->shape.dim[0] == 1 ? 0 : per_batch;
    return h;
}

void op_copy(Tape *t, const Tensor *x, Tensor *y, bool add)
{
    int64_t x_blocks, y_blocks, x_run, y_run;
    Rows from = tensor_blocks(x, &x_blocks, &x_run), to = tensor_blocks(y, &y_blocks, &y_run);
    int64_t piece = MIN(x_run, y_run), longer = MAX(x_run, y_run), count = tensor_count(x);
    if (piece == 0 || count == 0)
        return;
    contract(longer % piece == 0, "copy between blocks of %lld and %lld elements", (long long)x_run, (long long)y_run);
    /* The longer side is cut into the shorter side's pieces: they lie one piece apart, but only within one of its blocks. */
    int64_t calls = longer == piece ? 1 : count / longer, rows = count / piece / calls;
    int64_t x_step = x_run > piece ? from.stride : rows * from.stride;
    int64_t y_step = y_run > piece ? to.stride : rows * to.stride;
    from.stride = x_run > piece ? piece : from.stride;
    to.stride = y_run > piece ? piece : to.stride;
    size_t x_bytes = dtype_bytes(from.type), y_bytes = dtype_bytes(to.type);
    bool plain = from.type == to.type && !add;
    for (int64_t i = 0; i < calls; i++) {
        if (plain)
            KERNEL(t, elementwise, copy, rows, (size_t)piece * x_bytes, from.data, (size_t)from.stride * x_bytes,
                   to.data, (size_t)to.stride * y_bytes);
        else
            KERNEL(t, elementwise, scale, rows, piece, 1.0f, from, add, to);
        from.data = (char *)from.data + (size_t)x_step * x_bytes;
        to.data = (char *)to.data + (size_t)y_step * y_bytes;
    }
}

void op_zero(Tape *t, const Tensor *x)
{
    int64_t blocks, run;
    Rows to = tensor_blocks(x, &blocks, &run);
    size_t bytes = dtype_bytes(x->type), run_bytes = (size_t)run * bytes, all = (size_t)tensor_count(x) * bytes;
    if (all == 0)
        return;
    if (!tensor_is_window(x) && all % sizeof(float) == 0) {
        KERNEL(t, elementwise, fill, (int64_t)(all / sizeof(float)), 0.0f, x->data);
        return;
    }
    Scope s = scope_open(t);
    Tensor *zeros = tensor_make(t, F32, SHAPE((int64_t)(run_bytes / sizeof(float)) + 1));
    KERNEL(t, elementwise, fill, tensor_count(zeros), 0.0f, zeros->data);
    KERNEL(t, elementwise, copy, blocks, run_bytes, zeros->data, 0, to.data, (size_t)to.stride * bytes);
    scope_close_n(t, s, NULL, 0);
}

static void copy_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    op_copy(t, n->out->gradient, &dx.gradient, dx.add);
}

static void layout_backward(Tape *t, Node *n)
{
    Slot dx = gradient_slot(t, n->in[0]);
    const Shape s = n->out->shape;
    Scope scope = scope_open(t);
    Tensor *turned = tensor_make(t, n->out->type, s);
    KERNEL(t, elementwise, permute, 4, s.dim, ((const int[]){0, 2, 3, 1}), dtype_bytes(turned->type),
           n->out->gradient->data, turned->data);
    op_copy(t, turned, &dx.gradient, dx.add);
    scope_close_n(t, scope, NULL, 0);
}

Tensor *contiguous(Tape *t, Tensor *x)
{
    if (!tensor_is_window(x) && !x->channels_last)
        return x;
    OP_BEGIN(t, "contiguous", x);
    Tensor *y = tensor_make(t, x->type, x->shape);
    if (x->channels_last) {
        const Shape s = x->shape;
        const int64_t memory[] = {s.dim[0], s.dim[2], s.dim[3], s.dim[1]};
        KERNEL(t, elementwise, permute, 4, memory, ((const int[]){0, 3, 1, 2}), dtype_bytes(x->type), x->data, y->data);
    } else {
        op_copy(t, x, y, false);
    }
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "contiguous", x->channels_last ? layout_backward : copy_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return y;
}

Tensor *convert(Tape *t, Tensor *x, DType type)
{
    if (x->type == type)
        return x;
    x = contiguous(t, x);
    OP_BEGIN(t, "convert", x);
    Tensor *y = tensor_make(t, type, x->shape);
    op_copy(t, x, y, false);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "convert", copy_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return y;
}

Tensor *op_rows(Tape *t, Tensor *x)
{
    int64_t rows, cols;
    Rows r;
    return tensor_rows(x, &rows, &cols, &r) && !x->channels_last ? x : contiguous(t, x);
}

Tensor *reshape(Tape *t, Tensor *x, Shape shape)
{
    char from[128], to[128];
    contract(shape_count(shape) == tensor_count(x), "reshape: %s to %s", shape_text(x->shape, from),
             shape_text(shape, to));
    if (x->channels_last)
        x = contiguous(t, x);
    OP_BEGIN(t, "reshape", x);
    if (tensor_is_window(x)) { /* legal if some suffix of the new axes is exactly a run */
        int axis = shape.rank;
        int64_t suffix = 1;
        while (axis > 0 && suffix < x->run)
            suffix *= shape.dim[--axis];
        if (suffix != x->run)
            x = contiguous(t, x);
    }
    return op_view(t, x, shape, 0, x->run, x->stride);
}

Tensor *narrow(Tape *t, Tensor *x, int axis, int64_t start, int64_t length)
{
    char text[128];
    contract(axis >= 0 && axis < x->shape.rank && start >= 0 && length >= 0 && start + length <= x->shape.dim[axis],
             "narrow: axis %d, %lld + %lld, of %s", axis, (long long)start, (long long)length,
             shape_text(x->shape, text));
    int64_t inner = shape_product(x->shape, axis + 1, x->shape.rank), outer = shape_product(x->shape, 0, axis);
    int64_t block = inner * x->shape.dim[axis];
    bool by_blocks = outer == 1 && x->run && inner % x->run == 0; /* whole blocks of a window are cut off */
    if (x->channels_last || (tensor_is_window(x) && block != x->run && !by_blocks))
        x = contiguous(t, x);
    OP_BEGIN(t, "narrow", x);
    Shape shape = x->shape;
    shape.dim[axis] = length;
    if (tensor_is_window(x) && block != x->run)
        return op_view(t, x, shape, tensor_offset(x, start * inner), x->run, x->stride);
    int64_t stride = tensor_is_window(x) && block == x->run ? x->stride : block;
    if (outer == 1 || length * inner == stride)
        return op_view(t, x, shape, start * inner, shape_count(shape), shape_count(shape));
    return op_view(t, x, shape, start * inner, length * inner, stride);
}

/* The window of y (a contiguous tensor or its gradient) that holds `length` of axis `axis` from `start` on. */
static Tensor part_of(const Tensor *y, int axis, int64_t start, int64_t length)
{
    Tensor part = *y;
    int64_t inner = shape_product(y->shape, axis + 1, y->shape.rank);
    part.shape.dim[axis] = length;
    part.data = (char *)y->data + (size_t)(start * inner) * dtype_bytes(y->type);
    part.run = length * inner;
    part.stride = y->shape.dim[axis] * inner;
    return part;
}

typedef struct ConcatArgs {
    int axis;
} ConcatArgs;

static void concat_backward(Tape *t, Node *n)
{
    int axis = ((ConcatArgs *)n->args)->axis;
    int64_t start = 0;
    for (int i = 0; i < n->ins; i++) {
        int64_t length = n->in[i]->shape.dim[axis];
        Tensor part = part_of(n->out->gradient, axis, start, length);
        Slot dx = gradient_slot(t, n->in[i]);
        if (dx.wanted)
            op_copy(t, &part, &dx.gradient, dx.add);
        start += length;
    }
}

/* Whether x can be copied block by block from or to a window of runs of `run` elements. */
static bool fits_runs(const Tensor *x, int64_t run)
{
    return !x->channels_last && (!tensor_is_window(x) || (x->run && run % x->run == 0));
}

Tensor *concat(Tape *t, int axis, int n, Tensor *const *parts)
{
    enum { MOST = 64 };
    contract(n >= 1 && n <= MOST, "concat: %d parts", n);
    contract(axis >= 0 && axis < parts[0]->shape.rank, "concat: axis %d of rank %d", axis, parts[0]->shape.rank);
    Tensor *in[MOST];
    Shape shape = parts[0]->shape;
    shape.dim[axis] = 0;
    for (int i = 0; i < n; i++) {
        Shape s = parts[i]->shape;
        shape.dim[axis] += s.dim[axis];
        s.dim[axis] = shape.dim[axis];
        contract(shape_equal(s, shape) && parts[i]->type == parts[0]->type, "concat: part %d does not fit", i);
        in[i] =
            fits_runs(parts[i], shape_product(parts[i]->shape, axis, shape.rank)) ? parts[i] : contiguous(t, parts[i]);
    }
    op_begin(t, "concat", n, in);
    Tensor *y = tensor_make(t, parts[0]->type, shape);
    int64_t start = 0;
    for (int i = 0; i < n; i++) {
        int64_t length = in[i]->shape.dim[axis];
        Tensor part = part_of(y, axis, start, length);
        op_copy(t, in[i], &part, false);
        start += length;
    }
    if (op_records(t, n, in)) {
        Node *node = op_record(t, "concat", concat_backward, y, &(ConcatArgs){axis}, sizeof(ConcatArgs));
        op_inputs(t, node, n, in);
    }
    return y;
}

Tensor *concat2(Tape *t, int axis, Tensor *a, Tensor *b)
{
    return concat(t, axis, 2, (Tensor *[]){a, b});
}

/* ---- An axis moved, or made longer with zeros */

typedef struct PlaceArgs {
    int axis;
    int64_t at;
} PlaceArgs;

/* y[i] (+)= x[i - at] along an axis, 0 where x has nothing; both without gaps. */
static void place(Tape *t, const Tensor *x, int axis, int64_t at, bool add, const Tensor *y)
{
    int64_t length = y->shape.dim[axis], first = MIN(MAX(at, 0), length);
    int64_t end = MAX(MIN(at + x->shape.dim[axis], length), first);
    Tensor to = part_of(y, axis, first, end - first);
    if (end > first) {
        Tensor from = part_of(x, axis, first - at, end - first);
        op_copy(t, &from, &to, add);
    }
    if (add)
        return;
    to = part_of(y, axis, 0, first);
    op_zero(t, &to);
    to = part_of(y, axis, end, length - end);
    op_zero(t, &to);
}

static void place_backward(Tape *t, Node *n)
{
    const PlaceArgs *a = n->args;
    Slot dx = gradient_slot(t, n->in[0]);
    place(t, n->out->gradient, a->axis, -a->at, dx.add, &dx.gradient);
}

static Tensor *placed(Tape *t, const char *op, Tensor *x, int axis, int64_t at, int64_t length)
{
    char text[128];
    x = contiguous(t, x);
    OP_BEGIN(t, op, x);
    contract(axis >= 0 && axis < x->shape.rank && length >= 0, "%s: axis %d of %s to length %lld", op, axis,
             shape_text(x->shape, text), (long long)length);
    Shape shape = x->shape;
    shape.dim[axis] = length;
    Tensor *y = tensor_make(t, x->type, shape);
    place(t, x, axis, at, false, y);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, op, place_backward, y, &(PlaceArgs){axis, at}, sizeof(PlaceArgs));
        OP_INPUTS(t, n, x);
    }
    return y;
}

Tensor *shift(Tape *t, Tensor *x, int axis, int64_t by)
{
    return placed(t, "shift", x, axis, by, axis >= 0 && axis < x->shape.rank ? x->shape.dim[axis] : -1);
}

Tensor *pad(Tape *t, Tensor *x, int axis, int64_t before, int64_t after)
{
    int64_t length = axis >= 0 && axis < x->shape.rank ? x->shape.dim[axis] : -1;
    return placed(t, "pad", x, axis, before, before >= 0 && after >= 0 ? before + length + after : -1);
}

typedef struct PermuteArgs {
    int order[MAX_RANK];
} PermuteArgs;

static void permute_backward(Tape *t, Node *n)
{
    const PermuteArgs *a = n->args;
    int back[MAX_RANK];
    Shape s = n->out->shape;
    for (int i = 0; i < s.rank; i++)
        back[a->order[i]] = i;
    Tensor *dx = tensor_make(t, n->out->type, n->in[0]->shape);
    KERNEL(t, elementwise, permute, s.rank, s.dim, back, dtype_bytes(dx->type), n->out->gradient->data, dx->data);
    gradient_give(t, n->in[0], dx);
}

Tensor *permute(Tape *t, Tensor *x, const int *order)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "permute", x);
    PermuteArgs args;
    Shape shape = x->shape;
    unsigned seen = 0;
    for (int i = 0; i < shape.rank; i++) {
        contract(order[i] >= 0 && order[i] < shape.rank && !(seen >> order[i] & 1),
                 "permute: axis %d twice or not there", order[i]);
        seen |= 1u << order[i];
        args.order[i] = order[i];
        shape.dim[i] = x->shape.dim[order[i]];
    }
    Tensor *y = tensor_make(t, x->type, shape);
    KERNEL(t, elementwise, permute, shape.rank, x->shape.dim, args.order, dtype_bytes(x->type), x->data, y->data);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "permute", permute_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x);
    }
    return y;
}

static void expand_backward(Tape *t, Node *n)
{
    int64_t count = tensor_count(n->in[0]);
    Slot dx = gradient_slot(t, n->in[0]);
    const Tensor *dy = n->out->gradient;
    KERNEL(t, elementwise, sum_rows, dy->shape.dim[0], count, ((Rows){dy->data, count, dy->type}), 1, dx.add,
           dx.gradient.data);
}

Tensor *expand(Tape *t, Tensor *x, int64_t times)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "expand", x);
    contract(x->shape.rank >= 1 && x->shape.dim[0] == 1 && x->type == F32,
             "expand: the first axis has %lld entries, not 1", (long long)x->shape.dim[0]);
    Shape shape = x->shape;
    shape.dim[0] = times;
    Tensor *y = tensor_make(t, x->type, shape);
    int64_t count = tensor_count(x);
    KERNEL(t, elementwise, scale, times, count, 1.0f, ((Rows){x->data, 0, x->type}), false,
           ((Rows){y->data, count, y->type}));
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "expand", expand_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return y;
}

Tensor *tokens_from_map(Tape *t, Tensor *x)
{
    const Shape s = x->shape;
    contract(s.rank == 4, "tokens_from_map: rank %d, not 4", s.rank);
    Shape tokens = SHAPE(s.dim[0], s.dim[2] * s.dim[3], s.dim[1]);
    if (x->channels_last) /* it already lies that way */
        return op_view(t, x, tokens, 0, x->run, x->stride);
    return reshape(t, permute(t, x, (const int[]){0, 2, 3, 1}), tokens);
}

Tensor *map_from_tokens(Tape *t, Tensor *x, int64_t height, int64_t width)
{
    x = contiguous(t, x);
    const Shape s = x->shape;
    contract(s.rank == 3 && s.dim[1] == height * width, "map_from_tokens: %lld tokens are not %lld x %lld",
             (long long)s.dim[1], (long long)height, (long long)width);
    Tensor *y = op_view(t, x, SHAPE(s.dim[0], s.dim[2], height, width), 0, x->run, x->stride);
    y->channels_last = true;
    return y;
}
