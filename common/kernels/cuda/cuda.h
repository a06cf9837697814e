/* The CUDA backend: a shared object of its own (the target zoo_cuda), opened when a program is first told `device: cuda`, so
 * that the same program runs where no CUDA is installed. */
#pragma once
#include "common/kernels/backend.h"

/* The kernels of the first GPU; NULL with a line that says what is missing (the object, a driver, a GPU) and what to do. The
 * object is the build's libzoo_cuda.so, or what the environment variable ZOO_CUDA_LIBRARY names. Opened once; one thread at a
 * time may call these kernels: the tape's. */
const Backend *cuda_backend(Error *e);
