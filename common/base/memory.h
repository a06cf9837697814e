/* Memory of the host side: never NULL, because a program that cannot have a few bytes can only say so and stop.
 * Tensors do not come from here but from the tape's pool (common/tensor/pool.h). */
#pragma once
#include <stddef.h>

void *mem_new(size_t bytes); /* zeroed */
void *mem_resize(void *old, size_t bytes);
void *mem_copy(const void *bytes, size_t count);

/* A growing array: `ARRAY(Thing) things = {0}; *array_add(&things) = x;`. array_add keeps what is there and returns the
 * place of a new, uninitialised last item; array_free gives the memory back. */
#define ARRAY(Type)                                                                                                    \
    struct {                                                                                                           \
        Type *items;                                                                                                   \
        size_t count, capacity;                                                                                        \
    }
#define array_add(a)                                                                                                   \
    ((a)->items = array_room((a)->items, (a)->count, &(a)->capacity, sizeof *(a)->items), &(a)->items[(a)->count++])
#define array_free(a) (mem_free((a)->items), (a)->items = NULL, (a)->count = (a)->capacity = 0)

void *array_room(void *items, size_t count, size_t *capacity, size_t item_bytes);
void mem_free(void *p);

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
