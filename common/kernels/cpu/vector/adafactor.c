/* Adafactor's steps: the moments, then the size of the update, then the update, each a pass over the gradient. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

enum { CHUNKS = 64, COLUMNS = 64 };

typedef double VecDouble __attribute__((vector_size(LANES * 8)));

/* No function takes or gives a VecDouble: it has no registers at the plain level. */
#define TO_DOUBLE(x) __builtin_convertvector(x, VecDouble)

static double sum_of_lanes(const VecDouble *x)
{
    double sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += (*x)[i];
    return sum;
}

typedef struct Step {
    AdafactorScalars s;
    float gradient_scale;
    int64_t rows, cols, chunk; /* chunk: values, or rows, of a piece */
    float *parameter, *v, *by_row, *by_col;
    const float *gradient;
    double squares; /* of the parameter */
    float rate;     /* with the update's clipping */
    double *sums;   /* [CHUNKS] of squares of the update */
} Step;

static Vec gradient_at(const Step *a, int64_t i, int64_t live)
{
    Vec g = vec_load_upto(a->gradient + i, live, 0) * a->gradient_scale;
    return a->s.weight_decay == 0 ? g : g + a->s.weight_decay * vec_load_upto(a->parameter + i, live, 0);
}

static float clipped_rate(const Step *a, int64_t count)
{
    double sum = 0;
    for (int i = 0; i < CHUNKS; i++)
        sum += a->sums[i];
    if (!count)
        return 0;
    double clip = __builtin_sqrt(sum / (double)count) / (double)a->s.clip;
    double scale = __builtin_sqrt(a->squares / (double)count), least_scale = (double)a->s.scale_floor;
    double rate = (double)a->s.lr * (scale > least_scale ? scale : least_scale);
    return (float)(rate / (clip > 1 ? clip : 1));
}

/* ---- One moment a value */

static Vec whole_update(const Step *a, int64_t i, int64_t live)
{
    return gradient_at(a, i, live) / vec_square_root(vec_load_upto(a->v + i, live, 1));
}

static void whole_moments(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    float fresh = 1.0f - a->s.decay;
    VecDouble sum = {0};
    for (int64_t i = first; i < last; i += LANES) {
        Vec g = gradient_at(a, i, last - i);
        Vec v = a->s.decay * vec_load_upto(a->v + i, last - i, 0) + fresh * (g * g + a->s.eps1);
        vec_store_upto(a->v + i, v, last - i);
        VecDouble u = TO_DOUBLE(whole_update(a, i, last - i));
        sum += u * u;
    }
    a->sums[first / a->chunk] = sum_of_lanes(&sum);
}

static void whole_piece(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    for (int64_t i = first; i < last; i += LANES) {
        Vec x = vec_load_upto(a->parameter + i, last - i, 0) - a->rate * whole_update(a, i, last - i);
        vec_store_upto(a->parameter + i, x, last - i);
    }
}

static int64_t chunk_of(int64_t count, int64_t least_chunk)
{
    int64_t chunk = (count + CHUNKS - 1) / CHUNKS;
    return chunk > least_chunk ? chunk : least_chunk;
}

static void whole(const Exec *exec, int64_t count, const AdafactorScalars *s, const float *gradient_scale,
                  const double *squares, float *parameter, const float *gradient, float *v)
{
    double sums[CHUNKS] = {0};
    Step a = {.s = *s,
              .gradient_scale = *gradient_scale,
              .squares = *squares,
              .parameter = parameter,
              .gradient = gradient,
              .v = v,
              .sums = sums};
    a.chunk = chunk_of(count, PIECE);
    parallel_pieces(exec, count, a.chunk, count * 12, whole_moments, &a);
    a.rate = clipped_rate(&a, count);
    parallel_pieces(exec, count, PIECE, count * 16, whole_piece, &a);
}

/* ---- Moments of rows and of columns */

/* Items are rows of all matrices. */
static void row_moments(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    for (int64_t r = first; r < last; r++) {
        VecDouble sum = {0};
        for (int64_t c = 0; c < a->cols; c += LANES) {
            VecDouble g = TO_DOUBLE(gradient_at(a, r * a->cols + c, a->cols - c));
            sum += g * g;
        }
        float mean = (float)(sum_of_lanes(&sum) / (double)a->cols) + a->s.eps1;
        a->by_row[r] = a->s.decay * a->by_row[r] + (1.0f - a->s.decay) * mean;
    }
}

/* Items are columns of all matrices, side by side; a piece may begin in one matrix and end in the next. */
static void column_moments(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    for (int64_t at = first, live; at < last; at += live < LANES ? live : LANES) {
        int64_t matrix = at / a->cols, c = at % a->cols;
        live = least(a->cols - c, last - at);
        int64_t top = matrix * a->rows * a->cols + c;
        VecDouble sum = {0};
        for (int64_t r = 0; r < a->rows; r++) {
            VecDouble g = TO_DOUBLE(gradient_at(a, top + r * a->cols, live));
            sum += g * g;
        }
        Vec mean = __builtin_convertvector(sum / (double)a->rows, Vec) + a->s.eps1;
        Vec moment = a->s.decay * vec_load_upto(a->by_col + at, live, 0) + (1.0f - a->s.decay) * mean;
        vec_store_upto(a->by_col + at, moment, live);
    }
}

/* 1/sqrt of what row r of all matrices has more than its matrix's mean row; *mean is that of the matrix before. */
static float row_factor(const Step *a, int64_t r, bool first, double *mean)
{
    if (first || r % a->rows == 0) {
        const float *by_row = a->by_row + r / a->rows * a->rows;
        *mean = 0;
        for (int64_t i = 0; i < a->rows; i++)
            *mean += (double)by_row[i];
        *mean /= (double)a->rows;
    }
    return (float)(1.0 / __builtin_sqrt((double)a->by_row[r] / *mean));
}

static Vec factored_update(const Step *a, int64_t r, int64_t c, float factor)
{
    int64_t live = a->cols - c;
    Vec by_col = vec_load_upto(a->by_col + r / a->rows * a->cols + c, live, 1);
    return gradient_at(a, r * a->cols + c, live) * factor / vec_square_root(by_col);
}

static void factored_size(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    double mean = 1;
    VecDouble sum = {0};
    for (int64_t r = first; r < last; r++) {
        float factor = row_factor(a, r, r == first, &mean);
        for (int64_t c = 0; c < a->cols; c += LANES) {
            VecDouble u = TO_DOUBLE(factored_update(a, r, c, factor));
            sum += u * u;
        }
    }
    a->sums[first / a->chunk] = sum_of_lanes(&sum);
}

static void factored_piece(const void *job, int64_t first, int64_t last)
{
    const Step *a = job;
    double mean = 1;
    for (int64_t r = first; r < last; r++) {
        float factor = row_factor(a, r, r == first, &mean);
        float *parameter = a->parameter + r * a->cols;
        for (int64_t c = 0; c < a->cols; c += LANES) {
            Vec x = vec_load_upto(parameter + c, a->cols - c, 0) - a->rate * factored_update(a, r, c, factor);
            vec_store_upto(parameter + c, x, a->cols - c);
        }
    }
}

static void factored(const Exec *exec, int64_t batch, int64_t rows, int64_t cols, const AdafactorScalars *s,
                     const float *gradient_scale, const double *squares, float *parameter, const float *gradient,
                     float *by_row, float *by_col)
{
    double sums[CHUNKS] = {0};
    int64_t all = batch * rows, count = all * cols;
    if (count == 0)
        return;
    Step a = {.s = *s,
              .gradient_scale = *gradient_scale,
              .squares = *squares,
              .rows = rows,
              .cols = cols,
              .parameter = parameter,
              .gradient = gradient,
              .by_row = by_row,
              .by_col = by_col,
              .sums = sums};
    parallel_pieces(exec, all, rows_a_piece(cols), count * 4, row_moments, &a);
    parallel_pieces(exec, batch * cols, COLUMNS, count * 4, column_moments, &a);
    a.chunk = chunk_of(all, rows_a_piece(cols));
    parallel_pieces(exec, all, a.chunk, count * 4, factored_size, &a);
    a.rate = clipped_rate(&a, count);
    parallel_pieces(exec, all, a.chunk, count * 12, factored_piece, &a);
}

const AdafactorKernels LEVEL(adafactor_kernels) = {.whole = whole, .factored = factored};
