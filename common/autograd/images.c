/* Ops on maps [B,C,H,W]. */
#include "common/autograd/op.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"

typedef struct ConvolveArgs {
    ConvolutionShape shape;
    bool relu;
} ConvolveArgs;

/* in: x, weight, bias; saved: x, weight, y (with relu: its sign is that of what relu saw). */
static void convolve_backward(Tape *t, Node *n)
{
    const ConvolveArgs *a = n->args;
    Tensor *x = n->saved[0], *w = n->saved[1], *y = n->saved[2], *dy = n->out->gradient;
    if (a->relu) {
        Tensor *masked = op_like(t, dy);
        int64_t count = tensor_count(dy);
        KERNEL(t, elementwise, unary_gradient, UNARY_RELU, 1, count, ((Rows){dy->data, count, F32}),
               ((Rows){y->data, count, F32}), false, ((Rows){masked->data, count, F32}));
        dy = masked;
    }
    Slot dw = gradient_slot(t, n->in[1]), db = gradient_slot(t, n->in[2]), dx = gradient_slot(t, n->in[0]);
    bool add = slots_agree(t, 2, (Slot *[]){&dw, &db});
    if (dw.wanted)
        KERNEL(t, convolution, convolution_weight_gradient, &a->shape, dy->data, x->data, add, dw.gradient.data,
               db.gradient.data);
    else if (db.wanted) { /* dy lies as rows of channels */
        int64_t channels = a->shape.out_channels, rows = tensor_count(dy) / channels;
        KERNEL(t, elementwise, sum_rows, rows, channels, ((Rows){dy->data, channels, F32}), 1, add, db.gradient.data);
    }
    if (dx.wanted) {
        contract(!tensor_is_window(&dx.gradient), "convolve: the gradient of a window");
        Weight weight = op_weight(w);
        KERNEL(t, convolution, convolution_input_gradient, &a->shape, dy->data, &weight, dx.add, dx.gradient.data);
    }
}

static ConvolutionShape convolution_shape(const Tensor *x, const Tensor *weight, const Convolve *how)
{
    const Shape s = x->shape, w = weight->shape;
    int64_t stride = how->stride ? how->stride : 1, dilation = how->dilation ? how->dilation : 1;
    int64_t groups = how->groups ? how->groups : 1;
    contract(s.rank == 4 && w.rank == 4 && s.dim[1] == w.dim[1] * groups,
             "convolve: a map of %lld channels, a weight for %lld", (long long)s.dim[1],
             (long long)(w.dim[1] * groups));
    return (ConvolutionShape){
        .batch = s.dim[0],
        .in_channels = s.dim[1],
        .in_height = s.dim[2],
        .in_width = s.dim[3],
        .out_channels = w.dim[0],
        .out_height = (s.dim[2] + 2 * how->pad - dilation * (w.dim[2] - 1) - 1) / stride + 1,
        .out_width = (s.dim[3] + 2 * how->pad - dilation * (w.dim[3] - 1) - 1) / stride + 1,
        .kernel_height = w.dim[2],
        .kernel_width = w.dim[3],
        .stride_height = stride,
        .stride_width = stride,
        .pad_top = how->pad,
        .pad_left = how->pad,
        .pad_bottom = how->pad,
        .pad_right = how->pad,
        .dilation_height = dilation,
        .dilation_width = dilation,
        .groups = groups,
        .in_channels_last = x->channels_last,
        .out_channels_last = true,
    };
}

Tensor *convolve(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, const Convolve *how)
{
    if (tensor_is_window(x))
        x = contiguous(t, x);
    weight = contiguous(t, weight);
    bias = bias ? contiguous(t, bias) : NULL;
    OP_BEGIN(t, "convolve", x, weight, bias);
    ConvolveArgs args = {convolution_shape(x, weight, how), how->relu};
    const ConvolutionShape *c = &args.shape;
    contract(c->out_height > 0 && c->out_width > 0 && c->out_channels % c->groups == 0 &&
                 (!bias || tensor_count(bias) == c->out_channels),
             "convolve: a map of %lld x %lld, %lld channels in %lld groups, and a bias of another size or nothing left",
             (long long)c->in_height, (long long)c->in_width, (long long)c->out_channels, (long long)c->groups);
    Tensor *y = tensor_make(t, F32, SHAPE(c->batch, c->out_channels, c->out_height, c->out_width));
    y->channels_last = true;
    Weight w = op_weight(weight);
    t->macs += (double)tensor_count(y) * (double)(tensor_count(weight) / c->out_channels);
    KERNEL(t, convolution, convolution, c, x->data, &w, op_floats(bias), how->relu, y->data);
    if (OP_RECORDS(t, x, weight, bias)) {
        Node *n = op_record(t, "convolve", convolve_backward, y, &args, sizeof args);
        OP_INPUTS(t, n, x, weight, bias);
        OP_SAVES(t, n, x, weight, how->relu ? y : NULL);
    }
    return y;
}

static void resize_backward(Tape *t, Node *n)
{
    const Shape in = n->in[0]->shape, out = n->out->shape;
    Slot dx = gradient_slot(t, n->in[0]);
    contract(!tensor_is_window(&dx.gradient), "resize_bicubic: the gradient of a window");
    KERNEL(t, resize, bicubic_gradient, in.dim[0] * in.dim[1], in.dim[2], in.dim[3], out.dim[2], out.dim[3],
           n->out->gradient->data, dx.add, dx.gradient.data);
}

Tensor *resize_bicubic(Tape *t, Tensor *x, int64_t height, int64_t width)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "resize_bicubic", x);
    const Shape s = x->shape;
    contract(s.rank == 4, "resize_bicubic: rank %d, not 4", s.rank);
    Tensor *y = tensor_make(t, F32, SHAPE(s.dim[0], s.dim[1], height, width));
    KERNEL(t, resize, bicubic, s.dim[0] * s.dim[1], s.dim[2], s.dim[3], height, width, x->data, y->data);
    if (OP_RECORDS(t, x)) {
        Node *n = op_record(t, "resize_bicubic", resize_backward, y, NULL, 0);
        OP_INPUTS(t, n, x);
    }
    return y;
}

/* ---- Augmentation */

static ImageBatch image_batch(const char *op, int64_t batch, int64_t channels, int64_t height, int64_t width)
{
    contract(channels <= IMAGE_CHANNELS && height * width <= INT32_MAX, "%s: images of %lld x %lld, %lld channels", op,
             (long long)height, (long long)width, (long long)channels);
    return (ImageBatch){batch, channels, height, width};
}

static void check_box(const char *op, const ImageBatch *s, const Box *b)
{
    contract(b->top >= 0 && b->left >= 0 && b->height >= 0 && b->width >= 0 && b->top + b->height <= s->height &&
                 b->left + b->width <= s->width,
             "%s: a box of %d x %d at %d, %d leaves images of %lld x %lld", op, b->height, b->width, b->top, b->left,
             (long long)s->height, (long long)s->width);
}

/* With numbers from outside. */
static void replay_erasure(Tape *t, const ImageBatch *s, int64_t image, const Box *b, const Tensor *y)
{
    Random r = {.replay = t->replay};
    float *row = mem_new((size_t)b->width * sizeof *row);
    for (int64_t c = 0; c < s->channels; c++)
        for (int64_t line = b->top; line < b->top + b->height; line++) {
            for (int i = 0; i < b->width; i++)
                row[i] = (float)random_normal(&r);
            int64_t at = ((image * s->channels + c) * s->height + line) * s->width + b->left;
            op_upload(t, (float *)y->data + at, row, (size_t)b->width * sizeof *row);
        }
    mem_free(row);
}

Tensor *map_from_bytes(Tape *t, Tensor *bytes, const Normalization *normalization, const Erasure *erasures)
{
    bytes = contiguous(t, bytes);
    OP_BEGIN(t, "map_from_bytes", bytes);
    const int64_t *n = bytes->shape.dim;
    contract(bytes->shape.rank == 4 && bytes->type == U8, "map_from_bytes: %s of rank %d, not bytes of rank 4",
             dtype_name(bytes->type), bytes->shape.rank);
    ImageBatch s = image_batch("map_from_bytes", n[0], n[3], n[1], n[2]);
    for (int64_t b = 0; erasures && b < s.batch; b++)
        check_box("map_from_bytes", &s, &erasures[b].box);
    Scope scope = scope_open(t);
    Tensor *y = tensor_make(t, F32, SHAPE(s.batch, s.channels, s.height, s.width)), *where = NULL;
    if (erasures && !t->replay)
        where = tensor_from(t, U8, SHAPE(s.batch, (int64_t)sizeof *erasures), erasures);
    KERNEL(t, augment, normalize, &s, normalization, where ? where->data : NULL, bytes->data, y->data);
    for (int64_t b = 0; erasures && t->replay && b < s.batch; b++)
        replay_erasure(t, &s, b, &erasures[b].box, y);
    return scope_close(t, scope, y);
}

Tensor *mix_reversed(Tape *t, Tensor *x, const Box *box, double share)
{
    x = contiguous(t, x);
    OP_BEGIN(t, "mix_reversed", x);
    const int64_t *n = x->shape.dim;
    contract(x->shape.rank == 4 && x->type == F32 && !OP_RECORDS(t, x),
             "mix_reversed: not a map of floats without gradient");
    ImageBatch s = image_batch("mix_reversed", n[0], n[1], n[2], n[3]);
    Box all = {.height = (int)s.height, .width = (int)s.width};
    check_box("mix_reversed", &s, box ? box : &all);
    Tensor *y = tensor_make(t, F32, x->shape);
    KERNEL(t, augment, mix, &s, box ? box : &all, share, x->data, y->data);
    return y;
}
