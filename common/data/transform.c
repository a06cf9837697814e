#include "common/data/transform.h"

#include "common/autograd/ops.h"
#include "common/base/memory.h"
#include "common/data/window.h"

#include <math.h>
#include <string.h>

void transform_scratch_free(TransformScratch *scratch)
{
    image_free(&scratch->a);
    image_free(&scratch->b);
    resize_scratch_free(&scratch->resize);
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

bool transform_erases(const ImageTransform *t)
{
    return t->train && t->erasing.probability > 0;
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
    if (transform_erases(t))
        erase_box(t->size, t->size, &t->erasing, random, &draws.erase);
    return draws;
}

/* The finished image: [S, S, C]. */
static void put(const Image *image, uint8_t *out)
{
    memcpy(out, image->pixels, image_bytes(image));
}

void transform_train(const ImageTransform *t, const TransformDraws *draws, const Image *image,
                     TransformScratch *scratch, uint8_t *out)
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
    put(work, out);
}

void transform_eval_size(const ImageTransform *t, int width, int height, int *resized_width, int *resized_height)
{
    int shorter = (int)(t->crop_ratio * t->size);
    *resized_width = width <= height ? shorter : (int)((double)shorter * width / height);
    *resized_height = width <= height ? (int)((double)shorter * height / width) : shorter;
}

void transform_eval(const ImageTransform *t, const Image *image, TransformScratch *scratch, uint8_t *out)
{
    if (t->crop != CROP_RESIZED) {
        put(image, out);
        return;
    }
    Box whole = {.height = image->height, .width = image->width}, centre = {.height = t->size, .width = t->size};
    int width, height;
    transform_eval_size(t, image->width, image->height, &width, &height);
    centre.top = (int)rint((height - t->size) / 2.0); /* Python's round: halves to even */
    centre.left = (int)rint((width - t->size) / 2.0);
    image_resize(image, whole, width, height, centre, &scratch->resize, &scratch->a);
    put(&scratch->a, out);
}

bool transform_apply(const ImageTransform *t, const Image *image, Random *random, TransformScratch *scratch,
                     uint8_t *out, Erasure *erasure, Error *e)
{
    if (!transform_fits(t, image->width, image->height, e))
        return false;
    if (t->train) {
        TransformDraws draws = transform_draw(t, image->width, image->height, random);
        transform_train(t, &draws, image, scratch, out);
        if (erasure)
            *erasure = (Erasure){draws.erase, random->draw, random->next};
    } else {
        transform_eval(t, image, scratch, out);
    }
    return true;
}

Tensor *transform_images(Tape *tape, const ImageTransform *t, int rows, int channels, const uint8_t *pixels,
                         const Erasure *erasures)
{
    Normalization normalization;
    for (int c = 0; c < IMAGE_CHANNELS; c++) {
        normalization.mean[c] = (float)t->mean[c];
        normalization.deviation[c] = (float)t->deviation[c];
    }
    Scope s = scope_open(tape);
    Tensor *bytes = tensor_from(tape, U8, SHAPE(rows, t->size, t->size, channels), pixels);
    return scope_close(tape, s, map_from_bytes(tape, bytes, &normalization, erasures));
}
