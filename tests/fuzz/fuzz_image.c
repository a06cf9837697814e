/* JPEG and PNG: no input may harm, and what is decoded can be encoded and decoded again to the same pixels. */
#include "common/data/image_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { MOST_PIXELS = 1 << 14 };
    static void *decoder; /* kept between inputs, as a loader's thread keeps it */
    Image image = {0}, again = {0};
    Error e;
    if (image_decode(&decoder, bytes, size, MOST_PIXELS, &image, &e)) {
        Str png = {0};
        contract(image.channels == 3, "%d channels", image.channels);
        contract(image_encode_png(&image, &png, &e), "%s", e.text);
        contract(image_decode(&decoder, (const uint8_t *)png.text, png.length, MOST_PIXELS, &again, &e), "%s", e.text);
        contract(memcmp(image.pixels, again.pixels, image_bytes(&image)) == 0, "pixels changed");
        str_free(&png);
    }
    image_free(&image);
    image_free(&again);
    return 0;
}
