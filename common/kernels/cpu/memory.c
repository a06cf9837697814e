#include "common/kernels/cpu/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 256 };

static void *take(size_t bytes)
{
    return aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT);
}

static void give(void *memory)
{
    free(memory);
}

static void copy(const Exec *exec, void *to, const void *from, size_t bytes)
{
    (void)exec;
    if (bytes)
        memcpy(to, from, bytes);
}

static void fill(const Exec *exec, void *memory, uint8_t byte, size_t bytes)
{
    (void)exec;
    if (bytes)
        memset(memory, byte, bytes);
}

static size_t total(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

static void wait(const Exec *exec)
{
    (void)exec; /* kernels have ended when they return */
}

const MemoryKernels host_memory_kernels = {.on_host = true,
                                           .take = take,
                                           .give = give,
                                           .upload = copy,
                                           .download = copy,
                                           .copy = copy,
                                           .fill = fill,
                                           .total = total,
                                           .wait = wait};
