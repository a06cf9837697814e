/* A tile of queries and the rows of a relative table that it needs, K + TILE_QUERIES - 1 at most: products of the tile go with
 * these rows, and row i of what comes out, or goes in, is shifted by i against the keys. */
#pragma once
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/spans.h"
#include "common/kernels/relative.h"

/* The queries first .. first + count - 1, who meet the keys 0 .. keys - 1. */
typedef struct Band {
    int64_t first, count, keys;
    int64_t low, rows; /* of the table */
} Band;

/* Where the keys of one query find their rows: [0, left) at row 0, [left, right) at start + j, the others at the last row;
 * rows counted from the band's lowest. */
typedef struct Shift {
    int64_t left, right, start, last;
} Shift;

static inline int64_t clamped(int64_t low, int64_t x, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static inline int64_t table_rows(const RelativeShape *s)
{
    return 2 * s->clip + 1;
}

/* Floats of a query in a band's buffer. */
static inline int64_t band_step(const RelativeShape *s)
{
    return padded(smaller(table_rows(s), s->keys + TILE_QUERIES));
}

/* Of a transposed table: a product may read up to NARROW - 1 columns behind the last row that it needs. */
static inline int64_t transposed_step(const RelativeShape *s)
{
    return padded(table_rows(s)) + NARROW;
}

static inline Band band_of(const RelativeShape *s, int64_t first, int64_t count, int64_t keys)
{
    int64_t here = first + s->keys - s->queries; /* position of the first query */
    Band b = {.first = first, .count = count, .keys = keys};
    b.low = clamped(-s->clip, -(here + count - 1), s->clip) + s->clip;
    b.rows = clamped(-s->clip, keys - 1 - here, s->clip) + s->clip - b.low + 1;
    return b;
}

static inline Shift shift_of(const RelativeShape *s, const Band *b, int64_t i)
{
    int64_t here = b->first + i + s->keys - s->queries;
    Shift w = {.start = s->clip - here - b->low, .last = 2 * s->clip - b->low};
    w.left = clamped(0, here - s->clip, b->keys);
    w.right = clamped(w.left, here + s->clip + 1, b->keys);
    return w;
}

/* scores [keys] (+)= a query's row of the band, shifted. */
static inline void shift_out(const Shift *w, int64_t keys, const float *band, bool add, float *scores)
{
    if (!add)
        memset(scores, 0, (size_t)keys * sizeof *scores);
    for (int64_t j = 0; j < w->left; j++)
        scores[j] += band[0];
    span_add(w->right - w->left, band + w->start + w->left, scores + w->left);
    for (int64_t j = w->right; j < keys; j++)
        scores[j] += band[w->last];
}

/* The way back: a query's row of the band [rows] = what the keys have for it. */
static inline void shift_in(const Shift *w, int64_t keys, int64_t rows, const float *scores, float *band)
{
    memset(band, 0, (size_t)rows * sizeof *band);
    if (w->right > w->left)
        memcpy(band + w->start + w->left, scores + w->left, (size_t)(w->right - w->left) * sizeof *band);
    if (w->left > 0)
        band[0] += span_sum(w->left, scores);
    if (w->right < keys)
        band[w->last] += span_sum(keys - w->right, scores + w->right);
}

size_t LEVEL(relative_forward_scratch)(const Exec *, const RelativeAttention *);
void LEVEL(relative_forward)(const Exec *, const RelativeAttention *, HeadRows q, HeadRows k, HeadRows v, HeadRows o);
size_t LEVEL(relative_backward_scratch)(const Exec *, const RelativeAttention *);
void LEVEL(relative_backward)(const Exec *, const RelativeAttention *, const RelativeGradients *);

/* transposed [width][step] = rows [count][width], and zeros. */
static inline void transpose_rows(const float *rows, int64_t row_step, int64_t count, int64_t width, float *transposed,
                                  int64_t step)
{
    int64_t whole = count / 4 * 4, quads = width / 4 * 4;
    for (int64_t c = 0; c < quads; c += 4)
        for (int64_t m = 0; m < whole; m += 4) {
            Quad r[4];
            for (int64_t n = 0; n < 4; n++)
                memcpy(&r[n], rows + (m + n) * row_step + c, sizeof r[n]);
            transpose_quads(r);
            for (int64_t n = 0; n < 4; n++)
                memcpy(transposed + (c + n) * step + m, &r[n], sizeof r[n]);
        }
    for (int64_t c = 0; c < width; c++) {
        for (int64_t m = c < quads ? whole : 0; m < count; m++)
            transposed[c * step + m] = rows[m * row_step + c];
        memset(transposed + c * step + count, 0, (size_t)(step - count) * sizeof *transposed);
    }
}
