#include "common/kernels/cuda/images.cuh"

enum { SIDE = 32, LINES = 8 }; /* a tile is SIDE x SIDE, a block has LINES of its lines at a time */

DEVICE float finished(float value, const float *bias, int64_t channel, bool relu)
{
    value += bias ? bias[channel] : 0;
    return relu && value < 0 ? 0 : value;
}

__global__ void transpose_tiles(Transposition t, int64_t row_tiles, int64_t col_tiles)
{
    __shared__ float tile[SIDE][SIDE + 1]; /* a column touches every bank */
    int x = (int)threadIdx.x;
    for (int64_t i = blockIdx.x; i < t.batch * row_tiles * col_tiles; i += gridDim.x) {
        int64_t col = i % col_tiles * SIDE, row = i / col_tiles % row_tiles * SIDE, item = i / col_tiles / row_tiles;
        const float *from = t.from + item * t.rows * t.cols;
        float *to = t.to + item * t.rows * t.cols;
        for (int y = (int)threadIdx.y; y < SIDE; y += LINES)
            if (row + y < t.rows && col + x < t.cols)
                tile[y][x] = from[(row + y) * t.cols + col + x];
        __syncthreads();
        for (int y = (int)threadIdx.y; y < SIDE; y += LINES)
            if (col + y < t.cols && row + x < t.rows) {
                int64_t at = (col + y) * t.rows + row + x;
                float value = finished(tile[x][y], t.bias, t.bias_of_rows ? row + x : col + y, t.relu);
                to[at] = t.add ? to[at] + value : value;
            }
        __syncthreads();
    }
}

void images_transpose(const Exec *exec, const Transposition *t)
{
    int64_t row_tiles = blocks_for(t->rows, SIDE), col_tiles = blocks_for(t->cols, SIDE);
    LAUNCH(transpose_tiles, grid_for(t->batch * row_tiles * col_tiles), dim3(SIDE, LINES), 0, exec, *t, row_tiles,
           col_tiles);
}

enum { THREADS = 256 };

/* channels first: inner = P pixels share a number of the bias; channels last: inner = 1. */
__global__ void finish_values(int64_t count, int64_t inner, int64_t channels, const float *bias, bool relu, float *y)
{
    int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step)
        y[i] = finished(y[i], bias, i / inner % channels, relu);
}

void images_finish(const Exec *exec, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
                   const float *bias, bool relu, float *y)
{
    int64_t count = batch * channels * pixels;
    if (bias || relu)
        LAUNCH(finish_values, grid_for(blocks_for(count, THREADS)), THREADS, 0, exec, count, channels_last ? 1 : pixels,
               channels, bias, relu, y);
}

/* ---- Places. A value's place in memory, and back. */

typedef struct Place {
    int64_t b, c, h, w;
} Place;

DEVICE int64_t index_of(Place p, int64_t channels, int64_t height, int64_t width, bool last)
{
    return last ? ((p.b * height + p.h) * width + p.w) * channels + p.c
                : ((p.b * channels + p.c) * height + p.h) * width + p.w;
}

DEVICE Place place_of(int64_t i, int64_t channels, int64_t height, int64_t width, bool last)
{
    Place p;
    if (last) {
        p.c = i % channels;
        i /= channels;
    }
    p.w = i % width;
    i /= width;
    p.h = i % height;
    i /= height;
    if (!last) {
        p.c = i % channels;
        i /= channels;
    }
    p.b = i;
    return p;
}

/* ---- Frames */

__global__ void frame_values(Frame f, const float *from, float *to)
{
    int64_t count = f.batch * f.channels * f.to_height * f.to_width, step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        Place p = place_of(i, f.channels, f.to_height, f.to_width, f.to_last);
        p.h -= f.top;
        p.w -= f.left;
        bool inside = p.h >= 0 && p.h < f.from_height && p.w >= 0 && p.w < f.from_width;
        float value = inside ? from[index_of(p, f.channels, f.from_height, f.from_width, f.from_last)] : 0;
        to[i] = f.add ? to[i] + value : value;
    }
}

void images_frame(const Exec *exec, const Frame *f, const float *from, float *to)
{
    int64_t count = f->batch * f->channels * f->to_height * f->to_width;
    LAUNCH(frame_values, grid_for(blocks_for(count, THREADS)), THREADS, 0, exec, *f, from, to);
}

/* ---- Pooling: a thread a value of the result. Our own, because cuDNN pads both sides alike, knows no dilation, wants y for
 * the way back and does not say which of several maxima it takes. */

DEVICE int64_t x_index(const ConvolutionShape &s, Place p)
{
    return index_of(p, s.in_channels, s.in_height, s.in_width, s.in_channels_last);
}

/* The pixel of window (oh, ow) at (kh, kw); false outside of the image. */
DEVICE bool window_at(const ConvolutionShape &s, int64_t oh, int64_t ow, int64_t kh, int64_t kw, Place *p)
{
    p->h = oh * s.stride_height - s.pad_top + kh * s.dilation_height;
    p->w = ow * s.stride_width - s.pad_left + kw * s.dilation_width;
    return p->h >= 0 && p->h < s.in_height && p->w >= 0 && p->w < s.in_width;
}

typedef struct Window {
    float sum, most;
    int64_t inside, first; /* pixels in the image; where the first of the maxima lies */
} Window;

DEVICE Window window_of(const ConvolutionShape &s, Place p, int64_t oh, int64_t ow, const float *x)
{
    Window w = {0, -INFINITY, 0, -1};
    for (int64_t kh = 0; kh < s.kernel_height; kh++)
        for (int64_t kw = 0; kw < s.kernel_width; kw++)
            if (window_at(s, oh, ow, kh, kw, &p)) {
                int64_t at = x_index(s, p);
                w.sum += x[at];
                w.inside++;
                if (w.first < 0 || x[at] > w.most) {
                    w.most = x[at];
                    w.first = at;
                }
            }
    return w;
}

DEVICE float divisor_of(const ConvolutionShape &s, PoolingKind kind, int64_t inside)
{
    return (float)(kind == POOL_AVERAGE ? inside : s.kernel_height * s.kernel_width);
}

__global__ void pool_windows(ConvolutionShape s, PoolingKind kind, const float *x, float *y)
{
    int64_t count = s.batch * s.out_channels * s.out_height * s.out_width, step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        Place p = place_of(i, s.out_channels, s.out_height, s.out_width, s.out_channels_last);
        Window w = window_of(s, p, p.h, p.w, x);
        y[i] = kind == POOL_MAX ? w.most : w.sum / divisor_of(s, kind, w.inside);
    }
}

DEVICE int64_t pixels_inside(const ConvolutionShape &s, int64_t oh, int64_t ow)
{
    int64_t inside = 0;
    Place p;
    for (int64_t kh = 0; kh < s.kernel_height; kh++)
        for (int64_t kw = 0; kw < s.kernel_width; kw++)
            inside += window_at(s, oh, ow, kh, kw, &p);
    return inside;
}

/* What window (oh, ow) of p's channel sends to the pixel at `at`, one that lies in it. */
DEVICE float sent_by_window(const ConvolutionShape &s, PoolingKind kind, Place p, int64_t oh, int64_t ow,
                            const float *dy, const float *x, int64_t at)
{
    Place out = {p.b, p.c, oh, ow};
    float d = dy[index_of(out, s.out_channels, s.out_height, s.out_width, s.out_channels_last)];
    if (kind == POOL_MAX)
        return window_of(s, p, oh, ow, x).first == at ? d : 0;
    return d / divisor_of(s, kind, kind == POOL_AVERAGE ? pixels_inside(s, oh, ow) : 0);
}

/* The output line whose window has input line `at` as its k-th; -1: there is none. */
DEVICE int64_t line_of(int64_t at, int64_t k, int64_t dilation, int64_t pad, int64_t stride, int64_t lines)
{
    int64_t from = at + pad - k * dilation;
    return from >= 0 && from % stride == 0 && from / stride < lines ? from / stride : -1;
}

/* A thread a pixel of dx: it asks all windows that it lies in, in their order. */
__global__ void pool_gradients(ConvolutionShape s, PoolingKind kind, const float *dy, const float *x, bool add,
                               float *dx)
{
    int64_t count = s.batch * s.in_channels * s.in_height * s.in_width, step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        Place p = place_of(i, s.in_channels, s.in_height, s.in_width, s.in_channels_last);
        float sum = 0;
        for (int64_t kh = 0; kh < s.kernel_height; kh++) {
            int64_t oh = line_of(p.h, kh, s.dilation_height, s.pad_top, s.stride_height, s.out_height);
            for (int64_t kw = 0; kw < s.kernel_width && oh >= 0; kw++) {
                int64_t ow = line_of(p.w, kw, s.dilation_width, s.pad_left, s.stride_width, s.out_width);
                if (ow >= 0)
                    sum += sent_by_window(s, kind, p, oh, ow, dy, x, i);
            }
        }
        dx[i] = add ? dx[i] + sum : sum;
    }
}

void images_pool(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *x, float *y)
{
    int64_t count = s->batch * s->out_channels * s->out_height * s->out_width;
    LAUNCH(pool_windows, grid_for(blocks_for(count, THREADS)), THREADS, 0, exec, *s, kind, x, y);
}

void images_pool_gradient(const Exec *exec, const ConvolutionShape *s, PoolingKind kind, const float *dy,
                          const float *x, bool add, float *dx)
{
    int64_t count = s->batch * s->in_channels * s->in_height * s->in_width;
    LAUNCH(pool_gradients, grid_for(blocks_for(count, THREADS)), THREADS, 0, exec, *s, kind, dy, x, add, dx);
}
