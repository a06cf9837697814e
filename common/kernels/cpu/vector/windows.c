#include "common/kernels/windows.h"

#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/spans.h"

typedef struct Windows {
    const WindowShape *shape;
    HeadRows x, y; /* tokens; windows */
    int64_t width; /* C */
    float outside;
    bool add;
} Windows;

static int64_t window_of(const WindowShape *s)
{
    return (s->back + 1 + s->forward) * s->block;
}

static Rows token_rows(HeadRows x, int64_t batch)
{
    return rows_from((Rows){x.data, 1, x.type}, batch * x.batch_step);
}

static Rows row_of(HeadRows x, int64_t batch, int64_t token)
{
    Rows all = token_rows(x, batch);
    all.stride = x.token_step;
    return rows_from(all, token);
}

static void fill_row(Rows y, int64_t width, float value)
{
    float values[BLOCK];
    for (int64_t c = 0; c < width; c += BLOCK) {
        int64_t n = least(BLOCK, width - c);
        float *to = rows_open(y, 0, c, n, false, values);
        for (int64_t i = 0; i < n; i++)
            to[i] = value;
        rows_close(y, 0, c, n, to);
    }
}

/* An item is a token of a window. */
static void gather_piece(const void *job, int64_t first, int64_t last)
{
    const Windows *w = job;
    const WindowShape *s = w->shape;
    int64_t window = window_of(s), tokens = s->blocks * s->block;
    for (int64_t item = first; item < last; item++) {
        int64_t row = item / window, token = (row % s->blocks - s->back) * s->block + item % window;
        Rows to = row_of(w->y, row, item % window);
        if (token >= 0 && token < tokens)
            memcpy(to.data, row_of(w->x, row / s->blocks, token).data, (size_t)w->width * dtype_bytes(to.type));
        else
            fill_row(to, w->width, w->outside);
    }
}

static void gather(const Exec *exec, const WindowShape *s, float outside, HeadRows x, HeadRows y)
{
    Windows w = {.shape = s, .x = x, .y = y, .width = y.token_step, .outside = outside};
    int64_t items = s->batch * s->blocks * window_of(s), width = w.width > 0 ? w.width : 1;
    parallel_pieces(exec, items, width < PIECE ? PIECE / width : 1, items * width * 8, gather_piece, &w);
}

/* An item is a token of the sequence; the windows are met in order. */
static void gradient_piece(const void *job, int64_t first, int64_t last)
{
    const Windows *w = job;
    const WindowShape *s = w->shape;
    int64_t tokens = s->blocks * s->block;
    float sums[BLOCK], values[BLOCK];
    for (int64_t item = first; item < last; item++) {
        int64_t batch = item / tokens, block = item % tokens / s->block, place = item % s->block;
        Rows to = row_of(w->x, batch, item % tokens);
        for (int64_t c = 0; c < w->width; c += BLOCK) {
            int64_t n = least(BLOCK, w->width - c);
            if (w->add)
                memcpy(sums, rows_read(to, 0, c, n, values), (size_t)n * sizeof *sums);
            else
                memset(sums, 0, (size_t)n * sizeof *sums);
            for (int64_t at = block - s->forward; at <= block + s->back; at++) {
                if (at < 0 || at >= s->blocks)
                    continue;
                Rows from = row_of(w->y, batch * s->blocks + at, (block - at + s->back) * s->block + place);
                span_add(n, rows_read(from, 0, c, n, values), sums);
            }
            float *result = rows_open(to, 0, c, n, false, values);
            memcpy(result, sums, (size_t)n * sizeof *sums);
            rows_close(to, 0, c, n, result);
        }
    }
}

static void gather_gradient(const Exec *exec, const WindowShape *s, HeadRows dy, bool add, HeadRows dx)
{
    Windows w = {.shape = s, .x = dx, .y = dy, .width = dy.token_step, .add = add};
    int64_t items = s->batch * s->blocks * s->block, width = w.width > 0 ? w.width : 1;
    parallel_pieces(exec, items, width < PIECE ? PIECE / width : 1, items * width * 16, gradient_piece, &w);
}

typedef struct Sight {
    const WindowShape *shape;
    const uint8_t *real;
    uint8_t *seen;
} Sight;

/* The row of a query that is a token: the keys of the window that are tokens. */
static void sight_row(const Sight *w, int64_t batch, int64_t block, uint8_t *seen)
{
    const WindowShape *s = w->shape;
    for (int64_t slot = 0; slot <= s->back + s->forward; slot++, seen += s->block) {
        int64_t at = block + slot - s->back;
        bool inside = at >= 0 && at < s->blocks;
        if (inside && w->real)
            memcpy(seen, w->real + (batch * s->blocks + at) * s->block, (size_t)s->block);
        else
            memset(seen, inside, (size_t)s->block);
    }
}

/* An item is a block of queries. */
static void sight_piece(const void *job, int64_t first, int64_t last)
{
    const Sight *w = job;
    const WindowShape *s = w->shape;
    int64_t window = window_of(s), rows = w->real ? s->block : 1;
    for (int64_t item = first; item < last; item++)
        for (int64_t i = 0; i < rows; i++) {
            uint8_t *seen = w->seen + (item * rows + i) * window;
            if (!w->real || w->real[item * s->block + i])
                sight_row(w, item / s->blocks, item % s->blocks, seen);
            else
                memset(seen, 0, (size_t)window);
        }
}

static void sight(const Exec *exec, const WindowShape *s, const uint8_t *real, uint8_t *seen)
{
    Sight w = {s, real, seen};
    int64_t items = real ? s->batch * s->blocks : s->blocks;
    parallel_pieces(exec, items, 1, items * window_of(s) * (real ? s->block : 1), sight_piece, &w);
}

const WindowKernels LEVEL(window_kernels) = {.gather = gather, .gather_gradient = gather_gradient, .sight = sight};
