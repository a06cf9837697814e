/* How threads are laid over a matrix of which each value (or N of them side by side) has a thread: along x the columns, along y
 * the rows, neither of them divided by the other. Beyond the grid's size a thread takes every grid-th one.
 *
 *     for (int64_t r = map_row(); r < rows; r += map_row_step())
 *         for (int64_t c = map_col<N>(); c < cols; c += map_col_step<N>()) */
#pragma once
#include "common/kernels/cuda/number.cuh"

enum { MAP_THREADS = 256, MAP_BLOCKS = 1 << 16, MAP_MOST_Y = 65535 };

typedef struct MapGrid {
    dim3 grid, block;
} MapGrid;

BOTH_SIDES int64_t map_lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* cols: of N values. */
static inline MapGrid map_grid(int64_t rows, int64_t cols)
{
    int64_t x = 1, y = 1;
    while (x < MAP_THREADS && x < cols)
        x *= 2;
    while (x * y < MAP_THREADS && y < rows)
        y *= 2;
    int64_t across = map_lesser(blocks_for(cols, x), MAP_BLOCKS);
    int64_t down = across ? map_lesser(blocks_for(rows, y), MAP_BLOCKS / across) : 0;
    down = map_lesser(down, MAP_MOST_Y);
    MapGrid m = {dim3((unsigned)across, (unsigned)down), dim3((unsigned)x, (unsigned)y)};
    return m;
}

DEVICE int64_t map_row(void)
{
    return (int64_t)blockIdx.y * blockDim.y + threadIdx.y;
}

DEVICE int64_t map_row_step(void)
{
    return (int64_t)gridDim.y * blockDim.y;
}

template <int N> DEVICE int64_t map_col(void)
{
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
}

template <int N> DEVICE int64_t map_col_step(void)
{
    return (int64_t)gridDim.x * blockDim.x * N;
}
