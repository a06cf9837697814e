/* What is done to images on the device: from bytes to the floats that a network gets, with noise where chance erased something,
 * and two images mixed into one. */
#pragma once
#include "common/kernels/exec.h"
#include "common/kernels/philox.h"

enum { IMAGE_CHANNELS = 3 }; /* at most: gray or RGB */

typedef struct ImageBatch {
    int64_t batch, channels, height, width;
} ImageBatch;

/* A rectangle of an image, in pixels. */
typedef struct Box {
    int top, left, height, width;
} Box;

typedef struct Normalization {
    float mean[IMAGE_CHANNELS], deviation[IMAGE_CHANNELS]; /* of values 0 .. 1 */
} Normalization;

/* What of an image is filled with normal numbers: value k of the box, channel by channel and row by row, is
 * philox_deviate(draw, first + 2 k). */
typedef struct Erasure {
    Box box; /* inside the image; no height: nothing is erased */
    PhiloxDraw draw;
    uint64_t first;
} Erasure;

typedef struct AugmentKernels {
    /* x [B,H,W,C] -> y [B,C,H,W] = (x / 255 - mean[c]) / deviation[c], and noise where erasures [B] say so (NULL: nowhere) */
    void (*normalize)(const Exec *, const ImageBatch *, const Normalization *, const Erasure *erasures,
                      const uint8_t *x, float *y);
    /* x, y [B,C,H,W], apart in memory: y[b] = x[b], but inside the box share x[b] + (1 - share) x[B-1-b], where that is another
     * image (the share and what is left of it in double, then rounded; products and sum rounded apart) */
    void (*mix)(const Exec *, const ImageBatch *, const Box *box, double share, const float *x, float *y);
} AugmentKernels;
