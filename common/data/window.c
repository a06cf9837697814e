#include "common/data/window.h"

#include "common/base/memory.h"

#include <string.h>

void image_crop(const Image *from, Box window, Image *to)
{
    int width = window.width, left = window.left;
    image_reshape(to, width, window.height, from->channels);
    int first = MAX(0, -left), end = MIN(width, from->width - left); /* columns that lie in the image */
    size_t pixel = (size_t)from->channels, row_bytes = image_row_bytes(to);
    for (int y = 0; y < window.height; y++) {
        uint8_t *row = to->pixels + (size_t)y * row_bytes;
        int source = window.top + y;
        if (source < 0 || source >= from->height || first >= end) {
            memset(row, 0, row_bytes);
            continue;
        }
        const uint8_t *line = from->pixels + (size_t)source * image_row_bytes(from);
        memset(row, 0, (size_t)first * pixel);
        memcpy(row + (size_t)first * pixel, line + (size_t)(left + first) * pixel, (size_t)(end - first) * pixel);
        memset(row + (size_t)end * pixel, 0, (size_t)(width - end) * pixel);
    }
}

static void flip_gray(uint8_t *row, int width)
{
    for (int a = 0, b = width - 1; a < b; a++, b--) {
        uint8_t swap = row[a];
        row[a] = row[b];
        row[b] = swap;
    }
}

static void flip_rgb(uint8_t *row, int width)
{
    for (int a = 0, b = width - 1; a < b; a++, b--)
        for (int c = 0; c < 3; c++) {
            uint8_t swap = row[3 * a + c];
            row[3 * a + c] = row[3 * b + c];
            row[3 * b + c] = swap;
        }
}

void image_flip(Image *image)
{
    for (int y = 0; y < image->height; y++) {
        uint8_t *row = image->pixels + (size_t)y * image_row_bytes(image);
        if (image->channels == 1)
            flip_gray(row, image->width);
        else
            flip_rgb(row, image->width);
    }
}
