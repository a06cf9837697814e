/* From an 8-bit image of any size to a normalised float image [C, S, S]: for training with random crop, flip and
 * augmentation, for evaluation without. The recipes are those of timm 0.4.12 and torchvision, operation by operation. */
#pragma once
#include "common/data/image.h"
#include "common/tensor/random.h"

typedef enum CropKind {
    CROP_NONE,    /* the image must have side S already */
    CROP_PADDED,  /* training: `padding` zeros on every side, then a random S x S window; evaluation: as CROP_NONE */
    CROP_RESIZED, /* training: a random box resized to S x S; evaluation: shorter side to int(S / crop_ratio), centre */
} CropKind;

typedef struct ImageTransform {
    int size; /* S */
    bool train;
    CropKind crop;
    int padding; /* CROP_PADDED */
    double flip; /* training: the probability of mirroring left and right */
    double mean[3], deviation[3];
} ImageTransform;

/* What a thread keeps between images. Start from {0}. */
typedef struct TransformScratch {
    Image a, b;
    float table[3][256]; /* (v / 255 - mean) / deviation */
    const ImageTransform *table_of;
} TransformScratch;

/* Whether images of this size (0: they differ) can be transformed; a line if not. */
bool transform_fits(const ImageTransform *t, int width, int height, Error *e);

void transform_scratch_free(TransformScratch *scratch);

/* Writes out [C, S, S], C the channels of the image. False with a line if the image is too small to be cropped. The
 * image may be changed. */
bool transform_apply(const ImageTransform *t, Image *image, Random *random, TransformScratch *scratch, float *out,
                     Error *e);

/* Normalisation by the tables: [H, W, C] -> [C, H, W]. */
void normalise(const Image *image, float table[3][256], float *out);
void normalise_tables(const double mean[3], const double deviation[3], float table[3][256]);
