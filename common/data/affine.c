#include "common/data/affine.h"

#include "common/base/memory.h"

#include <math.h>

Affine affine_shear_x(double factor)
{
    return (Affine){{1, factor, 0, 0, 1, 0}};
}

Affine affine_shear_y(double factor)
{
    return (Affine){{1, 0, 0, factor, 1, 0}};
}

Affine affine_translate(double x, double y)
{
    return (Affine){{1, 0, x, 0, 1, y}};
}

/* Python's round(x, 15) of a number in [-1, 1]: a long double holds x * 10^15 with bits to spare. */
static double round_15(double x)
{
    return (double)(rintl((long double)x * 1e15L) / 1e15L);
}

Affine affine_rotate(double degrees, int width, int height)
{
    double turned = fmod(degrees, 360.0);
    if (turned < 0)
        turned += 360.0;
    if (turned == 0)
        return affine_translate(0, 0);
    double r = -(turned * (M_PI / 180.0)), c = round_15(cos(r)), s = round_15(sin(r)), minus_s = round_15(-sin(r));
    double x = width / 2.0, y = height / 2.0;
    return (Affine){{c, s, (c * -x + s * -y + 0.0) + x, minus_s, c, (minus_s * -x + c * -y + 0.0) + y}};
}

/* The cubic through four neighbours at d in [0, 1) between the second and the third. */
static inline double cubic_at(double v1, double v2, double v3, double v4, double d)
{
    double p1 = v2, p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
    return p1 + d * (p2 + d * (p3 + d * p4));
}

static inline int clamp(int v, int n)
{
    return v < 0 ? 0 : v < n ? v : n - 1;
}

/* The 4 x 4 neighbourhood of (x, y), each channel on its own. */
static void bicubic_pixel(const Image *from, double x, double y, uint8_t *out)
{
    int ix = (int)floor(x), iy = (int)floor(y), channels = from->channels;
    double dx = x - ix, dy = y - iy;
    size_t columns[4];
    const uint8_t *rows[4];
    for (int i = 0; i < 4; i++) {
        columns[i] = (size_t)clamp(ix - 1 + i, from->width) * (size_t)channels;
        rows[i] = from->pixels + (size_t)clamp(iy - 1 + i, from->height) * image_row_bytes(from);
    }
    for (int c = 0; c < channels; c++) {
        double lines[4];
        for (int i = 0; i < 4; i++) {
            const uint8_t *row = rows[i] + c;
            lines[i] = cubic_at(row[columns[0]], row[columns[1]], row[columns[2]], row[columns[3]], dx);
        }
        double v = cubic_at(lines[0], lines[1], lines[2], lines[3], dy);
        out[c] = (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
    }
}

void image_affine(const Image *from, const Affine *affine, const uint8_t fill[3], Image *to)
{
    const double *m = affine->m;
    image_reshape(to, from->width, from->height, from->channels);
    uint8_t *out = to->pixels;
    for (int y = 0; y < to->height; y++)
        for (int x = 0; x < to->width; x++, out += to->channels) {
            double px = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], py = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            if (px >= 0 && px < from->width && py >= 0 && py < from->height)
                bicubic_pixel(from, px - 0.5, py - 0.5, out);
            else
                for (int c = 0; c < to->channels; c++)
                    out[c] = fill[c];
        }
}
