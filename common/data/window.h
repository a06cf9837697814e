/* Cutting and mirroring of 8-bit images. */
#pragma once
#include "common/data/image.h"

/* A window of an image that is surrounded by zeros without end. */
void image_crop(const Image *from, Box window, Image *to);
void image_flip(Image *image); /* mirrors the width, in place */
