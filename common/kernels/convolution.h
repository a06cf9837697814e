/* 2-D convolution and pooling. Images are [B,C,H,W]; a flag says that memory is channels-last, [B,H,W,C]. */
#pragma once
#include "common/kernels/exec.h"

typedef struct ConvolutionShape {
    int64_t batch, in_channels, in_height, in_width;
    int64_t out_channels, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width;
    int64_t pad_top, pad_left, pad_bottom, pad_right; /* zeros around the image */
    int64_t dilation_height, dilation_width;          /* 1 = dense */
    int64_t groups;
    bool in_channels_last, out_channels_last; /* how x and y (and their gradients) lie in memory */
} ConvolutionShape;

typedef enum PoolingKind { POOL_MAX, POOL_AVERAGE, POOL_AVERAGE_WITH_PADDING } PoolingKind;

typedef struct ConvolutionKernels {
    /* y = conv(x, weight [out, in/groups, kh, kw]) + bias, then max(0, .) when `relu`. All fp32, contiguous. */
    void (*convolution)(const Exec *, const ConvolutionShape *, const float *x, const Weight *weight,
                        const float *bias, bool relu, float *y);
    void (*convolution_input_gradient)(const Exec *, const ConvolutionShape *, const float *dy, const Weight *weight,
                                       bool add, float *dx);
    /* dweight and dbias (NULL: none), both added to or overwritten. */
    void (*convolution_weight_gradient)(const Exec *, const ConvolutionShape *, const float *dy, const float *x,
                                        bool add, float *dweight, float *dbias);

    /* Channels and groups of the shape: in_channels = out_channels. The backward of POOL_MAX goes to the first
     * maximum of a window, found again from x. */
    void (*pooling)(const Exec *, const ConvolutionShape *, PoolingKind, const float *x, float *y);
    void (*pooling_gradient)(const Exec *, const ConvolutionShape *, PoolingKind, const float *dy, const float *x,
                             bool add, float *dx);
} ConvolutionKernels;
