#include "common/nn/layers.h"

#include <math.h>

static Linear add_linear(Params *p, const char *name, int64_t in, int64_t out, bool bias, Init weight, Init first_bias)
{
    params_enter(p, "%s", name);
    Linear l = {.weight = params_add(p, "weight", SHAPE(out, in), weight)};
    if (bias)
        l.bias = params_add(p, "bias", SHAPE(out), first_bias);
    params_leave(p);
    return l;
}

Linear linear_new(Params *p, const char *name, int64_t in, int64_t out, bool bias, Init weight)
{
    return add_linear(p, name, in, out, bias, weight, INIT_ZEROS);
}

Linear linear_torch_new(Params *p, const char *name, int64_t in, int64_t out, bool bias)
{
    Init init = {INIT_UNIFORM, 1.0 / sqrt((double)in)};
    return add_linear(p, name, in, out, bias, init, init);
}

Tensor *linear(Tape *t, const Linear *l, Tensor *x)
{
    return affine(t, x, l->weight, l->bias);
}

Tensor *linear_inner(Tape *t, const Linear *l, Tensor *x)
{
    return affine_inner(t, x, l->weight, l->bias);
}

LayerNorm layer_norm_new(Params *p, const char *name, int64_t width, float eps)
{
    params_enter(p, "%s", name);
    LayerNorm l = {.weight = params_add(p, "weight", SHAPE(width), INIT_ONES),
                   .bias = params_add(p, "bias", SHAPE(width), INIT_ZEROS),
                   .eps = eps};
    params_leave(p);
    return l;
}

Tensor *layer_norm(Tape *t, const LayerNorm *l, Tensor *x)
{
    return standardize(t, x, l->weight, l->bias, l->eps);
}

Tensor *layer_norm_inner(Tape *t, const LayerNorm *l, Tensor *x)
{
    return standardize_inner(t, x, l->weight, l->bias, l->eps);
}

static const char batches[] = "num_batches_tracked";

BatchNorm batch_norm_new(Params *p, const char *name, int64_t channels, float eps, float momentum)
{
    params_enter(p, "%s", name);
    BatchNorm l = {.weight = params_add(p, "weight", SHAPE(channels), INIT_ONES),
                   .bias = params_add(p, "bias", SHAPE(channels), INIT_ZEROS),
                   .running_mean = params_add_buffer(p, "running_mean", SHAPE(channels), INIT_ZEROS),
                   .running_var = params_add_buffer(p, "running_var", SHAPE(channels), INIT_ONES),
                   .num_batches_tracked = params_add_count(p, batches),
                   .eps = eps,
                   .momentum = momentum};
    params_leave(p);
    return l;
}

Tensor *batch_norm(Tape *t, const BatchNorm *l, Tensor *x)
{
    return standardize_channels(t, x, 1, l);
}

Tensor *batch_norm_rows(Tape *t, const BatchNorm *l, Tensor *x)
{
    return standardize_channels(t, x, x->shape.rank - 1, l);
}

bool batch_norm_is_in(Params *p)
{
    for (int i = 0; i < params_count(p); i++)
        if (str_ends(params_at(p, i)->name, batches))
            return true;
    return false;
}

Conv2d conv2d_new(Params *p, const char *name, int64_t in, int64_t out, int64_t kernel, Convolve how)
{
    int64_t fan_in = in / (how.groups ? how.groups : 1) * kernel * kernel;
    Init init = {INIT_UNIFORM, 1.0 / sqrt((double)fan_in)};
    params_enter(p, "%s", name);
    Conv2d l = {.weight = params_add(p, "weight", SHAPE(out, in / (how.groups ? how.groups : 1), kernel, kernel), init),
                .bias = params_add(p, "bias", SHAPE(out), init),
                .how = how};
    params_leave(p);
    return l;
}

Tensor *conv2d(Tape *t, const Conv2d *l, Tensor *x)
{
    return convolve(t, x, l->weight, l->bias, &l->how);
}
