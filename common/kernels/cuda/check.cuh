/* What failed in the CUDA runtime, in one line. Nothing that calls a kernel can hand such a failure on, so the process ends. */
#pragma once
#include <cuda_runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the process with "device cuda: WHAT: error" unless the call succeeded. Exit code 2 where the machine cannot do it (memory,
 * driver), else 1: a kernel of ours went wrong, in this call or in one before it that nobody has waited for. */
__attribute__((format(printf, 2, 3))) static inline void cuda_succeed(cudaError_t status, const char *what, ...)
{
    if (status == cudaSuccess)
        return;
    bool machine = status == cudaErrorMemoryAllocation || status == cudaErrorInsufficientDriver ||
                   status == cudaErrorNoDevice || status == cudaErrorNoKernelImageForDevice;
    va_list args;
    va_start(args, what);
    fprintf(stderr, "device cuda: ");
    vfprintf(stderr, what, args);
    fprintf(stderr, ": %s%s\n", cudaGetErrorString(status),
            status == cudaErrorMemoryAllocation ? "; lower train.batch_size (or eval.batch_size)" : "");
    va_end(args);
    fflush(NULL);
    _Exit(machine ? 2 : 1); /* exit handlers might wait for the device */
}
