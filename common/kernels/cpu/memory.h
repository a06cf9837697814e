/* The host's memory as a device's. */
#pragma once
#include "common/kernels/memory.h"

extern const MemoryKernels host_memory_kernels;
