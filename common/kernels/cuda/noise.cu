/* Random numbers: a thread makes a block of Philox, four words, and uses all of them. The numbers are the CPU's: element i of a
 * draw takes the word i + first, wherever it lies in its block. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/noise.h"

typedef struct Draw {
    PhiloxDraw draw;
    int64_t first, count;
    float rate;
    bool add;
    Rows x, y;
    bool aligned; /* a block's four elements can be read and written together */
} Draw;

/* Blocks of `each` elements that first .. first + count - 1 lie in. */
static MapGrid blocks_grid(int64_t first, int64_t count, int64_t each)
{
    return map_grid(1, count ? (first + count - 1) / each - first / each + 1 : 0);
}

template <int N> DEVICE void drop(const Draw &d, const uint32_t *words, int64_t at)
{
    float factor = 1.0f / (1.0f - d.rate);
    Floats<N> v = rows_load<N>(d.x, 0, at), y = d.add ? rows_load<N>(d.y, 0, at) : floats_of<N>(0);
    for (int i = 0; i < N; i++)
        y.at[i] += philox_uniform(words[i]) >= d.rate ? v.at[i] * factor : 0;
    rows_store<N>(d.y, 0, at, y);
}

__global__ void dropout_blocks(Draw d)
{
    for (int64_t block = d.first / 4 + map_col<1>(); block * 4 < d.first + d.count; block += map_col_step<1>()) {
        uint32_t words[4];
        int64_t at = block * 4 - d.first;
        philox_block(d.draw, (uint64_t)block, words);
        if (d.aligned && at + 4 <= d.count) {
            drop<4>(d, words, at);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (at + i >= 0 && at + i < d.count)
                drop<1>(d, words + i, at + i);
    }
}

static void dropout(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float rate, Rows x, bool add,
                    Rows y)
{
    rows_check(x, "dropout");
    rows_check(y, "dropout");
    x.stride = y.stride = 0; /* one row */
    Draw d = {draw, first, count, rate, add, x, y, first % 4 == 0 && ROWS_WIDTH(4, x, y) == 4};
    MapGrid g = blocks_grid(first, count, 4);
    LAUNCH(dropout_blocks, g.grid, g.block, 0, exec, d);
}

__global__ void uniform_blocks(Draw d)
{
    for (int64_t block = d.first / 4 + map_col<1>(); block * 4 < d.first + d.count; block += map_col_step<1>()) {
        uint32_t words[4];
        int64_t at = block * 4 - d.first;
        philox_block(d.draw, (uint64_t)block, words);
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (at + i >= 0 && at + i < d.count)
                ((float *)d.y.data)[at + i] = philox_uniform(words[i]);
    }
}

static void uniform(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float *y)
{
    Draw d = {draw, first, count, 0, false, {}, rows_of(y), false};
    MapGrid g = blocks_grid(first, count, 4);
    LAUNCH(uniform_blocks, g.grid, g.block, 0, exec, d);
}

/* Element i takes the words 2i and 2i + 1. */
__global__ void normal_blocks(Draw d)
{
    for (int64_t block = d.first / 2 + map_col<1>(); block * 2 < d.first + d.count; block += map_col_step<1>()) {
        uint32_t words[4];
        int64_t at = block * 2 - d.first;
        philox_block(d.draw, (uint64_t)block, words);
        if (at >= 0)
            ((float *)d.y.data)[at] = philox_normal(words[0], words[1]);
        if (at + 1 < d.count)
            ((float *)d.y.data)[at + 1] = philox_normal(words[2], words[3]);
    }
}

static void normal(const Exec *exec, PhiloxDraw draw, int64_t first, int64_t count, float *y)
{
    Draw d = {draw, first, count, 0, false, {}, rows_of(y), false};
    MapGrid g = blocks_grid(first, count, 2);
    LAUNCH(normal_blocks, g.grid, g.block, 0, exec, d);
}

const NoiseKernels cuda_noise = {.dropout = dropout, .uniform = uniform, .normal = normal};
