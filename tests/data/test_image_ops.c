/* Resize, affine and colour operations: Pillow's bytes, at every instruction-set level that this machine has. */
#include "data/fixtures.h"

#include "common/data/cpu/vector/resample.h"
#include "common/data/randaugment.h"
#include "common/data/resize.h"
#include "common/kernels/backend.h"

static Box whole(const Image *image)
{
    return (Box){.height = image->height, .width = image->width};
}

static void resize_all(const uint8_t *expected)
{
    static const int sizes[][2] = {{9, 11}, {40, 31}, {19, 40}, {7, 23}, {5, 50}};
    Image rgb = fixture_source(3), gray = fixture_source(1), out = {0};
    ResizeScratch scratch = {0};
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        int w = sizes[i][0], h = sizes[i][1];
        image_resize(&rgb, whole(&rgb), w, h, (Box){.height = h, .width = w}, &scratch, &out);
        assert_next(&out, &expected, "resize");
    }
    for (int i = 0; i < 2; i++) {
        int w = sizes[i][0], h = sizes[i][1];
        image_resize(&gray, whole(&gray), w, h, (Box){.height = h, .width = w}, &scratch, &out);
        assert_next(&out, &expected, "resize of gray");
    }
    image_resize(&rgb, (Box){2, 3, 17, 13}, 24, 24, (Box){0, 0, 24, 24}, &scratch, &out);
    assert_next(&out, &expected, "resize of a box");
    image_free(&rgb);
    image_free(&gray);
    image_free(&out);
    resize_scratch_free(&scratch);
}

static void test_resize_is_pillows(void **state)
{
    (void)state;
    size_t size;
    uint8_t *expected = fixture("resized.rgb", &size);
    resize_all(expected);
    mem_free(expected);
}

static void test_part_of_a_resize(void **state)
{
    (void)state;
    Image rgb = fixture_source(3), full = {0}, part = {0};
    ResizeScratch scratch = {0};
    Box box = {.top = 4, .left = 7, .height = 20, .width = 11};
    image_resize(&rgb, whole(&rgb), 33, 27, (Box){.height = 27, .width = 33}, &scratch, &full);
    image_resize(&rgb, whole(&rgb), 33, 27, box, &scratch, &part);
    for (int y = 0; y < box.height; y++)
        assert_memory_equal(part.pixels + (size_t)y * 33, full.pixels + ((size_t)(y + 4) * 33 + 7) * 3, 33);
    image_free(&rgb);
    image_free(&full);
    image_free(&part);
    resize_scratch_free(&scratch);
}

/* Every level's kernels against the plain ones, on tables with negative and large weights. */
static void test_levels_agree(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const ResampleKernels *kernels;
    } levels[] = {{"avx2", &resample_avx2}, {"avx512", &resample_avx512}, {"avx512_bf16", &resample_avx512_bf16}};
    enum { COUNT = 13, TAPS = 8, ROW = 60, ROWS = 12 };
    int first[COUNT], used[COUNT];
    int32_t weights[COUNT * TAPS * 4];
    uint8_t in[ROW * ROWS + IMAGE_SLACK];
    for (int i = 0; i < COUNT; i++) {
        first[i] = i % 5;
        used[i] = 1 + i % TAPS;
        for (int t = 0; t < TAPS; t++)
            for (int c = 0; c < 4; c++)
                weights[(i * TAPS + t) * 4 + c] = t < used[i] ? (i * 37 + t * 11) % 41 * 100000 - 1500000 : 0;
    }
    for (int i = 0; i < (int)sizeof in; i++)
        in[i] = (uint8_t)(i * 73 + i / 7);
    for (int l = 0; l < COUNT_OF(levels); l++) {
        if (!cpu_backend_at(levels[l].name))
            continue;
        for (int channels = 1; channels <= 3; channels += 2) {
            uint8_t expected[ROWS * COUNT * 3 + IMAGE_SLACK], got[sizeof expected];
            ResampleAxis axis = {COUNT, TAPS, channels == 1 ? 1 : 4, first, 0, weights, used};
            resample_plain.width(&axis, in, ROW, ROWS, channels, expected);
            levels[l].kernels->width(&axis, in, ROW, ROWS, channels, got);
            assert_memory_equal(got, expected, ROWS * COUNT * (size_t)channels);
            uint8_t tall[COUNT * ROW], tall_got[COUNT * ROW];
            axis.repeat = 1;
            resample_plain.height(&axis, in, ROW, ROW - (size_t)channels, tall);
            levels[l].kernels->height(&axis, in, ROW, ROW - (size_t)channels, tall_got);
            assert_memory_equal(tall_got, tall, COUNT * (ROW - (size_t)channels));
        }
    }
}

static const struct {
    AugmentOp op;
    double argument;
} augmented[] = {
    {AUGMENT_AUTOCONTRAST, 0},     {AUGMENT_EQUALIZE, 0},     {AUGMENT_INVERT, 0},       {AUGMENT_ROTATE, -17.3},
    {AUGMENT_ROTATE, 30},          {AUGMENT_POSTERIZE, 2},    {AUGMENT_POSTERIZE, 0},    {AUGMENT_SOLARIZE, 77},
    {AUGMENT_SOLARIZE_ADD, 99},    {AUGMENT_COLOUR, 1.77},    {AUGMENT_COLOUR, 0.3},     {AUGMENT_CONTRAST, 1.8},
    {AUGMENT_CONTRAST, 0.2},       {AUGMENT_BRIGHTNESS, 1.6}, {AUGMENT_BRIGHTNESS, 0.4}, {AUGMENT_SHARPNESS, 1.85},
    {AUGMENT_SHARPNESS, 0.1},      {AUGMENT_SHEAR_X, 0.27},   {AUGMENT_SHEAR_Y, -0.27},  {AUGMENT_TRANSLATE_X, 0.41},
    {AUGMENT_TRANSLATE_Y, -0.387},
};

static void test_augmentations_are_pillows(void **state)
{
    (void)state;
    size_t size;
    uint8_t *all = fixture("augmented.rgb", &size);
    const uint8_t *expected = all;
    bool seen[AUGMENT_OPS] = {false};
    for (int i = 0; i < COUNT_OF(augmented); i++) {
        Image image = fixture_source(3), scratch = {0};
        augment_apply(augmented[i].op, augmented[i].argument, &image, &scratch);
        assert_next(&image, &expected, augment_name(augmented[i].op));
        seen[augmented[i].op] = true;
        image_free(&image);
        image_free(&scratch);
    }
    assert_int_equal(expected - all, size);
    for (int op = 0; op < AUGMENT_OPS; op++)
        assert_true(seen[op]);
    mem_free(all);
}

static void test_neutral_arguments_change_nothing(void **state)
{
    (void)state;
    static const struct {
        AugmentOp op;
        double argument;
    } neutral[] = {{AUGMENT_ROTATE, 0},  {AUGMENT_ROTATE, 360},    {AUGMENT_POSTERIZE, 8},  {AUGMENT_SOLARIZE, 256},
                   {AUGMENT_COLOUR, 1},  {AUGMENT_CONTRAST, 1},    {AUGMENT_BRIGHTNESS, 1}, {AUGMENT_SHARPNESS, 1},
                   {AUGMENT_SHEAR_X, 0}, {AUGMENT_SOLARIZE_ADD, 0}};
    Image source = fixture_source(3);
    for (int i = 0; i < COUNT_OF(neutral); i++) {
        Image image = fixture_source(3), scratch = {0};
        const uint8_t *expected = source.pixels;
        augment_apply(neutral[i].op, neutral[i].argument, &image, &scratch);
        assert_next(&image, &expected, augment_name(neutral[i].op));
        image_free(&image);
        image_free(&scratch);
    }
    image_free(&source);
}

static void test_names_and_notation(void **state)
{
    (void)state;
    for (int op = 0; op < AUGMENT_OPS; op++)
        assert_int_equal(augment_named(augment_name((AugmentOp)op)), op);
    assert_int_equal(augment_named("Blur"), -1);
    RandAugment r;
    Error e;
    assert_true(randaugment_parse("rand-m9-mstd0.5-inc1", &r, &e));
    assert_int_equal(r.ops, 2);
    assert_true(r.magnitude == 9 && r.deviation == 0.5 && r.probability == 0.5);
    assert_true(randaugment_parse("rand-m7-n3-inc1", &r, &e));
    assert_int_equal(r.ops, 3);
    assert_true(randaugment_parse("none", &r, &e));
    assert_int_equal(r.ops, 0);
    static const char *const wrong[] = {"rand-m9",         "auto-m9-inc1", "rand-m11-inc1",
                                        "rand-m9-n9-inc1", "rand-mx-inc1", "rand-m9-inc1x"};
    for (int i = 0; i < COUNT_OF(wrong); i++)
        assert_false(randaugment_parse(wrong[i], &r, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize_is_pillows),
        cmocka_unit_test(test_part_of_a_resize),
        cmocka_unit_test(test_levels_agree),
        cmocka_unit_test(test_augmentations_are_pillows),
        cmocka_unit_test(test_neutral_arguments_change_nothing),
        cmocka_unit_test(test_names_and_notation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
