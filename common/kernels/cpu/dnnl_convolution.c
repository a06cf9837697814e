/* Convolution through oneDNN.
 *
 * Its fast kernels want channels last on both sides (measured on Zen 4, oneDNN 2.6, GFLOP/s of one core whose peak is
 * 115: channels last 100-120 forward, 85-115 by weight, 55-100 by input; blocked layouts within a tenth of that;
 * channels first, through its im2col, 10-75; one side first and the other last is its reference, below 1). So every
 * plan has channels last, and images that lie otherwise are converted a task at a time: callers do best to keep the
 * results of convolutions, and images of several channels, channels last. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_images.h"
#include <string.h>

/* ---- plans ---- */

/* The weight [out, in / groups, height, width], or with groups [groups, out / groups, ...]. */
static Layout weight_layout(const ImageKey *k, bool any)
{
    int64_t height = k->kernel_height, width = k->kernel_width, in = k->in_channels / k->groups;
    int64_t out = k->out_channels / k->groups;
    int64_t dims[] = {k->groups, out, in, height, width};
    int64_t strides[] = {out * k->weight_stride, k->weight_stride, height * width, width, 1};
    bool grouped = k->groups > 1;
    return any ? layout_any(F32, grouped ? 5 : 4, dims + !grouped)
               : layout_strided(F32, grouped ? 5 : 4, dims + !grouped, strides + !grouped);
}

typedef struct Layouts {
    Layout x, weight, stored_weight, bias, y;
} Layouts;

static Layouts layouts_of(const ImageKey *k)
{
    return (Layouts){image_layout(k->batch, k->in_channels, k->in_height, k->in_width, true), weight_layout(k, true),
                     weight_layout(k, false), k->bias ? layout_strided(F32, 1, &k->out_channels, (int64_t[]){1}) : NULL,
                     image_layout(k->batch, k->out_channels, k->out_height, k->out_width, true)};
}

static void layouts_free(Layouts *l)
{
    layout_free(l->x);
    layout_free(l->weight);
    layout_free(l->stored_weight);
    layout_free(l->bias);
    layout_free(l->y);
}

static void build_forward(Plan *plan, const PlanKey *key)
{
    const ImageKey *k = &key->image;
    Layouts l = layouts_of(k);
    dnnl_primitive_attr_t attributes = plan_attributes(false, k->relu);
    int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    plan_set(plan, describe_convolution(k, l.x, l.weight, l.bias, l.y, attributes), names, k->bias ? 4 : 3);
    plan_set_packing(plan, DNNL_ARG_WEIGHTS, l.stored_weight);
    DNNL(dnnl_primitive_attr_destroy(attributes));
    layouts_free(&l);
}

static void build_by_input(Plan *plan, const PlanKey *key)
{
    const ImageKey *k = &key->image;
    Layouts l = layouts_of(k);
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    dnnl_primitive_desc_t forward = describe_convolution(k, l.x, l.weight, NULL, l.y, attributes);
    int names[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC};
    plan_set(plan, describe_convolution_by_input(k, l.x, l.weight, l.y, forward, attributes), names, 3);
    plan_set_packing(plan, DNNL_ARG_WEIGHTS, l.stored_weight);
    DNNL(dnnl_primitive_desc_destroy(forward));
    DNNL(dnnl_primitive_attr_destroy(attributes));
    layouts_free(&l);
}

static dnnl_primitive_desc_t describe_by_weight(const ImageKey *k, Layout weight)
{
    Layouts l = layouts_of(k);
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    dnnl_primitive_desc_t forward = describe_convolution(k, l.x, weight ? weight : l.weight, l.bias, l.y, attributes);
    dnnl_primitive_desc_t made =
        describe_convolution_by_weight(k, l.x, weight ? weight : l.weight, l.bias, l.y, forward, attributes);
    DNNL(dnnl_primitive_desc_destroy(forward));
    DNNL(dnnl_primitive_attr_destroy(attributes));
    layouts_free(&l);
    return made;
}

/* The gradient by weight of some images lies as oneDNN likes it for a full task, so that the tasks' can be added; the
 * sum is then brought into the caller's layout. */
static void build_by_weight(Plan *plan, const PlanKey *key)
{
    const ImageKey *k = &key->image;
    ImageKey full = *k;
    full.batch = k->layout_batch;
    dnnl_primitive_desc_t description = describe_by_weight(&full, NULL);
    if (k->batch != k->layout_batch) {
        Layout layout = layout_copy(dnnl_primitive_desc_query_md(description, dnnl_query_diff_weights_md, 0));
        DNNL(dnnl_primitive_desc_destroy(description));
        description = describe_by_weight(k, layout);
        layout_free(layout);
    }
    int names[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS};
    plan_set(plan, description, names, k->bias ? 4 : 3);
    Layout stored = weight_layout(k, false);
    plan_set_unpacking(plan, DNNL_ARG_DIFF_WEIGHTS, stored, k->add);
    layout_free(stored);
}

/* ---- kernels ---- */

/* A convolution, or one of its gradients, cut into tasks of some images. */
typedef struct Convolution {
    Split split;
    Images x, y; /* or their gradients */
    Plan *full, *last;
    Place weight, last_weight;
    const float *bias;
    float *partial; /* by weight: a task's gradient, by weight and then by bias, lies in partial_step numbers */
    int64_t weight_size, partial_step;
} Convolution;

static Split convolution_split(const ConvolutionShape *s)
{
    double flops = 2. * (double)(s->out_channels * s->out_height * s->out_width) *
                   (double)(s->in_channels / s->groups * s->kernel_height * s->kernel_width);
    return split_batch(s->batch, flops);
}

static PlanKey convolution_key(const ConvolutionShape *s, void (*build)(Plan *, const PlanKey *))
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build;
    key.image = image_key(s, 0, true);
    return key;
}

static void convolution_plans(const Exec *exec, PlanKey key, Convolution *c)
{
    key.image.batch = c->split.step;
    c->full = plan_get(exec, &key);
    key.image.batch = c->split.last;
    c->last = plan_get(exec, &key);
}

static void place_weights(const Exec *exec, const Weight *weight, Convolution *c)
{
    c->weight = weight_place(exec, c->full, PACK_CONVOLUTION, weight, WORK_WEIGHT);
    c->last_weight =
        c->last == c->full ? c->weight : weight_place(exec, c->last, PACK_CONVOLUTION, weight, WORK_WEIGHT_LAST);
}

static Images x_images(const Exec *exec, const ConvolutionShape *s, const Split *split, const float *x, ImagesUse use)
{
    return images_of(exec, split, s->in_channels, s->in_height * s->in_width, s->in_channels_last, true, x, use,
                     WORK_LEFT);
}

static Images y_images(const Exec *exec, const ConvolutionShape *s, const Split *split, const float *y, ImagesUse use)
{
    return images_of(exec, split, s->out_channels, s->out_height * s->out_width, s->out_channels_last, true, y, use,
                     WORK_RIGHT);
}

static int64_t in_size(const ConvolutionShape *s)
{
    return s->in_channels * s->in_height * s->in_width;
}

static int64_t out_size(const ConvolutionShape *s)
{
    return s->out_channels * s->out_height * s->out_width;
}

static bool is_full(const Convolution *c, int64_t task)
{
    return task + 1 < c->split.tasks;
}

static void forward_task(void *context, int64_t task, int thread)
{
    const Convolution *c = context;
    Place places[] = {{images_read(&c->x, &c->split, task, thread), NULL},
                      is_full(c, task) ? c->weight : c->last_weight,
                      {images_place(&c->y, task, thread), NULL},
                      {c->bias, NULL}};
    plan_run(is_full(c, task) ? c->full : c->last, thread, places);
    images_write(&c->y, &c->split, task, thread);
}

static void convolution(const Exec *exec, const ConvolutionShape *s, const float *x, const Weight *weight,
                        const float *bias, bool relu, float *y)
{
    if (s->batch == 0 || out_size(s) == 0)
        return;
    contract(in_size(s) > 0, "convolution of images without pixels");
    Convolution c = {.split = convolution_split(s), .bias = bias};
    PlanKey key = convolution_key(s, build_forward);
    key.image.weight_stride = weight->stride;
    key.image.bias = bias != NULL;
    key.image.relu = relu;
    convolution_plans(exec, key, &c);
    place_weights(exec, weight, &c);
    c.x = x_images(exec, s, &c.split, x, IMAGES_READ);
    c.y = y_images(exec, s, &c.split, y, IMAGES_WRITE);
    tasks_run(exec, c.split.tasks, c.split.flops, forward_task, &c);
}

static void by_input_task(void *context, int64_t task, int thread)
{
    const Convolution *c = context;
    Place places[] = {{images_read(&c->y, &c->split, task, thread), NULL},
                      is_full(c, task) ? c->weight : c->last_weight,
                      {images_place(&c->x, task, thread), NULL}};
    plan_run(is_full(c, task) ? c->full : c->last, thread, places);
    images_write(&c->x, &c->split, task, thread);
}

static void convolution_input_gradient(const Exec *exec, const ConvolutionShape *s, const float *dy,
                                       const Weight *weight, bool add, float *dx)
{
    if (s->batch == 0 || in_size(s) == 0)
        return;
    if (out_size(s) == 0) {
        if (!add)
            memset(dx, 0, (size_t)(s->batch * in_size(s)) * sizeof *dx);
        return;
    }
    Convolution c = {.split = convolution_split(s)};
    PlanKey key = convolution_key(s, build_by_input);
    key.image.weight_stride = weight->stride;
    convolution_plans(exec, key, &c);
    place_weights(exec, weight, &c);
    c.x = x_images(exec, s, &c.split, dx, add ? IMAGES_ADD : IMAGES_WRITE);
    c.y = y_images(exec, s, &c.split, dy, IMAGES_READ);
    tasks_run(exec, c.split.tasks, c.split.flops, by_input_task, &c);
}

static void by_weight_task(void *context, int64_t task, int thread)
{
    const Convolution *c = context;
    float *partial = c->partial + task * c->partial_step;
    Place places[] = {{images_read(&c->x, &c->split, task, thread), NULL},
                      {images_read(&c->y, &c->split, task, thread), NULL},
                      {partial, NULL},
                      {partial + c->weight_size, NULL}};
    plan_run(is_full(c, task) ? c->full : c->last, thread, places);
}

/* The tasks' gradients are added in their order: a block of numbers, for all tasks. */
enum { SUM_BLOCK = 2048 };

static void sum_task(void *context, int64_t block, int thread)
{
    (void)thread;
    const Convolution *c = context;
    int64_t first = block * SUM_BLOCK, count = MIN(SUM_BLOCK, c->partial_step - first);
    float *restrict sum = c->partial + first;
    for (int64_t task = 1; task < c->split.tasks; task++) {
        const float *restrict partial = c->partial + task * c->partial_step + first;
        for (int64_t i = 0; i < count; i++)
            sum[i] += partial[i];
    }
}

static void sum_partial(const Exec *exec, Convolution *c)
{
    int64_t blocks = (c->partial_step + SUM_BLOCK - 1) / SUM_BLOCK;
    double flops = 16. * (double)(c->split.tasks * c->partial_step); /* in the time of reading them */
    if (c->split.tasks > 1)
        tasks_run(exec, blocks, flops, sum_task, c);
}

static void convolution_weight_gradient(const Exec *exec, const ConvolutionShape *s, const float *dy, const float *x,
                                        bool add, float *dweight, float *dbias)
{
    int64_t row = s->in_channels / s->groups * s->kernel_height * s->kernel_width;
    if (s->batch == 0 || out_size(s) == 0) {
        if (!add)
            memset(dweight, 0, (size_t)(s->out_channels * row) * sizeof *dweight);
        if (!add && dbias)
            memset(dbias, 0, (size_t)s->out_channels * sizeof *dbias);
        return;
    }
    contract(in_size(s) > 0, "convolution of images without pixels");
    Convolution c = {.split = convolution_split(s)};
    PlanKey key = convolution_key(s, build_by_weight);
    key.image.weight_stride = row;
    key.image.bias = dbias != NULL;
    key.image.add = add;
    key.image.layout_batch = c.split.step;
    convolution_plans(exec, key, &c);
    c.x = x_images(exec, s, &c.split, x, IMAGES_READ);
    c.y = y_images(exec, s, &c.split, dy, IMAGES_READ);
    c.weight_size = (int64_t)(plan_place_bytes(c.full, 2) / sizeof(float));
    c.partial_step = (c.weight_size + s->out_channels + 15) / 16 * 16; /* 64 bytes */
    c.partial = workspace(WORK_RESULT, (size_t)(c.split.tasks * c.partial_step) * sizeof(float));
    tasks_run(exec, c.split.tasks, c.split.flops, by_weight_task, &c);
    sum_partial(exec, &c);
    weight_unpack(exec, c.full, c.partial, dweight);
    for (int64_t i = 0; dbias && i < s->out_channels; i++)
        dbias[i] = (add ? dbias[i] : 0) + c.partial[c.weight_size + i];
}

const ConvolutionKernels dnnl_convolution_kernels = {
    .convolution = convolution,
    .convolution_input_gradient = convolution_input_gradient,
    .convolution_weight_gradient = convolution_weight_gradient,
    .pooling = images_pool,
    .pooling_gradient = images_pool_gradient,
};
