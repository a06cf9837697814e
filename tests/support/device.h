/* The device that tests run on: the CPU, or, where the environment has ZOO_TEST_DEVICE=cuda, the CUDA backend (the emulated one
 * or a GPU's: ZOO_CUDA_LIBRARY says which). */
#pragma once
#include "common/kernels/backend.h"
#include "common/kernels/cuda/cuda.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline bool testing_cuda(void)
{
    const char *device = getenv("ZOO_TEST_DEVICE");
    return device && strcmp(device, "cuda") == 0;
}

static inline void end_at_once(int status, void *unused)
{
    (void)unused;
    _exit(status);
}

/* A GPU that a process has opened is not there for its children: they test on the CPU, and end without what the libraries of their
 * parent registered for its end (which may wait for threads that they do not have). */
static inline void child_begins(void)
{
    unsetenv("ZOO_TEST_DEVICE");
    on_exit(end_at_once, NULL);
}

/* A library that stands in for the build's own: the emulated GPU, which takes its time. */
static inline bool testing_emulated(void)
{
    const char *library = getenv("ZOO_CUDA_LIBRARY");
    return testing_cuda() && library && *library;
}

/* What the emulated GPU takes too long for is run once, on small shapes: where its accesses are watched, for races or by a
 * sanitizer, and in ./tests/run --gpu. */
static inline bool testing_once(void)
{
    return getenv("ZOO_TEST_ONCE");
}
