#include "common/data/transform.h"

#include "common/data/image_ops.h"

void transform_scratch_free(TransformScratch *scratch)
{
    image_free(&scratch->a);
    image_free(&scratch->b);
}

void normalise_tables(const double mean[3], const double deviation[3], float table[3][256])
{
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0f - (float)mean[c]) / (float)deviation[c];
}

void normalise(const Image *image, float table[3][256], float *out)
{
    size_t count = (size_t)image->width * (size_t)image->height, channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++) {
        const float *of_channel = table[c];
        const uint8_t *in = image->pixels + c;
        for (size_t i = 0; i < count; i++)
            out[c * count + i] = of_channel[in[i * channels]];
    }
}

bool transform_fits(const ImageTransform *t, int width, int height, Error *e)
{
    if (t->size < 1)
        return error_set(e, "image size %d, expected at least 1", t->size);
    bool exact = t->crop == CROP_NONE || (t->crop == CROP_PADDED && !t->train);
    int room = t->crop == CROP_PADDED ? 2 * t->padding : 0;
    if (width == 0)
        return true;
    if (exact && (width != t->size || height != t->size))
        return error_set(e, "the image is %d x %d, expected %d x %d (width x height)", width, height, t->size, t->size);
    if (t->crop == CROP_PADDED && (width + room < t->size || height + room < t->size))
        return error_set(e, "the image is %d x %d with %d pixels of padding: no %d x %d window fits", width, height,
                         t->padding, t->size, t->size);
    return true;
}

/* A random window of the image padded with zeros (torchvision RandomCrop: top first, then left). */
static void crop_padded(const ImageTransform *t, const Image *image, Random *random, Image *to)
{
    int top = (int)random_integer(random, image->height + 2 * t->padding - t->size + 1);
    int left = (int)random_integer(random, image->width + 2 * t->padding - t->size + 1);
    image_crop(image, top - t->padding, left - t->padding, t->size, t->size, to);
}

bool transform_apply(const ImageTransform *t, Image *image, Random *random, TransformScratch *scratch, float *out,
                     Error *e)
{
    if (!transform_fits(t, image->width, image->height, e))
        return false;
    if (scratch->table_of != t) {
        normalise_tables(t->mean, t->deviation, scratch->table);
        scratch->table_of = t;
    }
    if (t->train && t->crop == CROP_PADDED) {
        crop_padded(t, image, random, &scratch->a);
        image = &scratch->a;
    }
    if (t->train && random_keep(random, t->flip))
        image_flip(image);
    normalise(image, scratch->table, out);
    return true;
}
