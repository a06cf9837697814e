/* What convolution and pooling share: a batch cut into tasks of some images, and images that lie as oneDNN's kernels
 * like them or are converted on the way in and out, a task's at a time (dnnl*.c only). */
#pragma once
#include "common/kernels/cpu/dnnl_plan.h"

typedef struct Split {
    int64_t step, last, tasks; /* images of a task, of the last task */
    double flops;              /* of the whole batch */
} Split;

Split split_batch(int64_t batch, double flops_of_image);

typedef struct Images {
    const float *data; /* the caller's */
    int64_t size;      /* of one image, in numbers */
    float *work;       /* the threads' places for a task's converted images; NULL: the caller's are used as they lie */
    int64_t step;
    Plan *full, *last; /* conversions */
} Images;

/* Images [batch, channels, pixels] of the caller that are read, or written or added to, with channels last or not, for
 * plans that want `wanted_last`. */
typedef enum ImagesUse { IMAGES_READ, IMAGES_WRITE, IMAGES_ADD } ImagesUse;
Images images_of(const Exec *exec, const Split *split, int64_t channels, int64_t pixels, bool channels_last,
                 bool wanted_last, const float *data, ImagesUse use, Workspace work);

/* Where a plan finds or leaves the images of a task; images_read fetches them, images_write hands them to the caller. */
const float *images_place(const Images *images, int64_t task, int thread);
const float *images_read(const Images *images, const Split *split, int64_t task, int thread);
void images_write(const Images *images, const Split *split, int64_t task, int thread);

ImageKey image_key(const ConvolutionShape *s, int64_t batch, bool channels_last);
Layout image_layout(int64_t batch, int64_t channels, int64_t height, int64_t width, bool channels_last);

/* The entries of dnnl_convolution_kernels that lie in dnnl_pooling.c. */
void images_pool(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *x, float *y);
void images_pool_gradient(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *dy,
                          const float *x, bool add, float *dx);
