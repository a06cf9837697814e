/* What the emulator's own files share. */
#pragma once
#include "tests/cuda_emulation/emulation.h"

#include <functional>

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

/* ---- What a stream is given (stream.cc) */
struct EmulatedWork {
    enum Kind { KERNEL, COPY, FILL } kind;
    int direction;    /* of a copy: cudaMemcpyKind */
    const void *from; /* what a copy reads, */
    void *to;         /* and what a copy or a fill writes */
    size_t bytes;
    std::function<void()> run;
    uint64_t seen; /* of what it reads of the host's memory, when it was captured */
};

/* Does it, or keeps it where the stream is being captured. */
void emulated_do(EmulatedStream *stream, EmulatedWork work);
bool emulated_captures(const EmulatedStream *stream);

/* The host did what is forbidden while a stream is captured: false where none is, else the captures are broken. Where `relaxed`, captures
 * in relaxed mode allow it. */
bool emulated_breaks_captures(bool relaxed);

/* Memory goes: no captured copy may need it. */
void emulated_forget(const void *memory, size_t bytes);
