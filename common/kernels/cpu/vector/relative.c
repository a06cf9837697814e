/* Relative positions. A tile of queries needs K + TILE_QUERIES - 1 rows of the table at most: a product with these, and then
 * row i of it, shifted by i, is row i of the scores. The way back shifts first and multiplies then. */
#include "common/kernels/relative.h"

#include "common/base/error.h"
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/spans.h"
#include <omp.h>

enum { CHUNKS = 16 }; /* partial gradients of the table: their number never depends on the threads */

/* A tile of queries of one sample and head, and the rows of the table that it needs. */
typedef struct Band {
    int64_t batch, head, first, count;
    int64_t low, rows; /* of the table */
} Band;

/* Where the keys of one query find their rows: [0, left) at row 0, [left, right) at start + j, the others at the last row;
 * rows counted from the band's lowest. */
typedef struct Shift {
    int64_t left, right, start, last;
} Shift;

typedef struct Buffers {
    float *band; /* [TILE_QUERIES][band_step]: a value for each query and row of the table */
    float *rows; /* [TILE_QUERIES][padded(d)] */
} Buffers;

static int64_t clamped(int64_t low, int64_t x, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static int64_t table_rows(const RelativeShape *s)
{
    return 2 * s->clip + 1;
}

static int64_t band_step(const RelativeShape *s)
{
    return padded(smaller(table_rows(s), s->keys + TILE_QUERIES));
}

/* Of the transposed table: a product may read up to NARROW - 1 columns behind the last row that it needs. */
static int64_t transposed_step(const RelativeShape *s)
{
    return padded(table_rows(s)) + NARROW;
}

static int64_t tasks_of(const RelativeShape *s)
{
    return s->batch * s->heads * tiles_of(s->queries);
}

static Band band_of(const RelativeShape *s, int64_t task)
{
    int64_t tiles = tiles_of(s->queries), row = task / tiles;
    Band b = {.batch = row / s->heads, .head = row % s->heads, .first = task % tiles * TILE_QUERIES};
    b.count = smaller(TILE_QUERIES, s->queries - b.first);
    int64_t here = b.first + s->keys - s->queries; /* position of the first query */
    b.low = clamped(-s->clip, -(here + b.count - 1), s->clip) + s->clip;
    b.rows = clamped(-s->clip, s->keys - 1 - here, s->clip) + s->clip - b.low + 1;
    return b;
}

static Shift shift_of(const RelativeShape *s, const Band *b, int64_t i)
{
    int64_t here = b->first + i + s->keys - s->queries;
    Shift w = {.start = s->clip - here - b->low, .last = 2 * s->clip - b->low};
    w.left = clamped(0, here - s->clip, s->keys);
    w.right = clamped(w.left, here + s->clip + 1, s->keys);
    return w;
}

/* scores [K] (+)= row i of the band, shifted. */
static void shift_out(const Shift *w, int64_t keys, const float *band, bool add, float *scores)
{
    if (!add) {
        for (int64_t j = 0; j < w->left; j++)
            scores[j] = band[0];
        if (w->right > w->left)
            memcpy(scores + w->left, band + w->start + w->left, (size_t)(w->right - w->left) * sizeof *scores);
        for (int64_t j = w->right; j < keys; j++)
            scores[j] = band[w->last];
        return;
    }
    for (int64_t j = 0; j < w->left; j++)
        scores[j] += band[0];
    span_add(w->right - w->left, band + w->start + w->left, scores + w->left);
    for (int64_t j = w->right; j < keys; j++)
        scores[j] += band[w->last];
}

/* Row i of the band [rows] = what the keys [K] have for it. */
static void shift_in(const Shift *w, int64_t keys, int64_t rows, const float *scores, float *band)
{
    memset(band, 0, (size_t)rows * sizeof *band);
    if (w->right > w->left)
        memcpy(band + w->start + w->left, scores + w->left, (size_t)(w->right - w->left) * sizeof *band);
    if (w->left > 0)
        band[0] += span_sum(w->left, scores);
    if (w->right < keys)
        band[w->last] += span_sum(keys - w->right, scores + w->right);
}

static size_t cut_buffers(const RelativeShape *s, Cutter *c, Buffers *b)
{
    b->band = cut(c, TILE_QUERIES * band_step(s));
    b->rows = cut(c, TILE_QUERIES * padded(s->width));
    return c->bytes;
}

/* Floats that all threads share: the table, transposed or padded, or the partial gradients. */
static int64_t shared_floats(const RelativeShape *s)
{
    int64_t wide = padded(s->width);
    return larger(wide * transposed_step(s), table_rows(s) * wide * smaller(CHUNKS, larger(1, tasks_of(s))));
}

static size_t scratch(const Exec *exec, const RelativeShape *s)
{
    Cutter shared = {0}, own = {0};
    Buffers b;
    cut(&shared, shared_floats(s));
    return shared.bytes + cut_buffers(s, &own, &b) * (size_t)exec->threads;
}

static float *shared_buffer(const Exec *exec, const RelativeShape *s, HeadRows x)
{
    contract(exec->scratch_bytes >= scratch(exec, s), "relative: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             scratch(exec, s));
    contract(x.type == F32, "relative: rows of %s, not of float32", dtype_name(x.type));
    return exec->scratch;
}

static Buffers own_buffers(const Exec *exec, const RelativeShape *s)
{
    Cutter shared = {0}, own = {0};
    Buffers b;
    cut(&shared, shared_floats(s));
    size_t bytes = cut_buffers(s, &own, &b);
    Cutter c = {(char *)exec->scratch + shared.bytes + bytes * (size_t)omp_get_thread_num(), 0};
    cut_buffers(s, &c, &b);
    return b;
}

static void transpose_table(const RelativeShape *s, const float *table, float *transposed)
{
    int64_t step = transposed_step(s), rows = table_rows(s);
    for (int64_t c = 0; c < s->width; c++) {
        for (int64_t m = 0; m < rows; m++)
            transposed[c * step + m] = table[m * s->width + c];
        memset(transposed + c * step + rows, 0, (size_t)(step - rows) * sizeof *transposed);
    }
}

/* rows = the band's x times scale. */
static void load_rows(const RelativeShape *s, const Band *b, float scale, HeadRows x, float *rows)
{
    int64_t step;
    const float *from = LEVEL(rows_see)(x, b->batch, b->head, b->first, b->count, s->width, NULL, &step);
    LEVEL(rows_copy)(from, step, b->count, s->width, scale, rows);
}

/* Where the band's scores begin. */
static int64_t scores_start(const RelativeShape *s, const Band *b)
{
    return ((b->batch * s->heads + b->head) * s->queries + b->first) * s->keys;
}

static void load_band(const RelativeShape *s, const Band *b, const float *scores, float *band)
{
    int64_t step = band_step(s), rows = padded(b->rows);
    scores += scores_start(s, b);
    for (int64_t i = 0; i < b->count; i++) {
        Shift w = shift_of(s, b, i);
        shift_in(&w, s->keys, rows, scores + i * s->keys, band + i * step);
    }
}

static void relative_scores(const Exec *exec, const RelativeShape *s, float scale, HeadRows x, const float *table,
                            bool add, float *scores)
{
    float *transposed = shared_buffer(exec, s, x);
    int64_t tasks = tasks_of(s), step = band_step(s);
    transpose_table(s, table, transposed);
#pragma omp parallel num_threads(exec->threads)
    {
        Buffers w = own_buffers(exec, s);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < tasks; task++) {
            Band b = band_of(s, task);
            load_rows(s, &b, scale, x, w.rows);
            LEVEL(tile_product)
            (false, b.count, padded(b.rows), s->width, w.rows, padded(s->width), 1, transposed + b.low,
             transposed_step(s), w.band, step, false);
            for (int64_t i = 0; i < b.count; i++) {
                Shift shift = shift_of(s, &b, i);
                shift_out(&shift, s->keys, w.band + i * step, add, scores + scores_start(s, &b) + i * s->keys);
            }
        }
    }
}

static void relative_apply(const Exec *exec, const RelativeShape *s, float scale, const float *scores,
                           const float *table, bool add, HeadRows y)
{
    float *padded_table = shared_buffer(exec, s, y);
    int64_t tasks = tasks_of(s), wide = padded(s->width);
    LEVEL(rows_copy)(table, s->width, table_rows(s), s->width, scale, padded_table);
#pragma omp parallel num_threads(exec->threads)
    {
        Buffers w = own_buffers(exec, s);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < tasks; task++) {
            Band b = band_of(s, task);
            load_band(s, &b, scores, w.band);
            LEVEL(tile_product)
            (false, b.count, wide, b.rows, w.band, band_step(s), 1, padded_table + b.low * wide, wide, w.rows, wide,
             false);
            LEVEL(rows_save)(w.rows, wide, b.count, s->width, add, y, b.batch, b.head, b.first);
        }
    }
}

/* dtable (+)= the chunks' partial sums, in order. */
static void add_chunks(const RelativeShape *s, int64_t chunks, const float *partial, bool add, float *dtable)
{
    int64_t wide = padded(s->width), rows = table_rows(s);
    if (!add)
        memset(dtable, 0, (size_t)(rows * s->width) * sizeof *dtable);
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t m = 0; m < rows; m++)
            span_add(s->width, partial + (chunk * rows + m) * wide, dtable + m * s->width);
}

static void relative_table_gradient(const Exec *exec, const RelativeShape *s, float scale, const float *scores,
                                    HeadRows x, bool add, float *dtable)
{
    float *partial = shared_buffer(exec, s, x);
    int64_t tasks = tasks_of(s), chunks = smaller(CHUNKS, tasks), wide = padded(s->width), rows = table_rows(s);
#pragma omp parallel num_threads(exec->threads)
    {
        Buffers w = own_buffers(exec, s);
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            float *sums = partial + chunk * rows * wide;
            memset(sums, 0, (size_t)(rows * wide) * sizeof *sums);
            for (int64_t task = chunk * tasks / chunks; task < (chunk + 1) * tasks / chunks; task++) {
                Band b = band_of(s, task);
                load_band(s, &b, scores, w.band);
                load_rows(s, &b, scale, x, w.rows);
                LEVEL(tile_product)
                (false, b.rows, wide, b.count, w.band, 1, band_step(s), w.rows, wide, sums + b.low * wide, wide, true);
            }
        }
    }
    add_chunks(s, chunks, partial, add, dtable);
}

const RelativeKernels LEVEL(relative_kernels) = {
    .scratch = scratch,
    .scores = relative_scores,
    .apply = relative_apply,
    .table_gradient = relative_table_gradient,
};
