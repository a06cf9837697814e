#include "common/base/memory.h"

#include "common/base/error.h"

#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t bytes)
{
    if (!p)
        user_fatal("out of memory: %zu bytes could not be had", bytes);
    return p;
}

void *mem_new(size_t bytes)
{
    return checked(calloc(1, bytes ? bytes : 1), bytes);
}

void *mem_resize(void *old, size_t bytes)
{
    return checked(realloc(old, bytes ? bytes : 1), bytes);
}

void *mem_copy(const void *bytes, size_t count)
{
    void *copy = mem_new(count);
    if (count)
        memcpy(copy, bytes, count);
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

void *array_room(void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 8;
    return mem_resize(items, *capacity * item_bytes);
}
