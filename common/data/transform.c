#include "common/data/transform.h"

#include "common/base/memory.h"
#include "common/data/window.h"

#include <math.h>

void transform_scratch_free(TransformScratch *scratch)
{
    image_free(&scratch->a);
    image_free(&scratch->b);
    resize_scratch_free(&scratch->resize);
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

static void normalise_into(const ImageTransform *t, const Image *image, TransformScratch *scratch, float *out)
{
    if (scratch->table_of != t) {
        normalise_tables(t->mean, t->deviation, scratch->table);
        scratch->table_of = t;
    }
    normalise(image, scratch->table, out);
}

bool transform_fits(const ImageTransform *t, int width, int height, Error *e)
{
    if (t->size < 1)
        return error_set(e, "image size %d, expected at least 1", t->size);
    if (t->crop == CROP_RESIZED && !t->train && !(t->crop_ratio >= 1))
        return error_set(e, "crop ratio %g, expected at least 1", t->crop_ratio);
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

TransformDraws transform_draw(const ImageTransform *t, int width, int height, Random *random)
{
    TransformDraws draws = {.crop = {.height = height, .width = width}};
    if (t->crop == CROP_PADDED)
        draws.crop = crop_box_padded(width, height, t->size, t->padding, random);
    else if (t->crop == CROP_RESIZED)
        draws.crop = crop_box_resized(width, height, t->scale, t->ratio, random);
    if (t->flip > 0)
        draws.flip = random_keep(random, t->flip);
    draws.steps = randaugment_draw(&t->randaugment, random, draws.step);
    if (t->erasing.probability > 0)
        draws.erased = erase_box(t->size, t->size, &t->erasing, random, &draws.erase);
    return draws;
}

static void erase(const Box *box, int channels, int size, Random *noise, float *out)
{
    for (int c = 0; c < channels; c++)
        for (int y = box->top; y < box->top + box->height; y++) {
            float *row = out + ((size_t)c * (size_t)size + (size_t)y) * (size_t)size;
            for (int x = box->left; x < box->left + box->width; x++)
                row[x] = (float)random_normal(noise);
        }
}

void transform_train(const ImageTransform *t, const TransformDraws *draws, const Image *image, Random *noise,
                     TransformScratch *scratch, float *out)
{
    const Box *crop = &draws->crop;
    Image *work = &scratch->a;
    if (t->crop == CROP_RESIZED)
        image_resize(image, *crop, t->size, t->size, (Box){.height = t->size, .width = t->size}, &scratch->resize,
                     work);
    else
        image_crop(image, *crop, work);
    if (draws->flip)
        image_flip(work);
    for (int i = 0; i < draws->steps; i++)
        augment_apply(draws->step[i].op, draws->step[i].argument, work, &scratch->b);
    normalise_into(t, work, scratch, out);
    if (draws->erased)
        erase(&draws->erase, work->channels, t->size, noise, out);
}

void transform_eval_size(const ImageTransform *t, int width, int height, int *resized_width, int *resized_height)
{
    int shorter = (int)(t->crop_ratio * t->size);
    *resized_width = width <= height ? shorter : (int)((double)shorter * width / height);
    *resized_height = width <= height ? (int)((double)shorter * height / width) : shorter;
}

void transform_eval(const ImageTransform *t, const Image *image, TransformScratch *scratch, float *out)
{
    if (t->crop != CROP_RESIZED) {
        normalise_into(t, image, scratch, out);
        return;
    }
    Box whole = {.height = image->height, .width = image->width}, centre = {.height = t->size, .width = t->size};
    int width, height;
    transform_eval_size(t, image->width, image->height, &width, &height);
    centre.top = (int)rint((height - t->size) / 2.0); /* Python's round: halves to even */
    centre.left = (int)rint((width - t->size) / 2.0);
    image_resize(image, whole, width, height, centre, &scratch->resize, &scratch->a);
    normalise_into(t, &scratch->a, scratch, out);
}

bool transform_apply(const ImageTransform *t, const Image *image, Random *random, TransformScratch *scratch, float *out,
                     Error *e)
{
    if (!transform_fits(t, image->width, image->height, e))
        return false;
    if (t->train) {
        TransformDraws draws = transform_draw(t, image->width, image->height, random);
        transform_train(t, &draws, image, random, scratch, out);
    } else {
        transform_eval(t, image, scratch, out);
    }
    return true;
}
