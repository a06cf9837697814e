/* Pillow's affine transform with the bicubic filter (a cubic with a = -1), same size out. */
#pragma once
#include "common/data/image.h"

typedef struct Affine {
    double m[6]; /* output pixel (x, y) reads X = m0 (x + 1/2) + m1 (y + 1/2) + m2, Y = m3 .. + m4 .. + m5 */
} Affine;

Affine affine_shear_x(double factor);
Affine affine_shear_y(double factor);
Affine affine_translate(double x, double y);                 /* pixels; positive moves the content left and up */
Affine affine_rotate(double degrees, int width, int height); /* counter-clockwise, about the centre */

/* Pixels that would be read outside the image become `fill`, one value a channel. `to` is another image. */
void image_affine(const Image *from, const Affine *affine, const uint8_t fill[3], Image *to);
