/* Relative positions of scores and probabilities that lie written out: a product of a tile of queries with the rows of the
 * table that it needs, and then row i of it, shifted by i, is row i of the scores. The way back shifts first and multiplies
 * then. (relative_attend.c never writes them out.) */
#include "common/base/error.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/relative_band.h"
#include <omp.h>

enum { CHUNKS = 16 }; /* partial gradients of the table: their number never depends on the threads */

/* The band of one sample and head. */
typedef struct HeadBand {
    int64_t batch, head;
    Band band;
} HeadBand;

typedef struct Buffers {
    float *band; /* [TILE_QUERIES][band_step]: a value for each query and row of the table */
    float *rows; /* [TILE_QUERIES][padded(d)] */
} Buffers;

static int64_t tasks_of(const RelativeShape *s)
{
    return s->batch * s->heads * tiles_of(s->queries);
}

static HeadBand head_band(const RelativeShape *s, int64_t task)
{
    int64_t tiles = tiles_of(s->queries), row = task / tiles, first = task % tiles * TILE_QUERIES;
    return (HeadBand){row / s->heads, row % s->heads,
                      band_of(s, first, smaller(TILE_QUERIES, s->queries - first), s->keys)};
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

/* rows = the band's x times scale. */
static void load_rows(const RelativeShape *s, const HeadBand *h, float scale, HeadRows x, float *rows)
{
    int64_t step;
    const float *from = LEVEL(rows_see)(x, h->batch, h->head, h->band.first, h->band.count, s->width, NULL, &step);
    LEVEL(rows_copy)(from, step, h->band.count, s->width, scale, rows);
}

/* Where the band's scores begin. */
static int64_t scores_start(const RelativeShape *s, const HeadBand *h)
{
    return ((h->batch * s->heads + h->head) * s->queries + h->band.first) * s->keys;
}

static void load_band(const RelativeShape *s, const HeadBand *h, const float *scores, float *band)
{
    scores += scores_start(s, h);
    for (int64_t i = 0; i < h->band.count; i++) {
        Shift w = shift_of(s, &h->band, i);
        shift_in(&w, s->keys, h->band.rows, scores + i * s->keys, band + i * band_step(s));
    }
}

static void relative_scores(const Exec *exec, const RelativeShape *s, float scale, HeadRows x, const float *table,
                            bool add, float *scores)
{
    float *transposed = shared_buffer(exec, s, x);
    int64_t tasks = tasks_of(s), step = band_step(s);
    transpose_rows(table, s->width, table_rows(s), s->width, transposed, transposed_step(s));
#pragma omp parallel num_threads(exec->threads)
    {
        Buffers w = own_buffers(exec, s);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < tasks; task++) {
            HeadBand h = head_band(s, task);
            const Band *b = &h.band;
            load_rows(s, &h, scale, x, w.rows);
            LEVEL(tile_product)
            (false, b->count, padded(b->rows), s->width, w.rows, padded(s->width), 1, transposed + b->low,
             transposed_step(s), w.band, step, false);
            for (int64_t i = 0; i < b->count; i++) {
                Shift shift = shift_of(s, b, i);
                shift_out(&shift, s->keys, w.band + i * step, add, scores + scores_start(s, &h) + i * s->keys);
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
            HeadBand h = head_band(s, task);
            const Band *b = &h.band;
            load_band(s, &h, scores, w.band);
            LEVEL(tile_product)
            (false, b->count, wide, b->rows, w.band, band_step(s), 1, padded_table + b->low * wide, wide, w.rows, wide,
             false);
            LEVEL(rows_save)(w.rows, wide, b->count, s->width, add, y, h.batch, h.head, b->first);
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
                HeadBand h = head_band(s, task);
                const Band *b = &h.band;
                load_band(s, &h, scores, w.band);
                load_rows(s, &h, scale, x, w.rows);
                LEVEL(tile_product)
                (false, b->rows, wide, b->count, w.band, 1, band_step(s), w.rows, wide, sums + b->low * wide, wide,
                 true);
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
    .forward_scratch = LEVEL(relative_forward_scratch),
    .forward = LEVEL(relative_forward),
    .backward_scratch = LEVEL(relative_backward_scratch),
    .backward = LEVEL(relative_backward),
};
