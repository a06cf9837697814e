#include "common/data/cpu/vector/resample.h"

#include "common/kernels/cpu/vector/vector.h"

/* Eight lanes at every level: a row of taps is seldom longer. */
typedef int32_t Int4 __attribute__((vector_size(16)));
typedef int32_t Int8 __attribute__((vector_size(32)));

enum { BITS = 22, HALF = 1 << (BITS - 1) };

static inline uint8_t clip(int32_t v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Eight bytes as integers. (GCC 12 makes a lane at a time of __builtin_convertvector.) */
static inline void widen(const uint8_t *bytes, Int8 *out)
{
#if defined(__AVX2__)
    *out = (Int8)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
#elif defined(__SSE2__)
    __m128i zero = _mm_setzero_si128(), words = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)bytes), zero);
    Int4 halves[2] = {(Int4)_mm_unpacklo_epi16(words, zero), (Int4)_mm_unpackhi_epi16(words, zero)};
    memcpy(out, halves, sizeof *out);
#else
    for (int i = 0; i < 8; i++)
        (*out)[i] = bytes[i];
#endif
}

/* Eight sums (below 2^31, so below 2^9 when shifted) to clipped bytes: packing saturates. */
static inline void narrow(const Int8 *sums, uint8_t *out)
{
    Int8 v = *sums >> BITS;
#if defined(__SSE2__)
    Int4 halves[2];
    memcpy(halves, &v, sizeof v);
    __m128i words = _mm_packs_epi32((__m128i)halves[0], (__m128i)halves[1]);
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
#else
    for (int i = 0; i < 8; i++)
        out[i] = clip(v[i]);
#endif
}

/* The first four of them. */
static inline void narrow_four(Int4 sums, uint8_t *out)
{
    Int4 v = sums >> BITS;
#if defined(__SSE2__)
    __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
    int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(out, &bytes, sizeof bytes);
#else
    for (int i = 0; i < 4; i++)
        out[i] = clip(v[i]);
#endif
}

static inline void pixel_gray(const uint8_t *in, const int32_t *weights, int taps, uint8_t *out)
{
    Int8 sum = {0};
    for (int t = 0; t < taps; t += 8) {
        Int8 pixels, w;
        widen(in + t, &pixels);
        memcpy(&w, weights + t, sizeof w);
        sum += pixels * w;
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
        Int8 pixels, w;
        widen(in + 3 * t, &pixels);
        memcpy(&w, weights + 4 * t, sizeof w);
        sum += __builtin_shufflevector(pixels, pixels, 0, 1, 2, 6, 3, 4, 5, 7) * w;
    }
    Int4 total = __builtin_shufflevector(sum, sum, 0, 1, 2, 3) + __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
    narrow_four(total + HALF, out);
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
            Int8 pixels;
            widen(in + (size_t)t * in_row_bytes + x, &pixels);
            sum += pixels * weights[t];
        }
        narrow(&sum, out + x);
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
