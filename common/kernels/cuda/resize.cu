/* Bicubic interpolation: a thread has a pixel of the result, finds its taps once, and goes through planes with them. The way back
 * asks of each pixel of the input which results have it among their taps, so that nothing is added by two threads. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/taps.h"

typedef struct Bicubic {
    int64_t planes, in_height, in_width, out_height, out_width;
    bool add;
    const float *from;
    float *to;
    int64_t near; /* of the way back: how many results along x may have one input among their taps */
} Bicubic;

enum { PLANES = 8 }; /* that a thread goes through */

__global__ void bicubic_pixels(Bicubic b)
{
    for (int64_t pixel = map_col<1>(); pixel < b.out_height * b.out_width; pixel += map_col_step<1>()) {
        Taps down = cubic_taps(pixel / b.out_width, b.in_height, b.out_height);
        Taps across = cubic_taps(pixel % b.out_width, b.in_width, b.out_width);
        for (int64_t plane = map_row(); plane < b.planes; plane += map_row_step()) {
            float sum = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const float *x =
                    b.from + (plane * b.in_height + clamped_tap(down.first + k - 1, b.in_height)) * b.in_width;
                float row = 0;
#pragma unroll
                for (int l = 0; l < 4; l++)
                    row += across.weight[l] * x[clamped_tap(across.first + l - 1, b.in_width)];
                sum += down.weight[k] * row;
            }
            b.to[plane * b.out_height * b.out_width + pixel] = sum;
        }
    }
}

static void bicubic(const Exec *exec, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                    int64_t out_width, const float *x, float *y)
{
    Bicubic b = {planes, in_height, in_width, out_height, out_width, false, x, y, 0};
    MapGrid g = map_grid(blocks_for(planes, PLANES), out_height * out_width);
    LAUNCH(bicubic_pixels, g.grid, g.block, 0, exec, b);
}

/* ---- The way back */

/* With which weight result o has input i: a clamped input may be several of its taps. */
DEVICE float weight_of(int64_t o, int64_t i, int64_t in, int64_t out)
{
    Taps t = cubic_taps(o, in, out);
    float weight = 0;
#pragma unroll
    for (int k = 0; k < 4; k++)
        weight += clamped_tap(t.first + k - 1, in) == i ? t.weight[k] : 0;
    return weight;
}

/* The first result that may have input i among its taps: one that reads first-1 .. first+2 has first >= i - 2. */
DEVICE int64_t first_near(int64_t i, int64_t in, int64_t out)
{
    return clamped_tap((int64_t)floor(((double)i - 1.5) * (double)out / (double)in - 0.5) - 1, out);
}

/* How many follow it: first < i + 2 means less than 4 inputs further on. */
static int64_t count_near(int64_t in, int64_t out)
{
    return map_lesser(out, 4 * blocks_for(out, in) + 4);
}

/* A thread has a column of the input, of which the weights along x wait in shared memory, and goes through rows of planes. */
__global__ void bicubic_gradient_pixels(Bicubic b)
{
    DYNAMIC_SHARED(float, weights); /* [near][blockDim.x] */
    int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= b.in_width)
        return;
    int64_t left = first_near(column, b.in_width, b.out_width), wide = map_lesser(b.near, b.out_width - left);
    for (int64_t n = 0; n < wide; n++)
        weights[n * blockDim.x + threadIdx.x] = weight_of(left + n, column, b.in_width, b.out_width);
    for (int64_t r = blockIdx.y; r < b.planes * b.in_height; r += gridDim.y) {
        int64_t plane = r / b.in_height, i = r % b.in_height, top = first_near(i, b.in_height, b.out_height);
        float sum = b.add ? b.to[r * b.in_width + column] : 0;
        for (int64_t o = top; o < b.out_height; o++) {
            if (cubic_taps(o, b.in_height, b.out_height).first - 1 > i)
                break;
            float down = weight_of(o, i, b.in_height, b.out_height), row = 0;
            const float *dy = b.from + (plane * b.out_height + o) * b.out_width + left;
            for (int64_t n = 0; n < wide && down != 0; n++)
                row += weights[n * blockDim.x + threadIdx.x] * dy[n];
            sum += down * row;
        }
        b.to[r * b.in_width + column] = sum;
    }
}

static void bicubic_gradient(const Exec *exec, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                             int64_t out_width, const float *dy, bool add, float *dx)
{
    enum { MOST_BYTES = 96 << 10 };
    Bicubic b = {planes, in_height, in_width, out_height, out_width, add, dy, dx, 0};
    if (planes * in_height * in_width == 0)
        return;
    b.near = count_near(in_width, out_width);
    size_t bytes = (size_t)b.near * sizeof(float);
    contract(bytes <= MOST_BYTES, "bicubic_gradient: from %lld columns to %lld", (long long)in_width,
             (long long)out_width);
    unsigned threads = 128;
    while (threads > 1 && (threads * bytes > MOST_BYTES || threads / 2 >= in_width))
        threads /= 2;
    dim3 grid((unsigned)blocks_for(in_width, threads), (unsigned)map_lesser(planes * in_height, MAP_MOST_Y));
    LAUNCH(bicubic_gradient_pixels, grid, threads, threads * bytes, exec, b);
}

const ResizeKernels cuda_resize = {.bicubic = bicubic, .bicubic_gradient = bicubic_gradient};
