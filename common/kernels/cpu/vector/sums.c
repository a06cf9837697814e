/* Sums over rows and over columns, in chunks cut by size whose partial sums are added in order. */
#include "common/kernels/cpu/vector/elementwise.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/spans.h"

/* The work is cut into strips of BLOCK columns, phases (the rows r, r + period, ...), and, where those are few, chunks of
 * the rows of a phase: about PARTS items in all, so that scratch stays below PARTS blocks. */
enum { PARTS = 64, LEAST_ROWS = 64 };

typedef struct SumRows {
    int64_t rows, cols, period, strips;
    int64_t repeats, chunk, chunks; /* rows of a phase; how many of them a chunk has; chunks of a phase */
    Rows x;
    bool add;
    float *sums, *partial; /* partial [chunks, period, cols]; NULL if chunks is 1 */
} SumRows;

static SumRows sum_rows_plan(int64_t rows, int64_t cols, int64_t period)
{
    SumRows s = {.rows = rows, .cols = cols, .period = period, .strips = (cols + BLOCK - 1) / BLOCK, .chunks = 1};
    s.chunk = s.repeats = (rows + period - 1) / period;
    int64_t chunks = least(PARTS / (s.strips > 0 ? period * s.strips : 1), s.repeats / LEAST_ROWS);
    if (chunks > 1) {
        s.chunk = (s.repeats + chunks - 1) / chunks;
        s.chunks = (s.repeats + s.chunk - 1) / s.chunk;
    }
    return s;
}

static size_t partial_bytes(SumRows s)
{
    return s.chunks > 1 ? (size_t)(s.chunks * s.period * s.cols) * sizeof(float) : 0;
}

/* Rows without gaps are summed as rows of `period` times the length, which reads memory in order. */
size_t LEVEL(sum_rows_scratch)(int64_t rows, int64_t cols, int64_t period)
{
    size_t apart = partial_bytes(sum_rows_plan(rows, cols, period));
    size_t joined = rows % period == 0 ? partial_bytes(sum_rows_plan(rows / period, cols * period, 1)) : 0;
    return joined > apart ? joined : apart;
}

/* Items are (chunk, phase, strip), strips fastest. */
static void sum_rows_piece(const void *job, int64_t first, int64_t last)
{
    const SumRows *s = job;
    float values[BLOCK];
    for (int64_t item = first; item < last; item++) {
        int64_t strip = item % s->strips, phase = item / s->strips % s->period, chunk = item / s->strips / s->period;
        int64_t c = strip * BLOCK, n = least(BLOCK, s->cols - c), end = least((chunk + 1) * s->chunk, s->repeats);
        float *out =
            s->partial ? s->partial + (chunk * s->period + phase) * s->cols + c : s->sums + phase * s->cols + c;
        if (s->partial || !s->add)
            memset(out, 0, (size_t)n * sizeof *out);
        for (int64_t k = chunk * s->chunk; k < end; k++) {
            int64_t r = phase + k * s->period;
            if (r < s->rows)
                span_add(n, rows_read(s->x, r, c, n, values), out);
        }
    }
}

void LEVEL(sum_rows)(const Exec *exec, int64_t rows, int64_t cols, Rows x, int64_t period, bool add, float *sums)
{
    rows_check(x, "sum_rows");
    if (x.stride == cols && rows % period == 0) {
        rows /= period;
        cols *= period;
        period = 1;
        x.stride = cols;
    }
    SumRows s = sum_rows_plan(rows, cols, period);
    s.x = x, s.add = add, s.sums = sums;
    if (s.chunks > 1) {
        contract(exec->scratch_bytes >= partial_bytes(s), "sum_rows: scratch is too small");
        s.partial = exec->scratch;
    }
    int64_t piece = rows_a_piece(s.chunk * least(cols, BLOCK));
    parallel_pieces(exec, s.chunks * period * s.strips, piece, rows * cols * 4, sum_rows_piece, &s);
    for (int64_t chunk = 0; chunk < s.chunks && s.partial; chunk++) {
        const float *part = s.partial + chunk * period * cols;
        if (chunk == 0 && !add)
            memcpy(sums, part, (size_t)(period * cols) * sizeof *sums);
        else
            span_add(period * cols, part, sums);
    }
}

typedef struct SumColumns {
    int64_t cols;
    Rows x, by; /* by.data NULL: ones */
    bool add;
    float *sums;
} SumColumns;

static void sum_columns_piece(const void *job, int64_t first, int64_t last)
{
    const SumColumns *s = job;
    float values[BLOCK], factors[BLOCK];
    for (int64_t r = first; r < last; r++) {
        double sum = 0;
        for (int64_t c = 0; c < s->cols; c += BLOCK) {
            int64_t n = least(BLOCK, s->cols - c);
            const float *x = rows_read(s->x, r, c, n, values);
            sum += s->by.data ? span_dot(n, x, rows_read(s->by, r, c, n, factors)) : span_sum(n, x);
        }
        s->sums[r] = (float)(s->add ? s->sums[r] + sum : sum);
    }
}

void LEVEL(sum_columns)(const Exec *exec, int64_t rows, int64_t cols, Rows x, bool add, float *sums)
{
    rows_check(x, "sum_columns");
    SumColumns s = {.cols = cols, .x = x, .add = add, .sums = sums};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 4, sum_columns_piece, &s);
}

void LEVEL(dot_columns)(const Exec *exec, int64_t rows, int64_t cols, Rows a, Rows b, bool add, float *sums)
{
    rows_check(a, "dot_columns");
    rows_check(b, "dot_columns");
    SumColumns s = {.cols = cols, .x = a, .by = b, .add = add, .sums = sums};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 8, sum_columns_piece, &s);
}
