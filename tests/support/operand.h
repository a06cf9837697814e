/* Operands: arrays that a test hands to a kernel and looks at itself. On the CPU they are malloc's, so that a sanitizer sees what lies beside
 * them; on the device cuda managed memory, which the host may touch while no kernel runs. */
#pragma once
#include "common/base/memory.h"
#include "tests/support/device.h"

/* The device cuda for tests of kernels: its memory is managed, and a launch returns when the kernel is done. */
static inline const Backend *cuda_for_kernels(void)
{
    Error e;
    setenv("ZOO_CUDA_MANAGED", "1", 1);
    setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    const Backend *backend = cuda_backend(&e);
    if (!backend)
        exit(user_error(&e));
    return backend;
}

/* Zeroed, 64-byte aligned. */
static inline void *operand_new(size_t bytes)
{
    void *operand;
    if (testing_cuda())
        operand = cuda_for_kernels()->memory.take(bytes);
    else if (posix_memalign(&operand, 64, bytes + !bytes))
        operand = NULL;
    if (!operand)
        user_fatal("no memory for an operand of %zu bytes", bytes);
    return memset(operand, 0, bytes);
}

static inline void *operand_copy(const void *from, size_t bytes)
{
    return memcpy(operand_new(bytes), from, bytes);
}

static inline void operand_free(void *operand)
{
    if (testing_cuda())
        cuda_for_kernels()->memory.give(operand);
    else
        free(operand);
}
