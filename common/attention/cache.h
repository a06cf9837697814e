/* What a layer has seen of the tokens before, so that a text that grows costs its new tokens alone: keys, values, or whatever
 * else would have to be computed again. Each is a stream of its own head count and width; the layer decides what it stores (keys
 * before or after rotary).
 *
 *     Cache past = cache_new(owner, CACHE_APPEND, 1, window, 2, (CacheStream[]){{"keys", H, d}, {"values", H, e}});
 *     states_allocate_on(owner, t);
 *     cache_append(t, &past, "keys", k);                                        // [rows,n,H,d]
 *     Tensor *keys = cache_last(t, &past, "keys", cache_seen(&past, "keys"));   // [rows,all of them,H,d], free
 *
 * No gradient goes through a cache. */
#pragma once
#include "common/autograd/state.h"

typedef enum CacheKind {
    CACHE_APPEND, /* keeps every token; they are at most `room` */
    CACHE_RING    /* keeps the last `room` of any number */
} CacheKind;

typedef struct CacheStream {
    const char *name;
    int64_t heads, width;
    Tensor *values; /* a state [rows,room,heads,width]; a ring has every token twice, `room` apart: set by cache_new */
    int64_t seen;   /* tokens that were ever stored: 0 at first */
} CacheStream;

enum { CACHE_STREAMS = 4 };

typedef struct Cache {
    CacheKind kind;
    int64_t room;
    bool frozen;
    int count;
    CacheStream streams[CACHE_STREAMS];
} Cache;

/* F32 streams of the names, head counts and widths given; names live as long as the cache. Usable once the owner is allocated. */
Cache cache_new(States *owner, CacheKind kind, int64_t rows, int64_t room, int count, const CacheStream *streams);

/* Stores the tokens that follow: x [rows,n,heads,width], n <= room. */
void cache_append(Tape *t, Cache *c, const char *stream, Tensor *x);

/* The last n tokens, the oldest first: a window [rows,n,heads,width] that is good until the next cache_append. */
Tensor *cache_last(Tape *t, const Cache *c, const char *stream, int64_t n);

int64_t cache_seen(const Cache *c, const char *stream); /* tokens that were ever stored */

/* From now on it is only read (what all texts begin with, the keys of a context): cache_append is a broken contract. */
void cache_freeze(Cache *c);

/* ---- Of a whole network: one cache a layer, and the memory of all. */
typedef struct Caches {
    States *owner;
    int count;
    Cache layers[]; /* to be set, and the owner to be allocated, by whoever knows the layers */
} Caches;

Caches *caches_new(int layers);
void caches_free(Caches *c); /* NULL is fine */
