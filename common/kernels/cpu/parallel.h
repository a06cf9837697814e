/* Work shared between threads. Pieces are cut by size alone, so what a piece computes never depends on how many threads
 * there are; a reduction writes one partial result a piece, and the caller adds them in order. */
#pragma once
#include "common/kernels/exec.h"

enum { PIECE = 16 << 10 }; /* values that a thread computes at a time, about: 64 KiB */

/* Computes the items first .. last-1 (one piece) of a job. */
typedef void Piece(const void *job, int64_t first, int64_t last);

/* Calls `run` for the pieces [0, piece), [piece, 2 piece), ... of `count` items. `bytes` is about what the whole job
 * moves through memory: below some hundred kilobytes no second thread is woken. */
void parallel_pieces(const Exec *exec, int64_t count, int64_t piece, int64_t bytes, Piece *run, const void *job);
