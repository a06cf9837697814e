#include "common/nn/init.h"

#include <math.h>

void init_standardized(Random *r, Shape shape, float *x)
{
    int64_t width = shape.dim[shape.rank - 1], count = shape_count(shape);
    for (int64_t at = 0; at < count; at += width) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < width; i++)
            mean += (double)(x[at + i] = (float)random_normal(r)) / (double)width;
        for (int64_t i = 0; i < width; i++)
            variance += ((double)x[at + i] - mean) * ((double)x[at + i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++)
            x[at + i] = (float)(((double)x[at + i] - mean) / sqrt(variance + 1e-6));
    }
}

/* Gram-Schmidt over vectors of `length` values that lie `step` apart, `count` vectors `next` apart. */
static void orthonormalize(float *x, int64_t count, int64_t next, int64_t length, int64_t step)
{
    for (int64_t v = 0; v < count; v++) {
        float *vector = x + v * next;
        for (int64_t before = 0; before <= v; before++) {
            float *other = x + before * next;
            double dot = 0;
            for (int64_t i = 0; i < length; i++)
                dot += (double)vector[i * step] * (double)other[i * step];
            for (int64_t i = 0; i < length; i++)
                vector[i * step] = (float)(before < v ? (double)vector[i * step] - dot * (double)other[i * step]
                                                      : (double)vector[i * step] / sqrt(dot));
        }
    }
}

void init_orthogonal(Random *r, Shape shape, float *x)
{
    int64_t count = shape_count(shape), cols = shape.dim[shape.rank - 1], rows = cols ? count / cols : 0;
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)random_normal(r);
    if (rows <= cols)
        orthonormalize(x, rows, cols, cols, 1);
    else
        orthonormalize(x, cols, 1, rows, cols);
}

void init_sinusoids(Random *random, Shape shape, float *x)
{
    (void)random;
    int64_t width = shape.dim[1], half = width / 2;
    for (int64_t p = 0; p < shape.dim[0]; p++)
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)p / powf(10000.0f, (float)(2 * i) / (float)width);
            x[p * width + i] = sinf(angle);
            x[p * width + half + i] = cosf(angle);
        }
}

void init_frequencies(Random *random, Shape shape, float *x)
{
    (void)random;
    for (int64_t i = 0; i < shape.dim[0]; i++)
        x[i] = 1.0f / powf(10000.0f, (float)i / (float)shape.dim[0]);
}
