/* 8-bit images in memory, and their files. Pixels lie row by row, channels interleaved (HWC): 1 channel is gray, 3 are
 * RGB. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/augment.h"
#include <stddef.h>
#include <stdint.h>

/* An image that owns its pixels and keeps the memory of the largest one it has held: start from {0}, reuse, free.
 * IMAGE_SLACK bytes behind the last pixel may be read (whole vectors are), whatever they hold. */
enum { IMAGE_SLACK = 64 };
typedef struct Image {
    uint8_t *pixels; /* [height, width, channels] */
    int width, height, channels;
    size_t capacity; /* bytes at `pixels` */
} Image;

/* Makes room for an image of this size; what the pixels held before is lost. */
void image_reshape(Image *image, int width, int height, int channels);
void image_copy(Image *to, const Image *from);
void image_swap(Image *a, Image *b);
void image_free(Image *image);

static inline size_t image_row_bytes(const Image *image)
{
    return (size_t)image->width * (size_t)image->channels;
}

static inline size_t image_bytes(const Image *image)
{
    return image_row_bytes(image) * (size_t)image->height;
}
