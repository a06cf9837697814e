#include "common/data/cpu/vector/resample.h"

#include "common/kernels/cpu/vector/vector.h"

/* Eight lanes at every level: a row of taps is seldom longer. */
typedef int32_t Int8 __attribute__((vector_size(32)));
typedef int32_t Int4 __attribute__((vector_size(16)));
typedef uint8_t Byte8 __attribute__((vector_size(8)));
typedef uint8_t Byte4 __attribute__((vector_size(4)));

enum { BITS = 22, HALF = 1 << (BITS - 1) };

static inline uint8_t clip(int32_t v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* 0..255 in every lane: negative lanes are cleared, and lanes above become all ones, whose low byte is 255. */
#define CLIP(v) ((v) = ((v) & ~((v) < 0)) | ((v) > 255))

static inline void pixel_gray(const uint8_t *in, const int32_t *weights, int taps, uint8_t *out)
{
    Int8 sum = {0};
    for (int t = 0; t < taps; t += 8) {
        Byte8 bytes;
        Int8 w;
        memcpy(&bytes, in + t, sizeof bytes);
        memcpy(&w, weights + t, sizeof w);
        sum += __builtin_convertvector(bytes, Int8) * w;
    }
    int32_t total = HALF;
    for (int i = 0; i < 8; i++)
        total += sum[i];
    *out = clip(total >> BITS);
}

/* Two interleaved pixels a vector: R G B - R G B -. A fourth byte is written behind the pixel; the next pixel, or the
 * slack behind the image, takes it. */
static inline void pixel_rgb(const uint8_t *in, const int32_t *weights, int taps, uint8_t *out)
{
    Int8 sum = {0};
    for (int t = 0; t < taps; t += 2) {
        Byte8 bytes;
        Int8 w;
        memcpy(&bytes, in + 3 * t, sizeof bytes);
        memcpy(&w, weights + 4 * t, sizeof w);
        Int8 wide = __builtin_convertvector(bytes, Int8);
        sum += __builtin_shufflevector(wide, wide, 0, 1, 2, 6, 3, 4, 5, 7) * w;
    }
    Int4 total = __builtin_shufflevector(sum, sum, 0, 1, 2, 3) + __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
    total = (total + HALF) >> BITS;
    CLIP(total);
    Byte4 result = __builtin_convertvector(total, Byte4);
    memcpy(out, &result, sizeof result);
}

static void along_width(const ResampleAxis *axis, const uint8_t *in, size_t row_bytes, int rows, int channels,
                        uint8_t *out)
{
    for (int y = 0; y < rows; y++, in += row_bytes) {
        const int32_t *weights = axis->weights;
        for (int x = 0; x < axis->count; x++, out += channels, weights += axis->taps * axis->repeat) {
            const uint8_t *from = in + (size_t)(axis->first[x] - axis->origin) * (size_t)channels;
            if (channels == 1)
                pixel_gray(from, weights, axis->taps, out);
            else
                pixel_rgb(from, weights, axis->taps, out);
        }
    }
}

static void one_row(const uint8_t *in, size_t in_row_bytes, const int32_t *weights, int taps, size_t row_bytes,
                    uint8_t *out)
{
    size_t x = 0;
    for (; x + 8 <= row_bytes; x += 8) {
        Int8 sum = {0};
        sum += HALF;
        for (int t = 0; t < taps; t++) {
            Byte8 bytes;
            memcpy(&bytes, in + (size_t)t * in_row_bytes + x, sizeof bytes);
            sum += __builtin_convertvector(bytes, Int8) * weights[t];
        }
        sum >>= BITS;
        CLIP(sum);
        Byte8 result = __builtin_convertvector(sum, Byte8);
        memcpy(out + x, &result, sizeof result);
    }
    for (; x < row_bytes; x++) {
        int32_t total = HALF;
        for (int t = 0; t < taps; t++)
            total += in[(size_t)t * in_row_bytes + x] * weights[t];
        out[x] = clip(total >> BITS);
    }
}

static void along_height(const ResampleAxis *axis, const uint8_t *in, size_t in_row_bytes, size_t row_bytes,
                         uint8_t *out)
{
    for (int y = 0; y < axis->count; y++)
        one_row(in + (size_t)(axis->first[y] - axis->origin) * in_row_bytes, in_row_bytes,
                axis->weights + (size_t)y * (size_t)axis->taps, axis->used[y], row_bytes, out + (size_t)y * row_bytes);
}

const ResampleKernels LEVEL(resample) = {along_width, along_height};
