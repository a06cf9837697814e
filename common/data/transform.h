/* From an 8-bit image of any size to one of S x S: for training with random crop, flip and augmentation, for evaluation without;
 * and, on the device, to the normalised floats that a network gets, erased where chance said so. The recipes are those of timm
 * 0.4.12 and torchvision, operation by operation. */
#pragma once
#include "common/autograd/tape.h"
#include "common/data/boxes.h"
#include "common/data/randaugment.h"
#include "common/data/resize.h"

typedef enum CropKind {
    CROP_NONE,    /* the image must have side S already */
    CROP_PADDED,  /* training: `padding` zeros on every side, then a random S x S window; evaluation: as CROP_NONE */
    CROP_RESIZED, /* training: a random box resized to S x S; evaluation: the shorter side resized to
                     int(crop_ratio * S), then the centre */
} CropKind;

typedef struct ImageTransform {
    int size; /* S */
    bool train;
    CropKind crop;
    int padding;               /* CROP_PADDED */
    double scale[2], ratio[2]; /* CROP_RESIZED in training: share of the area, width / height */
    double crop_ratio;         /* CROP_RESIZED in evaluation, at least 1 */
    double flip;               /* training: the probability of mirroring left and right */
    RandAugment randaugment;   /* training */
    RandomErasing erasing;     /* training, after normalisation */
    double mean[3], deviation[3];
} ImageTransform;

/* What chance decides about one image. All zero but for the crop: nothing happens. */
typedef struct TransformDraws {
    Box crop; /* in the image, or around it where it is padded */
    bool flip;
    int steps;
    AugmentStep step[RANDAUGMENT_MOST_OPS];
    Box erase; /* in the result; no height: nothing */
} TransformDraws;

/* What a thread keeps between images. Start from {0}. */
typedef struct TransformScratch {
    Image a, b;
    ResizeScratch resize;
} TransformScratch;

void transform_scratch_free(TransformScratch *scratch);

/* Whether images of this size (0: they differ) can be transformed; a line if not. */
bool transform_fits(const ImageTransform *t, int width, int height, Error *e);

bool transform_erases(const ImageTransform *t); /* whether it may */

/* The draws of one training image, in order: crop, flip, RandAugment, erasing. */
TransformDraws transform_draw(const ImageTransform *t, int width, int height, Random *random);

/* Training with these draws, but for the erasure: out [S, S, C], C the channels of the image. */
void transform_train(const ImageTransform *t, const TransformDraws *draws, const Image *image,
                     TransformScratch *scratch, uint8_t *out);

/* Evaluation: out [S, S, C]. */
void transform_eval(const ImageTransform *t, const Image *image, TransformScratch *scratch, uint8_t *out);

/* Either of them, after transform_fits. *erasure (training; NULL in evaluation) is what is left to the device: its noise begins
 * where the draws have ended. */
bool transform_apply(const ImageTransform *t, const Image *image, Random *random, TransformScratch *scratch,
                     uint8_t *out, Erasure *erasure, Error *e);

/* The rest, on the device: pixels [B, S, S, C] and erasures [B] (NULL: none) on the host -> [B, C, S, S]. */
Tensor *transform_images(Tape *tape, const ImageTransform *t, int rows, int channels, const uint8_t *pixels,
                         const Erasure *erasures);

/* The size that evaluation resizes a width x height image to before it takes the centre. */
void transform_eval_size(const ImageTransform *t, int width, int height, int *resized_width, int *resized_height);
