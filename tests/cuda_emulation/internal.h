/* What the emulator's own files share. */
#pragma once
#include "tests/cuda_emulation/emulation.h"

/* The running thread; NULL outside of a kernel. */
struct EmulatedThread {
    uint3 thread_index, block_index;
    unsigned lane; /* in its warp */
};
extern EmulatedThread *emulated_thread;
int emulated_thread_number(void); /* in its block */

struct EmulatedBlockState {
    const EmulatedLaunch *launch;
    const char *body; /* the arguments */
    size_t body_bytes;
    int threads;
    char *shared; /* dynamic, launch->shared_bytes of it */
    char *stack;  /* of the running thread */
    size_t stack_bytes;
};
extern EmulatedBlockState emulated_block;

/* The allocation of device or managed memory around an address: its bytes, and how far into it the address lies; false outside of
 * all. */
bool device_memory_find(const void *address, size_t *bytes, size_t *offset);
bool device_memory_holds(const void *address);  /* in the region that device memory is taken from */
bool device_memory_may_be(const void *address); /* there, in managed memory or at its end */

/* What the environment variable says the GPU has: "80", "64M", "2G"; where it is not set, `otherwise`. */
size_t emulated_size(const char *variable, size_t otherwise);

void emulated_process_check(void); /* a fork of a process with CUDA has none */

/* Launches wait for each other: programs may have several host threads. */
void emulated_lock(void);
void emulated_unlock(void);
