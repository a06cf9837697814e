#include "common/run/picture.h"

#include "common/base/memory.h"

#include <math.h>
#include <string.h>

static uint8_t to_byte(float share)
{
    return (uint8_t)lrintf(255 * fminf(fmaxf(share, 0), 1)); /* fmaxf makes a NaN 0 */
}

static uint8_t *pixel_at(const Image *image, int y, int x)
{
    return image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
}

void picture_magnify(Image *out, const Image *in, int factor)
{
    image_reshape(out, in->width * factor, in->height * factor, in->channels);
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++)
            memcpy(pixel_at(out, y, x), pixel_at(in, y / factor, x / factor), (size_t)in->channels);
}

/* Polynomials of degree 6 fitted to matplotlib's inferno by Matt Zucker (public domain, shadertoy WlfXRN); off by less
 * than 0.03. */
void picture_heat_color(float value, uint8_t rgb[3])
{
    static const float fit[3][7] = {
        {0.0002189f, 0.1065134f, 11.602493f, -41.703996f, 77.162936f, -71.319428f, 25.131126f},
        {0.0016510f, 0.5639564f, -3.9728540f, 17.436399f, -33.402359f, 32.626064f, -12.242669f},
        {-0.0194809f, 3.9327124f, -15.942394f, 44.354145f, -81.807309f, 73.209520f, -23.070325f},
    };
    float t = fminf(fmaxf(value, 0), 1);
    for (int c = 0; c < 3; c++) {
        float sum = 0;
        for (int power = 6; power >= 0; power--)
            sum = sum * t + fit[c][power];
        rgb[c] = to_byte(sum);
    }
}

/* Bilinear, pixel centres aligned as image libraries do (the edges repeat). */
static float sample_map(const float *map, int height, int width, float y, float x)
{
    y = fminf(fmaxf(y, 0), (float)(height - 1));
    x = fminf(fmaxf(x, 0), (float)(width - 1));
    int top = (int)y, left = (int)x, bottom = MIN(top + 1, height - 1), right = MIN(left + 1, width - 1);
    float down = y - (float)top, across = x - (float)left;
    float upper = map[top * width + left] * (1 - across) + map[top * width + right] * across;
    float lower = map[bottom * width + left] * (1 - across) + map[bottom * width + right] * across;
    return upper * (1 - down) + lower * down;
}

void picture_overlay(Image *out, const Image *in, const float *map, int map_height, int map_width, float alpha)
{
    float low = INFINITY, high = -INFINITY;
    for (int i = 0; i < map_height * map_width; i++) {
        low = fminf(low, map[i]);
        high = fmaxf(high, map[i]);
    }
    float scale = high > low ? 1 / (high - low) : 0; /* an even map is dark everywhere */
    image_reshape(out, in->width, in->height, 3);
    for (int y = 0; y < out->height; y++) {
        float map_y = ((float)y + 0.5f) * (float)map_height / (float)in->height - 0.5f;
        for (int x = 0; x < out->width; x++) {
            float map_x = ((float)x + 0.5f) * (float)map_width / (float)in->width - 0.5f;
            uint8_t heat[3], *to = pixel_at(out, y, x);
            const uint8_t *from = pixel_at(in, y, x);
            picture_heat_color((sample_map(map, map_height, map_width, map_y, map_x) - low) * scale, heat);
            for (int c = 0; c < 3; c++)
                to[c] = to_byte(((1 - alpha) * (float)from[in->channels == 3 ? c : 0] + alpha * (float)heat[c]) / 255);
        }
    }
}

static void paste(Image *to, const Image *from, int left)
{
    for (int y = 0; y < from->height; y++)
        for (int x = 0; x < from->width; x++)
            for (int c = 0; c < 3; c++)
                pixel_at(to, y, left + x)[c] = pixel_at(from, y, x)[from->channels == 3 ? c : 0];
}

void picture_beside(Image *out, const Image *const *images, int count, int gap, uint8_t background)
{
    int width = gap * (count - 1), height = 0;
    for (int i = 0; i < count; i++) {
        width += images[i]->width;
        height = MAX(height, images[i]->height);
    }
    image_reshape(out, width, height, 3);
    memset(out->pixels, background, image_bytes(out));
    for (int i = 0, left = 0; i < count; left += images[i]->width + gap, i++)
        paste(out, images[i], left);
}
