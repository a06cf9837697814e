/* What the emulator's own files share. */
#pragma once
#include "tests/cuda_emulation/emulation.h"

struct EmulatedBlockState {
    const EmulatedLaunch *launch;
    int threads;
    char *shared; /* dynamic, launch->shared_bytes of it */
};
extern EmulatedBlockState emulated_block;

/* The allocation of device memory around an address: its bytes, and how far into it the address lies; false outside of
 * all. */
bool device_memory_find(const void *address, size_t *bytes, size_t *offset);
bool device_memory_holds(const void *address); /* in the region that device memory is taken from */

/* Launches wait for each other: programs may have several host threads. */
void emulated_lock(void);
void emulated_unlock(void);
