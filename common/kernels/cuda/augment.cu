/* Images from bytes to floats, and mixed: a thread has a pixel. */
#include "common/kernels/cuda/map.cuh"

typedef struct Normalize {
    ImageBatch images;
    Normalization normal;
    const Erasure *erasures;
    const uint8_t *x;
    float *y;
} Normalize;

/* Which value of the box a pixel of the image is in channel 0; negative: it lies outside. */
DEVICE int64_t place_in(const Box &b, int64_t pixel, int64_t width)
{
    int row = (int)((uint32_t)pixel / (uint32_t)width) - b.top,
        column = (int)((uint32_t)pixel % (uint32_t)width) - b.left;
    return row >= 0 && row < b.height && column >= 0 && column < b.width ? (int64_t)row * b.width + column : -1;
}

__global__ void normalize_pixels(Normalize n)
{
    const ImageBatch s = n.images;
    const int64_t plane = s.height * s.width;
    for (int64_t b = map_row(); b < s.batch; b += map_row_step())
        for (int64_t pixel = map_col<1>(); pixel < plane; pixel += map_col_step<1>()) {
            const uint8_t *x = n.x + (b * plane + pixel) * s.channels;
            float *y = n.y + b * s.channels * plane + pixel;
            int64_t place = n.erasures ? place_in(n.erasures[b].box, pixel, s.width) : -1;
#pragma unroll
            for (int c = 0; c < IMAGE_CHANNELS; c++) {
                if (c >= s.channels)
                    break;
                if (place < 0) {
                    y[c * plane] = ((float)x[c] / 255.0f - n.normal.mean[c]) / n.normal.deviation[c];
                } else {
                    const Erasure &e = n.erasures[b];
                    uint64_t k = (uint64_t)(c * (int64_t)e.box.height * e.box.width + place);
                    y[c * plane] = philox_deviate(e.draw, e.first + 2 * k);
                }
            }
        }
}

static void check(const ImageBatch *s, const char *kernel)
{
    contract(s->channels <= IMAGE_CHANNELS && s->height * s->width <= INT32_MAX,
             "%s: images of %lld x %lld, %lld channels", kernel, (long long)s->height, (long long)s->width,
             (long long)s->channels);
}

static void normalize(const Exec *exec, const ImageBatch *s, const Normalization *normal, const Erasure *erasures,
                      const uint8_t *x, float *y)
{
    check(s, "normalize");
    Normalize n = {*s, *normal, erasures, x, y};
    MapGrid g = map_grid(s->batch, s->height * s->width);
    LAUNCH(normalize_pixels, g.grid, g.block, 0, exec, n);
}

typedef struct Mixing {
    ImageBatch images;
    Box box;
    float own, others;
    const float *x;
    float *y;
} Mixing;

__global__ void mix_pixels(Mixing m)
{
    const ImageBatch s = m.images;
    const int64_t plane = s.height * s.width;
    for (int64_t p = map_row(); p < s.batch * s.channels; p += map_row_step()) {
        int64_t partner = (s.batch - 1 - p / s.channels) * s.channels + p % s.channels;
        for (int64_t pixel = map_col<1>(); pixel < plane; pixel += map_col_step<1>()) {
            float value = m.x[p * plane + pixel];
            if (partner != p && place_in(m.box, pixel, s.width) >= 0)
                value = __fadd_rn(__fmul_rn(m.own, value), __fmul_rn(m.others, m.x[partner * plane + pixel]));
            m.y[p * plane + pixel] = value;
        }
    }
}

static void mix(const Exec *exec, const ImageBatch *s, const Box *box, double share, const float *x, float *y)
{
    check(s, "mix");
    Mixing m = {*s, *box, (float)share, (float)(1.0 - share), x, y};
    MapGrid g = map_grid(s->batch * s->channels, s->height * s->width);
    LAUNCH(mix_pixels, g.grid, g.block, 0, exec, m);
}

const AugmentKernels cuda_augment = {.normalize = normalize, .mix = mix};
