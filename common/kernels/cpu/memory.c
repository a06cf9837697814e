#include "common/kernels/cpu/memory.h"

#include "common/base/memory.h"

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

static void fetch(const Exec *exec, Fetch *f, const void *from, size_t bytes)
{
    if (bytes > f->room)
        f->host = mem_resize(f->host, f->room = bytes);
    copy(exec, f->host, from, bytes);
}

static void fetch_wait(Fetch *f)
{
    (void)f;
}

static void fetch_free(Fetch *f)
{
    mem_free(f->host);
    *f = (Fetch){0};
}

static size_t total(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

static void wait(const Exec *exec)
{
    (void)exec; /* kernels have ended when they return */
}

static void step(StepMoment moment)
{
    (void)moment; /* as above */
}

const MemoryKernels host_memory_kernels = {.on_host = true,
                                           .take = take,
                                           .give = give,
                                           .upload = copy,
                                           .download = copy,
                                           .fetch = fetch,
                                           .fetch_wait = fetch_wait,
                                           .fetch_free = fetch_free,
                                           .copy = copy,
                                           .fill = fill,
                                           .total = total,
                                           .wait = wait,
                                           .step = step};
