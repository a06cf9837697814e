/* Permutation of axes, and copies of rows: axes that stay together are merged first; then either runs of memory are copied whole,
 * or the axis that is contiguous in x changes places with the one that is contiguous in y, through tiles in shared memory. */
#include "common/kernels/cuda/elementwise.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/axes.h"

enum { TILE = 32, TILE_ROWS = 8 };

/* What is moved at a time: nothing is computed. */
typedef struct alignas(16) Sixteen {
    uint64_t half[2];
} Sixteen;

/* The widest of 16, 8, 4, 2, 1 bytes that divides them all. */
static size_t unit_of(uint64_t all_numbers_or_ed)
{
    size_t unit = sizeof(Sixteen);
    while (all_numbers_or_ed % unit)
        unit /= 2;
    return unit;
}

/* run<T>(exec, job) with T of `bytes` bytes. */
#define OF_BYTES(bytes, run, exec, job)                                                                                \
    switch (bytes) {                                                                                                   \
    case 1:                                                                                                            \
        run<uint8_t>(exec, job);                                                                                       \
        break;                                                                                                         \
    case 2:                                                                                                            \
        run<uint16_t>(exec, job);                                                                                      \
        break;                                                                                                         \
    case 4:                                                                                                            \
        run<uint32_t>(exec, job);                                                                                      \
        break;                                                                                                         \
    case 8:                                                                                                            \
        run<uint64_t>(exec, job);                                                                                      \
        break;                                                                                                         \
    default:                                                                                                           \
        run<Sixteen>(exec, job);                                                                                       \
        break;                                                                                                         \
    }

/* ---- Rows of bytes */

typedef struct Copy {
    int64_t rows, length, x_step, y_step; /* in units */
    const void *x;
    void *y;
} Copy;

template <typename T> __global__ void copy_rows(Copy m)
{
    for (int64_t r = map_row(); r < m.rows; r += map_row_step())
        for (int64_t c = map_col<1>(); c < m.length; c += map_col_step<1>())
            ((T *)m.y)[r * m.y_step + c] = ((const T *)m.x)[r * m.x_step + c];
}

template <typename T> void copy_run(const Exec *exec, Copy m)
{
    MapGrid g = map_grid(m.rows, m.length);
    LAUNCH(copy_rows<T>, g.grid, g.block, 0, exec, m);
}

void cuda_copy(const Exec *exec, int64_t rows, size_t bytes, const void *x, size_t x_step, void *y, size_t y_step)
{
    if (x_step == bytes && y_step == bytes) {
        bytes *= (size_t)rows;
        rows = 1;
    }
    if (rows <= 0 || bytes == 0)
        return;
    size_t unit = unit_of((uintptr_t)x | (uintptr_t)y | bytes | (rows > 1 ? x_step | y_step : 0));
    Copy m = {rows, (int64_t)(bytes / unit), (int64_t)(x_step / unit), (int64_t)(y_step / unit), x, y};
    OF_BYTES(unit, copy_run, exec, m)
}

/* ---- Permutation */

typedef struct Permute {
    PermutedAxes axes;
    const void *x;
    void *y;
} Permute;

/* Where an outer position begins in x and in y. */
DEVICE void outer_start(const PermutedAxes &p, int64_t item, int64_t *x_at, int64_t *y_at)
{
    *x_at = *y_at = 0;
    for (int a = p.outer_rank - 1; a >= 0; a--) {
        int64_t i = item % p.outer[a].length;
        item /= p.outer[a].length;
        *x_at += i * p.outer[a].x_step;
        *y_at += i * p.outer[a].y_step;
    }
}

template <typename T> __global__ void permute_runs(Permute p)
{
    int64_t x_at, y_at;
    for (int64_t item = map_row(); item < p.axes.items; item += map_row_step()) {
        outer_start(p.axes, item, &x_at, &y_at);
        for (int64_t c = map_col<1>(); c < p.axes.inner.length; c += map_col_step<1>())
            ((T *)p.y)[y_at + c] = ((const T *)p.x)[x_at + c];
    }
}

/* A block takes a tile, TILE steps of `across` and as many of `inner`, of each outer position that is its own. */
template <typename T> __global__ void permute_tiles(Permute p)
{
    __shared__ T tile[TILE][TILE + 1];
    int lane = (int)threadIdx.x;
    int64_t inner_tiles = blocks_for(p.axes.inner.length, TILE),
            tiles = inner_tiles * blocks_for(p.axes.across.length, TILE);
    for (int64_t job = blockIdx.x; job < tiles * p.axes.items; job += gridDim.x) {
        int64_t inner = job % tiles % inner_tiles * TILE, across = job % tiles / inner_tiles * TILE, x_at, y_at;
        outer_start(p.axes, job / tiles, &x_at, &y_at);
        for (int row = (int)threadIdx.y; row < TILE; row += TILE_ROWS)
            if (inner + row < p.axes.inner.length && across + lane < p.axes.across.length)
                tile[row][lane] = ((const T *)p.x)[x_at + (inner + row) * p.axes.inner.x_step + across + lane];
        __syncthreads();
        for (int row = (int)threadIdx.y; row < TILE; row += TILE_ROWS)
            if (inner + lane < p.axes.inner.length && across + row < p.axes.across.length)
                ((T *)p.y)[y_at + (across + row) * p.axes.across.y_step + inner + lane] = tile[lane][row];
        __syncthreads();
    }
}

template <typename T> void permute_run(const Exec *exec, Permute p)
{
    MapGrid g = map_grid(p.axes.items, p.axes.inner.length);
    int64_t tiles = blocks_for(p.axes.inner.length, TILE) * blocks_for(p.axes.across.length, TILE);
    if (p.axes.inner.x_step == 1)
        LAUNCH(permute_runs<T>, g.grid, g.block, 0, exec, p);
    else
        LAUNCH(permute_tiles<T>, grid_for(tiles * p.axes.items), dim3(TILE, TILE_ROWS), 0, exec, p);
}

/* Runs may be moved by more than an element at a time: turns the steps and the length into such units. */
static size_t widen(Permute *permute, size_t bytes)
{
    PermutedAxes *p = &permute->axes;
    uint64_t all = (uintptr_t)permute->x | (uintptr_t)permute->y | (uint64_t)p->inner.length * bytes;
    for (int a = 0; a < p->outer_rank; a++)
        all |= (uint64_t)(p->outer[a].x_step | p->outer[a].y_step) * bytes;
    size_t unit = unit_of(all);
    if (unit <= bytes)
        return bytes;
    int64_t elements = (int64_t)(unit / bytes);
    p->inner.length /= elements;
    for (int a = 0; a < p->outer_rank; a++) {
        p->outer[a].x_step /= elements;
        p->outer[a].y_step /= elements;
    }
    return unit;
}

void cuda_permute(const Exec *exec, int rank, const int64_t *shape, const int *order, size_t bytes, const void *x,
                  void *y)
{
    Permute p = {permuted_axes(rank, shape, order, bytes), x, y};
    if (p.axes.items == 0)
        return;
    size_t unit = p.axes.inner.x_step == 1 ? widen(&p, bytes) : bytes;
    OF_BYTES(unit, permute_run, exec, p)
}
