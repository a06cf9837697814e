/* A dry run, for tools/cuda-report: where the environment has ZOO_CUDA_DRY=FILE, of every launch only a few blocks run, products
 * of libraries and copies on the device do not happen, and FILE gets a line for each:
 *     kernel  ADDRESS  FILE:LINE  blocks  threads  dynamic-shared  read  written  fma   mma
 *     library NAME     TYPE       1       0        0               read  written  flop  0
 * read and written: bytes of global memory in sectors of 32, counted once a block; what all blocks that ran have in common is
 * counted once a launch. fma, mma: floating-point operations in the fused multiply-adds that a kernel names, and in tensor
 * cores. What one block costs stands for those that did not run. Numbers
 * in memory are meaningless, and the host gets zeros. */
#pragma once
#include "tests/cuda_emulation/emulation.h"

bool dry_run(void);

/* Whether block `index` of so many runs. */
bool dry_takes(uint64_t index, uint64_t blocks);

void dry_block_begins(void);
void dry_access(const void *address, size_t bytes, bool write); /* to global memory */
void dry_collective(const char *name);
void dry_launch_ends(const EmulatedLaunch *launch, uint64_t blocks);

/* A call of a library, or a copy: true where it shall not happen. */
bool dry_library(const char *name, const char *type, double read, double written, double flop);
