/* Colour operations of Pillow's ImageOps and ImageEnhance on 8-bit images, in place. */
#pragma once
#include "common/data/image.h"

void image_autocontrast(Image *image);
void image_equalize(Image *image);
void image_invert(Image *image);
void image_solarize(Image *image, int threshold); /* inverts values from the threshold on */
void image_solarize_add(Image *image, int add);   /* adds where the value is below 128 */
void image_posterize(Image *image, int bits);     /* keeps the top bits; 0 gives black */

/* Factor 1 leaves the image as it is; 0 is gray, flat, black or smooth. */
void image_colour(Image *image, double factor);
void image_contrast(Image *image, double factor);
void image_brightness(Image *image, double factor);
void image_sharpness(Image *image, double factor, Image *scratch);
