/* The device that tests run on: the CPU, or, where the environment has ZOO_TEST_DEVICE=cuda, the CUDA backend (the emulated one
 * or a GPU's: ZOO_CUDA_LIBRARY says which). */
#pragma once
#include "common/kernels/backend.h"
#include "common/kernels/cuda/cuda.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool testing_cuda(void)
{
    const char *device = getenv("ZOO_TEST_DEVICE");
    return device && strcmp(device, "cuda") == 0;
}

/* What the CUDA backend does not have yet: families, and entries of families. Everything else must be there. */
static const char *const cuda_lacks[] = {
    "adafactor", "chain",  "convolution", "gather", "kmeans",  "relative",
    "resize",    "rotary", "select",      "sight",  "windows",
};

/* "family.kernel" */
static inline bool cuda_may_lack(const char *entry)
{
    for (size_t i = 0; i < sizeof cuda_lacks / sizeof *cuda_lacks; i++) {
        size_t length = strlen(cuda_lacks[i]);
        if (strncmp(entry, cuda_lacks[i], length) == 0 && (entry[length] == '.' || entry[length] == 0))
            return true;
    }
    return false;
}
