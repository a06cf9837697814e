#include "common/tensor/pool.h"

#include "common/base/error.h"
#include "common/base/memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { RED_ZONE = 64 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { RED_ZONE = 0 };
#endif

enum { ALIGNMENT = 64 };
static const size_t HUGE_PAGE = (size_t)2 << 20;

typedef struct Gap {
    size_t offset, size;
} Gap;

struct Pool {
    char *base;
    bool real;
    size_t limit;   /* of the region */
    size_t top;     /* everything from here on is free */
    size_t reached; /* the highest top there ever was: nothing behind it was ever touched */
    size_t used, peak;
    ARRAY(Gap) gaps; /* free blocks below top, by offset, never touching each other */
};

static size_t machine_memory(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

Pool *pool_new(bool real)
{
    Pool *pool = mem_new(sizeof *pool);
    pool->real = real;
    pool->limit = real ? machine_memory() : SIZE_MAX / 2;
    pool->base = (char *)HUGE_PAGE; /* never read where there is no memory */
    if (real) {
        char *region = mmap(NULL, pool->limit + HUGE_PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (region == MAP_FAILED)
            user_fatal("out of memory: no address space for the tensors (%zu bytes); is there a limit (ulimit -v)?",
                       pool->limit);
        pool->base = region + (HUGE_PAGE - (uintptr_t)region % HUGE_PAGE) % HUGE_PAGE;
        madvise(pool->base, pool->limit, MADV_HUGEPAGE);
    }
    return pool;
}

void pool_free(Pool *pool)
{
    if (!pool)
        return;
    if (pool->real) {
        ASAN_UNPOISON_MEMORY_REGION(pool->base, pool->reached);
        munmap(pool->base, pool->limit);
    }
    array_free(&pool->gaps);
    mem_free(pool);
}

static size_t block_size(size_t bytes)
{
    return (bytes + RED_ZONE + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + (bytes ? 0 : ALIGNMENT);
}

static void gap_remove(Pool *pool, size_t i)
{
    memmove(&pool->gaps.items[i], &pool->gaps.items[i + 1], (--pool->gaps.count - i) * sizeof(Gap));
}

static void gap_insert(Pool *pool, size_t i, Gap gap)
{
    (void)array_add(&pool->gaps);
    memmove(&pool->gaps.items[i + 1], &pool->gaps.items[i], (pool->gaps.count - 1 - i) * sizeof(Gap));
    pool->gaps.items[i] = gap;
}

/* The smallest gap that is large enough, or gaps.count. */
static size_t best_gap(const Pool *pool, size_t size)
{
    size_t best = pool->gaps.count;
    for (size_t i = 0; i < pool->gaps.count; i++)
        if (pool->gaps.items[i].size >= size &&
            (best == pool->gaps.count || pool->gaps.items[i].size < pool->gaps.items[best].size))
            best = i;
    return best;
}

/* Debug builds: what nobody wrote, and what somebody gave back, reads as NaN. */
static void poison(char *block, size_t bytes)
{
#ifndef NDEBUG
    memset(block, 0xff, bytes);
#else
    (void)block, (void)bytes;
#endif
}

static void *given_out(Pool *pool, size_t offset, size_t bytes)
{
    size_t size = block_size(bytes);
    pool->used += size;
    pool->peak = MAX(pool->peak, pool->used);
    char *block = pool->base + offset;
    if (pool->real) {
        ASAN_UNPOISON_MEMORY_REGION(block, bytes);
        ASAN_POISON_MEMORY_REGION(block + bytes, size - bytes);
        poison(block, bytes);
    }
    return block;
}

void *pool_take(Pool *pool, size_t bytes)
{
    size_t size = block_size(bytes), i = best_gap(pool, size);
    if (i < pool->gaps.count) {
        Gap *gap = &pool->gaps.items[i];
        size_t offset = gap->offset;
        gap->offset += size;
        gap->size -= size;
        if (gap->size == 0)
            gap_remove(pool, i);
        return given_out(pool, offset, bytes);
    }
    if (size > pool->limit - pool->top)
        return NULL;
    size_t offset = pool->top;
    pool->top += size;
    pool->reached = MAX(pool->reached, pool->top);
    return given_out(pool, offset, bytes);
}

void pool_give(Pool *pool, void *block, size_t bytes)
{
    size_t size = block_size(bytes), offset = (size_t)((char *)block - pool->base);
    contract(offset % ALIGNMENT == 0 && offset + size <= pool->top && size <= pool->used,
             "pool_give: a block that pool_take did not give");
    pool->used -= size;
    if (pool->real) {
        poison(block, bytes);
        ASAN_POISON_MEMORY_REGION(block, size);
    }
    size_t low = 0, high = pool->gaps.count; /* the first gap behind the block */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pool->gaps.items[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    bool joins_before = low > 0 && pool->gaps.items[low - 1].offset + pool->gaps.items[low - 1].size == offset;
    bool joins_after = low < pool->gaps.count && offset + size == pool->gaps.items[low].offset;
    if (joins_before) {
        low--;
        pool->gaps.items[low].size += size;
        if (joins_after) {
            pool->gaps.items[low].size += pool->gaps.items[low + 1].size;
            gap_remove(pool, low + 1);
        }
    } else if (joins_after) {
        pool->gaps.items[low].offset = offset;
        pool->gaps.items[low].size += size;
    } else {
        gap_insert(pool, low, (Gap){offset, size});
    }
    Gap *last = &pool->gaps.items[low];
    if (last->offset + last->size == pool->top) { /* what lies before the top is not a gap */
        pool->top = last->offset;
        gap_remove(pool, low);
    }
}

size_t pool_used(const Pool *pool)
{
    return pool->used;
}

size_t pool_peak(const Pool *pool)
{
    return pool->peak;
}

void pool_peak_reset(Pool *pool)
{
    pool->peak = pool->used;
}
