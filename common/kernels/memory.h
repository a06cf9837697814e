/* Memory of a device, and how values come into and out of it. */
#pragma once
#include "common/kernels/exec.h"

typedef struct MemoryKernels {
    bool on_host; /* the host may look at this memory as at its own */

    /* 256-byte aligned, uninitialised; NULL if the device has no more. Slow: pools ask for large pieces, and rarely. */
    void *(*take)(size_t bytes);
    void (*give)(void *memory); /* NULL is fine */

    /* From and to the host. After an upload the host may reuse `from`; a download has waited for all work before it. */
    void (*upload)(const Exec *, void *to, const void *from, size_t bytes);
    void (*download)(const Exec *, void *to, const void *from, size_t bytes);

    /* On the device. */
    void (*copy)(const Exec *, void *to, const void *from, size_t bytes);
    void (*fill)(const Exec *, void *memory, uint8_t byte, size_t bytes);

    size_t (*total)(void);      /* bytes that the device has */
    void (*wait)(const Exec *); /* until all work that was given to it is done */
} MemoryKernels;
