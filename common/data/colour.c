#include "common/data/colour.h"

#include "common/base/memory.h"

#include <string.h>

typedef uint8_t Lut[256];

static uint8_t clip(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One table for all channels. */
static void apply_lut(Image *image, const Lut lut)
{
    size_t count = image_bytes(image);
    for (size_t i = 0; i < count; i++)
        image->pixels[i] = lut[image->pixels[i]];
}

/* Builds a table from one channel's histogram; false leaves the channel as it is. */
typedef bool LutFromHistogram(const int64_t histogram[256], Lut lut);

static void apply_channelwise(Image *image, LutFromHistogram *make)
{
    size_t count = image_bytes(image), step = (size_t)image->channels;
    for (size_t c = 0; c < step; c++) {
        int64_t histogram[256] = {0};
        Lut lut;
        for (size_t i = c; i < count; i += step)
            histogram[image->pixels[i]]++;
        if (!make(histogram, lut))
            continue;
        for (size_t i = c; i < count; i += step)
            image->pixels[i] = lut[image->pixels[i]];
    }
}

/* The first and the last value that occurs (255 and 0 if none does). */
static void value_range(const int64_t histogram[256], int *low, int *high)
{
    *low = 255;
    *high = 0;
    for (int v = 0; v < 256; v++) {
        if (histogram[v]) {
            *low = MIN(*low, v);
            *high = v;
        }
    }
}

static bool autocontrast_lut(const int64_t histogram[256], Lut lut)
{
    int low, high;
    value_range(histogram, &low, &high);
    if (high <= low)
        return false;
    double scale = 255.0 / (high - low), offset = -low * scale;
    for (int v = 0; v < 256; v++)
        lut[v] = clip((int)(v * scale + offset));
    return true;
}

static bool equalize_lut(const int64_t histogram[256], Lut lut)
{
    int low, high;
    int64_t total = 0;
    value_range(histogram, &low, &high);
    for (int v = 0; v < 256; v++)
        total += histogram[v];
    int64_t step = high > low ? (total - histogram[high]) / 255 : 0;
    if (step == 0)
        return false;
    int64_t n = step / 2;
    for (int v = 0; v < 256; v++) {
        lut[v] = (uint8_t)MIN(n / step, 255);
        n += histogram[v];
    }
    return true;
}

void image_autocontrast(Image *image)
{
    apply_channelwise(image, autocontrast_lut);
}

void image_equalize(Image *image)
{
    apply_channelwise(image, equalize_lut);
}

void image_invert(Image *image)
{
    image_solarize(image, 0);
}

void image_solarize(Image *image, int threshold)
{
    Lut lut;
    for (int v = 0; v < 256; v++)
        lut[v] = (uint8_t)(v < threshold ? v : 255 - v);
    apply_lut(image, lut);
}

void image_solarize_add(Image *image, int add)
{
    Lut lut;
    for (int v = 0; v < 256; v++)
        lut[v] = v < 128 ? clip(v + add) : (uint8_t)v;
    apply_lut(image, lut);
}

void image_posterize(Image *image, int bits)
{
    Lut lut;
    unsigned mask = bits >= 8 ? 255u : 255u & ~(255u >> MAX(bits, 0));
    for (unsigned v = 0; v < 256; v++)
        lut[v] = (uint8_t)(v & mask);
    apply_lut(image, lut);
}

/* base + factor (value - base) in float32, truncated. */
static inline uint8_t blend(int base, int value, float factor)
{
    float v = (float)base + factor * (float)(value - base);
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
}

static int luma(const uint8_t *rgb)
{
    return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) >> 16;
}

void image_colour(Image *image, double factor)
{
    size_t count = image_bytes(image);
    if (factor == 1 || image->channels == 1)
        return;
    for (size_t i = 0; i < count; i += 3) {
        int gray = luma(image->pixels + i);
        for (size_t c = 0; c < 3; c++)
            image->pixels[i + c] = blend(gray, image->pixels[i + c], (float)factor);
    }
}

static void blend_with_constant(Image *image, int base, double factor)
{
    Lut lut;
    if (factor == 1)
        return;
    for (int v = 0; v < 256; v++)
        lut[v] = blend(base, v, (float)factor);
    apply_lut(image, lut);
}

void image_contrast(Image *image, double factor)
{
    size_t pixels = (size_t)image->width * (size_t)image->height, channels = (size_t)image->channels;
    int64_t sum = 0;
    for (size_t i = 0; i < pixels; i++)
        sum += channels == 3 ? luma(image->pixels + 3 * i) : image->pixels[i];
    blend_with_constant(image, (int)((double)sum / (double)pixels + 0.5), factor);
}

void image_brightness(Image *image, double factor)
{
    blend_with_constant(image, 0, factor);
}

void image_sharpness(Image *image, double factor, Image *scratch)
{
    if (factor == 1)
        return;
    image_copy(scratch, image);
    size_t row = image_row_bytes(image), pixel = (size_t)image->channels;
    for (int y = 1; y < image->height - 1; y++)
        for (size_t x = pixel; x + pixel < row; x++) {
            const uint8_t *centre = scratch->pixels + (size_t)y * row + x;
            int sum = 4 * *centre;
            for (int dy = -1; dy <= 1; dy++) {
                const uint8_t *line = centre + dy * (ptrdiff_t)row;
                sum += line[-(ptrdiff_t)pixel] + line[0] + line[pixel];
            }
            image->pixels[(size_t)y * row + x] = blend((2 * sum + 13) / 26, *centre, (float)factor);
        }
}
