/* The instruction levels of the CPU kernels, for tests that go through them. */
#pragma once
#include "common/base/memory.h"
#include "common/kernels/backend.h"

static const char *const level_names[] = {"plain", "avx2", "avx512", "avx512_bf16"};

typedef struct Level {
    const char *name;
    const Backend *backend;
    int next; /* index of the name that comes after it */
} Level;

/* for (Level level = {0}; next_level(&level);) goes through the levels that this machine has, plain first. */
static inline bool next_level(Level *level)
{
    while (level->next < COUNT_OF(level_names)) {
        level->name = level_names[level->next++];
        level->backend = cpu_backend_at(level->name);
        if (level->backend)
            return true;
    }
    return false;
}
