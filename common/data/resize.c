#include "common/data/resize.h"

#include "common/base/memory.h"
#include "common/data/cpu/vector/resample.h"
#include "common/kernels/backend.h"

#include <math.h>
#include <string.h>

static void tables_free(ResizeTables *tables)
{
    mem_free(tables->places);
    mem_free(tables->weights);
    mem_free(tables->exact);
}

void resize_scratch_free(ResizeScratch *scratch)
{
    tables_free(&scratch->width);
    tables_free(&scratch->height);
    image_free(&scratch->between);
    *scratch = (ResizeScratch){0};
}

static const ResampleKernels *kernels(void)
{
    const char *level = cpu_backend_level();
    return strcmp(level, "avx512_bf16") == 0 ? &resample_avx512_bf16
           : strcmp(level, "avx512") == 0    ? &resample_avx512
           : strcmp(level, "avx2") == 0      ? &resample_avx2
                                             : &resample_plain;
}

/* Keys' cubic with a = -1/2. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

/* The taps of the widest output, filled up to a multiple of `unit`. */
static int taps_of(int in, int out, int unit)
{
    double stretch = MAX((double)in / out, 1.0);
    return ((int)ceil(2.0 * stretch) * 2 + 1 + unit - 1) / unit * unit;
}

/* The source pixels low .. high-1 under output i of `out`, and their weights, which sum to 1. */
static void weigh(int in, int out, int i, int *low, int *high, double *weights)
{
    double scale = (double)in / out, stretch = MAX(scale, 1.0), reach = 2.0 * stretch, sum = 0;
    double centre = (i + 0.5) * scale, inverse = 1.0 / stretch;
    *low = MAX((int)(centre - reach + 0.5), 0);
    *high = MIN((int)(centre + reach + 0.5), in);
    for (int j = *low; j < *high; j++) {
        weights[j - *low] = cubic((j - centre + 0.5) * inverse);
        sum += weights[j - *low];
    }
    for (int j = *low; j < *high; j++)
        if (sum != 0)
            weights[j - *low] /= sum;
}

static void *room(void *memory, size_t *capacity, size_t bytes)
{
    if (bytes <= *capacity)
        return memory;
    mem_free(memory);
    *capacity = bytes;
    return mem_new(bytes);
}

/* How the kernels of resample.h want the weights: taps a multiple of `unit`, each weight `repeat` times. */
typedef struct Filling {
    int unit, repeat;
} Filling;
static const Filling width_gray = {8, 1}, width_rgb = {2, 4}, height_any = {1, 1};

/* Tables for the outputs part_first .. part_first + count - 1. */
static ResampleAxis axis_tables(ResizeTables *tables, int in, int out, int part_first, int count, Filling filling)
{
    int taps = taps_of(in, out, filling.unit);
    size_t row = (size_t)taps * (size_t)filling.repeat, rows = (size_t)count;
    tables->places = room(tables->places, &tables->places_capacity, 2 * rows * sizeof(int));
    tables->weights = room(tables->weights, &tables->weights_capacity, rows * row * sizeof(int32_t));
    tables->exact = room(tables->exact, &tables->exact_capacity, (size_t)taps * sizeof(double));
    int *first = tables->places, *used = first + count;
    int32_t *weight = tables->weights;
    for (int i = 0; i < count; i++) {
        int high;
        weigh(in, out, part_first + i, &first[i], &high, tables->exact);
        used[i] = high - first[i];
        for (int t = 0; t < taps; t++) {
            double w = t < used[i] ? tables->exact[t] * (1 << 22) : 0;
            for (int c = 0; c < filling.repeat; c++)
                *weight++ = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
        }
    }
    return (ResampleAxis){.count = count,
                          .taps = taps,
                          .repeat = filling.repeat,
                          .first = first,
                          .weights = tables->weights,
                          .used = used};
}

static const uint8_t *pixel_at(const Image *image, int top, int left)
{
    return image->pixels + (size_t)top * image_row_bytes(image) + (size_t)left * (size_t)image->channels;
}

/* Columns of `part` of the rows [top, top + rows) of the source: resized, or as they are if the width stays. */
static void width_pass(const Image *from, Box source, int width, Box part, int top, int rows, const ResampleAxis *axis,
                       Image *to)
{
    image_reshape(to, part.width, rows, from->channels);
    const uint8_t *in = pixel_at(from, source.top + top, source.left);
    if (source.width != width) {
        kernels()->width(axis, in, image_row_bytes(from), rows, from->channels, to->pixels);
        return;
    }
    for (int y = 0; y < rows; y++)
        memcpy(to->pixels + (size_t)y * image_row_bytes(to),
               pixel_at(from, source.top + top + y, source.left + part.left), image_row_bytes(to));
}

void image_resize(const Image *from, Box source, int width, int height, Box part, ResizeScratch *scratch, Image *to)
{
    contract(from->channels == 1 || from->channels == 3, "image_resize: %d channels", from->channels);
    ResampleAxis x = {0};
    if (source.width != width)
        x = axis_tables(&scratch->width, source.width, width, part.left, part.width,
                        from->channels == 1 ? width_gray : width_rgb);
    if (source.height == height) {
        width_pass(from, source, width, part, part.top, part.height, &x, to);
        return;
    }
    ResampleAxis y = axis_tables(&scratch->height, source.height, height, part.top, part.height, height_any);
    int last = part.height - 1, top = y.first[0], rows = y.first[last] + y.used[last] - top;
    width_pass(from, source, width, part, top, rows, &x, &scratch->between);
    image_reshape(to, part.width, part.height, from->channels);
    y.origin = top;
    kernels()->height(&y, scratch->between.pixels, image_row_bytes(&scratch->between), image_row_bytes(to), to->pixels);
}
