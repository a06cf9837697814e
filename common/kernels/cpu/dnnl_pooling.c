/* Pooling through oneDNN, channels last or first as the input lies. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_images.h"
#include <string.h>

static dnnl_primitive_desc_t describe_forward(const ImageKey *k, bool training, dnnl_primitive_attr_t attributes)
{
    Layout x = image_layout(k->batch, k->in_channels, k->in_height, k->in_width, k->channels_last);
    Layout y = image_layout(k->batch, k->out_channels, k->out_height, k->out_width, k->channels_last);
    dnnl_primitive_desc_t made = describe_pooling(k, training, x, y, attributes);
    layout_free(x);
    layout_free(y);
    return made;
}

static void build_pooling(Plan *plan, const PlanKey *key)
{
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    plan_set(plan, describe_forward(&key->image, false, attributes), (int[]){DNNL_ARG_SRC, DNNL_ARG_DST}, 2);
    DNNL(dnnl_primitive_attr_destroy(attributes));
}

/* The maximum again, this time with the places where it was found. */
static void build_search(Plan *plan, const PlanKey *key)
{
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    int names[] = {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WORKSPACE};
    plan_set(plan, describe_forward(&key->image, true, attributes), names, 3);
    DNNL(dnnl_primitive_attr_destroy(attributes));
}

static void build_gradient(Plan *plan, const PlanKey *key)
{
    const ImageKey *k = &key->image;
    Layout dx = image_layout(k->batch, k->in_channels, k->in_height, k->in_width, k->channels_last);
    Layout dy = image_layout(k->batch, k->out_channels, k->out_height, k->out_width, k->channels_last);
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    dnnl_primitive_desc_t forward = describe_forward(k, true, attributes);
    int names[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC, DNNL_ARG_WORKSPACE};
    plan_set(plan, describe_pooling_gradient(k, dx, dy, forward, attributes), names, k->pooling == POOL_MAX ? 3 : 2);
    DNNL(dnnl_primitive_desc_destroy(forward));
    DNNL(dnnl_primitive_attr_destroy(attributes));
    layout_free(dx);
    layout_free(dy);
}

typedef struct Pooling {
    Split split;
    Images x, y, dx;
    Plan *full, *last;
    Plan *search, *last_search; /* NULL but for the gradient of the maximum */
    float *maximum;             /* a thread's maxima, thrown away */
    char *places;               /* and where they were found */
    int64_t maximum_size, places_size;
} Pooling;

static Split pooling_split(const ConvolutionShape *s)
{
    double reads = (double)(s->out_channels * s->out_height * s->out_width * s->kernel_height * s->kernel_width);
    return split_batch(s->batch, 8 * reads); /* flops in the time of a read */
}

static void pooling_plans(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const Split *split,
                          void (*build)(Plan *, const PlanKey *), Plan **full, Plan **last)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build;
    key.image = image_key(s, split->step, s->in_channels_last);
    key.image.pooling = kind;
    *full = plan_get(exec, &key);
    key.image.batch = split->last;
    *last = plan_get(exec, &key);
}

static Images y_images(const Exec *exec, const ConvolutionShape *s, const Split *split, const float *y, ImagesUse use)
{
    return images_of(exec, split, s->out_channels, s->out_height * s->out_width, s->out_channels_last,
                     s->in_channels_last, y, use, WORK_RIGHT);
}

static Images x_images(const Exec *exec, const ConvolutionShape *s, const Split *split, const float *x, ImagesUse use)
{
    return images_of(exec, split, s->in_channels, s->in_height * s->in_width, s->in_channels_last, s->in_channels_last,
                     x, use, WORK_LEFT);
}

static void pooling_task(void *context, int64_t task, int thread)
{
    const Pooling *p = context;
    Place places[] = {{images_place(&p->x, task, thread), NULL}, {images_place(&p->y, task, thread), NULL}};
    plan_run(task + 1 < p->split.tasks ? p->full : p->last, thread, places);
    images_write(&p->y, &p->split, task, thread);
}

void images_pool(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *x, float *y)
{
    if (s->batch * s->out_channels * s->out_height * s->out_width == 0)
        return;
    Pooling p = {.split = pooling_split(s)};
    pooling_plans(exec, s, kind, &p.split, build_pooling, &p.full, &p.last);
    p.x = x_images(exec, s, &p.split, x, IMAGES_READ);
    p.y = y_images(exec, s, &p.split, y, IMAGES_WRITE);
    tasks_run(exec, p.split.tasks, p.split.flops, pooling_task, &p);
}

static void gradient_task(void *context, int64_t task, int thread)
{
    const Pooling *p = context;
    bool full = task + 1 < p->split.tasks;
    void *found = p->places + thread * p->places_size;
    if (p->search) {
        Place places[] = {
            {images_place(&p->x, task, thread), NULL}, {p->maximum + thread * p->maximum_size, NULL}, {found, NULL}};
        plan_run(full ? p->search : p->last_search, thread, places);
    }
    Place places[] = {
        {images_read(&p->y, &p->split, task, thread), NULL}, {images_place(&p->dx, task, thread), NULL}, {found, NULL}};
    plan_run(full ? p->full : p->last, thread, places);
    images_write(&p->dx, &p->split, task, thread);
}

/* The plans and memory that find the maxima of a task again. */
static void search_maxima(const Exec *exec, const ConvolutionShape *s, const float *x, Pooling *p)
{
    pooling_plans(exec, s, POOL_MAX, &p->split, build_search, &p->search, &p->last_search);
    p->x = x_images(exec, s, &p->split, x, IMAGES_READ);
    p->maximum_size = p->split.step * s->out_channels * s->out_height * s->out_width;
    p->maximum = workspace(WORK_RESULT, (size_t)(exec->threads * p->maximum_size) * sizeof(float));
    p->places_size = (int64_t)(plan_place_bytes(p->search, 2) + 63) / 64 * 64;
    p->places = workspace(WORK_WEIGHT, (size_t)(exec->threads * p->places_size));
}

void images_pool_gradient(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *dy,
                          const float *x, bool add, float *dx)
{
    int64_t in_size = s->batch * s->in_channels * s->in_height * s->in_width;
    if (s->batch * s->out_channels * s->out_height * s->out_width == 0) {
        if (!add && in_size > 0)
            memset(dx, 0, (size_t)in_size * sizeof *dx);
        return;
    }
    Pooling p = {.split = pooling_split(s)};
    if (kind == POOL_MAX)
        search_maxima(exec, s, x, &p);
    pooling_plans(exec, s, kind, &p.split, build_gradient, &p.full, &p.last);
    p.y = y_images(exec, s, &p.split, dy, IMAGES_READ);
    p.dx = x_images(exec, s, &p.split, dx, add ? IMAGES_ADD : IMAGES_WRITE);
    tasks_run(exec, p.split.tasks, p.split.flops, gradient_task, &p);
}
