/* Images on their way into and out of cuDNN, and pooling. [B,C,H,W], or channels last [B,H,W,C]; P = H W pixels. */
#pragma once
#include "common/kernels/cuda/library.cuh"

/* to (+)= each of `batch` matrices from [rows, cols], transposed: [B,C,P] to channels last and back. Where images come from a
 * convolution: max(0, . + bias) on the way, the bias one number for each of the rows or of the columns. */
typedef struct Transposition {
    int64_t batch, rows, cols;
    const float *from;
    float *to;
    bool add;
    const float *bias;
    bool bias_of_rows, relu;
} Transposition;
void images_transpose(const Exec *exec, const Transposition *t);

/* y = max(0, y + bias) in place; bias NULL: none; relu: whether there is a maximum. */
void images_finish(const Exec *exec, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
                   const float *bias, bool relu, float *y);

/* Images of one size put into a frame of another: to[h][w] (+)= from[h - top][w - left], 0 outside of it. */
typedef struct Frame {
    int64_t batch, channels, from_height, from_width, to_height, to_width, top, left;
    bool from_last, to_last, add;
} Frame;
void images_frame(const Exec *exec, const Frame *f, const float *from, float *to);

/* The entries of ConvolutionKernels. */
void images_pool(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *x, float *y);
void images_pool_gradient(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *dy,
                          const float *x, bool add, float *dx);
