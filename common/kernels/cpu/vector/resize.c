/* Bicubic interpolation of planes: each input row that is needed is interpolated along x once, and the last four such rows
 * are combined along y. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/taps.h"

enum { COLUMNS = 256, BAND = 32 }; /* output columns interpolated together; output rows of a piece */

typedef struct Bicubic {
    int64_t in_height, in_width, out_height, out_width, bands;
    bool add;
    const float *from;
    float *to;
} Bicubic;

/* The taps of up to COLUMNS output columns, one array a tap so that the loop over columns is a vector loop. */
typedef struct ColumnTaps {
    int64_t count;
    int32_t index[4][COLUMNS];
    float weight[4][COLUMNS];
} ColumnTaps;

static void column_taps(const Bicubic *b, int64_t first, ColumnTaps *taps)
{
    taps->count = least(COLUMNS, b->out_width - first);
    for (int64_t c = 0; c < taps->count; c++) {
        Taps t = cubic_taps(first + c, b->in_width, b->out_width);
        for (int k = 0; k < 4; k++) {
            taps->index[k][c] = (int32_t)clamped_tap(t.first + k - 1, b->in_width);
            taps->weight[k][c] = t.weight[k];
        }
    }
}

static void interpolate_row(const ColumnTaps *t, const float *x, float *y)
{
    for (int64_t c = 0; c < t->count; c++)
        y[c] = t->weight[0][c] * x[t->index[0][c]] + t->weight[1][c] * x[t->index[1][c]] +
               t->weight[2][c] * x[t->index[2][c]] + t->weight[3][c] * x[t->index[3][c]];
}

/* Output rows top .. bottom-1, and the columns of `taps`, of one plane. Input row i is kept in slot i % 4. */
static void resize_block(const Bicubic *b, const ColumnTaps *taps, const float *x, int64_t top, int64_t bottom,
                         float *y)
{
    float slots[4][COLUMNS];
    int64_t held[4] = {-1, -1, -1, -1};
    for (int64_t o = top; o < bottom; o++) {
        Taps t = cubic_taps(o, b->in_height, b->out_height);
        const float *rows[4];
        for (int k = 0; k < 4; k++) {
            int64_t i = clamped_tap(t.first + k - 1, b->in_height);
            if (held[i % 4] != i)
                interpolate_row(taps, x + i * b->in_width, slots[i % 4]);
            held[i % 4] = i;
            rows[k] = slots[i % 4];
        }
        for (int64_t c = 0; c < taps->count; c++)
            y[o * b->out_width + c] = t.weight[0] * rows[0][c] + t.weight[1] * rows[1][c] + t.weight[2] * rows[2][c] +
                                      t.weight[3] * rows[3][c];
    }
}

/* Items are the bands of all planes, bands fastest. */
static void bicubic_piece(const void *job, int64_t first, int64_t last)
{
    const Bicubic *b = job;
    ColumnTaps taps;
    for (int64_t c = 0; c < b->out_width; c += COLUMNS) {
        column_taps(b, c, &taps);
        for (int64_t item = first; item < last; item++) {
            int64_t plane = item / b->bands, top = item % b->bands * BAND;
            const float *x = b->from + plane * b->in_height * b->in_width;
            float *y = b->to + plane * b->out_height * b->out_width + c;
            resize_block(b, &taps, x, top, least(top + BAND, b->out_height), y);
        }
    }
}

static void bicubic(const Exec *exec, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                    int64_t out_width, const float *x, float *y)
{
    int64_t bands = (out_height + BAND - 1) / BAND;
    Bicubic b = {.in_height = in_height,
                 .in_width = in_width,
                 .out_height = out_height,
                 .out_width = out_width,
                 .bands = bands,
                 .from = x,
                 .to = y};
    parallel_pieces(exec, planes * bands, 4, planes * out_height * out_width * 16, bicubic_piece, &b);
}

/* Whole planes: what several outputs send to one input is added in the order of the outputs. */
static void bicubic_gradient_piece(const void *job, int64_t first, int64_t last)
{
    const Bicubic *b = job;
    ColumnTaps taps;
    for (int64_t plane = first; plane < last; plane++) {
        const float *dy = b->from + plane * b->out_height * b->out_width;
        float *dx = b->to + plane * b->in_height * b->in_width;
        if (!b->add)
            memset(dx, 0, (size_t)(b->in_height * b->in_width) * sizeof *dx);
        for (int64_t c0 = 0; c0 < b->out_width; c0 += COLUMNS) {
            column_taps(b, c0, &taps);
            for (int64_t o = 0; o < b->out_height; o++) {
                Taps t = cubic_taps(o, b->in_height, b->out_height);
                for (int k = 0; k < 4; k++) {
                    float *row = dx + clamped_tap(t.first + k - 1, b->in_height) * b->in_width;
                    for (int64_t c = 0; c < taps.count; c++) {
                        float g = t.weight[k] * dy[o * b->out_width + c0 + c];
                        for (int l = 0; l < 4; l++)
                            row[taps.index[l][c]] += g * taps.weight[l][c];
                    }
                }
            }
        }
    }
}

static void bicubic_gradient(const Exec *exec, int64_t planes, int64_t in_height, int64_t in_width, int64_t out_height,
                             int64_t out_width, const float *dy, bool add, float *dx)
{
    Bicubic b = {.in_height = in_height,
                 .in_width = in_width,
                 .out_height = out_height,
                 .out_width = out_width,
                 .add = add,
                 .from = dy,
                 .to = dx};
    parallel_pieces(exec, planes, 1, planes * out_height * out_width * 64, bicubic_gradient_piece, &b);
}

const ResizeKernels LEVEL(resize_kernels) = {.bicubic = bicubic, .bicubic_gradient = bicubic_gradient};
