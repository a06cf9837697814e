/* Batches of images, made ahead by threads. What a batch holds is a function of (seed, epoch, step) alone: any number of
 * threads, and a run that was resumed, give the same bits. */
#pragma once
#include "common/data/dataset.h"
#include "common/data/transform.h"

typedef enum OnCorrupt {
    CORRUPT_STOP,      /* a sample that cannot be read ends the epoch with its error line */
    CORRUPT_REPLACE,   /* training: the next sample of the data set that can be read stands in for it */
    CORRUPT_LEAVE_OUT, /* evaluation: its batch has a row less */
} OnCorrupt;

typedef struct LoaderOptions {
    Dataset *dataset; /* shared by the loader */
    ImageTransform transform;
    int batch_size;  /* of all ranks together */
    int rank, ranks; /* this loader makes one share of each batch (order_batch_row); ranks 0 or 1: all of it */
    bool shuffle, drop_last;
    int repeats; /* repeated augmentation; 0 or 1 is off */
    uint32_t seed;
    int threads;    /* 0: batches are made by whoever asks for them */
    int ahead;      /* batches made before they are asked for; 0 takes 2 */
    int64_t epochs; /* nothing is made beyond so many epochs; 0: no end */
    OnCorrupt on_corrupt;
} LoaderOptions;

/* B = rows; the memory is the loader's and stays until the next batch is asked for. */
typedef struct Batch {
    int64_t epoch, step; /* step within the epoch */
    int rows;
    int channels, size;
    const ImageTransform *transform;
    uint8_t *pixels;    /* [B, S, S, C], 64-byte aligned */
    Erasure *erasures;  /* [B]; NULL: the transform erases nothing */
    int64_t *labels;    /* [B] */
    int64_t *indices;   /* [B], in the data set */
    int64_t *place;     /* [B], in the batch of all ranks; NULL: this is all of it */
    Random random;      /* for draws about the whole batch (mixup) */
    int corrupt;        /* samples that were replaced or left out */
    Error corrupt_line; /* about the first of them */
} Batch;

/* The batch on the device, normalised and erased: [B, C, S, S]. */
Tensor *batch_images(Tape *t, const Batch *batch);

typedef struct Loader Loader;

/* Starts at epoch 0, step 0. NULL with a line if the options make no batch. */
Loader *loader_open(const LoaderOptions *options, Error *e);
void loader_close(Loader *l);

int64_t loader_steps(const Loader *l); /* batches of an epoch */

/* Continues at this step (resuming; evaluating again). */
void loader_start(Loader *l, int64_t epoch, int64_t step);

/* The next batch in order, or NULL with a line. Asking beyond the last epoch is a broken contract. */
const Batch *loader_next(Loader *l, Error *e);

double loader_waited(const Loader *l); /* seconds that loader_next has waited for a batch, in all */
