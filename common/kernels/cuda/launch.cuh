/* How every kernel of this folder is written and started. A .cu file includes this one first; nvcc compiles it for the
 * GPU, and g++ as plain C++ against tests/cuda_emulation (-DZOO_CUDA_EMULATED). So it holds only what both take. */
#pragma once
#include <cuda_runtime.h>
extern "C" {
#include "common/base/error.h"
#include "common/kernels/cuda/families.h"
}
#include "common/kernels/cuda/check.cuh"

#define DEVICE static __device__ __forceinline__
#define BOTH_SIDES static __host__ __device__ __forceinline__

enum { WARP = 32 };

/* LAUNCH(kernel, grid, block, shared_bytes, exec, arguments...): the only way to start a kernel. Nothing is started
 * where the grid has no block. A template stands in brackets: LAUNCH((sum_rows<4>), ...). Arguments convert as in a
 * call. Dynamic shared memory may be as large as the GPU allows; a kernel reads it through DYNAMIC_SHARED. */
#define LAUNCH(kernel, grid, block, shared_bytes, exec, ...)                                                           \
    launch_kernel({#kernel, __FILE__, __LINE__}, kernel, grid, block, shared_bytes, exec, __VA_ARGS__)

typedef struct LaunchSite {
    const char *kernel, *file;
    int line;
} LaunchSite;

template <typename T> struct AsIs {
    typedef T Type;
};

enum { SHARED_UNASKED = 48 << 10 }; /* more dynamic shared memory than this must be asked for */

#ifdef ZOO_CUDA_EMULATED

template <typename... P>
void launch_kernel(LaunchSite site, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const Exec *exec,
                   typename AsIs<P>::Type... arguments)
{
    auto body = [=] { kernel(arguments...); };
    typedef decltype(body) Body;
    static_assert(__is_trivially_copyable(Body), "a kernel's arguments are copied byte by byte");
    __builtin_clear_padding(&body); /* it is searched for addresses */
    emulated_launch(
        {site.kernel, site.file, site.line, (const void *)kernel, grid, block, shared_bytes},
        (cudaStream_t)exec->stream, [](const void *call) { (*(const Body *)call)(); }, &body, sizeof body);
}

#define DYNAMIC_SHARED(type, name) type *name = (type *)emulated_dynamic_shared()

#else

template <typename... P>
void launch_kernel(LaunchSite site, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const Exec *exec,
                   typename AsIs<P>::Type... arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    void *addresses[] = {(void *)&arguments...};
    cudaError_t status = cudaSuccess;
    if (shared_bytes > SHARED_UNASKED)
        status =
            cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (status == cudaSuccess)
        status =
            cudaLaunchKernel((const void *)kernel, grid, block, addresses, shared_bytes, (cudaStream_t)exec->stream);
    cuda_succeed(status, "%s:%d: %s<<<(%u, %u, %u), (%u, %u, %u), %zu>>>", site.file, site.line, site.kernel, grid.x,
                 grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
}

extern __shared__ __align__(16) unsigned char zoo_dynamic_shared[];
/* DYNAMIC_SHARED(float, tile) declares `float *tile`: the dynamic shared memory of the block, from its beginning,
 * 16-byte aligned. */
#define DYNAMIC_SHARED(type, name) type *name = (type *)zoo_dynamic_shared

#endif

/* Blocks of `size` that hold `count`. */
BOTH_SIDES int64_t blocks_for(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

/* A one-dimensional grid for so much work that each block takes every grid-th piece: never more blocks than a GPU can
 * have at work a few times over, so that 64-bit counts fit. */
static inline unsigned grid_for(int64_t blocks)
{
    const int64_t most = 1 << 16;
    return (unsigned)(blocks < most ? blocks : most);
}
