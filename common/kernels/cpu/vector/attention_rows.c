/* Between rows of tokens, as they lie in memory, and lanes, where a column is a query. */
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/rows.h"

/* More rows than this do not stay in the second-level cache between two tiles (half a megabyte; they come in pairs). */
enum { SECOND_LEVEL_FLOATS = 96 << 10 };

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
        for (int64_t c = 0; c < whole; c += LANES)
            vec_store(copy + c, vec_load(rows + c) * factor);
        for (int64_t c = whole; c < wide; c += LANES)
            vec_store_upto(copy + c, vec_load_upto(rows + c, width - c, 0) * factor, wide - c);
    }
}

/* Asks for the rows of the next block while this one is computed with: hardware does not foresee a step this wide. */
static void prefetch_rows(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width)
{
    size_t bytes = x.type == F32 ? 4 : 2;
    const char *row = (const char *)x.data + (size_t)row_start(x, batch, head, first, width) * bytes;
    for (int64_t i = 0; i < count; i++, row += (size_t)x.token_step * bytes)
        for (size_t c = 0; c < (size_t)width * bytes; c += 64)
            __builtin_prefetch(row + c, 0, 2);
}

static const uint16_t *half_row(HeadRows x, int64_t batch, int64_t head, int64_t row, int64_t width)
{
    return (const uint16_t *)x.data + row_start(x, batch, head, row, width);
}

void LEVEL(halves_copy)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                        float *copy)
{
    const size_t bytes = (size_t)width * 2, whole = (size_t)step_of(HALVES, width) * 4;
    for (int64_t i = 0; i < count; i++) {
        char *row = (char *)(copy + i * step_of(HALVES, width));
        memcpy(row, half_row(x, batch, head, first + i, width), bytes);
        memset(row + bytes, 0, whole - bytes);
    }
}

void LEVEL(halves_weave)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                         float *woven)
{
    int64_t wide = step_of(WOVEN, width), whole = width / LANES * LANES;
    for (int64_t i = 0; i < count; i += 2, woven += wide) {
        const uint16_t *a = half_row(x, batch, head, first + i, width), *b = i + 1 < count ? a + x.token_step : NULL;
        for (int64_t c = 0; c < whole; c += LANES) {
            VecHalf lower, upper = {0};
            memcpy(&lower, a + c, sizeof lower);
            if (b)
                memcpy(&upper, b + c, sizeof upper);
            VecWord pairs = __builtin_convertvector(upper, VecWord) << 16 | __builtin_convertvector(lower, VecWord);
            memcpy(woven + c, &pairs, sizeof pairs);
        }
        for (int64_t c = whole; c < wide; c++) {
            uint32_t pair = c < width ? a[c] | (uint32_t)(b ? b[c] : 0) << 16 : 0;
            memcpy(woven + c, &pair, sizeof pair);
        }
    }
}

/* Rows as a form has them. */
static void gather(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width, Form form,
                   float *to)
{
    int64_t step;
    if (form == HALVES) {
        LEVEL(halves_copy)(x, batch, head, first, count, width, to);
    } else if (form == WOVEN) {
        LEVEL(halves_weave)(x, batch, head, first, count, width, to);
    } else {
        const float *rows = LEVEL(rows_see)(x, batch, head, first, count, width, to, &step);
        if (rows != to)
            LEVEL(rows_copy)(rows, step, count, width, 1, to);
    }
}

const float *LEVEL(rows_gather)(HeadRows x, int64_t batch, int64_t head, int64_t first, int64_t count, int64_t width,
                                int64_t all, Gathered *g, int64_t *step)
{
    int64_t end = first + count, sample = x.batch_step ? batch : 0;
    bool in_place = x.type == F32 && !scattered(x, width);
    if (g->form == WOVEN)
        end = smaller(round_up(end, 2), all);
    bool missing = in_place || g->batch != sample || g->head != head || first < g->from || end > g->to;
    if (missing && all * width > SECOND_LEVEL_FLOATS)
        prefetch_rows(x, batch, head, end, smaller(all - end, TILE_KEYS), width);
    if (in_place)
        return LEVEL(rows_see)(x, batch, head, first, count, width, NULL, step);
    *step = step_of(g->form, width);
    if (missing) {
        if (g->batch != sample || g->head != head || first < g->from || first > g->to)
            *g = (Gathered){g->form, g->rows, sample, head, first, first};
        gather(x, batch, head, g->to, end - g->to, width, g->form, g->rows + terms(g->form == WOVEN, g->to) * *step);
        g->to = end;
    }
    return g->rows + terms(g->form == WOVEN, first) * *step;
}

static void save_floats(const float *rows, int64_t step, int64_t count, int64_t width, bool add, float *to,
                        int64_t to_step)
{
    for (int64_t i = 0; i < count; i++, rows += step, to += to_step) {
        for (int64_t c = 0; c < width; c += LANES) {
            Vec x = vec_load_upto(rows + c, width - c, 0);
            if (add)
                x += vec_load_upto(to + c, width - c, 0);
            vec_store_upto(to + c, x, width - c);
        }
    }
}

void LEVEL(rows_save)(const float *rows, int64_t step, int64_t count, int64_t width, bool add, HeadRows y,
                      int64_t batch, int64_t head, int64_t first)
{
    int64_t start = row_start(y, batch, head, first, width);
    float buffer[BLOCK];
    if (y.type == F32) {
        save_floats(rows, step, count, width, add, (float *)y.data + start, y.token_step);
        return;
    }
    uint16_t *to = (uint16_t *)y.data + start;
    for (int64_t i = 0; i < count; i++, rows += step, to += y.token_step) {
        for (int64_t c = 0; c < width; c += BLOCK) {
            int64_t n = smaller(BLOCK, width - c);
            const float *values = rows + c;
            if (add) {
                half_to_floats(n, to + c, buffer);
                save_floats(rows + c, 0, 1, n, true, buffer, 0);
                values = buffer;
            }
            floats_to_half(n, values, to + c);
        }
    }
}

void LEVEL(lanes_from_rows)(const float *rows, int64_t step, int64_t count, int64_t columns, int64_t width,
                            float *transposed)
{
    int64_t i = 0, whole = width / 4 * 4;
    for (; i + 4 <= count; i += 4, rows += 4 * step) {
        for (int64_t c = 0; c < whole; c += 4) {
            Quad r[4];
            for (int64_t n = 0; n < 4; n++)
                memcpy(&r[n], rows + n * step + c, sizeof r[n]);
            transpose_quads(r);
            for (int64_t n = 0; n < 4; n++)
                memcpy(transposed + (c + n) * TILE_QUERIES + i, &r[n], sizeof r[n]);
        }
        for (int64_t c = whole; c < width; c++)
            for (int64_t n = 0; n < 4; n++)
                transposed[c * TILE_QUERIES + i + n] = rows[n * step + c];
    }
    for (; i < columns; i++, rows += step)
        for (int64_t c = 0; c < width; c++)
            transposed[c * TILE_QUERIES + i] = i < count ? rows[c] : 0;
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

void LEVEL(save_lanes)(const float *transposed, int64_t count, int64_t width, const float *factors, float *buffer,
                       bool add, HeadRows y, int64_t batch, int64_t head, int64_t first)
{
    if (y.type == F32 && !add) {
        float *rows = (float *)y.data + row_start(y, batch, head, first, width);
        LEVEL(rows_from_lanes)(transposed, count, width, factors, rows, y.token_step);
        return;
    }
    LEVEL(rows_from_lanes)(transposed, count, width, factors, buffer, padded(width));
    LEVEL(rows_save)(buffer, padded(width), count, width, add, y, batch, head, first);
}
