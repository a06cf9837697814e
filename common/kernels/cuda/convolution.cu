/* Convolution through cuDNN 9, by its calls of versions 7 and 8: they say everything that is needed here in a tenth of the
 * words of its graphs, and choose among the same kernels.
 *
 * A plan has one layout on both sides: channels last where x and y have it and cuDNN can, else channels first; images that
 * lie otherwise are transposed. cuDNN pads opposite sides alike: other images are put into a frame first. Only
 * deterministic algorithms are taken, with products of all bits unless ZOO_CUDA_TF32=1. */
#include "common/kernels/cuda/images.cuh"
#include <cudnn.h>

static const size_t WORKSPACE_LIMIT = (size_t)1 << 30; /* an algorithm that wants more is passed over */

typedef enum Direction { FORWARD, BY_INPUT, BY_WEIGHT } Direction;
static const char *const names[] = {"convolution", "convolution_input_gradient", "convolution_weight_gradient"};

typedef struct PlanKey {
    int64_t direction, batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width, dilation_height,
        dilation_width;
    int64_t groups, channels_last;
} PlanKey;

typedef struct Plan {
    cudnnTensorDescriptor_t x, y, bias;
    cudnnFilterDescriptor_t weight;
    cudnnConvolutionDescriptor_t convolution;
    bool found, channels_last;
    int algorithm; /* of the direction's own type */
    size_t workspace_bytes;
} Plan;

static void succeed(cudnnStatus_t status, const PlanKey *k)
{
    if (status != CUDNN_STATUS_SUCCESS)
        library_failed(cudnnGetErrorString(status),
                       status == CUDNN_STATUS_NOT_INITIALIZED || status == CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED ||
                           status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
                       "%s of images [%lld, %lld, %lld, %lld] by a weight [%lld, %lld, %lld, %lld] in cuDNN",
                       names[k->direction], (long long)k->batch, (long long)k->in_channels, (long long)k->in_height,
                       (long long)k->in_width, (long long)k->out_channels, (long long)(k->in_channels / k->groups),
                       (long long)k->kernel_height, (long long)k->kernel_width);
}

static cudnnHandle_t library(const PlanKey *key)
{
    static cudnnHandle_t handle;
    if (!handle) {
        succeed(cudnnCreate(&handle), key);
        succeed(cudnnSetStream(handle, (cudaStream_t)cuda_stream()), key);
    }
    return handle;
}

/* ---- Plans */

static cudnnTensorDescriptor_t images_of(const PlanKey *key, int64_t batch, int64_t channels, int64_t height,
                                         int64_t width)
{
    cudnnTensorDescriptor_t images;
    if (batch * channels * height * width > INT32_MAX)
        user_fatal("device cuda: %s: cuDNN takes at most 2^31 numbers, not [%lld, %lld, %lld, %lld]; lower "
                   "train.batch_size",
                   names[key->direction], (long long)batch, (long long)channels, (long long)height, (long long)width);
    succeed(cudnnCreateTensorDescriptor(&images), key);
    succeed(cudnnSetTensor4dDescriptor(images, key->channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW,
                                       CUDNN_DATA_FLOAT, (int)batch, (int)channels, (int)height, (int)width),
            key);
    return images;
}

static void describe(Plan *plan, const PlanKey *k)
{
    plan->channels_last = k->channels_last;
    plan->x = images_of(k, k->batch, k->in_channels, k->in_height, k->in_width);
    plan->y = images_of(k, k->batch, k->out_channels, k->out_height, k->out_width);
    plan->bias = images_of(k, 1, k->out_channels, 1, 1);
    succeed(cudnnCreateFilterDescriptor(&plan->weight), k);
    succeed(cudnnSetFilter4dDescriptor(plan->weight, CUDNN_DATA_FLOAT,
                                       k->channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW, (int)k->out_channels,
                                       (int)(k->in_channels / k->groups), (int)k->kernel_height, (int)k->kernel_width),
            k);
    succeed(cudnnCreateConvolutionDescriptor(&plan->convolution), k);
    succeed(cudnnSetConvolution2dDescriptor(plan->convolution, (int)k->pad_height, (int)k->pad_width,
                                            (int)k->stride_height, (int)k->stride_width, (int)k->dilation_height,
                                            (int)k->dilation_width, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
            k);
    succeed(cudnnSetConvolutionGroupCount(plan->convolution, (int)k->groups), k);
    succeed(cudnnSetConvolutionMathType(plan->convolution, cuda_tf32() ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH), k);
}

enum { ALGORITHMS = 16 }; /* that cuDNN may name, the fastest first */

/* The first that does the same in every run, and whose workspace can be had. */
template <typename Named, typename Bytes> static void choose(Plan *plan, const Named *named, int count, Bytes bytes_of)
{
    for (int i = 0; i < count && !plan->found; i++) {
        if (named[i].status != CUDNN_STATUS_SUCCESS || named[i].determinism != CUDNN_DETERMINISTIC ||
            bytes_of(named[i].algo, &plan->workspace_bytes) != CUDNN_STATUS_SUCCESS ||
            plan->workspace_bytes > WORKSPACE_LIMIT)
            continue;
        plan->algorithm = named[i].algo;
        plan->found = true;
    }
}

static void choose_forward(Plan *p, cudnnHandle_t handle)
{
    cudnnConvolutionFwdAlgoPerf_t named[ALGORITHMS];
    int count = 0;
    if (cudnnGetConvolutionForwardAlgorithm_v7(handle, p->x, p->weight, p->convolution, p->y, ALGORITHMS, &count,
                                               named) == CUDNN_STATUS_SUCCESS)
        choose(p, named, count, [=](cudnnConvolutionFwdAlgo_t algorithm, size_t *bytes) {
            return cudnnGetConvolutionForwardWorkspaceSize(handle, p->x, p->weight, p->convolution, p->y, algorithm,
                                                           bytes);
        });
}

static void choose_by_input(Plan *p, cudnnHandle_t handle)
{
    cudnnConvolutionBwdDataAlgoPerf_t named[ALGORITHMS];
    int count = 0;
    if (cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, p->weight, p->y, p->convolution, p->x, ALGORITHMS, &count,
                                                    named) == CUDNN_STATUS_SUCCESS)
        choose(p, named, count, [=](cudnnConvolutionBwdDataAlgo_t algorithm, size_t *bytes) {
            return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, p->weight, p->y, p->convolution, p->x,
                                                                algorithm, bytes);
        });
}

static void choose_by_weight(Plan *p, cudnnHandle_t handle)
{
    cudnnConvolutionBwdFilterAlgoPerf_t named[ALGORITHMS];
    int count = 0;
    if (cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, p->x, p->y, p->convolution, p->weight, ALGORITHMS, &count,
                                                      named) == CUDNN_STATUS_SUCCESS)
        choose(p, named, count, [=](cudnnConvolutionBwdFilterAlgo_t algorithm, size_t *bytes) {
            return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, p->x, p->y, p->convolution, p->weight,
                                                                  algorithm, bytes);
        });
}

static void plan_make(Plan *plan, const PlanKey *key)
{
    static void (*const choosers[])(Plan *, cudnnHandle_t) = {choose_forward, choose_by_input, choose_by_weight};
    cudnnHandle_t handle = library(key);
    describe(plan, key);
    choosers[key->direction](plan, handle);
}

static void plan_end(Plan *plan)
{
    cudnnDestroyTensorDescriptor(plan->x);
    cudnnDestroyTensorDescriptor(plan->y);
    cudnnDestroyTensorDescriptor(plan->bias);
    cudnnDestroyFilterDescriptor(plan->weight);
    cudnnDestroyConvolutionDescriptor(plan->convolution);
}

/* ---- A call */

typedef struct Call {
    const Exec *exec;
    const ConvolutionShape *s;
    PlanKey key;
    Plan *plan;
    bool framed; /* x has a frame of zeros around it, in a room of its own */
    void *workspace;
} Call;

static PlanKey key_of(const ConvolutionShape *s, Direction direction, bool framed)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.direction = direction;
    key.batch = s->batch;
    key.in_channels = s->in_channels;
    key.in_height = s->in_height + (framed ? s->pad_top + s->pad_bottom : 0);
    key.in_width = s->in_width + (framed ? s->pad_left + s->pad_right : 0);
    key.out_channels = s->out_channels;
    key.out_height = s->out_height;
    key.out_width = s->out_width;
    key.kernel_height = s->kernel_height;
    key.kernel_width = s->kernel_width;
    key.stride_height = s->stride_height;
    key.stride_width = s->stride_width;
    key.pad_height = framed ? 0 : s->pad_top;
    key.pad_width = framed ? 0 : s->pad_left;
    key.dilation_height = s->dilation_height;
    key.dilation_width = s->dilation_width;
    key.groups = s->groups;
    return key;
}

static Call call_of(const Exec *exec, const ConvolutionShape *s, Direction direction)
{
    static Plans<PlanKey, Plan> plans;
    Call c = {};
    c.exec = exec;
    c.s = s;
    c.framed = s->pad_top != s->pad_bottom || s->pad_left != s->pad_right;
    c.key = key_of(s, direction, c.framed);
    c.key.channels_last = s->in_channels_last && s->out_channels_last && s->groups == 1 && !c.framed;
    c.plan = plan_get(&plans, &c.key, plan_make, plan_end);
    if (!c.plan->found && c.key.channels_last) {
        c.key.channels_last = false;
        c.plan = plan_get(&plans, &c.key, plan_make, plan_end);
    }
    if (!c.plan->found)
        succeed(CUDNN_STATUS_NOT_SUPPORTED, &c.key);
    c.workspace = room_take(ROOM_LIBRARY, c.plan->workspace_bytes, names[direction]);
    return c;
}

static int64_t in_pixels(const ConvolutionShape *s)
{
    return s->in_height * s->in_width;
}

static int64_t out_pixels(const ConvolutionShape *s)
{
    return s->out_height * s->out_width;
}

/* [B,C,P] <-> [B,P,C] */
static Transposition turned(int64_t batch, int64_t channels, int64_t pixels, bool from_last, const float *from,
                            float *to)
{
    Transposition t = {};
    t.batch = batch;
    t.rows = from_last ? pixels : channels;
    t.cols = from_last ? channels : pixels;
    t.from = from;
    t.to = to;
    t.bias_of_rows = !from_last;
    return t;
}

static float *room_for(const Call *c, Room room, int64_t count)
{
    return (float *)room_take(room, (size_t)count * sizeof(float), names[c->key.direction]);
}

/* Room for x, or its gradient, as the plan has it. */
static float *x_room(const Call *c)
{
    return room_for(c, ROOM_LEFT, c->key.batch * c->key.in_channels * c->key.in_height * c->key.in_width);
}

static float *y_room(const Call *c)
{
    return room_for(c, ROOM_RIGHT, c->s->batch * c->s->out_channels * out_pixels(c->s));
}

static Frame frame_of(const Call *c)
{
    const ConvolutionShape *s = c->s;
    return {s->batch,    s->in_channels,      s->in_height, s->in_width, c->key.in_height, c->key.in_width, s->pad_top,
            s->pad_left, s->in_channels_last, false,        false};
}

static const float *x_for_plan(const Call *c, const float *x)
{
    const ConvolutionShape *s = c->s;
    if (!c->framed && s->in_channels_last == c->plan->channels_last)
        return x;
    float *to = x_room(c);
    if (c->framed) {
        Frame frame = frame_of(c);
        images_frame(c->exec, &frame, x, to);
    } else {
        Transposition t = turned(s->batch, s->in_channels, in_pixels(s), s->in_channels_last, x, to);
        images_transpose(c->exec, &t);
    }
    return to;
}

static const float *y_for_plan(const Call *c, const float *y)
{
    const ConvolutionShape *s = c->s;
    if (s->out_channels_last == c->plan->channels_last)
        return y;
    float *to = y_room(c);
    Transposition t = turned(s->batch, s->out_channels, out_pixels(s), s->out_channels_last, y, to);
    images_transpose(c->exec, &t);
    return to;
}

/* A weight [out, in, P] whose order is that of channels last too. */
static bool weight_as_it_is(const Call *c)
{
    int64_t pixels = c->s->kernel_height * c->s->kernel_width;
    return !c->plan->channels_last || pixels == 1 || c->s->in_channels == 1;
}

static const float *weight_for_plan(const Call *c, const Weight *w)
{
    const ConvolutionShape *s = c->s;
    int64_t pixels = s->kernel_height * s->kernel_width, row = s->in_channels / s->groups * pixels;
    contract(w->stride == row || s->out_channels == 1, "convolution: a weight of rows %lld apart, not %lld",
             (long long)w->stride, (long long)row);
    if (weight_as_it_is(c))
        return w->data;
    bool fresh = false;
    size_t bytes = (size_t)(s->out_channels * row) * sizeof(float);
    void *to = w->packed
                   ? packed_copy(w, FORM_CHANNELS_LAST, s->out_channels, row, bytes, names[c->key.direction], &fresh)
                   : room_take(ROOM_WEIGHT, bytes, names[c->key.direction]);
    Transposition t = turned(s->out_channels, s->in_channels, pixels, false, w->data, (float *)to);
    if (!fresh)
        images_transpose(c->exec, &t);
    return (const float *)to;
}

/* ---- The entries */

static const float one = 1, zero = 0;

static bool nothing_to_do(const ConvolutionShape *s)
{
    return s->batch * s->out_channels * out_pixels(s) == 0;
}

static void convolution(const Exec *exec, const ConvolutionShape *s, const float *x, const Weight *weight,
                        const float *bias, bool relu, float *y)
{
    if (nothing_to_do(s))
        return;
    contract(s->in_channels * in_pixels(s) > 0, "convolution of images without pixels");
    Call c = call_of(exec, s, FORWARD);
    const Plan *p = c.plan;
    bool turn = s->out_channels_last != p->channels_last;
    float *to = turn ? y_room(&c) : y;
    succeed(cudnnConvolutionForward(
                library(&c.key), &one, p->x, x_for_plan(&c, x), p->weight, weight_for_plan(&c, weight), p->convolution,
                (cudnnConvolutionFwdAlgo_t)p->algorithm, c.workspace, p->workspace_bytes, &zero, p->y, to),
            &c.key);
    if (!turn) {
        images_finish(exec, s->batch, s->out_channels, out_pixels(s), s->out_channels_last, bias, relu, y);
        return;
    }
    Transposition t = turned(s->batch, s->out_channels, out_pixels(s), p->channels_last, to, y);
    t.bias = bias;
    t.relu = relu;
    images_transpose(exec, &t);
}

/* dx (+)= what the plan wrote beside it. */
static void bring_dx(const Call *c, const float *from, bool add, float *dx)
{
    const ConvolutionShape *s = c->s;
    if (!c->framed) {
        Transposition t = turned(s->batch, s->in_channels, in_pixels(s), c->plan->channels_last, from, dx);
        t.add = add;
        images_transpose(c->exec, &t);
        return;
    }
    Frame frame = {s->batch,    s->in_channels, c->key.in_height, c->key.in_width, s->in_height,
                   s->in_width, -s->pad_top,    -s->pad_left,     false,           s->in_channels_last,
                   add};
    images_frame(c->exec, &frame, from, dx);
}

static void convolution_input_gradient(const Exec *exec, const ConvolutionShape *s, const float *dy,
                                       const Weight *weight, bool add, float *dx)
{
    int64_t count = s->batch * s->in_channels * in_pixels(s);
    if (nothing_to_do(s) || count == 0) {
        if (!add)
            cuda_elementwise.fill(exec, count, 0, dx);
        return;
    }
    Call c = call_of(exec, s, BY_INPUT);
    const Plan *p = c.plan;
    bool beside = c.framed || s->in_channels_last != p->channels_last;
    float *to = beside ? x_room(&c) : dx;
    succeed(cudnnConvolutionBackwardData(library(&c.key), &one, p->weight, weight_for_plan(&c, weight), p->y,
                                         y_for_plan(&c, dy), p->convolution,
                                         (cudnnConvolutionBwdDataAlgo_t)p->algorithm, c.workspace, p->workspace_bytes,
                                         add && !beside ? &one : &zero, p->x, to),
            &c.key);
    if (beside)
        bring_dx(&c, to, add, dx);
}

static void by_weight(const Call *c, const float *dy, const float *x, bool add, float *dweight, float *dbias)
{
    const ConvolutionShape *s = c->s;
    const Plan *p = c->plan;
    int64_t pixels = s->kernel_height * s->kernel_width, count = s->out_channels * s->in_channels / s->groups * pixels;
    bool turn = !weight_as_it_is(c);
    float *to = turn ? room_for(c, ROOM_WEIGHT, count) : dweight;
    const float *from = y_for_plan(c, dy);
    succeed(cudnnConvolutionBackwardFilter(library(&c->key), &one, p->x, x_for_plan(c, x), p->y, from, p->convolution,
                                           (cudnnConvolutionBwdFilterAlgo_t)p->algorithm, c->workspace,
                                           p->workspace_bytes, add && !turn ? &one : &zero, p->weight, to),
            &c->key);
    if (turn) {
        Transposition t = turned(s->out_channels, s->in_channels, pixels, true, to, dweight);
        t.add = add;
        images_transpose(c->exec, &t);
    }
    if (dbias)
        succeed(cudnnConvolutionBackwardBias(library(&c->key), &one, p->y, from, add ? &one : &zero, p->bias, dbias),
                &c->key);
}

static void convolution_weight_gradient(const Exec *exec, const ConvolutionShape *s, const float *dy, const float *x,
                                        bool add, float *dweight, float *dbias)
{
    int64_t row = s->in_channels / s->groups * s->kernel_height * s->kernel_width;
    if (nothing_to_do(s)) {
        if (!add)
            cuda_elementwise.fill(exec, s->out_channels * row, 0, dweight);
        if (!add && dbias)
            cuda_elementwise.fill(exec, s->out_channels, 0, dbias);
        return;
    }
    contract(s->in_channels * in_pixels(s) > 0, "convolution of images without pixels");
    Call c = call_of(exec, s, BY_WEIGHT);
    by_weight(&c, dy, x, add, dweight, dbias);
}

const ConvolutionKernels cuda_convolution = {
    .convolution = convolution,
    .convolution_input_gradient = convolution_input_gradient,
    .convolution_weight_gradient = convolution_weight_gradient,
    .pooling = images_pool,
    .pooling_gradient = images_pool_gradient,
};
