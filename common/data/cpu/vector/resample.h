/* The two passes of Pillow's resize, in integers, once an instruction-set level. A pixel is (2^21 + sum of taps) >> 22
 * clipped to 0..255; weights are rounded to 22 bits. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* One axis: output i reads the `taps` source pixels from first[i] on. Taps are filled up with weights of 0 to whole
 * vectors (a multiple of 8 for gray, of 2 for RGB), which may stand on pixels behind the row. */
typedef struct ResampleAxis {
    int count, taps;
    int repeat;             /* how often each weight stands: 4 along the width of RGB, else 1 */
    const int *first;       /* [count] */
    int origin;             /* the first[] of the pixel, along the height the row, at which `in` begins */
    const int32_t *weights; /* [count, taps, repeat] */
    const int *used;        /* [count], taps that are not filling */
} ResampleAxis;

typedef struct ResampleKernels {
    /* rows of `in` (row_bytes apart) -> out [rows, count, channels]; channels is 1 or 3 */
    void (*width)(const ResampleAxis *axis, const uint8_t *in, size_t row_bytes, int rows, int channels, uint8_t *out);
    /* in [.., row_bytes] -> out [count, row_bytes] */
    void (*height)(const ResampleAxis *axis, const uint8_t *in, size_t in_row_bytes, size_t row_bytes, uint8_t *out);
} ResampleKernels;

extern const ResampleKernels resample_plain, resample_avx2, resample_avx512, resample_avx512_bf16;
