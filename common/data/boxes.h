/* Where crops and erasures fall: torchvision's RandomResizedCrop and RandomCrop, timm's RandomErasing. */
#pragma once
#include "common/data/image.h"
#include "common/tensor/random.h"

/* A box of an area uniform in scale * area and a ratio width / height log-uniform in ratio; after ten tries that do not
 * fit, the largest centred box within the ratios. Draws: area and log-ratio a try, then top, left. */
Box crop_box_resized(int width, int height, const double scale[2], const double ratio[2], Random *random);

/* A size x size window of the image padded by `padding`, in the image's own coordinates. Draws: top, left. */
Box crop_box_padded(int width, int height, int size, int padding, Random *random);

typedef struct RandomErasing {
    double probability; /* 0 is off */
    double min_area, max_area;
    double min_aspect; /* the largest is 1 / min_aspect */
} RandomErasing;

/* Whether something is erased, and where. Draws: the test, area and log-aspect a try (ten of them), top, left. */
bool erase_box(int width, int height, const RandomErasing *erasing, Random *random, Box *box);
