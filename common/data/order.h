/* In which order an epoch visits a data set: a function of (seed, epoch) alone. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct OrderOptions {
    int64_t count; /* samples of the data set */
    bool shuffle;  /* a fresh permutation every epoch; else 0, 1, 2, ... */
    int repeats;   /* repeated augmentation: every sample so many times in a row; 0 or 1 is off */
    uint32_t seed;
} OrderOptions;

/* Positions of one epoch: `count`, or with repeated augmentation `count` rounded down to a multiple of 256 (DeiT's
 * sampler: an epoch is about `count` samples of count / repeats different images). */
int64_t order_length(const OrderOptions *o);

/* Fills order[order_length]; `permutation` [count] is scratch. */
void order_epoch(const OrderOptions *o, uint32_t epoch, int64_t *permutation, int64_t *order);

/* The indices that rank `rank` of `ranks` visits with repeated augmentation, given the epoch's permutation of n: each
 * index `repeats` times in a row, padded from the front to a multiple of `ranks`, every ranks-th one from `rank` on, cut
 * to floor(n / 256) * 256 / ranks. Writes at most that many, returns how many. */
int64_t repeated_augmentation(const int64_t *permutation, int64_t n, int repeats, int ranks, int rank, int64_t *out);

/* Which row of the whole batch is row r of a rank's share. Of `ranks` equal shares, share `rank` has the rows i and
 * rows - 1 - i for i in [rank rows / 2 ranks, (rank + 1) rows / 2 ranks), so that the share reversed pairs a row with the
 * one that the batch reversed pairs it with (mixup). Where rows is no multiple of 2 ranks, shares are rows that follow each
 * other; it is one of ranks. */
int64_t order_batch_row(int64_t rows, int rank, int ranks, int64_t r);
