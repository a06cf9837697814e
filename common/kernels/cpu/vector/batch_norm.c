/* BatchNorm. Values lie in planes (a row is one channel of one sample: its mean, scale and shift are single numbers) or as rows of
 * channels (they are vectors). Moments are taken of a few values at a time, twice while these are in the cache, as differences
 * from the first value of their chunk, so that neither a large mean nor a long sum costs digits; then they are joined. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/spans.h"

/* Samples (planes) or rows are cut into at most CHUNKS, each with its own sums. */
enum { CHUNKS = 64, LEAST_CHUNK_ROWS = 32, TILE = 256, ROWS_AT_ONCE = 16, ROWS_SUMMED = 4 };

typedef struct BatchNorm {
    ChannelShape s;
    Rows x, y, dy, dx;
    const float *mean, *rstd, *gamma, *beta;
    bool relu, add;
    const float *sum_g, *sum_gx; /* NULL: none */
    float of_count;              /* 1 / count */
    int64_t chunk;
    float *partial; /* [chunks, 2, channels] */
} BatchNorm;

static bool in_planes(const ChannelShape *s)
{
    return s->inner != 1;
}

static int64_t chunk_of(const ChannelShape *s)
{
    int64_t chunk = (s->batch + CHUNKS - 1) / CHUNKS,
            smallest = in_planes(s) ? rows_a_piece(s->inner) : LEAST_CHUNK_ROWS;
    return chunk > smallest ? chunk : smallest;
}

static int64_t chunks_of(const ChannelShape *s)
{
    int64_t chunk = chunk_of(s);
    return (s->batch + chunk - 1) / chunk;
}

static int64_t tiles_of(const ChannelShape *s)
{
    return in_planes(s) ? s->channels : (s->channels + TILE - 1) / TILE;
}

static size_t partial_bytes(const ChannelShape *s)
{
    return (size_t)(chunks_of(s) * 2 * s->channels) * sizeof(float);
}

static BatchNorm batch_norm_of(const ChannelShape *s, const float *statistics, const ChannelAffine *affine)
{
    BatchNorm n = {.s = *s, .chunk = chunk_of(s)};
    if (statistics) {
        n.mean = statistics;
        n.rstd = statistics + s->channels;
    }
    if (affine) {
        n.gamma = affine->gamma;
        n.beta = affine->beta;
        n.relu = affine->relu;
    }
    return n;
}

/* Runs a chunk of a channel (planes) or of TILE channels at a time. */
static void over_chunks(const Exec *exec, const BatchNorm *n, int64_t bytes, Piece *run, const char *kernel)
{
    contract(exec->scratch_bytes >= partial_bytes(&n->s), "%s: scratch is too small", kernel);
    parallel_pieces(exec, chunks_of(&n->s) * tiles_of(&n->s), 1, bytes, run, n);
}

static int64_t values_of(const ChannelShape *s)
{
    return s->batch * s->channels * s->inner;
}

/* What an item of over_chunks is. */
typedef struct Part {
    int64_t from, to, c, cols; /* samples or rows; the first channel, and how many */
    float *first, *second;     /* its partial results of these channels */
} Part;

static Part part_of(const BatchNorm *n, int64_t item)
{
    int64_t tiles = tiles_of(&n->s), chunk = item / tiles, width = in_planes(&n->s) ? 1 : TILE;
    Part p = {.from = chunk * n->chunk, .c = item % tiles * width};
    p.to = least(p.from + n->chunk, n->s.batch);
    p.cols = least(width, n->s.channels - p.c);
    p.first = n->partial + chunk * 2 * n->s.channels + p.c;
    p.second = p.first + n->s.channels;
    return p;
}

/* ---- Moments (Chan, Golub and LeVeque, 1979, "Updating formulae and a pairwise algorithm for computing sample variances") */

static void plane_moments(const BatchNorm *n, const Part *p)
{
    float values[BLOCK], shift = 0, mean = 0, squares = 0, count = 0;
    for (int64_t b = p->from; b < p->to; b++)
        for (int64_t i = 0; i < n->s.inner; i += BLOCK) {
            int64_t more = least(BLOCK, n->s.inner - i);
            const float *x = rows_read(n->x, b * n->s.channels + p->c, i, more, values);
            if (count == 0)
                shift = x[0];
            float middle = span_sum_from(more, x, shift) / (float)more, d = middle - mean;
            float share = (float)more / (count + (float)more);
            squares += span_squares_from(more, x, shift + middle) + d * d * count * share;
            mean += d * share;
            count += (float)more;
        }
    *p->first = shift + mean;
    *p->second = squares;
}

static void column_moments(const BatchNorm *n, const Part *p)
{
    float values[ROWS_AT_ONCE][TILE], shift[TILE], *mean = p->first, *squares = p->second, count = 0;
    const float *row[ROWS_AT_ONCE];
    memcpy(shift, rows_read(n->x, p->from, p->c, p->cols, values[0]), (size_t)p->cols * sizeof *shift);
    memset(mean, 0, (size_t)p->cols * sizeof *mean);
    memset(squares, 0, (size_t)p->cols * sizeof *squares);
    for (int64_t r = p->from; r < p->to; r += ROWS_AT_ONCE) {
        int64_t more = least(ROWS_AT_ONCE, p->to - r);
        for (int64_t k = 0; k < more; k++)
            row[k] = rows_read(n->x, r + k, p->c, p->cols, values[k]);
        float share = (float)more / (count + (float)more), weight = count * share;
        for (int64_t i = 0; i < p->cols; i += LANES) {
            int64_t live = p->cols - i;
            Vec from = vec_load_upto(shift + i, live, 0), sum = vec_set(0), around = vec_set(0);
            for (int64_t k = 0; k < more; k++)
                sum += vec_load_upto(row[k] + i, live, 0) - from;
            Vec middle = sum / (float)more, old = vec_load_upto(mean + i, live, 0), d = middle - old;
            for (int64_t k = 0; k < more; k++) {
                Vec e = vec_load_upto(row[k] + i, live, 0) - from - middle;
                around += e * e;
            }
            vec_store_upto(mean + i, old + d * share, live);
            vec_store_upto(squares + i, vec_load_upto(squares + i, live, 0) + around + d * d * weight, live);
        }
        count += (float)more;
    }
    span_add(p->cols, shift, mean);
}

static void moments_piece(const void *job, int64_t first, int64_t last)
{
    const BatchNorm *n = job;
    for (int64_t item = first; item < last; item++) {
        Part p = part_of(n, item);
        if (in_planes(&n->s))
            plane_moments(n, &p);
        else
            column_moments(n, &p);
    }
}

/* Those of `more` values join those of `count`. */
static void join(int64_t channels, float count, float more, const float *theirs, float *moments)
{
    if (more == 0)
        return;
    float share = more / (count + more), weight = count * share;
    float *squares = moments + channels;
    for (int64_t c = 0; c < channels; c += LANES) {
        int64_t live = channels - c;
        Vec mean = vec_load_upto(moments + c, live, 0), d = vec_load_upto(theirs + c, live, 0) - mean;
        Vec sum = vec_load_upto(squares + c, live, 0) + vec_load_upto(theirs + channels + c, live, 0);
        vec_store_upto(moments + c, mean + d * share, live);
        vec_store_upto(squares + c, sum + d * d * weight, live);
    }
}

static void moments(const Exec *exec, const ChannelShape *s, Rows x, float *to)
{
    rows_check(x, "moments");
    BatchNorm n = batch_norm_of(s, NULL, NULL);
    n.x = x;
    n.partial = exec->scratch;
    over_chunks(exec, &n, values_of(s) * 4, moments_piece, "moments");
    int64_t channels = s->channels;
    float count = 0;
    memset(to, 0, (size_t)(2 * channels) * sizeof *to);
    for (int64_t chunk = 0; chunk < chunks_of(s); chunk++) {
        float more = (float)(least(n.chunk, s->batch - chunk * n.chunk) * s->inner);
        join(channels, count, more, n.partial + chunk * 2 * channels, to);
        count += more;
    }
    to[2 * channels] = count;
}

static void statistics(const Exec *exec, int64_t channels, int64_t parts, const float *of_parts, float eps,
                       const RunningStatistics *running, float *to)
{
    (void)exec;
    float count = 0, *rstd = to + channels;
    memset(to, 0, (size_t)(2 * channels) * sizeof *to);
    for (int64_t p = 0; p < parts; p++) {
        const float *part = of_parts + p * (2 * channels + 1);
        join(channels, count, part[2 * channels], part, to);
        count += part[2 * channels];
    }
    to[2 * channels] = count;
    bool remembered = running->mean && count > 1;
    float share = running->momentum;
    for (int64_t c = 0; c < channels; c++) {
        if (remembered) {
            running->mean[c] = (1 - share) * running->mean[c] + share * to[c];
            running->variance[c] = (1 - share) * running->variance[c] + share * (rstd[c] / (count - 1));
        }
        rstd[c] = 1.0f / __builtin_sqrtf((count > 0 ? rstd[c] / count : 0) + eps);
    }
    if (remembered && running->batches)
        ++*running->batches;
}

static void running_statistics(const Exec *exec, int64_t channels, const float *mean, const float *variance, float eps,
                               float *to)
{
    (void)exec;
    for (int64_t c = 0; c < channels; c++) {
        to[c] = mean[c];
        to[channels + c] = 1.0f / __builtin_sqrtf(variance[c] + eps);
    }
    to[2 * channels] = 0;
}

/* ---- The factors of a row: of a plane one number each, of a row of channels LANES of them */

typedef struct Factors {
    Vec mean, rstd, scale, beta; /* scale: gamma rstd */
    Vec shift_g, shift_gx;       /* what dx takes from g: shift_g + (x - mean) shift_gx */
} Factors;

static inline Vec factor_at(const float *factor, int64_t c, int64_t live, float rest, bool plane)
{
    if (!factor)
        return vec_set(rest);
    return plane ? vec_set(factor[c]) : vec_load_upto(factor + c, live, rest);
}

static inline Factors factors_at(const BatchNorm *n, int64_t c, int64_t live, bool plane)
{
    Factors f = {.mean = factor_at(n->mean, c, live, 0, plane), .rstd = factor_at(n->rstd, c, live, 0, plane)};
    f.scale = f.rstd * factor_at(n->gamma, c, live, 1, plane);
    f.beta = factor_at(n->beta, c, live, 0, plane);
    f.shift_g = factor_at(n->sum_g, c, live, 0, plane) * n->of_count;
    f.shift_gx = factor_at(n->sum_gx, c, live, 0, plane) * f.rstd * n->of_count;
    return f;
}

/* xhat gamma + beta, the same bits wherever it is asked for. */
static inline Vec normal_of(const Factors *f, Vec x)
{
    return vec_multiply_add(f->beta, x - f->mean, f->scale);
}

/* dy, or 0 where relu stopped it. */
static inline Vec let_through(const BatchNorm *n, const Factors *f, Vec x, Vec dy)
{
    return n->relu ? vec_select(normal_of(f, x) > vec_set(0), dy, vec_set(0)) : dy;
}

static inline __attribute__((always_inline)) void normalise_row(const BatchNorm *n, int64_t r, int64_t cols, bool plane)
{
    float x_values[BLOCK], y_values[BLOCK];
    Factors f = {0};
    if (plane)
        f = factors_at(n, r % n->s.channels, 0, true);
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t block = least(BLOCK, cols - c);
        const float *x = rows_read(n->x, r, c, block, x_values);
        float *y = rows_open(n->y, r, c, block, false, y_values);
        for (int64_t i = 0; i < block; i += LANES) {
            if (!plane)
                f = factors_at(n, c + i, block - i, false);
            Vec v = normal_of(&f, vec_load_upto(x + i, block - i, 0));
            vec_store_upto(y + i, n->relu ? vec_max(vec_set(0), v) : v, block - i);
        }
        rows_close(n->y, r, c, block, y);
    }
}

static void normalise_piece(const void *job, int64_t first, int64_t last)
{
    const BatchNorm *n = job;
    for (int64_t r = first; r < last; r++)
        if (in_planes(&n->s))
            normalise_row(n, r, n->s.inner, true);
        else
            normalise_row(n, r, n->s.channels, false);
}

/* Runs row after row. */
static void over_rows(const Exec *exec, const BatchNorm *n, int64_t bytes_a_value, Piece *run)
{
    bool planes = in_planes(&n->s);
    int64_t rows = planes ? n->s.batch * n->s.channels : n->s.batch, cols = planes ? n->s.inner : n->s.channels;
    parallel_pieces(exec, rows, rows_a_piece(cols), values_of(&n->s) * bytes_a_value, run, n);
}

static void normalise(const Exec *exec, const ChannelShape *s, Rows x, const float *stats, const ChannelAffine *affine,
                      Rows y)
{
    rows_check(x, "normalise");
    rows_check(y, "normalise");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.x = x;
    n.y = y;
    over_rows(exec, &n, 8, normalise_piece);
}

/* ---- Backward */

static void plane_sums(const BatchNorm *n, const Part *p)
{
    float dy_values[BLOCK], x_values[BLOCK], sum_g = 0, sum_gx = 0;
    Factors f = factors_at(n, p->c, 0, true);
    for (int64_t b = p->from; b < p->to; b++)
        for (int64_t i = 0; i < n->s.inner; i += BLOCK) {
            int64_t block = least(BLOCK, n->s.inner - i), r = b * n->s.channels + p->c;
            const float *dys = rows_read(n->dy, r, i, block, dy_values), *xs = rows_read(n->x, r, i, block, x_values);
            Vec g_lanes = vec_set(0), gx_lanes = vec_set(0);
            for (int64_t k = 0; k < block; k += LANES) {
                Vec x = vec_load_upto(xs + k, block - k, 0);
                Vec g = let_through(n, &f, x, vec_load_upto(dys + k, block - k, 0));
                g_lanes += g;
                gx_lanes += g * (x - f.mean);
            }
            sum_g += vec_sum(g_lanes);
            sum_gx += vec_sum(gx_lanes);
        }
    *p->first = sum_g;
    *p->second = sum_gx * n->rstd[p->c];
}

static void column_sums(const BatchNorm *n, const Part *p)
{
    float dy_values[ROWS_SUMMED][TILE], x_values[ROWS_SUMMED][TILE];
    const float *dy_row[ROWS_SUMMED], *x_row[ROWS_SUMMED];
    memset(p->first, 0, (size_t)p->cols * sizeof *p->first);
    memset(p->second, 0, (size_t)p->cols * sizeof *p->second);
    for (int64_t r = p->from; r < p->to; r += ROWS_SUMMED) {
        int64_t rows = least(ROWS_SUMMED, p->to - r);
        for (int64_t k = 0; k < rows; k++) {
            dy_row[k] = rows_read(n->dy, r + k, p->c, p->cols, dy_values[k]);
            x_row[k] = rows_read(n->x, r + k, p->c, p->cols, x_values[k]);
        }
        for (int64_t i = 0; i < p->cols; i += LANES) {
            int64_t live = p->cols - i;
            Factors f = factors_at(n, p->c + i, live, false);
            Vec sum_g = vec_set(0), sum_gx = vec_set(0);
            for (int64_t k = 0; k < rows; k++) {
                __builtin_prefetch(x_row[k] + i + ROWS_SUMMED * n->x.stride); /* across rows nobody foresees it */
                __builtin_prefetch(dy_row[k] + i + ROWS_SUMMED * n->dy.stride);
                Vec x = vec_load_upto(x_row[k] + i, live, 0);
                Vec g = let_through(n, &f, x, vec_load_upto(dy_row[k] + i, live, 0));
                sum_g += g;
                sum_gx += g * (x - f.mean);
            }
            vec_store_upto(p->first + i, vec_load_upto(p->first + i, live, 0) + sum_g, live);
            vec_store_upto(p->second + i, vec_load_upto(p->second + i, live, 0) + sum_gx * f.rstd, live);
        }
    }
}

static void sums_piece(const void *job, int64_t first, int64_t last)
{
    const BatchNorm *n = job;
    for (int64_t item = first; item < last; item++) {
        Part p = part_of(n, item);
        if (in_planes(&n->s))
            plane_sums(n, &p);
        else
            column_sums(n, &p);
    }
}

static void gradient_sums(const Exec *exec, const ChannelShape *s, Rows dy, Rows x, const float *stats,
                          const ChannelAffine *affine, float *sums)
{
    rows_check(dy, "gradient_sums");
    rows_check(x, "gradient_sums");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.dy = dy;
    n.x = x;
    n.partial = exec->scratch;
    over_chunks(exec, &n, values_of(s) * 8, sums_piece, "gradient_sums");
    memset(sums, 0, (size_t)(2 * s->channels) * sizeof *sums);
    for (int64_t chunk = 0; chunk < chunks_of(s); chunk++)
        span_add(2 * s->channels, n.partial + chunk * 2 * s->channels, sums);
}

static inline __attribute__((always_inline)) void gradient_row(const BatchNorm *n, int64_t r, int64_t cols, bool plane)
{
    float dy_values[BLOCK], x_values[BLOCK], dx_values[BLOCK];
    Factors f = {0};
    if (plane)
        f = factors_at(n, r % n->s.channels, 0, true);
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t block = least(BLOCK, cols - c);
        const float *dys = rows_read(n->dy, r, c, block, dy_values), *xs = rows_read(n->x, r, c, block, x_values);
        float *dx = rows_open(n->dx, r, c, block, n->add, dx_values);
        for (int64_t i = 0; i < block; i += LANES) {
            int64_t live = block - i;
            if (!plane)
                f = factors_at(n, c + i, live, false);
            Vec x = vec_load_upto(xs + i, live, 0), g = let_through(n, &f, x, vec_load_upto(dys + i, live, 0));
            Vec d = f.scale * (g - f.shift_g - (x - f.mean) * f.shift_gx);
            if (n->add)
                d += vec_load_upto(dx + i, live, 0);
            vec_store_upto(dx + i, d, live);
        }
        rows_close(n->dx, r, c, block, dx);
    }
}

static void gradient_piece(const void *job, int64_t first, int64_t last)
{
    const BatchNorm *n = job;
    for (int64_t r = first; r < last; r++)
        if (in_planes(&n->s))
            gradient_row(n, r, n->s.inner, true);
        else
            gradient_row(n, r, n->s.channels, false);
}

static void gradient(const Exec *exec, const ChannelShape *s, Rows dy, Rows x, const float *stats,
                     const ChannelAffine *affine, const float *sums, bool add, Rows dx)
{
    rows_check(dy, "gradient");
    rows_check(x, "gradient");
    rows_check(dx, "gradient");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.dy = dy;
    n.x = x;
    n.dx = dx;
    n.add = add;
    if (sums) {
        n.sum_g = sums;
        n.sum_gx = sums + s->channels;
        n.of_count = 1.0f / stats[2 * s->channels];
    }
    over_rows(exec, &n, add ? 16 : 12, gradient_piece);
}

const BatchNormKernels LEVEL(batch_norm_kernels) = {
    .moments_scratch = partial_bytes,
    .moments = moments,
    .statistics = statistics,
    .running_statistics = running_statistics,
    .normalise = normalise,
    .gradient_sums_scratch = partial_bytes,
    .gradient_sums = gradient_sums,
    .gradient = gradient,
};
