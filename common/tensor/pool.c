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

enum { ALIGNMENT = 64, DEVICE_ALIGNMENT = 256 };
static const size_t HUGE_PAGE = (size_t)2 << 20, SEGMENT = (size_t)64 << 20;

typedef struct Gap {
    char *at;
    size_t size;
} Gap;

struct Pool {
    bool real;
    const Backend *device; /* whose memory it is, in segments; NULL: the host's, one region */
    char *base;
    size_t limit;  /* of the region; 0 on a device */
    char *top;     /* everything from here on is free */
    char *reached; /* the highest top there ever was: nothing behind it was ever touched */
    size_t used, peak;
    ARRAY(void *) segments;
    ARRAY(Gap) gaps; /* free blocks of the segments, or of the region below top; by place, never touching each other */
};

Pool *pool_new(bool real)
{
    Pool *pool = mem_new(sizeof *pool);
    pool->real = real;
    pool->limit = real ? (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) : SIZE_MAX / 2;
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
    pool->top = pool->reached = pool->base;
    return pool;
}

Pool *pool_new_on(const Backend *device)
{
    Pool *pool = mem_new(sizeof *pool);
    pool->real = true;
    pool->device = device;
    return pool;
}

void pool_free(Pool *pool)
{
    if (!pool)
        return;
    if (pool->real && !pool->device) {
        ASAN_UNPOISON_MEMORY_REGION(pool->base, (size_t)(pool->reached - pool->base));
        munmap(pool->base, pool->limit);
    }
    for (size_t i = 0; i < pool->segments.count; i++)
        pool->device->memory.give(pool->segments.items[i]);
    array_free(&pool->segments);
    array_free(&pool->gaps);
    mem_free(pool);
}

static size_t block_size(const Pool *pool, size_t bytes)
{
    size_t alignment = pool->device ? DEVICE_ALIGNMENT : ALIGNMENT, zone = pool->device ? 0 : RED_ZONE;
    return (bytes + zone + alignment - 1) / alignment * alignment + (bytes ? 0 : alignment);
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

/* The first gap behind a place. */
static size_t gap_behind(const Pool *pool, const char *at)
{
    size_t low = 0, high = pool->gaps.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pool->gaps.items[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
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

/* More of the device's memory, as a gap: a quarter of what there is, so that a large network asks seldom, or no more than what
 * is wanted where there is no quarter left. Its last piece is never given out, so that no two segments touch. */
static bool add_segment(Pool *pool, size_t size)
{
    size_t least = (size + DEVICE_ALIGNMENT + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    size_t bytes = MAX(MAX(least, SEGMENT), pool->used / 4 / HUGE_PAGE * HUGE_PAGE);
    char *segment = pool->device->memory.take(bytes);
    if (!segment)
        segment = pool->device->memory.take(bytes = least);
    if (!segment)
        return false;
    *array_add(&pool->segments) = segment;
    gap_insert(pool, gap_behind(pool, segment), (Gap){segment, bytes - DEVICE_ALIGNMENT});
    return true;
}

/* Debug builds: what nobody wrote, and what somebody gave back, reads as NaN. */
static void poison(const Pool *pool, char *block, size_t bytes)
{
#ifndef NDEBUG
    if (pool->device)
        pool->device->memory.fill(&(Exec){.stream = pool->device->stream}, block, 0xff, bytes);
    else
        memset(block, 0xff, bytes);
#else
    (void)pool, (void)block, (void)bytes;
#endif
}

static void *given_out(Pool *pool, char *block, size_t bytes)
{
    size_t size = block_size(pool, bytes);
    pool->used += size;
    pool->peak = MAX(pool->peak, pool->used);
    if (pool->real && !pool->device) {
        ASAN_UNPOISON_MEMORY_REGION(block, bytes);
        ASAN_POISON_MEMORY_REGION(block + bytes, size - bytes);
    }
    if (pool->real)
        poison(pool, block, bytes);
    return block;
}

void *pool_take(Pool *pool, size_t bytes)
{
    size_t size = block_size(pool, bytes), i = best_gap(pool, size);
    if (i == pool->gaps.count && pool->device && add_segment(pool, size))
        i = best_gap(pool, size);
    if (i < pool->gaps.count) {
        Gap *gap = &pool->gaps.items[i];
        char *block = gap->at;
        gap->at += size;
        gap->size -= size;
        if (gap->size == 0)
            gap_remove(pool, i);
        return given_out(pool, block, bytes);
    }
    if (size > pool->limit - (size_t)(pool->top - pool->base))
        return NULL;
    char *block = pool->top;
    pool->top += size;
    pool->reached = MAX(pool->reached, pool->top);
    return given_out(pool, block, bytes);
}

void pool_give(Pool *pool, void *block, size_t bytes)
{
    size_t size = block_size(pool, bytes);
    char *at = block;
    bool inside =
        pool->device || (at >= pool->base && (size_t)(at - pool->base) % ALIGNMENT == 0 && at + size <= pool->top);
    contract(inside && size <= pool->used, "pool_give: a block that pool_take did not give");
    pool->used -= size;
    if (pool->real)
        poison(pool, block, bytes);
    if (pool->real && !pool->device)
        ASAN_POISON_MEMORY_REGION(block, size);
    size_t i = gap_behind(pool, at);
    bool joins_before = i > 0 && pool->gaps.items[i - 1].at + pool->gaps.items[i - 1].size == at;
    bool joins_after = i < pool->gaps.count && at + size == pool->gaps.items[i].at;
    if (joins_before) {
        i--;
        pool->gaps.items[i].size += size;
        if (joins_after) {
            pool->gaps.items[i].size += pool->gaps.items[i + 1].size;
            gap_remove(pool, i + 1);
        }
    } else if (joins_after) {
        pool->gaps.items[i].at = at;
        pool->gaps.items[i].size += size;
    } else {
        gap_insert(pool, i, (Gap){at, size});
    }
    Gap *last = &pool->gaps.items[i];
    if (last->at + last->size == pool->top) { /* what lies before the region's top is not a gap */
        pool->top = last->at;
        gap_remove(pool, i);
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
