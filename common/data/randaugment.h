/* RandAugment (Cubuk et al. 2020) as timm 0.4.12 does it with "rand-m9-mstd0.5-inc1": operations drawn with replacement
 * from 15, each with a magnitude around `magnitude` of 10. */
#pragma once
#include "common/data/image.h"
#include "common/tensor/random.h"

typedef enum AugmentOp {
    AUGMENT_AUTOCONTRAST,
    AUGMENT_EQUALIZE,
    AUGMENT_INVERT,
    AUGMENT_ROTATE,
    AUGMENT_POSTERIZE,
    AUGMENT_SOLARIZE,
    AUGMENT_SOLARIZE_ADD,
    AUGMENT_COLOUR,
    AUGMENT_CONTRAST,
    AUGMENT_BRIGHTNESS,
    AUGMENT_SHARPNESS,
    AUGMENT_SHEAR_X,
    AUGMENT_SHEAR_Y,
    AUGMENT_TRANSLATE_X,
    AUGMENT_TRANSLATE_Y,
    AUGMENT_OPS
} AugmentOp;

/* timm's name ("PosterizeIncreasing"), and the op of a name (-1: none). */
const char *augment_name(AugmentOp op);
int augment_named(const char *name);
bool augment_has_argument(AugmentOp op);

/* What magnitude m (clipped to [0, 10]) means: degrees, bits, a threshold, an addend, an enhancement factor, a shear
 * factor, or a fraction of the side. `negate` turns the sign of those that have one. */
double augment_argument(AugmentOp op, double m, bool negate);

/* In place; pixels from outside become (124, 116, 104). */
void augment_apply(AugmentOp op, double argument, Image *image, Image *scratch);

enum { RANDAUGMENT_MOST_OPS = 8 };

typedef struct RandAugment {
    int ops;            /* operations an image; 0 is off */
    double magnitude;   /* m */
    double deviation;   /* of m, normal */
    double probability; /* that a drawn operation is applied */
} RandAugment;

/* Reads timm's notation, "rand-m9-mstd0.5-inc1", also with -nN; "none" or "" is off. False with a line. */
bool randaugment_parse(const char *text, RandAugment *settings, Error *e);

typedef struct AugmentStep {
    AugmentOp op;
    double argument;
} AugmentStep;

/* Draws one image's operations; returns how many. */
int randaugment_draw(const RandAugment *settings, Random *random, AugmentStep steps[RANDAUGMENT_MOST_OPS]);
