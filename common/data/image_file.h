/* JPEG (libjpeg-turbo) and PNG (libpng) read out of memory into RGB, with the pixels that Pillow's convert('RGB') gives:
 * full-precision inverse DCT, smooth chroma upsampling, CMYK and YCCK by Adobe's inverted convention, gray repeated,
 * palettes looked up, alpha dropped, 16 bits reduced to the upper byte but for 16-bit gray, which is clipped at 255. */
#pragma once
#include "common/base/str.h"
#include "common/data/image.h"

/* What Pillow, too, refuses to decode (about 0.5 GB of RGB). */
enum { IMAGE_MAX_PIXELS = 178956970 };

/* Decodes a JPEG or a PNG, told apart by their first bytes. `decoder` is the caller's, NULL at first, kept between
 * calls and freed by image_decoder_free; a thread has one of its own. False with a line ("not a JPEG or PNG file",
 * "JPEG: Premature end of JPEG file", ...) that the caller prefixes with the file's name; the image is then undefined. */
bool image_decode(void **decoder, const uint8_t *bytes, size_t size, int64_t max_pixels, Image *image, Error *e);
void image_decoder_free(void *decoder);

/* An image of 1 or 3 channels as the bytes of a PNG, added to `out`, or as a file. */
bool image_encode_png(const Image *image, Str *out, Error *e);
bool image_write_png(const Image *image, const char *path, Error *e);
