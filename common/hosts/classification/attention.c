/* A picture of what a classifier looks at. */
#include "common/hosts/classification/classification.h"

#include "common/base/file.h"
#include "common/data/image_file.h"
#include "common/run/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAPS = 4, SIDE = 448 };

/* RGB to gray as Pillow's convert('L') does it, for networks that know one channel. */
static void make_gray(Image *image)
{
    Image gray = {0};
    image_reshape(&gray, image->width, image->height, 1);
    for (size_t i = 0; i < image_bytes(&gray); i++) {
        const uint8_t *p = image->pixels + 3 * i;
        gray.pixels[i] = (uint8_t)((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
    }
    image_swap(image, &gray);
    image_free(&gray);
}

/* The image of a file at the size and with the channels that evaluation gives to the network. */
static bool read_image(const Job *job, const char *path, Image *out, Error *e)
{
    const DataConfig *d = job->settings->data;
    ImageTransform transform = classification_transform(d, false);
    Image image = {0};
    void *decoder = NULL;
    TransformScratch scratch = {0};
    size_t size;
    char *bytes = file_read(path, &size, e);
    int channels = ((const Classifier *)job->model->workload_hooks)->channels(job->settings->model);
    bool good = bytes && (image_decode(&decoder, (const uint8_t *)bytes, size, IMAGE_MAX_PIXELS, &image, e) ||
                          error_prefix(e, "%s", path));
    if (good && channels == 1)
        make_gray(&image);
    if (good && transform.crop != CROP_RESIZED && (image.width != d->input_size || image.height != d->input_size)) {
        transform.crop = CROP_RESIZED; /* a picture from elsewhere: its centre, at the network's size */
        transform.crop_ratio = 1;
    }
    if (good) {
        Random none = {0};
        image_reshape(out, d->input_size, d->input_size, channels);
        good = transform_apply(&transform, &image, &none, &scratch, out->pixels, NULL, e);
    }
    free(bytes);
    image_free(&image);
    image_decoder_free(decoder);
    transform_scratch_free(&scratch);
    return good;
}

static void say_classes(const Job *job, const float *logits, int classes)
{
    enum { SHOWN = 5 };
    double sum = 0;
    for (int c = 0; c < classes; c++)
        sum += exp((double)logits[c]);
    for (int rank = 0; rank < MIN(SHOWN, classes); rank++)
        for (int c = 0; c < classes; c++)
            if (classification_rank(logits, classes, c) == rank)
                log_line(job->log, "class %4d  %5.1f %%", c, 100.0 * exp((double)logits[c]) / sum);
}

static bool draw(const Job *job, const Image *plain, const AttentionMap *maps, int count, const char *out, Error *e)
{
    Image large = {0}, overlaid[MAPS] = {0}, all = {0};
    const Image *row[1 + MAPS];
    picture_magnify(&large, plain, MAX(1, SIDE / plain->width));
    row[0] = &large;
    for (int i = 0; i < count; i++) {
        picture_overlay(&overlaid[i], &large, maps[i].weights, maps[i].height, maps[i].width, 0.6f);
        row[i + 1] = &overlaid[i];
        log_line(job->log, "picture %d: %s", i + 2, maps[i].name);
    }
    picture_beside(&all, row, 1 + count, 8, 255);
    Str png = {0};
    bool good = image_encode_png(&all, &png, e) && file_write(out, png.text, png.length, e);
    str_free(&png);
    for (int i = 0; i < count; i++)
        image_free(&overlaid[i]);
    image_free(&large);
    image_free(&all);
    return good;
}

bool classification_show_attention(Job *job, const char *image, const char *out, Error *e)
{
    const Classifier *c = job->model->workload_hooks;
    int classes = c->classes(job->settings->model);
    ImageTransform transform = classification_transform(job->settings->data, false);
    Image plain = {0};
    if (!read_image(job, image, &plain, e)) {
        image_free(&plain);
        return false;
    }
    AttentionMap maps[MAPS];
    float *logits = mem_new((size_t)classes * sizeof *logits);
    Region before = region_open(job->tape, EVAL, NO_GRAD);
    Tensor *x = transform_images(job->tape, &transform, 1, plain.channels, plain.pixels, NULL);
    tensor_read(job->tape, c->forward(job->tape, job->network, x, NULL), logits);
    int count = c->attention ? c->attention(job->tape, job->network, x, maps, MAPS) : 0;
    tape_reset(job->tape);
    region_close(job->tape, before);
    say_classes(job, logits, classes);
    bool good = count ? draw(job, &plain, maps, count, out, e)
                      : error_set(e, "this configuration has no attention from a class token to show");
    if (good)
        log_line(job->log, "written: %s", out);
    for (int i = 0; i < count; i++)
        mem_free(maps[i].weights);
    mem_free(logits);
    image_free(&plain);
    return good;
}
