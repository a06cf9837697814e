/* The entry of the shared object: looks whether this machine can run it, and collects the families. */
#include "common/kernels/cuda/graph.cuh"
#include <stdint.h>
extern "C" {
__attribute__((visibility("default"))) const Backend *zoo_cuda_backend(Error *e);
}

#define REFUSE(e, ...) (snprintf((e)->text, sizeof(e)->text, "device cuda: " __VA_ARGS__), false)

/* What the count of GPUs failed with. */
static bool explain(cudaError_t status, Error *e)
{
    int driver = 0, needed = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&needed);
    if (driver == 0)
        return REFUSE(e, "no NVIDIA driver is loaded on this machine (nvidia-smi should list a GPU); use device: cpu");
    if (status == cudaErrorInsufficientDriver)
        return REFUSE(e,
                      "the NVIDIA driver knows CUDA %d.%d and this build needs %d.%d; update the driver, or build with "
                      "an older toolkit",
                      driver / 1000, driver % 1000 / 10, needed / 1000, needed % 1000 / 10);
    if (status == cudaErrorNoDevice)
        return REFUSE(e, "there is a driver but no GPU (is CUDA_VISIBLE_DEVICES empty?); use device: cpu");
    return REFUSE(e, "the GPU cannot be used: %s", cudaGetErrorString(status));
}

static bool machine_fits(Error *e)
{
    int count = 0, major = 0, minor = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count == 0)
        status = cudaErrorNoDevice;
    if (status == cudaSuccess)
        status = cudaSetDevice(0);
    if (status != cudaSuccess)
        return explain(status, e);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (major < 8)
        return REFUSE(e, "this GPU has compute capability %d.%d, and 8.0 (Ampere) is the least; use device: cpu", major,
                      minor);
    return true;
}

/* What was given back stays with the process: the next tape takes it without asking the driver. */
static void keep_memory(void)
{
    cudaMemPool_t pool;
    uint64_t all = UINT64_MAX;
    cuda_succeed(cudaDeviceGetDefaultMemPool(&pool, 0), "asking for the memory pool");
    cuda_succeed(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all), "keeping memory");
}

const Backend *zoo_cuda_backend(Error *e)
{
    static Backend backend;
    if (!machine_fits(e) || !graph_choose(e))
        return NULL;
    keep_memory();
    backend.name = "cuda";
    backend.stream = cuda_stream();
    backend.bf16 = true;
    backend.memory = cuda_memory;
    backend.matmul = cuda_matmul;
    backend.chain = cuda_chain;
    backend.convolution = cuda_convolution;
    backend.norm = cuda_norm;
    backend.batch_norm = cuda_batch_norm;
    backend.elementwise = cuda_elementwise;
    backend.loss = cuda_loss;
    backend.noise = cuda_noise;
    backend.optimizer = cuda_optimizer;
    backend.resize = cuda_resize;
    backend.augment = cuda_augment;
    backend.gather = cuda_gather;
    backend.adafactor = cuda_adafactor;
    backend.select = cuda_select;
    backend.kmeans = cuda_kmeans;
    backend.sight = cuda_sight;
    backend.windows = cuda_windows;
    backend.rotary = cuda_rotary;
    backend.relative = cuda_relative;
    backend.attention = cuda_attention;
    return &backend;
}
