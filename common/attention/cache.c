#include "common/attention/cache.h"

#include "common/autograd/ops.h"
#include "common/base/memory.h"

#include <string.h>

Cache cache_new(States *owner, CacheKind kind, int64_t rows, int64_t room, int count, const CacheStream *streams)
{
    contract(count <= CACHE_STREAMS && room > 0, "cache_new: %d streams, room for %lld", count, (long long)room);
    Cache c = {.kind = kind, .room = room, .count = count};
    for (int i = 0; i < count; i++) {
        Shape shape = SHAPE(rows, kind == CACHE_RING ? 2 * room : room, streams[i].heads, streams[i].width);
        c.streams[i] = streams[i];
        c.streams[i].values = state_new(owner, shape, F32);
        c.streams[i].seen = 0;
    }
    return c;
}

static int place_of(const Cache *c, const char *stream)
{
    int i = 0;
    while (i < c->count && strcmp(c->streams[i].name, stream) != 0)
        i++;
    contract(i < c->count, "a cache has no stream named %s", stream);
    return i;
}

/* Token p of a ring lies at p mod room and once more `room` behind it: any `room` tokens in a row are one window. */
static void store_in_ring(Tape *t, const Cache *c, const CacheStream *s, Tensor *x)
{
    int64_t n = x->shape.dim[1], at = s->seen % c->room, first = MIN(n, c->room - at);
    for (int64_t copy = 0; copy <= c->room; copy += c->room) {
        state_write(t, s->values, 1, at + copy, narrow(t, x, 1, 0, first));
        if (first < n)
            state_write(t, s->values, 1, copy, narrow(t, x, 1, first, n - first));
    }
}

void cache_append(Tape *t, Cache *c, const char *stream, Tensor *x)
{
    char text[128];
    CacheStream *s = &c->streams[place_of(c, stream)];
    contract(!c->frozen, "a frozen cache takes in no more %s", stream);
    contract(x->shape.rank == 4 && x->shape.dim[1] <= c->room, "cache_append: %s with room for %lld",
             shape_text(x->shape, text), (long long)c->room);
    contract(c->kind == CACHE_RING || s->seen + x->shape.dim[1] <= c->room, "cache_append: %s behind %lld of %lld",
             shape_text(x->shape, text), (long long)s->seen, (long long)c->room);
    Scope scope = scope_open(t);
    if (c->kind == CACHE_RING)
        store_in_ring(t, c, s, x);
    else
        state_write(t, s->values, 1, s->seen, x);
    scope_close_n(t, scope, NULL, 0);
    s->seen += x->shape.dim[1];
}

Tensor *cache_last(Tape *t, const Cache *c, const char *stream, int64_t n)
{
    const CacheStream *s = &c->streams[place_of(c, stream)];
    contract(n <= MIN(s->seen, c->room), "cache_last: %lld of %lld %s", (long long)n, (long long)s->seen, stream);
    int64_t first = s->seen - n;
    return narrow(t, s->values, 1, c->kind == CACHE_RING ? first % c->room : first, n);
}

int64_t cache_seen(const Cache *c, const char *stream)
{
    return c->streams[place_of(c, stream)].seen;
}

void cache_freeze(Cache *c)
{
    c->frozen = true;
}

Caches *caches_new(int layers)
{
    Caches *c = mem_new(sizeof *c + (size_t)layers * sizeof c->layers[0]);
    c->owner = states_new();
    c->count = layers;
    return c;
}

void caches_free(Caches *c)
{
    if (!c)
        return;
    states_free(c->owner);
    mem_free(c);
}
