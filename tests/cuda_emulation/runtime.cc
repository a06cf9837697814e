/* Devices and errors: there is one device, and what fails says so at once. The environment may say
 * what it is: EMULATED_CAPABILITY=70, EMULATED_DRIVER=11000 (0: there is none), EMULATED_GPUS=0, EMULATED_MEMORY=64M. */
#include <cuda_runtime.h>

#include "tests/cuda_emulation/internal.h"

#include <stdlib.h>

enum { TOOLKIT = 13000 };

size_t emulated_size(const char *variable, size_t otherwise)
{
    const char *text = getenv(variable);
    if (!text || !*text)
        return otherwise;
    char *end = NULL;
    size_t size = strtoull(text, &end, 10);
    size <<= *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || (*end && end[1]))
        emulated_fail("%s=%s: not a number, perhaps with M or G", variable, text);
    return size;
}

const char *cudaGetErrorString(cudaError_t status)
{
    switch (status) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureIsolation:
        return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent:
        return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorGraphExecUpdateFailure:
        return "the graph update was not performed because it included changes which violated constraints";
    default:
        return "error of the emulation";
    }
}

const char *cudaGetErrorName(cudaError_t status)
{
    return cudaGetErrorString(status);
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void)
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    int driver;
    cudaDriverGetVersion(&driver);
    *count = (int)emulated_size("EMULATED_GPUS", 1);
    emulated_process_check();
    return driver < TOOLKIT ? cudaErrorInsufficientDriver : *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    *properties = {};
    strcpy(properties->name, "emulated");
    size_t free_bytes;
    cudaMemGetInfo(&free_bytes, &properties->totalGlobalMem);
    cudaDeviceGetAttribute(&properties->major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&properties->minor, cudaDevAttrComputeCapabilityMinor, 0);
    cudaDeviceGetAttribute(&properties->multiProcessorCount, cudaDevAttrMultiProcessorCount, 0);
    return cudaSuccess;
}

/* An sm_80, the least GPU that the kernels are for. */
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int)
{
    int capability = (int)emulated_size("EMULATED_CAPABILITY", 80);
    switch (what) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = 163 << 10;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 2;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = capability / 10;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = capability % 10;
        break;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int)
{
    *pool = NULL;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)emulated_size("EMULATED_DRIVER", TOOLKIT);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = TOOLKIT;
    return cudaSuccess;
}
