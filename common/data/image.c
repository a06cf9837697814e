#include "common/data/image.h"

#include "common/base/memory.h"

#include <string.h>

void image_reshape(Image *image, int width, int height, int channels)
{
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    image->width = width;
    image->height = height;
    image->channels = channels;
    if (bytes <= image->capacity)
        return;
    mem_free(image->pixels);
    image->pixels = mem_new(bytes + IMAGE_SLACK);
    image->capacity = bytes;
}

void image_copy(Image *to, const Image *from)
{
    image_reshape(to, from->width, from->height, from->channels);
    memcpy(to->pixels, from->pixels, image_bytes(from));
}

void image_swap(Image *a, Image *b)
{
    Image swap = *a;
    *a = *b;
    *b = swap;
}

void image_free(Image *image)
{
    mem_free(image->pixels);
    *image = (Image){0};
}
