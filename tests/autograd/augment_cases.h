/* The ops that make maps of images. They have no gradient: what is added to them has. */
#pragma once
#include "support/op_case.h"

static const Normalization augment_normal = {{0.5f, 0.25f, 0.125f}, {0.25f, 0.5f, 0.2f}};
static const Erasure augment_erasures[3] = {
    {{1, 0, 2, 3}, {7, STREAM_DATA, 5, 1}, 6}, {{0, 0, 0, 0}, {0}, 0}, {{3, 1, 1, 3}, {7, STREAM_DATA, 6, 1}, 9}};
static const Box augment_box = {1, 2, 3, 2};

static Tensor *run_map_from_bytes(Tape *t, Tensor *const *in)
{
    return add(t, in[0], map_from_bytes(t, in[1], &augment_normal, NULL));
}

static Tensor *run_map_erased(Tape *t, Tensor *const *in)
{
    return add(t, in[0], map_from_bytes(t, in[1], &augment_normal, augment_erasures));
}

static void map_plus(const Values *in, const Erasure *erasures, double *y)
{
    const int64_t *n = in->shape.dim, each = n[1] * n[2] * n[3];
    for (int64_t b = 0; b < n[0]; b++) {
        Random noise = {0};
        if (erasures)
            noise = (Random){.draw = erasures[b].draw, .next = erasures[b].first};
        for (int64_t i = 0; i < each; i++) {
            int64_t c = i / (n[2] * n[3]), row = i / n[3] % n[2], column = i % n[3];
            const Box *box = erasures ? &erasures[b].box : NULL;
            double value = in[1].x[((b * n[2] + row) * n[3] + column) * n[1] + c] / 255;
            value = (value - augment_normal.mean[c]) / augment_normal.deviation[c];
            if (box && row >= box->top && row < box->top + box->height && column >= box->left &&
                column < box->left + box->width)
                value = random_normal(&noise);
            y[b * each + i] = in[0].x[b * each + i] + value;
        }
    }
}

static void bytes_mapped(const Values *in, double *y)
{
    map_plus(in, NULL, y);
}

static void bytes_erased(const Values *in, double *y)
{
    map_plus(in, augment_erasures, y);
}

static Tensor *run_mix_all(Tape *t, Tensor *const *in)
{
    return add(t, in[0], mix_reversed(t, in[1], NULL, 0.3));
}

static Tensor *run_mix_box(Tape *t, Tensor *const *in)
{
    return add(t, in[0], mix_reversed(t, in[1], &augment_box, 0));
}

static void mixed_plus(const Values *in, Box box, double share, double *y)
{
    const int64_t *n = in->shape.dim, each = n[1] * n[2] * n[3];
    for (int64_t i = 0; i < n[0] * each; i++) {
        int64_t row = i / n[3] % n[2], column = i % n[3], partner = (n[0] - 1 - i / each) * each + i % each;
        bool inside =
            row >= box.top && row < box.top + box.height && column >= box.left && column < box.left + box.width;
        y[i] = in[0].x[i] + (inside ? share * in[1].x[i] + (1 - share) * in[1].x[partner] : in[1].x[i]);
    }
}

static void mixed_all(const Values *in, double *y)
{
    mixed_plus(in, (Box){0, 0, 5, 4}, 0.3, y);
}

static void mixed_in_the_box(const Values *in, double *y)
{
    mixed_plus(in, augment_box, 0, y);
}

#define IMAGES                                                                                                         \
    {                                                                                                                  \
        .shape = {4, {3, 3, 5, 4}}, .samples = true                                                                    \
    }
#define IMAGE_BYTES                                                                                                    \
    {                                                                                                                  \
        .shape = {4, {3, 5, 4, 3}}, .type = U8, .low = 0, .high = 256, .samples = true                                 \
    }
#define FIXED_IMAGES                                                                                                   \
    {                                                                                                                  \
        .shape = {4, {3, 3, 5, 4}}, .fixed = true, .samples = true                                                     \
    }

static const OpCase augment_cases[] = {
    {.op = "map_from_bytes", .in = {IMAGES, IMAGE_BYTES}, .run = run_map_from_bytes, .reference = bytes_mapped},
    {.op = "map_from_bytes",
     .variant = "erased",
     .in = {IMAGES, IMAGE_BYTES},
     .run = run_map_erased,
     .reference = bytes_erased},
    {.op = "mix_reversed", .in = {IMAGES, FIXED_IMAGES}, .run = run_mix_all, .reference = mixed_all},
    {.op = "mix_reversed",
     .variant = "a box",
     .in = {IMAGES, FIXED_IMAGES},
     .run = run_mix_box,
     .reference = mixed_in_the_box},
};
