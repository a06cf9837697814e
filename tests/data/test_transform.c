/* The transforms as a whole, the boxes that chance chooses, and mixing, from given draws. */
#include "data/fixtures.h"

#include "common/data/mix.h"
#include "common/data/transform.h"
#include "support/tape_test.h"

#include <math.h>

#define REPLAY(...)                                                                                                    \
    (Random)                                                                                                           \
    {                                                                                                                  \
        .replay = &(RandomReplay)                                                                                      \
        {                                                                                                              \
            .values = (const float[]){__VA_ARGS__}, .count = sizeof((const float[]){__VA_ARGS__}) / sizeof(float)      \
        }                                                                                                              \
    }

static void assert_box(Box box, int top, int left, int height, int width)
{
    assert_int_equal(box.top, top);
    assert_int_equal(box.left, left);
    assert_int_equal(box.height, height);
    assert_int_equal(box.width, width);
}

static void test_resized_crop_box(void **state)
{
    (void)state;
    static const double scale[2] = {0.25, 1}, ratio[2] = {0.75, 4.0 / 3.0};
    /* The whole area at ratio 1 does not fit 100 x 50; a quarter does: sqrt(1250) = 35.36. */
    Random r = REPLAY(1, 0.5f, 0, 0.5f, 0.5f, 0.99f);
    assert_box(crop_box_resized(100, 50, scale, ratio, &r), 8, 65, 35, 35);
    assert_int_equal(r.replay->used, 6);
    /* Ten tries that do not fit: the middle at ratio 4/3, 66.7 wide. */
    r = REPLAY(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    assert_box(crop_box_resized(100, 50, scale, ratio, &r), 0, 16, 50, 67);
    assert_false(r.replay->overrun);
    r = REPLAY(1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
    assert_box(crop_box_resized(30, 90, scale, ratio, &r), 25, 0, 40, 30);
}

static void test_padded_crop_box(void **state)
{
    (void)state;
    Random r = REPLAY(0, 0.999f);
    assert_box(crop_box_padded(32, 32, 32, 4, &r), -4, 4, 32, 32);
}

static void test_erase_box(void **state)
{
    (void)state;
    RandomErasing erasing = {.probability = 0.25, .min_area = 0.02, .max_area = 1.0 / 3.0, .min_aspect = 0.3};
    Box box;
    Random r = REPLAY(0.26f);
    assert_false(erase_box(40, 30, &erasing, &r, &box));
    /* a third of 1200 at aspect 1: a square of 20; then top of 0..10, left of 0..20 */
    r = REPLAY(0.25f, 1, 0.5f, 0.5f, 0.5f);
    assert_true(erase_box(40, 30, &erasing, &r, &box));
    assert_box(box, 5, 10, 20, 20);
    /* aspect 1/0.3 on 6 x 6: 6.3 high is refused, ten times */
    r = REPLAY(0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    assert_false(erase_box(6, 6, &erasing, &r, &box));
    assert_int_equal(r.replay->used, 21);
}

static const ImageTransform plain = {
    .size = 16,
    .train = true,
    .crop = CROP_RESIZED,
    .scale = {0.08, 1},
    .ratio = {0.75, 4.0 / 3.0},
    .crop_ratio = 256.0 / 224.0,
    .flip = 0.5,
    .mean = {0.485, 0.456, 0.406},
    .deviation = {0.229, 0.224, 0.225},
};

static float normal_value(int v, int c)
{
    return ((float)v / 255.0f - (float)plain.mean[c]) / (float)plain.deviation[c];
}

/* Crop, flip, operation, normalisation and erasure, each seen in the result. */
static void test_training_steps_in_order(void **state)
{
    (void)state;
    Image source = fixture_source(3), crop = {0};
    TransformScratch scratch = {0};
    TransformDraws draws = {.crop = {2, 3, 17, 13}, .flip = true, .steps = 1, .step = {{AUGMENT_INVERT, 0}}};
    const Erasure erasure = {.box = {1, 2, 1, 2}};
    uint8_t pixels[16 * 16 * 3];
    RandomReplay noise = {.values = (const float[]){10, 11, 12, 13, 14, 15}, .count = 6};
    transform_train(&plain, &draws, &source, &scratch, pixels);
    Tape *t = test_tape(1);
    tape_replay(t, &noise);
    float *out = floats_of(t, transform_images(t, &plain, 1, 3, pixels, &erasure));
    ResizeScratch resize = {0};
    image_resize(&source, draws.crop, 16, 16, (Box){0, 0, 16, 16}, &resize, &crop);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 16; y++)
            for (int x = 0; x < 16; x++) {
                float expected = normal_value(255 - crop.pixels[(y * 16 + 15 - x) * 3 + c], c);
                if (y == 1 && (x == 2 || x == 3))
                    expected = (float)(10 + 2 * c + x - 2);
                assert_true(out[(c * 16 + y) * 16 + x] == expected);
            }
    assert_int_equal(noise.used, 6);
    mem_free(out);
    tape_free(t);
    image_free(&source);
    image_free(&crop);
    resize_scratch_free(&resize);
    transform_scratch_free(&scratch);
}

/* What is erased has the normal numbers that come next in the image's draws, channel by channel. */
static void test_noise_follows_the_draws(void **state)
{
    (void)state;
    Image source = fixture_source(3);
    TransformScratch scratch = {0};
    ImageTransform all = plain;
    all.erasing = (RandomErasing){.probability = 1, .min_area = 0.1, .max_area = 1.0 / 3.0, .min_aspect = 0.3};
    Tape *t = test_tape(1);
    for (uint32_t i = 0; i < 20; i++) {
        Random random = random_at(3, STREAM_DATA, i, 0);
        Erasure e;
        uint8_t pixels[16 * 16 * 3];
        assert_true(transform_apply(&all, &source, &random, &scratch, pixels, &e, NULL));
        assert_true(e.box.height > 0 && e.box.width > 0);
        float *out = floats_of(t, transform_images(t, &all, 1, 3, pixels, &e));
        for (int c = 0; c < 3; c++)
            for (int y = e.box.top; y < e.box.top + e.box.height; y++)
                for (int x = e.box.left; x < e.box.left + e.box.width; x++)
                    assert_true(out[(c * 16 + y) * 16 + x] == (float)random_normal(&random));
        mem_free(out);
        tape_reset(t);
    }
    tape_free(t);
    image_free(&source);
    transform_scratch_free(&scratch);
}

static void test_evaluation_takes_the_centre(void **state)
{
    (void)state;
    ImageTransform t = plain;
    t.train = false;
    Image source = fixture_source(3), full = {0}; /* 19 x 23 -> 18 x 21, centre 16 x 16 at top round(2.5) = 2, left 1 */
    TransformScratch scratch = {0};
    ResizeScratch resize = {0};
    uint8_t out[16 * 16 * 3];
    int width, height;
    transform_eval_size(&t, 19, 23, &width, &height);
    assert_int_equal(width, 18);
    assert_int_equal(height, 21);
    transform_eval(&t, &source, &scratch, out);
    image_resize(&source, (Box){0, 0, 23, 19}, 18, 21, (Box){0, 0, 21, 18}, &resize, &full);
    for (int y = 0; y < 16; y++)
        assert_memory_equal(out + y * 16 * 3, full.pixels + ((y + 2) * 18 + 1) * 3, 16 * 3);
    image_free(&source);
    image_free(&full);
    resize_scratch_free(&resize);
    transform_scratch_free(&scratch);
}

static void test_draws_are_where_they_are_asked_for(void **state)
{
    (void)state;
    ImageTransform t = plain;
    t.randaugment = (RandAugment){.ops = 2, .magnitude = 9, .deviation = 0.5, .probability = 0.5};
    t.erasing = (RandomErasing){.probability = 0.25, .min_area = 0.02, .max_area = 1.0 / 3.0, .min_aspect = 0.3};
    int flips = 0, steps = 0, erased = 0, seen[AUGMENT_OPS] = {0};
    enum { MANY = 4000 };
    for (int i = 0; i < MANY; i++) {
        Random r = random_at(1, STREAM_DATA, (uint32_t)i, 0);
        TransformDraws d = transform_draw(&t, 50, 40, &r);
        assert_true(d.crop.top >= 0 && d.crop.left >= 0 && d.crop.top + d.crop.height <= 40 &&
                    d.crop.left + d.crop.width <= 50);
        flips += d.flip;
        steps += d.steps;
        erased += d.erase.height > 0;
        for (int s = 0; s < d.steps; s++)
            seen[d.step[s].op]++;
    }
    assert_in_range(flips, MANY / 2 - 150, MANY / 2 + 150);
    assert_in_range(steps, MANY - 200, MANY + 200);
    assert_in_range(erased, MANY / 4 - 130, MANY / 4 + 130);
    for (int op = 0; op < AUGMENT_OPS; op++)
        assert_in_range(seen[op], MANY / 15 - 90, MANY / 15 + 90);
}

static void test_augment_arguments(void **state)
{
    (void)state;
    assert_true(augment_argument(AUGMENT_ROTATE, 9, true) == -27);
    assert_true(augment_argument(AUGMENT_POSTERIZE, 9, false) == 1);
    assert_true(augment_argument(AUGMENT_POSTERIZE, 11, false) == 0);
    assert_true(augment_argument(AUGMENT_SOLARIZE, 9, false) == 26);
    assert_true(augment_argument(AUGMENT_SOLARIZE_ADD, 9, false) == 99);
    assert_true(fabs(augment_argument(AUGMENT_COLOUR, 9, true) - 0.19) < 1e-12);
    assert_true(fabs(augment_argument(AUGMENT_SHEAR_Y, 5, true) + 0.15) < 1e-12);
    assert_true(augment_argument(AUGMENT_TRANSLATE_X, -3, false) == 0);
}

static void test_mixup(void **state)
{
    (void)state;
    static const float x[3 * 2] = {0, 8, 5, 6, 16, 4}, expected[] = {4, 7, 5, 6, 12, 5};
    float target[3 * 2];
    Mix mix = {.mode = MIX_MIXUP, .lambda = 0.75};
    Tape *t = test_tape(1);
    Tensor *images = tensor_from(t, F32, SHAPE(3, 1, 1, 2), x);
    assert_floats(t, mix_images(t, &mix, images), expected);
    assert_ptr_equal(mix_images(t, &(Mix){.lambda = 1}, images), images);
    tape_free(t);
    mix_targets(&mix, (const int64_t[]){0, 1, 1}, 3, 2, 0.2, target);
    const double smooth[] = {0.1 + 0.8 * 0.75, 0.1 + 0.8 * 0.25, 0.1, 0.9, 0.1 + 0.8 * 0.25, 0.1 + 0.8 * 0.75};
    for (int i = 0; i < 6; i++)
        assert_true(fabs(target[i] - smooth[i]) < 1e-6);
}

static void test_cutmix(void **state)
{
    (void)state;
    /* side = sqrt(0.64) = 0.8: 4 of 5 rows, 8 of 10 columns; the centre (0, 9) cuts half of it off each way. */
    Mix mix = mix_cut(0.36, 0, 9, 5, 10);
    assert_box(mix.box, 0, 5, 2, 5);
    assert_true(fabs(mix.lambda - 0.8) < 1e-12);
    float x[2 * 50], expected[2 * 50];
    for (int i = 0; i < 100; i++) {
        bool pasted = i / 10 % 5 < 2 && i % 10 >= 5;
        x[i] = (float)i;
        expected[i] = (float)(pasted ? (i + 50) % 100 : i);
    }
    Tape *t = test_tape(1);
    assert_floats(t, mix_images(t, &mix, tensor_from(t, F32, SHAPE(2, 1, 5, 10), x)), expected);
    tape_free(t);
}

static void test_mix_draws(void **state)
{
    (void)state;
    MixOptions o = {.mixup_alpha = 0.8, .cutmix_alpha = 1, .probability = 0.8, .switch_probability = 0.5};
    int modes[3] = {0};
    double sum = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        Random r = random_at(2, STREAM_DATA, 7, i);
        Mix mix = mix_draw(&o, 24, 30, &r);
        modes[mix.mode]++;
        assert_true(mix.lambda >= 0 && mix.lambda <= 1);
        assert_true(mix.mode != MIX_NONE || mix.lambda == 1);
        sum += mix.mode == MIX_MIXUP ? mix.lambda : 0;
    }
    assert_in_range(modes[MIX_NONE], 330, 470);
    assert_in_range(modes[MIX_MIXUP], 710, 890);
    assert_true(fabs(sum / modes[MIX_MIXUP] - 0.5) < 0.04);
    o.cutmix_alpha = o.mixup_alpha = 0;
    Random r = random_at(2, STREAM_DATA, 7, 0);
    assert_int_equal(mix_draw(&o, 24, 30, &r).mode, MIX_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resized_crop_box),
        cmocka_unit_test(test_padded_crop_box),
        cmocka_unit_test(test_erase_box),
        cmocka_unit_test(test_training_steps_in_order),
        cmocka_unit_test(test_noise_follows_the_draws),
        cmocka_unit_test(test_evaluation_takes_the_centre),
        cmocka_unit_test(test_draws_are_where_they_are_asked_for),
        cmocka_unit_test(test_augment_arguments),
        cmocka_unit_test(test_mixup),
        cmocka_unit_test(test_cutmix),
        cmocka_unit_test(test_mix_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
