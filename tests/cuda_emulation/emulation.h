/* The emulator as the shim headers see it. One kernel runs at a time, on the host thread that launched it: the grid's
 * blocks one after the other, a block's threads as fibers that change places at barriers and warp collectives. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* threadIdx and its like, of the running thread. They stay the same as long as it runs. */
__attribute__((const)) uint3 emulated_thread_index(void);
__attribute__((const)) uint3 emulated_block_index(void);
__attribute__((const)) dim3 emulated_block_size(void);
__attribute__((const)) dim3 emulated_grid_size(void);

struct EmulatedStream;
struct EmulatedLaunch {
    const char *kernel, *file;
    int line;
    const void *function;
    dim3 grid, block;
    size_t shared_bytes;
};

/* Runs call(body) once a thread of the grid: at once, or, of a copy of the body (it holds the arguments), when the graph is launched that the stream is being
 * captured into. Ends the process with a line that names kernel, block and thread where the launch breaks a rule of CUDA: sizes, a
 * divergent barrier, a race, memory that is nobody's or the host's. */
void emulated_launch(EmulatedLaunch launch, EmulatedStream *stream, void (*call)(const void *body), const void *body,
                     size_t body_bytes);

void *emulated_dynamic_shared(void);

/* __syncthreads: waits for all threads of the block that have not returned. All must wait at the same line. Returns how
 * many came with `predicate` not 0. */
int emulated_block_barrier(int predicate, const char *file, int line);

/* A warp collective: the lanes of `mask` meet, and the last one calls combine once for all of them. in[l] and out[l]
 * are what lane l brought and where its result goes; NULL for a lane that is not in the mask or has returned. All lanes
 * must name the same mask and the same collective. No memory order (as in CUDA); `orders` adds it (__syncwarp). */
struct EmulatedWarp {
    unsigned mask;
    const void *in[32];
    void *out[32];
};
typedef void EmulatedCombine(const EmulatedWarp *warp, const void *argument);
struct EmulatedCollective {
    const char *name;
    EmulatedCombine *combine; /* NULL: nothing to compute */
    bool orders;
};
void emulated_collective(const EmulatedCollective *what, unsigned mask, const void *in, void *out,
                         const void *argument);

/* Copies that a thread has begun and not waited for. `from` NULL: zeros. */
struct EmulatedAsyncCopy {
    void *to;
    const void *from;
};
void emulated_async_begin(void *to, const void *from);
bool emulated_async_end(EmulatedAsyncCopy *copy); /* the next of the running thread's; false: none is left */

/* Ends the process with "cuda emulation: KERNEL block (x, y, z) thread (x, y, z): message". */
__attribute__((format(printf, 1, 2), noreturn)) void emulated_fail(const char *format, ...);

/* ---- Device memory: the host may touch it only while a kernel, a copy or a library call runs */
void device_memory_check(const char *call, const void *address); /* ends the process where `address` is the host's */
void device_memory_open(void);                                   /* nests */
void device_memory_close(void);
struct DeviceMemoryOpen { /* open as long as it lives */
    DeviceMemoryOpen()
    {
        device_memory_open();
    }
    ~DeviceMemoryOpen()
    {
        device_memory_close();
    }
};
