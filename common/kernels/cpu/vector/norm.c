/* LayerNorm: a row is read once from memory and then, in the cache, once more for each of mean, variance and result. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/spans.h"

typedef struct LayerNorm {
    int64_t cols;
    Rows x, residual, sum, y;
    const float *gamma, *beta;
    float eps, *mean, *rstd;
} LayerNorm;

static void add_residual(const LayerNorm *l, int64_t r)
{
    float x_values[BLOCK], residual_values[BLOCK], sum_values[BLOCK];
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        const float *x = rows_read(l->x, r, c, n, x_values),
                    *residual = rows_read(l->residual, r, c, n, residual_values);
        float *sum = rows_open(l->sum, r, c, n, false, sum_values);
        for (int64_t i = 0; i < n; i += LANES)
            vec_store_upto(sum + i, vec_load_upto(x + i, n - i, 0) + vec_load_upto(residual + i, n - i, 0), n - i);
        rows_close(l->sum, r, c, n, sum);
    }
}

static float row_mean(const LayerNorm *l, Rows x, int64_t r)
{
    float values[BLOCK], sum = 0;
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        sum += span_sum(n, rows_read(x, r, c, n, values));
    }
    return sum / (float)l->cols;
}

static float row_rstd(const LayerNorm *l, Rows x, int64_t r, float mean)
{
    float values[BLOCK], sum = 0;
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        sum += span_squares_from(n, rows_read(x, r, c, n, values), mean);
    }
    return 1.0f / __builtin_sqrtf(sum / (float)l->cols + l->eps);
}

static void normalise(const LayerNorm *l, Rows from, int64_t r, float mean, float rstd)
{
    float x_values[BLOCK], y_values[BLOCK];
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        const float *x = rows_read(from, r, c, n, x_values);
        float *y = rows_open(l->y, r, c, n, false, y_values);
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = (vec_load_upto(x + i, n - i, 0) - mean) * rstd;
            if (l->gamma)
                v *= vec_load_upto(l->gamma + c + i, n - i, 0);
            if (l->beta)
                v += vec_load_upto(l->beta + c + i, n - i, 0);
            vec_store_upto(y + i, v, n - i);
        }
        rows_close(l->y, r, c, n, y);
    }
}

static void layer_norm_piece(const void *job, int64_t first, int64_t last)
{
    const LayerNorm *l = job;
    Rows from = l->residual.data ? l->sum : l->x;
    for (int64_t r = first; r < last; r++) {
        if (l->residual.data)
            add_residual(l, r);
        float mean = row_mean(l, from, r), rstd = row_rstd(l, from, r, mean);
        normalise(l, from, r, mean, rstd);
        if (l->mean)
            l->mean[r] = mean;
        if (l->rstd)
            l->rstd[r] = rstd;
    }
}

static void layer_norm(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows residual, Rows sum,
                       const float *gamma, const float *beta, float eps, Rows y, float *mean, float *rstd)
{
    rows_check(x, "layer_norm");
    rows_check(residual, "layer_norm");
    rows_check(sum, "layer_norm");
    rows_check(y, "layer_norm");
    LayerNorm l = {.cols = cols,
                   .x = x,
                   .residual = residual,
                   .sum = sum,
                   .y = y,
                   .gamma = gamma,
                   .beta = beta,
                   .eps = eps,
                   .mean = mean,
                   .rstd = rstd};
    int64_t bytes = rows * cols * (residual.data ? 16 : 8);
    parallel_pieces(exec, rows, rows_a_piece(cols), bytes, layer_norm_piece, &l);
}

/* The rows are cut into at most this many chunks, each with its own sums for dgamma and dbeta. */
enum { CHUNKS = 64, LEAST_CHUNK_ROWS = 32 };

typedef struct LayerNormGradient {
    int64_t cols, chunk_rows;
    Rows dy, x, dx;
    const float *gamma, *mean, *rstd;
    bool add;
    float *partial; /* [chunks, 2, cols]: dgamma, dbeta; NULL if neither is wanted */
} LayerNormGradient;

static int64_t gradient_chunk(int64_t rows)
{
    int64_t chunk = (rows + CHUNKS - 1) / CHUNKS;
    return chunk > LEAST_CHUNK_ROWS ? chunk : LEAST_CHUNK_ROWS;
}

static size_t layer_norm_gradient_scratch(int64_t rows, int64_t cols)
{
    int64_t chunk = gradient_chunk(rows), chunks = (rows + chunk - 1) / chunk;
    return (size_t)(chunks * 2 * cols) * sizeof(float);
}

/* Sums over a row of g and g xhat, with g = dy gamma and xhat = (x - mean) rstd; dgamma += dy xhat, dbeta += dy. */
static void gradient_sums(const LayerNormGradient *l, int64_t r, float *dgamma, float *dbeta, float *sum_g,
                          float *sum_gx)
{
    float dy_values[BLOCK], x_values[BLOCK];
    Vec g_lanes = vec_set(0), gx_lanes = vec_set(0);
    float mean = l->mean[r], rstd = l->rstd[r];
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        const float *dys = rows_read(l->dy, r, c, n, dy_values), *xs = rows_read(l->x, r, c, n, x_values);
        for (int64_t i = 0; i < n; i += LANES) {
            int64_t live = n - i;
            Vec dy = vec_load_upto(dys + i, live, 0), xhat = (vec_load_upto(xs + i, live, mean) - mean) * rstd;
            Vec g = l->gamma ? dy * vec_load_upto(l->gamma + c + i, live, 0) : dy;
            g_lanes += g;
            gx_lanes += g * xhat;
            if (dgamma) {
                vec_store_upto(dgamma + c + i, vec_load_upto(dgamma + c + i, live, 0) + dy * xhat, live);
                vec_store_upto(dbeta + c + i, vec_load_upto(dbeta + c + i, live, 0) + dy, live);
            }
        }
    }
    *sum_g = vec_sum(g_lanes);
    *sum_gx = vec_sum(gx_lanes);
}

/* dx (+)= rstd (g - mean(g) - xhat mean(g xhat)) */
static void gradient_row(const LayerNormGradient *l, int64_t r, float mean_g, float mean_gx)
{
    float dy_values[BLOCK], x_values[BLOCK], dx_values[BLOCK];
    float mean = l->mean[r], rstd = l->rstd[r];
    for (int64_t c = 0; c < l->cols; c += BLOCK) {
        int64_t n = least(BLOCK, l->cols - c);
        const float *dys = rows_read(l->dy, r, c, n, dy_values), *xs = rows_read(l->x, r, c, n, x_values);
        float *dx = rows_open(l->dx, r, c, n, l->add, dx_values);
        for (int64_t i = 0; i < n; i += LANES) {
            int64_t live = n - i;
            Vec g = vec_load_upto(dys + i, live, 0), xhat = (vec_load_upto(xs + i, live, 0) - mean) * rstd;
            if (l->gamma)
                g *= vec_load_upto(l->gamma + c + i, live, 0);
            Vec d = rstd * (g - mean_g - xhat * mean_gx);
            if (l->add)
                d += vec_load_upto(dx + i, live, 0);
            vec_store_upto(dx + i, d, live);
        }
        rows_close(l->dx, r, c, n, dx);
    }
}

static void layer_norm_gradient_piece(const void *job, int64_t first, int64_t last)
{
    const LayerNormGradient *l = job;
    float *dgamma = NULL, *dbeta = NULL;
    if (l->partial) {
        dgamma = l->partial + first / l->chunk_rows * 2 * l->cols;
        dbeta = dgamma + l->cols;
        memset(dgamma, 0, (size_t)(2 * l->cols) * sizeof *dgamma);
    }
    for (int64_t r = first; r < last; r++) {
        float sum_g, sum_gx;
        gradient_sums(l, r, dgamma, dbeta, &sum_g, &sum_gx);
        if (l->dx.data)
            gradient_row(l, r, sum_g / (float)l->cols, sum_gx / (float)l->cols);
    }
}

/* sums (+)= the chunks' partial sums in order. */
static void add_partials(int64_t cols, int64_t chunks, const float *partial, bool add, float *sums)
{
    if (!sums)
        return;
    if (!add)
        memset(sums, 0, (size_t)cols * sizeof *sums);
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        span_add(cols, partial + chunk * 2 * cols, sums);
}

static void layer_norm_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows x, const float *gamma,
                                const float *mean, const float *rstd, bool add, Rows dx, bool add_affine, float *dgamma,
                                float *dbeta)
{
    rows_check(dy, "layer_norm_gradient");
    rows_check(x, "layer_norm_gradient");
    rows_check(dx, "layer_norm_gradient");
    LayerNormGradient l = {.cols = cols,
                           .chunk_rows = gradient_chunk(rows),
                           .dy = dy,
                           .x = x,
                           .dx = dx,
                           .gamma = gamma,
                           .mean = mean,
                           .rstd = rstd,
                           .add = add};
    if (dgamma || dbeta) {
        contract(exec->scratch_bytes >= layer_norm_gradient_scratch(rows, cols),
                 "layer_norm_gradient: scratch is too small");
        l.partial = exec->scratch;
    }
    parallel_pieces(exec, rows, l.chunk_rows, rows * cols * 12, layer_norm_gradient_piece, &l);
    if (l.partial) {
        int64_t chunks = (rows + l.chunk_rows - 1) / l.chunk_rows;
        add_partials(cols, chunks, l.partial, add_affine, dgamma);
        add_partials(cols, chunks, l.partial + cols, add_affine, dbeta);
    }
}

/* ---- Rows of length 1 */

typedef struct L2Norm {
    int64_t cols;
    Rows x, y, dy, dx;
    float *inverse, eps;
    bool add;
} L2Norm;

static float rows_dot(Rows a, Rows b, int64_t r, int64_t cols)
{
    float a_values[BLOCK], b_values[BLOCK], sum = 0;
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t n = least(BLOCK, cols - c);
        sum += span_dot(n, rows_read(a, r, c, n, a_values), rows_read(b, r, c, n, b_values));
    }
    return sum;
}

static void l2_norm_piece(const void *job, int64_t first, int64_t last)
{
    const L2Norm *l = job;
    float x_values[BLOCK], y_values[BLOCK];
    for (int64_t r = first; r < last; r++) {
        float length = __builtin_sqrtf(rows_dot(l->x, l->x, r, l->cols));
        float inverse = 1.0f / (length > l->eps ? length : l->eps);
        for (int64_t c = 0; c < l->cols; c += BLOCK) {
            int64_t n = least(BLOCK, l->cols - c);
            const float *x = rows_read(l->x, r, c, n, x_values);
            float *y = rows_open(l->y, r, c, n, false, y_values);
            for (int64_t i = 0; i < n; i += LANES)
                vec_store_upto(y + i, vec_load_upto(x + i, n - i, 0) * inverse, n - i);
            rows_close(l->y, r, c, n, y);
        }
        if (l->inverse)
            l->inverse[r] = inverse;
    }
}

static void l2_norm(const Exec *exec, int64_t rows, int64_t cols, Rows x, float eps, Rows y, float *inverse)
{
    rows_check(x, "l2_norm");
    rows_check(y, "l2_norm");
    L2Norm l = {.cols = cols, .x = x, .y = y, .inverse = inverse, .eps = eps};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 8, l2_norm_piece, &l);
}

static void l2_norm_gradient_piece(const void *job, int64_t first, int64_t last)
{
    const L2Norm *l = job;
    float x_values[BLOCK], dy_values[BLOCK], dx_values[BLOCK];
    for (int64_t r = first; r < last; r++) {
        float inverse = l->inverse[r], along = 0; /* dx = inverse dy - along x */
        if (inverse < 1.0f / l->eps)
            along = inverse * inverse * inverse * rows_dot(l->x, l->dy, r, l->cols);
        for (int64_t c = 0; c < l->cols; c += BLOCK) {
            int64_t n = least(BLOCK, l->cols - c);
            const float *x = rows_read(l->x, r, c, n, x_values), *dy = rows_read(l->dy, r, c, n, dy_values);
            float *dx = rows_open(l->dx, r, c, n, l->add, dx_values);
            for (int64_t i = 0; i < n; i += LANES) {
                Vec v = vec_load_upto(dy + i, n - i, 0) * inverse - vec_load_upto(x + i, n - i, 0) * along;
                if (l->add)
                    v += vec_load_upto(dx + i, n - i, 0);
                vec_store_upto(dx + i, v, n - i);
            }
            rows_close(l->dx, r, c, n, dx);
        }
    }
}

static void l2_norm_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows x, const float *inverse,
                             float eps, bool add, Rows dx)
{
    rows_check(dy, "l2_norm_gradient");
    rows_check(x, "l2_norm_gradient");
    rows_check(dx, "l2_norm_gradient");
    L2Norm l = {.cols = cols, .x = x, .dy = dy, .dx = dx, .inverse = (float *)inverse, .eps = eps, .add = add};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 12, l2_norm_gradient_piece, &l);
}

const NormKernels LEVEL(norm_kernels) = {
    .layer_norm = layer_norm,
    .layer_norm_gradient_scratch = layer_norm_gradient_scratch,
    .layer_norm_gradient = layer_norm_gradient,
    .l2_norm = l2_norm,
    .l2_norm_gradient = l2_norm_gradient,
};
