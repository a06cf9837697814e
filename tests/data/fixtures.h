/* Reading tests/data/fixtures (make_fixtures.py): images of 19 x 23 pixels and what Pillow makes of them. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/data/image.h"

#include <string.h>

enum { FIXTURE_WIDTH = 19, FIXTURE_HEIGHT = 23 };

static inline uint8_t *fixture(const char *name, size_t *size)
{
    char *path = path_join("tests/data/fixtures", name);
    uint8_t *bytes = (uint8_t *)file_read(path, size, NULL);
    mem_free(path);
    assert_non_null(bytes);
    return bytes;
}

static inline Image fixture_source(int channels)
{
    Image image = {0};
    size_t size;
    uint8_t *bytes = fixture("source.rgb", &size);
    image_reshape(&image, FIXTURE_WIDTH, FIXTURE_HEIGHT, channels);
    for (size_t i = 0; i < size / 3; i++) {
        if (channels == 3)
            memcpy(image.pixels + 3 * i, bytes + 3 * i, 3);
        else /* Pillow's convert("L") */
            image.pixels[i] =
                (uint8_t)((bytes[3 * i] * 19595 + bytes[3 * i + 1] * 38470 + bytes[3 * i + 2] * 7471 + 32768) >> 16);
    }
    mem_free(bytes);
    return image;
}

/* Compares with the next image of a file of raw pixels. */
static inline void assert_next(const Image *image, const uint8_t **expected, const char *what)
{
    size_t bytes = image_bytes(image), different = 0;
    for (size_t i = 0; i < bytes; i++)
        different += image->pixels[i] != (*expected)[i];
    if (different)
        fail_msg("%s: %zu of %zu bytes differ from Pillow's", what, different, bytes);
    *expected += bytes;
}
