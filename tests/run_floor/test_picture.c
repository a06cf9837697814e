#include "run_floor/scratch.h"
#include "common/run/machine.h"
#include "common/run/picture.h"

#include <math.h>

static void make_image(Image *image, int height, int width, int channels, const uint8_t *pixels)
{
    image_reshape(image, width, height, channels);
    memcpy(image->pixels, pixels, image_bytes(image));
}

static void pixels_are_magnified(void **state)
{
    (void)state;
    Image small = {0}, large = {0};
    make_image(&small, 1, 2, 1, (uint8_t[]){0, 255});
    picture_magnify(&large, &small, 2);
    assert_true(large.width == 4 && large.height == 2);
    assert_memory_equal(large.pixels, ((uint8_t[]){0, 0, 255, 255, 0, 0, 255, 255}), 8);
    image_free(&small);
    image_free(&large);
}

static float lightness(float value)
{
    uint8_t rgb[3];
    picture_heat_color(value, rgb);
    return 0.2126f * rgb[0] + 0.7152f * rgb[1] + 0.0722f * rgb[2];
}

static void heat_grows_lighter(void **state)
{
    (void)state;
    for (int i = 1; i <= 50; i++)
        assert_true(lightness((float)i / 50) > lightness((float)(i - 1) / 50));
    assert_true(lightness(0) < 3 && lightness(1) > 225);
    assert_true(lightness(-1) == lightness(0) && lightness(7) == lightness(1) && lightness(NAN) == lightness(0));
    /* matplotlib: inferno(0.25), inferno(0.5), inferno(0.75) */
    const float at[] = {0.25f, 0.5f, 0.75f};
    const int known[3][3] = {{87, 16, 110}, {188, 55, 84}, {249, 142, 9}};
    for (int i = 0; i < 3; i++) {
        uint8_t rgb[3];
        picture_heat_color(at[i], rgb);
        for (int c = 0; c < 3; c++)
            assert_true(abs(rgb[c] - known[i][c]) <= 8);
    }
}

static void attention_lies_where_its_weights_are(void **state)
{
    (void)state;
    Image gray = {0}, out = {0};
    const float even[4] = {0}, map[] = {0.1f, 0.1f, 0.1f, 0.7f};
    uint8_t bright[3], dark[3];
    picture_heat_color(1, bright);
    picture_heat_color(0, dark);
    make_image(&gray, 4, 4, 1, (uint8_t[16]){0});
    picture_overlay(&out, &gray, map, 2, 2, 1);
    assert_int_equal(out.channels, 3);
    assert_memory_equal(out.pixels, dark, 3);
    assert_memory_equal(out.pixels + 15 * 3, bright, 3);
    /* alpha 0 is the image, an even map is dark everywhere */
    picture_overlay(&out, &gray, map, 2, 2, 0);
    for (int i = 0; i < 48; i++)
        assert_int_equal(out.pixels[i], 0);
    picture_overlay(&out, &gray, even, 2, 2, 1);
    for (int i = 0; i < 16; i++)
        assert_memory_equal(out.pixels + 3 * i, dark, 3);
    image_free(&gray);
    image_free(&out);
}

static void pictures_stand_side_by_side(void **state)
{
    (void)state;
    Image gray = {0}, color = {0}, out = {0};
    make_image(&gray, 2, 1, 1, (uint8_t[]){255, 255});
    make_image(&color, 1, 1, 3, (uint8_t[]){255, 0, 0});
    picture_beside(&out, (const Image *[]){&gray, &color}, 2, 1, 7);
    assert_true(out.width == 3 && out.height == 2);
    const uint8_t expected[] = {255, 255, 255, 7, 7, 7, 255, 0, 0, 255, 255, 255, 7, 7, 7, 7, 7, 7};
    assert_memory_equal(out.pixels, expected, sizeof expected);
    image_free(&gray);
    image_free(&color);
    image_free(&out);
}

static void the_machine_is_described(void **state)
{
    (void)state;
    Machine m = machine_describe("avx2");
    assert_true(strlen(m.cpu) > 2 && strlen(m.system) > 5);
    assert_string_equal(m.level, "avx2");
    assert_true(m.usable >= 1 && m.usable <= sysconf(_SC_NPROCESSORS_CONF));
    assert_true(m.memory > 16 << 20);
    assert_true(str_starts(m.compiler, "GCC ") || str_starts(m.compiler, "Clang "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_magnified),
        cmocka_unit_test(heat_grows_lighter),
        cmocka_unit_test(attention_lies_where_its_weights_are),
        cmocka_unit_test(pictures_stand_side_by_side),
        cmocka_unit_test(the_machine_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
