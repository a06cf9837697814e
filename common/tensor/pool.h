/* The memory of all tensors: one region on huge pages that only grows (of a GPU: segments of its memory), and blocks in it given
 * out and taken back without asking the system. Best fit with coalescing: the same requests in the same order get the same places, so a training step
 * after the first asks for nothing. */
#pragma once
#include "common/kernels/backend.h"

typedef struct Pool Pool;

/* `real` false: places are handed out but there is no memory behind them (the meta device counts with it). */
Pool *pool_new(bool real);
Pool *pool_new_on(const Backend *device); /* in the device's memory, which the host may not be able to look at */
void pool_free(Pool *pool);

/* 64-byte aligned (on a device 256), uninitialised. NULL if the machine does not have the memory. Debug builds fill a block with NaN when it
 * is given out and again when it is given back. */
void *pool_take(Pool *pool, size_t bytes);
void pool_give(Pool *pool, void *block, size_t bytes); /* `bytes` as it was taken */

size_t pool_used(const Pool *pool); /* bytes given out now */
size_t pool_peak(const Pool *pool); /* the most that ever was in use since pool_peak_reset */
void pool_peak_reset(Pool *pool);
