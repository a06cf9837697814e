#include "tests/kernels/check.h"

#include "common/tensor/random.h"

/* None, one pixel, odd, of either count of channels, and enough for several threads. */
static const ImageBatch batches[] = {{0, 3, 4, 5},  {1, 1, 1, 1},     {2, 3, 1, 7},     {3, 1, 5, 3},   {4, 3, 33, 17},
                                     {5, 2, 9, 31}, {2, 3, 240, 241}, {130, 1, 28, 28}, {31, 3, 32, 32}};

static const Normalization normalization = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};

static bool too_large(const ImageBatch *s)
{
    return testing_once() && s->batch * s->height * s->width > 10000;
}

static int below(Trial *t, int64_t end)
{
    return (int)trial_random(t, 0, (double)end - 1e-6);
}

/* Anywhere in the image, from nothing to all of it. */
static Box random_box(Trial *t, const ImageBatch *s)
{
    Box b = {.height = below(t, s->height + 1), .width = below(t, s->width + 1)};
    b.top = below(t, s->height - b.height + 1);
    b.left = below(t, s->width - b.width + 1);
    return b;
}

static bool in_box(const Box *b, int64_t pixel, int64_t width)
{
    int64_t y = pixel / width - b->top, x = pixel % width - b->left;
    return y >= 0 && y < b->height && x >= 0 && x < b->width;
}

/* Every third image is erased, from a number of its draw on that begins anywhere in a block of Philox. */
static Erasure *random_erasures(Trial *t, const ImageBatch *s)
{
    Erasure *e = operand_new((size_t)s->batch * sizeof *e);
    for (int64_t b = 0; b < s->batch; b++)
        e[b] = (Erasure){b % 3 == 0 ? random_box(t, s) : (Box){0},
                         {7, STREAM_DATA, (uint32_t)b, 3},
                         (uint64_t)(b == 3 ? (INT64_C(1) << 34) - 3 : 5 + b)};
    return e;
}

/* One image [C,H,W] in double. Its noise is what random_normal gives, one number after the other. */
static void image_normalized(const ImageBatch *s, const uint8_t *x, const Erasure *e, double *y)
{
    int64_t plane = s->height * s->width;
    Random r = e ? (Random){.draw = e->draw, .next = e->first} : (Random){0};
    for (int64_t i = 0; i < s->channels * plane; i++) {
        int64_t c = i / plane;
        y[i] = (x[i % plane * s->channels + c] / 255.0 - normalization.mean[c]) / normalization.deviation[c];
        if (e && in_box(&e->box, i % plane, s->width))
            y[i] = random_normal(&r);
    }
}

static void normalize_batch(Trial *t, const ImageBatch *s, bool erased)
{
    int64_t each = s->channels * s->height * s->width, count = s->batch * each;
    uint8_t *x = operand_new((size_t)count + 1);
    double *want = mem_new((size_t)each * sizeof *want);
    Erasure *erasures = erased ? random_erasures(t, s) : NULL;
    for (int64_t i = 0; i < count; i++)
        x[i] = (uint8_t)below(t, 256);
    Matrix y = matrix_new(1, count, 3, F32);
    t->backend->augment.normalize(&t->exec, s, &normalization, erasures, x, y.rows.data);
    for (int64_t b = 0; b < checked_rows(t, s->batch); b++) {
        image_normalized(s, x + b * each, erasures ? &erasures[b] : NULL, want);
        for (int64_t i = 0; i < each; i++)
            check_near(matrix_get(&y, 0, b * each + i), want[i], 1e-6, "normalize", b, i);
    }
    record_matrix(t, &y);
    if (erasures)
        operand_free(erasures);
    matrix_free(&y), mem_free(want), operand_free(x);
}

static void check_normalize(Trial *t)
{
    for (int i = 0; i < COUNT_OF(batches); i++)
        for (int erased = 0; erased < 2 && !too_large(&batches[i]); erased++)
            normalize_batch(t, &batches[i], erased);
}

static void mix_batch(Trial *t, const ImageBatch *s, Box box, double share)
{
    int64_t plane = s->height * s->width, each = s->channels * plane;
    Matrix x = matrix_random(t, s->batch, each, 0, F32, -2, 2), y = matrix_new(s->batch, each, 0, F32);
    t->backend->augment.mix(&t->exec, s, &box, share, x.rows.data, y.rows.data);
    for (int64_t b = 0; b < checked_rows(t, s->batch); b++)
        for (int64_t i = 0; i < each; i++) {
            double own = matrix_get(&x, b, i), other = matrix_get(&x, s->batch - 1 - b, i);
            bool mixed = in_box(&box, i % plane, s->width);
            double want = mixed ? share * own + (1 - share) * other : own;
            double tolerance = mixed && share > 0 ? 1e-6 : 0; /* what is pasted stays as it is, bit by bit */
            check_near(matrix_get(&y, b, i), want, tolerance, "mix", b, i);
        }
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y);
}

static void check_mix(Trial *t)
{
    for (int i = 0; i < COUNT_OF(batches); i++) {
        const ImageBatch *s = &batches[i];
        if (too_large(s))
            continue;
        mix_batch(t, s, (Box){.height = (int)s->height, .width = (int)s->width}, 0.37);
        mix_batch(t, s, random_box(t, s), 0);
        mix_batch(t, s, random_box(t, s), 0.8);
    }
}

/* The same bits at every level: a training on one machine is that on another. */
static void levels_agree(void **state)
{
    (void)state;
    if (testing_cuda())
        skip();
    const Case both[] = {{"augment.normalize", 0, check_normalize}, {"augment.mix", 0, check_mix}};
    for (int c = 0; c < COUNT_OF(both); c++) {
        Trial first = {0};
        for (Level level = {0}; next_level(&level);) {
            Trial t = {.backend = level.backend, .exec = {.threads = 1, .stream = level.backend->stream}, .random = 1};
            both[c].run(&t);
            if (!first.record)
                first = t;
            assert_int_equal(t.recorded, first.recorded);
            if (memcmp(t.record, first.record, t.recorded) != 0)
                fail_msg("%s at level %s gives other bits than at the first", both[c].kernel, level.name);
            if (t.record != first.record)
                mem_free(t.record);
        }
        mem_free(first.record);
    }
}

static void too_many_channels(Trial *t)
{
    float y[4];
    t->backend->augment.normalize(&t->exec, &(ImageBatch){1, 4, 1, 1}, &normalization, NULL, (uint8_t[4]){0}, y);
}

static void colours_are_three(void **state)
{
    (void)state;
    check_refused(too_many_channels);
}

static const Case cases[] = {
    CASE(augment, normalize, check_normalize),
    CASE(augment, mix, check_mix),
};
CHECK_FAMILY(augment)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level), cmocka_unit_test(levels_agree),
                                       cmocka_unit_test(colours_are_three)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
