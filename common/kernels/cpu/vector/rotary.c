#include "common/kernels/rotary.h"

#include "common/base/error.h"
#include "common/kernels/cpu/parallel.h"
#include "common/kernels/cpu/vector/attention_tile.h"
#include "common/kernels/cpu/vector/levels.h"

#include <math.h>

enum { MAX_WIDTH = 4096 };

enum { TABLE_PIECE = 64 }; /* positions, of which the first has its angles from libm */

typedef struct Table {
    int64_t half;
    const float *frequencies;
    float *table;
} Table;

/* The others follow by adding angles, in double: 64 steps lose nothing that a float shows. */
static void table_piece(const void *job, int64_t first, int64_t last)
{
    const Table *t = job;
    double sines[TABLE_PIECE], cosines[TABLE_PIECE], step_sines[TABLE_PIECE], step_cosines[TABLE_PIECE];
    for (int64_t from = 0; from < t->half; from += TABLE_PIECE) {
        int64_t n = smaller(TABLE_PIECE, t->half - from);
        for (int64_t i = 0; i < n; i++) {
            double f = (double)t->frequencies[from + i];
            sincos((double)first * f, &sines[i], &cosines[i]);
            sincos(f, &step_sines[i], &step_cosines[i]);
        }
        for (int64_t p = first; p < last; p++) {
            float *row = t->table + p * 2 * t->half + from;
            for (int64_t i = 0; i < n; i++) {
                double s = sines[i], c = cosines[i];
                row[i] = (float)s;
                row[t->half + i] = (float)c;
                sines[i] = s * step_cosines[i] + c * step_sines[i];
                cosines[i] = c * step_cosines[i] - s * step_sines[i];
            }
        }
    }
}

static void rotary_table(const Exec *exec, int64_t positions, int64_t half, const float *frequencies, float *table)
{
    Table t = {half, frequencies, table};
    parallel_pieces(exec, positions, TABLE_PIECE, positions * half * 16, table_piece, &t);
}

typedef struct Rotate {
    const RotaryShape *shape;
    const float *table;
    HeadRows x, y;
    bool add;
} Rotate;

/* One head of a token. */
static void turn(const RotaryShape *s, const float *angles, const float *x, float *y)
{
    const float *sines = angles, *cosines = angles + s->half, way = s->back ? -1 : 1;
    int64_t half = s->half;
    if (s->pairing == ROTARY_HALVES) {
        for (int64_t i = 0; i < half; i++) {
            float sine = way * sines[i], a = x[i], b = x[half + i];
            y[i] = a * cosines[i] - b * sine;
            y[half + i] = b * cosines[i] + a * sine;
        }
    } else {
        for (int64_t i = 0; i < half; i++) {
            float sine = way * sines[i], a = x[2 * i], b = x[2 * i + 1];
            y[2 * i] = a * cosines[i] - b * sine;
            y[2 * i + 1] = b * cosines[i] + a * sine;
        }
    }
    memcpy(y + 2 * half, x + 2 * half, (size_t)(s->width - 2 * half) * sizeof *y);
}

static const float *angles_of(const Rotate *r, int64_t b, int64_t n, int64_t h)
{
    const RotaryShape *s = r->shape;
    int64_t p = s->positions ? s->positions[b * s->batch_step + n * s->token_step + h * s->head_step] : n;
    contract(p >= 0 && p < s->table_rows, "rotary: position %ld of a table of %ld", (long)p, (long)s->table_rows);
    return r->table + p * 2 * s->half;
}

static void rotate_piece(const void *job, int64_t first, int64_t last)
{
    const Rotate *r = job;
    const RotaryShape *s = r->shape;
    float x_values[MAX_WIDTH], y_values[MAX_WIDTH];
    for (int64_t row = first; row < last; row++) {
        int64_t b = row / s->tokens, n = row % s->tokens, step;
        for (int64_t h = 0; h < s->heads; h++) {
            const float *x = LEVEL(rows_see)(r->x, b, h, n, 1, s->width, x_values, &step);
            bool direct = r->y.type == F32 && !r->add;
            float *y = direct ? (float *)r->y.data + row_start(r->y, b, h, n, s->width) : y_values;
            turn(s, angles_of(r, b, n, h), x, y);
            if (!direct)
                LEVEL(rows_save)(y, 0, 1, s->width, r->add, r->y, b, h, n);
        }
    }
}

static void rotate(const Exec *exec, const RotaryShape *s, const float *table, HeadRows x, bool add, HeadRows y)
{
    int64_t values = larger(1, s->heads * s->width);
    contract(s->width <= MAX_WIDTH && 2 * s->half <= s->width, "rotary: %ld of %ld channels, of which there may be %d",
             (long)(2 * s->half), (long)s->width, MAX_WIDTH);
    Rotate r = {s, table, x, y, add};
    parallel_pieces(exec, s->batch * s->tokens, larger(1, PIECE / values), s->batch * s->tokens * values * 8,
                    rotate_piece, &r);
}

const RotaryKernels LEVEL(rotary_kernels) = {.table = rotary_table, .rotate = rotate};
