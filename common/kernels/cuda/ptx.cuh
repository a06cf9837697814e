/* What threads of a warp or a block do together, and every instruction that C++ has no word for. Each has a twin under
 * emulation, in tests/cuda_emulation/include/cuda_runtime.h where CUDA itself names the function, else here. */
#pragma once
#include "common/kernels/cuda/launch.cuh"

enum : unsigned { ALL_LANES = 0xffffffffu };

DEVICE int lane_index(void) /* blocks are one-dimensional, or their x is a multiple of WARP */
{
    return (int)(threadIdx.x % WARP);
}

/* Ends the process, by what the next call to CUDA returns, where a caller gave a kernel what it may not: an index outside of its
 * table. */
DEVICE void device_contract(bool holds)
{
#ifdef ZOO_CUDA_EMULATED
    if (!holds)
        emulated_fail("a broken contract");
#else
    if (!holds)
        __trap();
#endif
}

/* Sums over the warp in a fixed order, the same bits in every lane. All lanes must be there. */
DEVICE float warp_sum(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE double warp_sum(double x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE float warp_max(float x) /* NaN is ignored, as by fmaxf */
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

/* The same over a block of `warps` whole warps (at most 32, blockDim.x threads, one-dimensional). All threads must be
 * there and all get the result. */
template <typename T> DEVICE T block_sum(T x)
{
    __shared__ T of_warp[WARP];
    int warps = (int)(blockDim.x / WARP), warp = (int)(threadIdx.x / WARP);
    x = warp_sum(x);
    if (lane_index() == 0)
        of_warp[warp] = x;
    __syncthreads();
    T sum = of_warp[0];
    for (int w = 1; w < warps; w++)
        sum += of_warp[w];
    __syncthreads(); /* of_warp may be written again */
    return sum;
}

DEVICE float block_max(float x)
{
    __shared__ float of_warp[WARP];
    int warps = (int)(blockDim.x / WARP), warp = (int)(threadIdx.x / WARP);
    x = warp_max(x);
    if (lane_index() == 0)
        of_warp[warp] = x;
    __syncthreads();
    float most = of_warp[0];
    for (int w = 1; w < warps; w++)
        most = fmaxf(most, of_warp[w]);
    __syncthreads();
    return most;
}
