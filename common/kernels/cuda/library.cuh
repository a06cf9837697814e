/* What the families that stand on NVIDIA's libraries share: memory beside the caller's, plans kept by shape, and one line where a
 * library refuses. */
#pragma once
#include "common/kernels/cuda/graph.cuh"
#include "common/kernels/cuda/launch.cuh"
#include <string.h>

/* ---- Memory that such a family needs beside what it was given. What is in a room lasts until the same room is asked for again:
 * all work runs in one stream, so the next user waits for the last. A room that is too small is left for one of the next power of
 * two, and not given back: a captured graph may still use it. */
typedef enum Room { ROOM_LIBRARY, ROOM_LEFT, ROOM_RIGHT, ROOM_WEIGHT, ROOM_BIAS, ROOMS } Room;

void *room_take(Room which, size_t bytes, const char *what);

/* As cuda_memory.take, but a process without that memory ends with a line that names `what`. */
void *memory_for(size_t bytes, const char *what);

bool environment_switch(const char *name); /* =1 and not =0 or not set */

/* ZOO_CUDA_TF32=1: products of fp32 numbers may round their factors to the 10 bits of TF32 (tensor cores: about 8 times as fast on
 * an A100). Off by default. */
bool cuda_tf32(void);

/* The end of the process where a library does not answer with success: "device cuda: WHAT: why". Exit code 2 where the machine
 * is at fault (memory, a driver too old), else 1. */
__attribute__((format(printf, 3, 4), noreturn)) void library_failed(const char *why, bool machine, const char *what,
                                                                    ...);

/* ---- A parameter's copies in a form that a library likes better, made once a version. They go with the parameter. */
typedef enum Form { FORM_BF16, FORM_CHANNELS_LAST } Form;

/* Where the copy of w [n,k] in that form lies, `bytes` large. Unless *fresh the caller fills it now. Of a parameter several parts
 * may be weights of their own; w->packed is not NULL. */
void *packed_copy(const Weight *w, Form form, int64_t n, int64_t k, size_t bytes, const char *what, bool *fresh);
void packed_free(struct Packed **packed);

/* ---- Plans: a library's descriptions and the algorithm it chose, kept by a key of the call's sizes. Bounded: where a key's eight
 * places are taken, the one that was not used for longest leaves. A key is of int64_t alone, so that it has no gaps. */
template <typename Key, typename Plan> struct Plans {
    enum { SETS = 64, WAYS = 8 };
    typedef struct Place {
        Key key;
        Plan plan;
        uint64_t used; /* 0: free */
    } Place;
    Place places[SETS][WAYS];
    uint64_t clock;
};

template <typename Key> static int set_of(const Key *key, int sets)
{
    const int64_t *words = (const int64_t *)key;
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof *key / sizeof *words; i++)
        hash = ((hash ^ (uint64_t)words[i]) * 0x9e3779b97f4a7c15u) ^ (hash >> 29);
    return (int)(hash >> 32) & (sets - 1);
}

template <typename Key, typename Plan>
static Plan *plan_get(Plans<Key, Plan> *plans, const Key *key, void (*make)(Plan *, const Key *), void (*end)(Plan *))
{
    typename Plans<Key, Plan>::Place *set = plans->places[set_of(key, Plans<Key, Plan>::SETS)], *place = set;
    for (int i = 0; i < Plans<Key, Plan>::WAYS; i++) {
        if (set[i].used && memcmp(&set[i].key, key, sizeof *key) == 0) {
            set[i].used = ++plans->clock;
            return &set[i].plan;
        }
        if (set[i].used < place->used)
            place = &set[i];
    }
    graph_leave();
    if (place->used)
        end(&place->plan);
    place->key = *key;
    memset((void *)&place->plan, 0, sizeof place->plan);
    make(&place->plan, key);
    place->used = ++plans->clock;
    return &place->plan;
}
