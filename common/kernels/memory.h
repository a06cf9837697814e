/* Memory of a device, and how values come into and out of it. */
#pragma once
#include "common/kernels/exec.h"

/* A value on its way to the host; zeroed at first, used again and again. */
typedef struct Fetch {
    void *host; /* where it arrives */
    size_t room;
    void *event; /* cudaEvent_t on a GPU */
} Fetch;

/* Of a step of training, which a device may start as a whole. */
typedef enum StepMoment { STEP_BEGINS, STEP_PAUSES, STEP_GOES_ON, STEP_ENDS } StepMoment;

typedef struct MemoryKernels {
    bool on_host; /* the host may look at this memory as at its own */

    /* 256-byte aligned, uninitialised; NULL if the device has no more. Slow: pools ask for large pieces, and rarely. */
    void *(*take)(size_t bytes);
    void (*give)(void *memory); /* NULL is fine */

    /* From and to the host. After an upload the host may reuse `from`; a download has waited for all work before it. */
    void (*upload)(const Exec *, void *to, const void *from, size_t bytes);
    void (*download)(const Exec *, void *to, const void *from, size_t bytes);

    /* A download that does not wait: what `from` holds when the work given so far is done stands at fetch->host once fetch_wait
     * has returned, until the next fetch. */
    void (*fetch)(const Exec *, Fetch *, const void *from, size_t bytes);
    void (*fetch_wait)(Fetch *);
    void (*fetch_free)(Fetch *); /* NULL'ed ones too */

    /* On the device. */
    void (*copy)(const Exec *, void *to, const void *from, size_t bytes);
    void (*fill)(const Exec *, void *memory, uint8_t byte, size_t bytes);

    size_t (*total)(void);      /* bytes that the device has */
    void (*wait)(const Exec *); /* until all work that was given to it is done */

    /* Work that is given between the beginning of a step and its end may be put off until the end, or until somebody wants to see
     * what came of it (a CUDA graph). Nobody who calls kernels and the functions above notices; who hands the stream to a library of
     * his own pauses the step around that. */
    void (*step)(StepMoment);
} MemoryKernels;
