/* Pictures for reports: larger, side by side, and with a heat map (attention) laid over them. Each `out`
 * is made anew (start from {0}, image_free); it may not be the input. */
#pragma once
#include "common/data/image.h"

void picture_magnify(Image *out, const Image *in, int factor); /* each pixel becomes factor x factor */

/* Lays a map of weights [map_height, map_width] over an image, stretched to it bilinearly and coloured from its
 * smallest (dark) to its largest weight (bright). alpha: the share of the map's colour, 0 to 1. The result has 3
 * channels. */
void picture_overlay(Image *out, const Image *in, const float *map, int map_height, int map_width, float alpha);

/* Images in a row, top edges level, `gap` pixels of `background` (gray) between and below. 3 channels. */
void picture_beside(Image *out, const Image *const *images, int count, int gap, uint8_t background);

/* The colour of 0 to 1 on a scale whose lightness rises evenly from black over red to pale yellow (inferno). */
void picture_heat_color(float value, uint8_t rgb[3]);
