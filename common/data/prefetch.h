/* Batches made ahead of whoever consumes them: the machinery of every loader. A batch is made in one of some slots, its rows
 * in pieces by whichever thread comes first; since a row writes nothing but its own place, the order does not show. What a
 * batch holds is the loader's, which gives two functions. */
#pragma once
#include "common/base/error.h"

#include <stdint.h>

typedef struct PrefetchOptions {
    int rows;              /* of a full batch */
    int threads;           /* 0: batches are made by whoever asks for them */
    int ahead;             /* batches made before they are asked for; 0 takes 2 */
    int64_t steps, epochs; /* batches of an epoch; nothing is made beyond so many epochs, 0: no end */
    void *own;
    /* Readies the slot for a batch, one call at a time and in order; returns its rows. */
    int (*begin)(void *own, int slot, int64_t epoch, int64_t step);
    /* Makes a row of the batch in a slot, on several threads at once; each has a number, 0 .. max(threads, 1) - 1. */
    void (*make)(void *own, int worker, int slot, int row);
} PrefetchOptions;

typedef struct Prefetch Prefetch;

int prefetch_slots(int ahead); /* how many slots there are */

/* Starts at epoch 0, step 0. NULL with a line if a thread cannot be started. */
Prefetch *prefetch_new(const PrefetchOptions *options, Error *e);
void prefetch_free(Prefetch *p); /* NULL is fine */

void prefetch_start(Prefetch *p, int64_t epoch, int64_t step); /* continues there */

/* The slot of the next batch in order; it stays as it is until the next call. Asking beyond the last epoch is a broken
 * contract. */
int prefetch_next(Prefetch *p);

double prefetch_waited(const Prefetch *p); /* seconds that prefetch_next has waited for a batch, in all */
