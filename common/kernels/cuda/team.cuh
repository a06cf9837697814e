/* Who works on a row: a warp, or a block where rows are so long that a warp each would leave most of the GPU idle.
 *
 *     for (int64_t r = Team::first_row(); r < rows; r += Team::row_step())
 *         for (int64_t c = Team::index() * N; c < cols; c += Team::size() * N) */
#pragma once
#include "common/kernels/cuda/ptx.cuh"

enum { TEAM_WARPS = 4, TEAM_THREADS = 512, TEAM_LONG = 2048 };

struct WarpTeam {
    static __device__ __forceinline__ int index(void)
    {
        return lane_index();
    }
    static __device__ __forceinline__ int size(void)
    {
        return WARP;
    }
    static __device__ __forceinline__ int64_t first_row(void)
    {
        return (int64_t)blockIdx.x * TEAM_WARPS + threadIdx.x / WARP;
    }
    static __device__ __forceinline__ int64_t row_step(void)
    {
        return (int64_t)gridDim.x * TEAM_WARPS;
    }
    template <typename T> static __device__ __forceinline__ T sum(T x)
    {
        return warp_sum(x);
    }
    static __device__ __forceinline__ float max(float x)
    {
        return warp_max(x);
    }
};

struct BlockTeam {
    static __device__ __forceinline__ int index(void)
    {
        return (int)threadIdx.x;
    }
    static __device__ __forceinline__ int size(void)
    {
        return TEAM_THREADS;
    }
    static __device__ __forceinline__ int64_t first_row(void)
    {
        return blockIdx.x;
    }
    static __device__ __forceinline__ int64_t row_step(void)
    {
        return gridDim.x;
    }
    template <typename T> static __device__ __forceinline__ T sum(T x)
    {
        return block_sum(x);
    }
    static __device__ __forceinline__ float max(float x)
    {
        return block_max(x);
    }
};

/* Starts kernel<Team, N>: a block a row of TEAM_LONG columns or more, N = 4 where `width` is 4, else 1. */
#define LAUNCH_TEAMS(kernel, rows, cols, width, exec, ...)                                                             \
    do {                                                                                                               \
        if ((cols) >= TEAM_LONG && (width) == 4)                                                                       \
            LAUNCH((kernel<BlockTeam, 4>), grid_for(rows), TEAM_THREADS, 0, exec, __VA_ARGS__);                        \
        else if ((cols) >= TEAM_LONG)                                                                                  \
            LAUNCH((kernel<BlockTeam, 1>), grid_for(rows), TEAM_THREADS, 0, exec, __VA_ARGS__);                        \
        else if ((width) == 4)                                                                                         \
            LAUNCH((kernel<WarpTeam, 4>), grid_for(blocks_for(rows, TEAM_WARPS)), TEAM_WARPS *WARP, 0, exec,           \
                   __VA_ARGS__);                                                                                       \
        else                                                                                                           \
            LAUNCH((kernel<WarpTeam, 1>), grid_for(blocks_for(rows, TEAM_WARPS)), TEAM_WARPS *WARP, 0, exec,           \
                   __VA_ARGS__);                                                                                       \
    } while (0)
