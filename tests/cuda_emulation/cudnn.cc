/* cuDNN as loops: result = alpha f(inputs) + beta result, sums in double. What does not fit is refused, and of each gradient the
 * first algorithm it names is one that is not deterministic and must not be taken. */
#include <cudnn.h>

#include "tests/cuda_emulation/dry.h"
#include "tests/cuda_emulation/internal.h"

#include <stdio.h>
#include <vector>

struct EmulatedDnn {
    cudaStream_t stream;
};
struct EmulatedTensor {
    cudnnTensorFormat_t format;
    int64_t n, c, h, w; /* of a filter: outputs, inputs of a group, height, width */
};
struct EmulatedConvolution {
    int64_t pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, groups;
    cudnnMathType_t math;
};

static const size_t workspace_wanted = 1000;

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    static const char *const texts[] = {"success",       "not initialised", "a part could not be loaded",
                                        "bad parameter", "not supported",   "memory ran out"};
    return texts[status];
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    if (emulated_breaks_captures(false)) /* it asks for memory, and may wait */
        return CUDNN_STATUS_NOT_INITIALIZED;
    *handle = new EmulatedDnn();
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Descriptions */

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *t)
{
    *t = new EmulatedTensor();
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t format, cudnnDataType_t, int n,
                                         int c, int h, int w)
{
    if (n <= 0 || c <= 0 || h <= 0 || w <= 0)
        return CUDNN_STATUS_BAD_PARAM;
    *t = {format, n, c, h, w};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t)
{
    delete t;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *w)
{
    return cudnnCreateTensorDescriptor(w);
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t t, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int k, int c, int h, int w)
{
    return cudnnSetTensor4dDescriptor(t, format, type, k, c, h, w);
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t w)
{
    return cudnnDestroyTensorDescriptor(w);
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *convolution)
{
    *convolution = new EmulatedConvolution();
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w,
                                              int stride_h, int stride_w, int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t)
{
    if (mode != CUDNN_CROSS_CORRELATION || pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1 || dilation_h < 1 ||
        dilation_w < 1)
        return CUDNN_STATUS_BAD_PARAM;
    *convolution = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, 1, CUDNN_DEFAULT_MATH};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups)
{
    convolution->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math)
{
    convolution->math = math;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution)
{
    delete convolution;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- What fits */

static int64_t out_size(int64_t in, int64_t pad, int64_t kernel, int64_t dilation, int64_t stride)
{
    return (in + 2 * pad - ((kernel - 1) * dilation + 1)) / stride + 1;
}

/* One layout on all sides, groups with channels first alone: the least that cuDNN has for every direction. */
static cudnnStatus_t fits(const EmulatedTensor *x, const EmulatedTensor *w, const EmulatedConvolution *c,
                          const EmulatedTensor *y)
{
    if (x->n != y->n || x->c != w->c * c->groups || y->c != w->n || w->n % c->groups != 0 ||
        y->h != out_size(x->h, c->pad_h, w->h, c->dilation_h, c->stride_h) ||
        y->w != out_size(x->w, c->pad_w, w->w, c->dilation_w, c->stride_w))
        return CUDNN_STATUS_BAD_PARAM;
    if (x->format != y->format || x->format != w->format || (c->groups > 1 && x->format == CUDNN_TENSOR_NHWC))
        return CUDNN_STATUS_NOT_SUPPORTED;
    return CUDNN_STATUS_SUCCESS;
}

/* Channels last and dilated there is no algorithm: callers must have another way. */
static bool any_algorithm(const EmulatedTensor *x, const EmulatedConvolution *c)
{
    return x->format == CUDNN_TENSOR_NCHW || (c->dilation_h == 1 && c->dilation_w == 1);
}

template <typename Perf, typename Algo>
static void name(Perf *place, Algo algorithm, cudnnStatus_t status, cudnnDeterminism_t determinism)
{
    *place = {algorithm, status, 1.0f, workspace_wanted, determinism, CUDNN_DEFAULT_MATH};
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                     cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c,
                                                     cudnnTensorDescriptor_t y, int, int *count,
                                                     cudnnConvolutionFwdAlgoPerf_t *results)
{
    cudnnStatus_t status = fits(x, w, c, y);
    *count = status == CUDNN_STATUS_SUCCESS;
    if (*count)
        name(results, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
             any_algorithm(x, c) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED, CUDNN_DETERMINISTIC);
    return status;
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, cudnnFilterDescriptor_t w,
                                                          cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t c,
                                                          cudnnTensorDescriptor_t dx, int, int *count,
                                                          cudnnConvolutionBwdDataAlgoPerf_t *results)
{
    cudnnStatus_t status = fits(dx, w, c, dy), able = any_algorithm(dx, c) ? status : CUDNN_STATUS_NOT_SUPPORTED;
    *count = status == CUDNN_STATUS_SUCCESS ? 2 : 0;
    name(results, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, able, CUDNN_NON_DETERMINISTIC);
    name(results + 1, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, able, CUDNN_DETERMINISTIC);
    return status;
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                            cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t c,
                                                            cudnnFilterDescriptor_t dw, int, int *count,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t *results)
{
    cudnnStatus_t status = fits(x, dw, c, dy), able = any_algorithm(x, c) ? status : CUDNN_STATUS_NOT_SUPPORTED;
    *count = status == CUDNN_STATUS_SUCCESS ? 2 : 0;
    name(results, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, able, CUDNN_NON_DETERMINISTIC);
    name(results + 1, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, able, CUDNN_DETERMINISTIC);
    return status;
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                      cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c,
                                                      cudnnTensorDescriptor_t y, cudnnConvolutionFwdAlgo_t,
                                                      size_t *bytes)
{
    *bytes = workspace_wanted;
    return fits(x, w, c, y);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, cudnnFilterDescriptor_t w,
                                                           cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t c,
                                                           cudnnTensorDescriptor_t dx, cudnnConvolutionBwdDataAlgo_t,
                                                           size_t *bytes)
{
    *bytes = workspace_wanted;
    return fits(dx, w, c, dy);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                             cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t c,
                                                             cudnnFilterDescriptor_t dw,
                                                             cudnnConvolutionBwdFilterAlgo_t, size_t *bytes)
{
    *bytes = workspace_wanted;
    return fits(x, dw, c, dy);
}

/* ---- Convolution */

static int64_t at(const EmulatedTensor *t, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return t->format == CUDNN_TENSOR_NHWC ? ((n * t->h + h) * t->w + w) * t->c + c
                                          : ((n * t->c + c) * t->h + h) * t->w + w;
}

/* visit(places of x, weight and y) for each product. */
template <typename Visit>
static void each_product(const EmulatedTensor *x, const EmulatedTensor *w, const EmulatedConvolution *c,
                         const EmulatedTensor *y, Visit visit)
{
    int64_t outs = y->c / c->groups;
    for (int64_t n = 0; n < y->n; n++)
        for (int64_t o = 0; o < y->c; o++)
            for (int64_t oh = 0; oh < y->h; oh++)
                for (int64_t ow = 0; ow < y->w; ow++)
                    for (int64_t kh = 0; kh < w->h; kh++)
                        for (int64_t kw = 0; kw < w->w; kw++) {
                            int64_t ih = oh * c->stride_h - c->pad_h + kh * c->dilation_h;
                            int64_t iw = ow * c->stride_w - c->pad_w + kw * c->dilation_w;
                            for (int64_t i = 0; i < w->c && ih >= 0 && ih < x->h && iw >= 0 && iw < x->w; i++)
                                visit(at(x, n, o / outs * w->c + i, ih, iw), at(w, o, i, kh, kw), at(y, n, o, oh, ow));
                        }
}

static int64_t count_of(const EmulatedTensor *t)
{
    return t->n * t->c * t->h * t->w;
}

static void blend(const std::vector<double> &sums, float alpha, float beta, void *result)
{
    float *values = (float *)result;
    for (size_t i = 0; i < sums.size(); i++)
        values[i] = (float)(alpha * sums[i] + (beta != 0 ? beta * values[i] : 0));
}

/* All three directions: as many products, each of the three tensors once. */
static bool dry_convolution(const char *direction, const EmulatedTensor *x, const EmulatedTensor *w,
                            const EmulatedConvolution *c, const EmulatedTensor *y, const EmulatedTensor *result)
{
    char name[160];
    double written = 4.0 * (double)count_of(result);
    double all = 4.0 * (double)(count_of(x) + count_of(w) + count_of(y));
    snprintf(name, sizeof name, "cudnn %s [%ld, %ld, %ld, %ld] by [%ld, %ld, %ld, %ld]", direction, (long)x->n,
             (long)x->c, (long)x->h, (long)x->w, (long)w->n, (long)w->c, (long)w->h, (long)w->w);
    return dry_library(name, c->math == CUDNN_FMA_MATH ? "fp32" : "tf32", all - written, written,
                       2.0 * (double)count_of(y) * (double)(w->c * w->h * w->w));
}

/* A call with copies of its descriptions: a graph runs it when those may be gone. One of the three tensors is the result. */
struct Call {
    enum Direction { FORWARD, BY_INPUT, BY_WEIGHT } direction;
    EmulatedTensor x, w, y;
    EmulatedConvolution c;
    const float *x_data, *w_data, *y_data; /* NULL: the result */
    void *result, *workspace;
    float alpha, beta;
};

static void run(const Call *call)
{
    static const char *const names[] = {"forward", "by input", "by weight"};
    const EmulatedTensor *results[] = {&call->y, &call->x, &call->w}, *result = results[call->direction];
    if (dry_convolution(names[call->direction], &call->x, &call->w, &call->c, &call->y, result))
        return;
    DeviceMemoryOpen open;
    memset(call->workspace, 0xff, workspace_wanted); /* the algorithm's own */
    std::vector<double> sums((size_t)count_of(result));
    const float *x = call->x_data, *w = call->w_data, *y = call->y_data;
    each_product(&call->x, &call->w, &call->c, &call->y, [&](int64_t i, int64_t k, int64_t o) {
        if (call->direction == Call::FORWARD)
            sums[(size_t)o] += (double)x[i] * (double)w[k];
        else if (call->direction == Call::BY_INPUT)
            sums[(size_t)i] += (double)y[o] * (double)w[k];
        else
            sums[(size_t)k] += (double)y[o] * (double)x[i];
    });
    blend(sums, call->alpha, call->beta, call->result);
}

static void check_memory(std::initializer_list<const void *> operands)
{
    for (const void *data : operands)
        if (data)
            device_memory_check("cuDNN", data);
}

/* The workspace must be as large as was said. */
static cudnnStatus_t start(cudnnHandle_t handle, const Call &call, size_t workspace_bytes)
{
    cudnnStatus_t status = fits(&call.x, &call.w, &call.c, &call.y);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    if (workspace_bytes < workspace_wanted)
        return CUDNN_STATUS_BAD_PARAM;
    check_memory({call.x_data, call.w_data, call.y_data, call.result, call.workspace});
    emulated_do(handle->stream, {EmulatedWork::KERNEL, 0, NULL, NULL, 0, [=] { run(&call); }, 0});
    return CUDNN_STATUS_SUCCESS;
}

static float number(const void *scalar)
{
    return *(const float *)scalar;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                      const void *x_data, cudnnFilterDescriptor_t w, const void *w_data,
                                      cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t, void *workspace,
                                      size_t workspace_bytes, const void *beta, cudnnTensorDescriptor_t y, void *y_data)
{
    Call call = {
        Call::FORWARD, *x,          *w, *y, *c, (const float *)x_data, (const float *)w_data, NULL, y_data, workspace,
        number(alpha), number(beta)};
    return start(handle, call, workspace_bytes);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, cudnnFilterDescriptor_t w,
                                           const void *w_data, cudnnTensorDescriptor_t dy, const void *dy_data,
                                           cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void *workspace, size_t workspace_bytes, const void *beta,
                                           cudnnTensorDescriptor_t dx, void *dx_data)
{
    if (algorithm != CUDNN_CONVOLUTION_BWD_DATA_ALGO_1)
        emulated_fail("cuDNN: a gradient by input that is not deterministic");
    Call call = {Call::BY_INPUT,         *dx,     *w,        *dy,           *c,          NULL, (const float *)w_data,
                 (const float *)dy_data, dx_data, workspace, number(alpha), number(beta)};
    return start(handle, call, workspace_bytes);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x,
                                             const void *x_data, cudnnTensorDescriptor_t dy, const void *dy_data,
                                             cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdFilterAlgo_t algorithm,
                                             void *workspace, size_t workspace_bytes, const void *beta,
                                             cudnnFilterDescriptor_t dw, void *dw_data)
{
    if (algorithm != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1)
        emulated_fail("cuDNN: a gradient by weight that is not deterministic");
    Call call = {Call::BY_WEIGHT,        *x,      *dw,       *dy,           *c,          (const float *)x_data, NULL,
                 (const float *)dy_data, dw_data, workspace, number(alpha), number(beta)};
    return start(handle, call, workspace_bytes);
}

static void add_up_bias(const EmulatedTensor *dy, const float *values, float alpha, float beta, void *db)
{
    if (dry_library("cudnn bias", "fp32", 4.0 * (double)count_of(dy), 4.0 * (double)dy->c, 0))
        return;
    DeviceMemoryOpen open;
    std::vector<double> sums((size_t)dy->c);
    for (int64_t n = 0; n < dy->n; n++)
        for (int64_t c = 0; c < dy->c; c++)
            for (int64_t h = 0; h < dy->h; h++)
                for (int64_t w = 0; w < dy->w; w++)
                    sums[(size_t)c] += (double)values[at(dy, n, c, h, w)];
    blend(sums, alpha, beta, db);
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t dy,
                                           const void *dy_data, const void *beta, cudnnTensorDescriptor_t db,
                                           void *db_data)
{
    if (db->n != 1 || db->c != dy->c || db->h != 1 || db->w != 1)
        return CUDNN_STATUS_BAD_PARAM;
    check_memory({dy_data, db_data});
    EmulatedTensor images = *dy;
    float a = number(alpha), b = number(beta);
    emulated_do(handle->stream, {EmulatedWork::KERNEL, 0, NULL, NULL, 0,
                                 [=] { add_up_bias(&images, (const float *)dy_data, a, b, db_data); }, 0});
    return CUDNN_STATUS_SUCCESS;
}
