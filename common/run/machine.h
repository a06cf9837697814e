/* The machine a run was made on, as far as its figures depend on it. */
#pragma once
#include <stdint.h>

typedef struct Machine {
    char cpu[128];      /* "AMD EPYC 9R14", or the architecture where the system does not say */
    char level[32];     /* instruction set that the kernels use: "avx512" */
    int cores;          /* physical cores of the machine (0: unknown) */
    int usable;         /* logical CPUs this process may use, after affinity, container limits and ranks beside it */
    int64_t memory;     /* bytes, after a container's limit */
    char system[128];   /* "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-18-amd64" */
    char compiler[128]; /* "GCC 12.2.0" */
} Machine;

Machine machine_describe(const char *level);
