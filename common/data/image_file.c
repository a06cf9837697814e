#include "common/data/image_file.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>
#include <turbojpeg.h>

static bool size_allowed(int64_t width, int64_t height, int64_t max_pixels, const char *format, Error *e)
{
    if (width < 1 || height < 1 || width * height > max_pixels)
        return error_set(e, "%s: %lld x %lld pixels, expected 1 to %lld in all", format, (long long)width,
                         (long long)height, (long long)max_pixels);
    return true;
}

/* a * b / 255 rounded, as Pillow computes it. */
static unsigned multiply_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;
    return (t + (t >> 8)) >> 8;
}

/* Adobe stores 255 - ink. In place: 4 bytes a pixel become 3, and the read runs ahead of the write. */
static void rgb_from_inverted_cmyk(uint8_t *pixels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned white = pixels[4 * i + 3]; /* 255 - K */
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = (uint8_t)(white - multiply_255(255u - pixels[4 * i + c], white));
    }
}

/* libjpeg reports the first warning only, so a file that has another damage and ends early is recognised by its missing
 * end-of-image marker. */
static bool jpeg_ends(const uint8_t *bytes, size_t size)
{
    for (size_t i = size; i >= 2; i--)
        if (bytes[i - 2] == 0xff && bytes[i - 1] == 0xd9)
            return true;
    return false;
}

static bool decode_jpeg(void **decoder, const uint8_t *bytes, size_t size, int64_t max_pixels, Image *image, Error *e)
{
    if (!*decoder)
        *decoder = tjInitDecompress();
    if (!*decoder)
        return error_set(e, "JPEG: no decoder: %s", tjGetErrorStr2(NULL));
    int width = 0, height = 0, sampling = -1, colours = -1;
    /* A rare chroma sampling has no name in TurboJPEG 2, which calls it an error; it decodes all the same. */
    if (tjDecompressHeader3(*decoder, bytes, size, &width, &height, &sampling, &colours) &&
        (width < 1 || height < 1 || colours < 0))
        return error_set(e, "JPEG: %s", tjGetErrorStr2(*decoder));
    if (!size_allowed(width, height, max_pixels, "JPEG", e))
        return false;
    bool cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    image_reshape(image, width, height, cmyk ? 4 : 3);
    if (tjDecompress2(*decoder, bytes, size, image->pixels, width, 0, height, cmyk ? TJPF_CMYK : TJPF_RGB,
                      TJFLAG_ACCURATEDCT)) {
        const char *why = tjGetErrorStr2(*decoder);
        if (tjGetErrorCode(*decoder) != TJERR_WARNING || strstr(why, "Premature end") || !jpeg_ends(bytes, size))
            return error_set(e, "JPEG: %s", why);
    }
    if (cmyk)
        rgb_from_inverted_cmyk(image->pixels, (size_t)width * (size_t)height);
    image->channels = 3;
    return true;
}

/* What libpng's callbacks share: the file's bytes, and the way out of an error. */
typedef struct PngRead {
    const uint8_t *bytes;
    size_t size, at;
    jmp_buf out;
    Error *e;
} PngRead;

static void png_failed(png_structp png, const char *why)
{
    PngRead *read = png_get_error_ptr(png);
    error_set(read->e, "PNG: %s", why);
    longjmp(read->out, 1);
}

static void png_warned(png_structp png, const char *why)
{
    (void)png;
    (void)why;
}

static void png_take(png_structp png, png_bytep to, size_t count)
{
    PngRead *read = png_get_io_ptr(png);
    if (count > read->size - read->at)
        png_error(png, "the file ends early");
    memcpy(to, read->bytes + read->at, count);
    read->at += count;
}

/* What Pillow calls mode I: 16-bit gray without alpha, all other depths being mode 1, L or P. */
static bool is_wide_gray(png_structp png, png_infop info)
{
    return png_get_bit_depth(png, info) == 16 && png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY;
}

/* A file may use more colours than it lists: Pillow has a gray ramp behind its palette. */
static void png_fill_palette(png_structp png, png_infop info)
{
    png_colorp listed;
    int count = 0, most = 1 << png_get_bit_depth(png, info);
    png_color all[256];
    if (!png_get_PLTE(png, info, &listed, &count))
        return;
    memcpy(all, listed, (size_t)count * sizeof *all);
    for (int i = count; i < most; i++)
        all[i] = (png_color){(png_byte)i, (png_byte)i, (png_byte)i};
    png_set_PLTE(png, info, all, most);
}

/* Gray of any depth, palette, alpha and 16 bits all become 8-bit RGB; transparency is dropped, not blended. */
static void png_ask_for_rgb(png_structp png, png_infop info)
{
    if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE)
        png_fill_palette(png, info);
    png_set_strip_16(png);
    png_set_expand(png);
    if (!(png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
}

/* Two bytes a value become three times the value, clipped as Pillow does; in place, from the end. */
static void rgb_from_wide_gray(uint8_t *row, int width)
{
    for (int i = width - 1; i >= 0; i--)
        memset(row + 3 * i, row[2 * i] ? 255 : row[2 * i + 1], 3);
}

static bool png_rows(png_structp png, png_infop info, int64_t max_pixels, Image *image, Error *e)
{
    png_read_info(png, info);
    int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    if (!size_allowed(width, height, max_pixels, "PNG", e))
        return false;
    bool wide_gray = is_wide_gray(png, info);
    if (!wide_gray)
        png_ask_for_rgb(png, info);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    image_reshape(image, (int)width, (int)height, 3);
    size_t step = image_row_bytes(image);
    if (png_get_rowbytes(png, info) != (wide_gray ? 2 * (size_t)width : step))
        png_error(png, "an unknown pixel layout");
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < height; y++)
            png_read_row(png, image->pixels + (size_t)y * step, NULL);
    png_read_end(png, NULL);
    for (int64_t y = 0; y < height && wide_gray; y++)
        rgb_from_wide_gray(image->pixels + (size_t)y * step, (int)width);
    return true;
}

static bool decode_png(const uint8_t *bytes, size_t size, int64_t max_pixels, Image *image, Error *e)
{
    PngRead read = {.bytes = bytes, .size = size, .e = e};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &read, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return error_set(e, "PNG: no decoder");
    }
    if (setjmp(read.out) != 0) {
        png_destroy_read_struct(&png, &info, NULL);
        return false;
    }
    png_set_read_fn(png, &read, png_take);
    bool good = png_rows(png, info, max_pixels, image, e);
    png_destroy_read_struct(&png, &info, NULL);
    return good;
}

bool image_decode(void **decoder, const uint8_t *bytes, size_t size, int64_t max_pixels, Image *image, Error *e)
{
    static const uint8_t png_start[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) {
        if (decode_jpeg(decoder, bytes, size, max_pixels, image, e))
            return true;
        image_decoder_free(*decoder); /* TurboJPEG's may still be inside the broken file, and misread the next one */
        *decoder = NULL;
        return false;
    }
    if (size >= sizeof png_start && memcmp(bytes, png_start, sizeof png_start) == 0)
        return decode_png(bytes, size, max_pixels, image, e);
    return error_set(e, size ? "not a JPEG or PNG file" : "the file is empty");
}

void image_decoder_free(void *decoder)
{
    if (decoder)
        tjDestroy(decoder);
}

static void png_append(png_structp png, png_bytep bytes, size_t count)
{
    str_add_bytes(png_get_io_ptr(png), bytes, count);
}

static void png_nothing_to_flush(png_structp png)
{
    (void)png;
}

static void png_rows_out(png_structp png, png_infop info, const Image *image)
{
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < image->height; y++)
        png_write_row(png, image->pixels + (size_t)y * image_row_bytes(image));
    png_write_end(png, NULL);
}

bool image_encode_png(const Image *image, Str *out, Error *e)
{
    contract(image->channels == 1 || image->channels == 3, "image_encode_png: %d channels", image->channels);
    PngRead failure = {.e = e};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &failure, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return error_set(e, "PNG: no encoder");
    }
    if (setjmp(failure.out) != 0) {
        png_destroy_write_struct(&png, &info);
        return false;
    }
    png_set_write_fn(png, out, png_append, png_nothing_to_flush);
    png_rows_out(png, info, image);
    png_destroy_write_struct(&png, &info);
    return true;
}

bool image_write_png(const Image *image, const char *path, Error *e)
{
    Str file = {0};
    bool good =
        image_encode_png(image, &file, e) ? file_write(path, file.text, file.length, e) : error_prefix(e, "%s", path);
    str_free(&file);
    return good;
}
