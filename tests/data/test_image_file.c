/* JPEG and PNG: Pillow's pixels for files of other writers, one line for what is broken. */
#include "data/fixtures.h"

#include "common/data/image_file.h"

static const char *const decoded[] = {"rgb420.jpg",   "rgb444.jpg", "progressive.jpg", "gray.jpg", "cmyk.jpg",
                                      "ycck.jpg",     "411.jpg",    "rgb.png",         "gray.png", "bilevel.png",
                                      "palette4.png", "rgba.png",   "gray_alpha.png"};

static const char *const png_modes[] = {
    "gray16.png", "gray16_interlaced.png", "gray16_key.png",    "gray_alpha16.png", "rgba16.png", "gray2.png",
    "gray4.png",  "palette8_alpha.png",    "palette2_short.png"};

/* `count` fixtures against a file of their pixels, one after the other. */
static void check_pixels(const char *const *names, int count, const char *pixels)
{
    size_t expected_size;
    uint8_t *all = fixture(pixels, &expected_size);
    const uint8_t *expected = all;
    void *decoder = NULL;
    Image image = {0};
    for (int i = 0; i < count; i++) {
        size_t size;
        Error e = {""};
        uint8_t *bytes = fixture(names[i], &size);
        if (!image_decode(&decoder, bytes, size, IMAGE_MAX_PIXELS, &image, &e))
            fail_msg("%s: %s", names[i], e.text);
        assert_int_equal(image.width, FIXTURE_WIDTH);
        assert_int_equal(image.height, FIXTURE_HEIGHT);
        assert_int_equal(image.channels, 3);
        assert_next(&image, &expected, names[i]);
        mem_free(bytes);
    }
    assert_int_equal(expected - all, expected_size);
    mem_free(all);
    image_free(&image);
    image_decoder_free(decoder);
}

static void test_pixels_are_pillows(void **state)
{
    (void)state;
    check_pixels(decoded, COUNT_OF(decoded), "decoded.rgb");
    check_pixels(png_modes, COUNT_OF(png_modes), "png_modes.rgb");
}

static void decode_fixture(const char *name, Image *image)
{
    size_t size;
    void *decoder = NULL;
    uint8_t *bytes = fixture(name, &size);
    assert_true(image_decode(&decoder, bytes, size, IMAGE_MAX_PIXELS, image, NULL));
    image_decoder_free(decoder);
    mem_free(bytes);
}

static void test_unnamed_chroma_sampling(void **state)
{
    (void)state;
    size_t size;
    Image image = {0};
    uint8_t *all = fixture("rare_sampling.rgb", &size);
    const uint8_t *expected = all;
    decode_fixture("rare_sampling.jpg", &image);
    assert_next(&image, &expected, "rare_sampling.jpg");
    mem_free(all);
    image_free(&image);
}

static void test_interlaced_16_bits(void **state)
{
    (void)state;
    Image image = {0}, source = fixture_source(3);
    const uint8_t *expected = source.pixels;
    decode_fixture("interlaced16.png", &image);
    assert_next(&image, &expected, "interlaced16.png");
    image_free(&image);
    image_free(&source);
}

static void expect_refusal(const uint8_t *bytes, size_t size, int64_t max_pixels, const char *line)
{
    void *decoder = NULL;
    Image image = {0};
    Error e = {""};
    assert_false(image_decode(&decoder, bytes, size, max_pixels, &image, &e));
    if (!strstr(e.text, line))
        fail_msg("'%s' does not say '%s'", e.text, line);
    image_decoder_free(decoder);
    image_free(&image);
}

static void test_broken_files_are_one_line(void **state)
{
    (void)state;
    size_t size;
    expect_refusal((const uint8_t *)"", 0, 1000, "the file is empty");
    expect_refusal((const uint8_t *)"GIF89a", 6, 1000, "not a JPEG or PNG file");
    uint8_t *bytes = fixture("rgb420.jpg", &size);
    expect_refusal(bytes, size, 436, "JPEG: 19 x 23 pixels");
    expect_refusal(bytes, size - 40, 1000, "JPEG: Premature end of JPEG file");
    for (size_t cut = 3; cut < size - 1; cut += 7)
        expect_refusal(bytes, cut, 1000, "JPEG: ");
    mem_free(bytes);
    bytes = fixture("rgb.png", &size);
    expect_refusal(bytes, size, 436, "PNG: 19 x 23 pixels");
    for (size_t cut = 8; cut < size; cut += 13)
        expect_refusal(bytes, cut, 1000, "PNG: ");
    bytes[size / 2] ^= 0x10;
    expect_refusal(bytes, size, 1000, "PNG: ");
    mem_free(bytes);
}

static void test_a_broken_file_does_not_spoil_the_next(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = fixture("rgb420.jpg", &size);
    Image fresh = {0}, image = {0};
    decode_fixture("rgb420.jpg", &fresh);
    void *decoder = NULL;
    for (size_t cut = 3; cut < size - 1; cut += 7) {
        assert_false(image_decode(&decoder, bytes, cut, 1000, &image, NULL));
        assert_true(image_decode(&decoder, bytes, size, 1000, &image, NULL));
        assert_memory_equal(image.pixels, fresh.pixels, image_bytes(&fresh));
    }
    image_decoder_free(decoder);
    image_free(&image);
    image_free(&fresh);
    mem_free(bytes);
}

static void test_png_that_we_write(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        Image source = fixture_source(channels), back = {0};
        Str png = {0};
        void *decoder = NULL;
        assert_true(image_encode_png(&source, &png, NULL));
        assert_true(image_decode(&decoder, (const uint8_t *)png.text, png.length, 1000, &back, NULL));
        for (size_t i = 0; i < image_bytes(&back); i++)
            assert_int_equal(back.pixels[i], source.pixels[channels == 3 ? i : i / 3]);
        str_free(&png);
        image_free(&source);
        image_free(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixels_are_pillows),
        cmocka_unit_test(test_unnamed_chroma_sampling),
        cmocka_unit_test(test_interlaced_16_bits),
        cmocka_unit_test(test_broken_files_are_one_line),
        cmocka_unit_test(test_a_broken_file_does_not_spoil_the_next),
        cmocka_unit_test(test_png_that_we_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
