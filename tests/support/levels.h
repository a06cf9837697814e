/* The backends that kernels are tested on: the instruction levels of the CPU, or the CUDA backend alone. */
#pragma once
#include "tests/support/operand.h"

static const char *const level_names[] = {"plain", "avx2", "avx512", "avx512_bf16"};

typedef struct Level {
    const char *name;
    const Backend *backend;
    int next; /* index of the name that comes after it */
} Level;

static inline bool next_cuda(Level *level)
{
    level->backend = cuda_for_kernels();
    level->name = "cuda";
    return level->next++ == 0;
}

/* for (Level level = {0}; next_level(&level);) goes through the levels that this machine has, plain first. */
static inline bool next_level(Level *level)
{
    if (testing_cuda())
        return next_cuda(level);
    while (level->next < COUNT_OF(level_names)) {
        level->name = level_names[level->next++];
        level->backend = cpu_backend_at(level->name);
        if (level->backend)
            return true;
    }
    return false;
}
