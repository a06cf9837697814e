/* Images from bytes to floats by a table of the 256 values of each channel, and mixed. Compiled without fused multiply-add
 * (CMakeLists.txt): the same bits at every level. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

#include <string.h>

typedef struct Augment {
    ImageBatch images;
    float table[IMAGE_CHANNELS][256];
    const Erasure *erasures;
    const uint8_t *bytes;
    Box box;
    float own, others;
    const float *x;
    float *y;
} Augment;

static void make_table(const Normalization *n, int64_t channels, float table[IMAGE_CHANNELS][256])
{
    for (int64_t c = 0; c < channels; c++)
        for (int v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0f - n->mean[c]) / n->deviation[c];
}

/* Row `row` of an image, of one channel: y [W]. */
static void erase_row(const Erasure *e, int64_t channel, int64_t row, float *y)
{
    const Box *b = &e->box;
    if (row < b->top || row >= b->top + b->height)
        return;
    int64_t k = (channel * b->height + row - b->top) * b->width;
    for (int64_t i = 0; i < b->width; i++)
        y[b->left + i] = philox_deviate(e->draw, e->first + 2 * (uint64_t)(k + i));
}

/* Items are the rows of all images. */
static void normalize_piece(const void *job, int64_t first, int64_t last)
{
    const Augment *a = job;
    const ImageBatch *s = &a->images;
    for (int64_t item = first; item < last; item++) {
        int64_t b = item / s->height, row = item % s->height;
        const uint8_t *x = a->bytes + item * s->width * s->channels;
        for (int64_t c = 0; c < s->channels; c++) {
            const float *table = a->table[c];
            float *y = a->y + ((b * s->channels + c) * s->height + row) * s->width;
            for (int64_t i = 0; i < s->width; i++)
                y[i] = table[x[i * s->channels + c]];
            if (a->erasures)
                erase_row(&a->erasures[b], c, row, y);
        }
    }
}

static void normalize(const Exec *exec, const ImageBatch *s, const Normalization *n, const Erasure *erasures,
                      const uint8_t *x, float *y)
{
    int64_t each = s->width * s->channels, rows = s->batch * s->height;
    contract(s->channels <= IMAGE_CHANNELS, "normalize: images of %lld channels", (long long)s->channels);
    Augment a = {.images = *s, .erasures = erasures, .bytes = x, .y = y};
    make_table(n, s->channels, a.table);
    parallel_pieces(exec, rows, 1 + PIECE / (each + 1), rows * each * 8, normalize_piece, &a);
}

static void copy(const float *x, int64_t first, int64_t last, float *y)
{
    memcpy(y + first, x + first, (size_t)(last - first) * sizeof *y);
}

/* One plane [H, W] and its partner's. */
static void mix_plane(const Augment *a, const float *x, const float *other, float *y)
{
    const Box *box = &a->box;
    int64_t width = a->images.width, top = box->top * width, bottom = top + box->height * width;
    copy(x, 0, top, y);
    for (int64_t row = top; row < bottom; row += width) {
        int64_t left = row + box->left, right = left + box->width;
        copy(x, row, left, y);
        for (int64_t i = left; i < right; i++)
            y[i] = a->own * x[i] + a->others * other[i];
        copy(x, right, row + width, y);
    }
    copy(x, bottom, a->images.height * width, y);
}

/* Items are the planes of all images. */
static void mix_piece(const void *job, int64_t first, int64_t last)
{
    const Augment *a = job;
    const ImageBatch *s = &a->images;
    int64_t plane = s->height * s->width;
    for (int64_t item = first; item < last; item++) {
        int64_t partner = (s->batch - 1 - item / s->channels) * s->channels + item % s->channels;
        const float *x = a->x + item * plane;
        if (partner == item)
            copy(x, 0, plane, a->y + item * plane);
        else
            mix_plane(a, x, a->x + partner * plane, a->y + item * plane);
    }
}

static void mix(const Exec *exec, const ImageBatch *s, const Box *box, double share, const float *x, float *y)
{
    int64_t planes = s->batch * s->channels, plane = s->height * s->width;
    Augment a = {.images = *s, .box = *box, .own = (float)share, .others = (float)(1.0 - share), .x = x, .y = y};
    parallel_pieces(exec, planes, 1 + PIECE / (plane + 1), planes * plane * 12, mix_piece, &a);
}

const AugmentKernels LEVEL(augment_kernels) = {.normalize = normalize, .mix = mix};
