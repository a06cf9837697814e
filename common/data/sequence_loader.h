/* Batches of sequences, made ahead by threads. What a batch holds is a function of (seed, epoch, step) alone. */
#pragma once
#include "common/data/sequences.h"

typedef struct SequenceLoaderOptions {
    const Sequences *sequences; /* the caller's */
    int batch_size;             /* of all ranks together */
    /* This loader makes one share of each batch, or, where a batch goes through the network in `parts`, of each of them
     * (order_batch_row); ranks, parts 0 or 1: all of it, in one. */
    int rank, ranks, parts;
    bool shuffle, drop_last; /* shuffle: a new order every epoch, for sequences that are not fresh anyway */
    uint32_t seed;
    int threads;    /* 0: batches are made by whoever asks for them */
    int ahead;      /* batches made before they are asked for; 0 takes 2 */
    int64_t epochs; /* nothing is made beyond so many epochs; 0: no end */
} SequenceLoaderOptions;

/* B = rows, L = the sequences' length; the memory is the loader's and stays until the next batch is asked for. */
typedef struct SequenceBatch {
    int64_t epoch, step; /* step within the epoch */
    int rows;
    int64_t *ids;     /* [B, L] */
    uint8_t *marks;   /* [B, L], of Mark */
    int64_t *indices; /* [B], of the sequences; of fresh ones the place in the epoch */
    int64_t *place;   /* [B], in the part of all ranks; NULL: this is all of it */
} SequenceBatch;

typedef struct SequenceLoader SequenceLoader;

/* Starts at epoch 0, step 0. NULL with a line if the options make no batch. */
SequenceLoader *sequence_loader_open(const SequenceLoaderOptions *options, Error *e);
void sequence_loader_close(SequenceLoader *l); /* NULL is fine */

int64_t sequence_loader_steps(const SequenceLoader *l); /* batches of an epoch */
void sequence_loader_start(SequenceLoader *l, int64_t epoch, int64_t step);

/* The next batch in order. Asking beyond the last epoch is a broken contract. */
const SequenceBatch *sequence_loader_next(SequenceLoader *l);

double sequence_loader_waited(const SequenceLoader *l); /* seconds waited for batches, in all */

/* The draws of a place in an epoch: what a fresh sequence is made with. */
Random sequence_random(uint32_t seed, int64_t epoch, int64_t place);
