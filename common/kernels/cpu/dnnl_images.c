#include "common/kernels/cpu/dnnl_images.h"

Split split_batch(int64_t batch, double flops_of_image)
{
    Split split = {.step = task_units(batch, flops_of_image), .flops = (double)batch * flops_of_image};
    split.tasks = (batch + split.step - 1) / split.step;
    split.last = batch - (split.tasks - 1) * split.step;
    return split;
}

/* [batch, pixels, channels] in either order of memory, as a batch of matrices. */
static MatrixKey pixels_key(int64_t batch, int64_t channels, int64_t pixels, bool channels_last)
{
    return (MatrixKey){.rows = pixels,
                       .columns = channels,
                       .batch = batch,
                       .row_stride = channels_last ? channels : 1,
                       .column_stride = channels_last ? 1 : pixels,
                       .batch_stride = channels * pixels,
                       .type = F32};
}

Images images_of(const Exec *exec, const Split *split, int64_t channels, int64_t pixels, bool channels_last,
                 bool wanted_last, const float *data, ImagesUse use, Workspace work)
{
    Images images = {.data = data, .size = channels * pixels, .step = split->step};
    bool same = channels_last == wanted_last || channels == 1 || pixels == 1;
    if (same && use != IMAGES_ADD)
        return images;
    images.work = workspace(work, (size_t)(exec->threads * split->step * images.size) * sizeof(float));
    int64_t batches[] = {split->step, split->last};
    Plan **plans[] = {&images.full, &images.last};
    for (int i = 0; i < 2; i++) {
        MatrixKey theirs = pixels_key(batches[i], channels, pixels, channels_last);
        MatrixKey ours = pixels_key(batches[i], channels, pixels, wanted_last);
        *plans[i] = use == IMAGES_READ ? conversion_plan(exec, theirs, ours, false)
                                       : conversion_plan(exec, ours, theirs, use == IMAGES_ADD);
    }
    return images;
}

static const float *callers_place(const Images *images, int64_t task)
{
    return images->data + task * images->step * images->size;
}

const float *images_place(const Images *images, int64_t task, int thread)
{
    return images->work ? images->work + thread * images->step * images->size : callers_place(images, task);
}

static void convert(const Images *images, const Split *split, int64_t task, int thread, const float *from,
                    const float *to)
{
    plan_run(task + 1 < split->tasks ? images->full : images->last, thread, (Place[]){{from, NULL}, {to, NULL}});
}

const float *images_read(const Images *images, const Split *split, int64_t task, int thread)
{
    const float *place = images_place(images, task, thread);
    if (images->work)
        convert(images, split, task, thread, callers_place(images, task), place);
    return place;
}

void images_write(const Images *images, const Split *split, int64_t task, int thread)
{
    if (images->work)
        convert(images, split, task, thread, images_place(images, task, thread), callers_place(images, task));
}

ImageKey image_key(const ConvolutionShape *s, int64_t batch, bool channels_last)
{
    return (ImageKey){.batch = batch,
                      .in_channels = s->in_channels,
                      .in_height = s->in_height,
                      .in_width = s->in_width,
                      .out_channels = s->out_channels,
                      .out_height = s->out_height,
                      .out_width = s->out_width,
                      .kernel_height = s->kernel_height,
                      .kernel_width = s->kernel_width,
                      .stride_height = s->stride_height,
                      .stride_width = s->stride_width,
                      .pad_top = s->pad_top,
                      .pad_left = s->pad_left,
                      .pad_bottom = s->pad_bottom,
                      .pad_right = s->pad_right,
                      .dilation_height = s->dilation_height,
                      .dilation_width = s->dilation_width,
                      .groups = s->groups,
                      .channels_last = channels_last};
}

Layout image_layout(int64_t batch, int64_t channels, int64_t height, int64_t width, bool channels_last)
{
    int64_t dims[] = {batch, channels, height, width}, size = channels * height * width;
    int64_t first[] = {size, height * width, width, 1}, last[] = {size, 1, width * channels, channels};
    return layout_strided(F32, 4, dims, channels_last ? last : first);
}
