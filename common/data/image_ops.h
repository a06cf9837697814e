/* Image operations with the same bytes as Pillow 9.5, and the same arithmetic: double without fused multiply-add unless
 * said (this file and its siblings are compiled with -ffp-contract=off). Source and result are different images. */
#pragma once
#include "common/data/image.h"

/* The window of `to` [height, width] at (top, left) of an image padded with zeros without end. */
void image_crop(const Image *from, int top, int left, int height, int width, Image *to);
void image_flip(Image *image); /* mirrors the width, in place */
