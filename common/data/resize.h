/* Pillow's bicubic resize of 8-bit images: antialiased (the kernel widens when an axis shrinks), width first, every pass
 * rounded to 8 bits. Equal to Image.resize(size, BICUBIC, box) of Pillow 9.5 to the last bit. */
#pragma once
#include "common/data/image.h"

/* One axis: which source pixels an output reads, and their weights. */
typedef struct ResizeTables {
    int *places;      /* first pixels, then tap counts */
    int32_t *weights; /* rounded to 22 bits */
    double *exact;    /* of one output */
    size_t places_capacity, weights_capacity, exact_capacity;
} ResizeTables;

/* Memory that is kept between calls. Start from {0}. */
typedef struct ResizeScratch {
    ResizeTables width, height;
    Image between;
} ResizeScratch;

void resize_scratch_free(ResizeScratch *scratch);

/* Takes the window `source` of `from` for the whole image, resizes it to width x height, and writes the window `part` of
 * the result to `to`; nothing else of it is computed. `to` is another image. */
void image_resize(const Image *from, Box source, int width, int height, Box part, ResizeScratch *scratch, Image *to);
