/* Between rows of tokens, as they lie in memory, and lanes, where a column is a query. */
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/rows.h"

static int64_t row_start(HeadRows x, int64_t batch, int64_t head, int64_t row, int64_t width)
{
    return batch * x.batch_step + row * x.token_step + head * width;
}

const float *LEVEL(rows_see)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                             float *buffer, int64_t *step)
{
    int64_t start = row_start(x, batch, head, first, width);
    if (x.type == F32) {
        *step = x.token_step;
        return (const float *)x.data + start;
    }
    *step = padded(width);
    for (int64_t i = 0; i < count; i++)
        half_to_floats(width, (const uint16_t *)x.data + start + i * x.token_step, buffer + i * *step);
    return buffer;
}

void LEVEL(rows_copy)(const float *rows, int64_t step, int64_t count, int64_t width, float factor, float *copy)
{
    int64_t wide = padded(width), whole = width / LANES * LANES;
    for (int64_t i = 0; i < count; i++, rows += step, copy += wide) {
        int64_t c = 0;
        for (; c < whole; c += LANES)
            vec_store(copy + c, vec_load(rows + c) * factor);
        for (; c < width; c++)
            copy[c] = rows[c] * factor;
        for (; c < wide; c++)
            copy[c] = 0;
    }
}

void LEVEL(rows_save)(const float *rows, int64_t step, int64_t count, int64_t width, bool add, HeadRows y,
                      int64_t batch, int64_t head, int64_t first)
{
    Rows to = {.stride = y.token_step, .type = y.type};
    float buffer[BLOCK];
    int64_t start = row_start(y, batch, head, first, width);
    to.data = y.type == F32 ? (void *)((float *)y.data + start) : (void *)((uint16_t *)y.data + start);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t c = 0; c < width; c += BLOCK) {
            int64_t n = smaller(BLOCK, width - c);
            float *values = rows_open(to, i, c, n, add, buffer);
            const float *from = rows + i * step + c;
            for (int64_t x = 0; x < n; x++)
                values[x] = add ? values[x] + from[x] : from[x];
            rows_close(to, i, c, n, values);
        }
    }
}

void LEVEL(lanes_from_rows)(const float *rows, int64_t step, int64_t count, int64_t lanes, int64_t width, float factor,
                            float *transposed)
{
    int64_t i = 0, whole = width / 4 * 4;
    for (; i + 4 <= count; i += 4, rows += 4 * step) {
        for (int64_t c = 0; c < whole; c += 4) {
            Quad r[4];
            for (int64_t n = 0; n < 4; n++) {
                memcpy(&r[n], rows + n * step + c, sizeof r[n]);
                r[n] *= factor;
            }
            transpose_quads(r);
            for (int64_t n = 0; n < 4; n++)
                memcpy(transposed + (c + n) * TILE_QUERIES + i, &r[n], sizeof r[n]);
        }
        for (int64_t c = whole; c < width; c++)
            for (int64_t n = 0; n < 4; n++)
                transposed[c * TILE_QUERIES + i + n] = rows[n * step + c] * factor;
    }
    for (; i < lanes; i++, rows += step)
        for (int64_t c = 0; c < width; c++)
            transposed[c * TILE_QUERIES + i] = i < count ? rows[c] * factor : 0;
}

void LEVEL(rows_from_lanes)(const float *transposed, int64_t count, int64_t width, const float *factors, float *rows,
                            int64_t step)
{
    int64_t i = 0, whole = width / 4 * 4;
    for (; i + 4 <= count; i += 4, rows += 4 * step) {
        Quad f;
        memcpy(&f, factors + i, sizeof f);
        for (int64_t c = 0; c < whole; c += 4) {
            Quad r[4];
            for (int64_t n = 0; n < 4; n++) {
                memcpy(&r[n], transposed + (c + n) * TILE_QUERIES + i, sizeof r[n]);
                r[n] *= f;
            }
            transpose_quads(r);
            for (int64_t n = 0; n < 4; n++)
                memcpy(rows + n * step + c, &r[n], sizeof r[n]);
        }
        for (int64_t c = whole; c < width; c++)
            for (int64_t n = 0; n < 4; n++)
                rows[n * step + c] = transposed[c * TILE_QUERIES + i + n] * f[n];
    }
    for (; i < count; i++, rows += step)
        for (int64_t c = 0; c < width; c++)
            rows[c] = transposed[c * TILE_QUERIES + i] * factors[i];
}
