/* LayerNorm: a warp has a row. A row is read once from memory and then, from the cache, once more for each of mean,
 * variance and result, as on the CPU. */
#include "common/kernels/cuda/launch.cuh"
#include "common/kernels/cuda/number.cuh"
#include "common/kernels/cuda/ptx.cuh"

enum { WARPS = 4 }; /* of a block, each with rows of its own */

typedef struct LayerNorm {
    int64_t rows, cols;
    Rows x, residual, sum, y;
    const float *gamma, *beta;
    float eps, *mean, *rstd;
} LayerNorm;

/* The row of this warp in its first round, and how far it is to that of the next. */
DEVICE int64_t first_row(void)
{
    return (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP;
}

DEVICE int64_t row_step(void)
{
    return (int64_t)gridDim.x * WARPS;
}

template <int N> DEVICE void add_residual(const LayerNorm &l, int64_t r)
{
    for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
        Floats<N> x = rows_load<N>(l.x, r, c), residual = rows_load<N>(l.residual, r, c);
        for (int i = 0; i < N; i++)
            x.at[i] += residual.at[i];
        rows_store<N>(l.sum, r, c, x); /* read again by this lane alone */
    }
}

template <int N> DEVICE float row_mean(int64_t cols, Rows x, int64_t r)
{
    float sum = 0;
    for (int64_t c = lane_index() * N; c < cols; c += WARP * N) {
        Floats<N> values = rows_load<N>(x, r, c);
        for (int i = 0; i < N; i++)
            sum += values.at[i];
    }
    return warp_sum(sum) / (float)cols;
}

template <int N> DEVICE float row_rstd(int64_t cols, Rows x, int64_t r, float mean, float eps)
{
    float sum = 0;
    for (int64_t c = lane_index() * N; c < cols; c += WARP * N) {
        Floats<N> values = rows_load<N>(x, r, c);
        for (int i = 0; i < N; i++) {
            float d = values.at[i] - mean;
            sum += d * d;
        }
    }
    return 1.0f / sqrtf(warp_sum(sum) / (float)cols + eps);
}

template <int N> DEVICE void normalise(const LayerNorm &l, Rows from, int64_t r, float mean, float rstd)
{
    for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
        Floats<N> v = rows_load<N>(from, r, c);
        Floats<N> gamma = l.gamma ? floats_load<N>(l.gamma + c) : floats_of<N>(1);
        Floats<N> beta = l.beta ? floats_load<N>(l.beta + c) : floats_of<N>(0);
        for (int i = 0; i < N; i++)
            v.at[i] = (v.at[i] - mean) * rstd * gamma.at[i] + beta.at[i];
        rows_store<N>(l.y, r, c, v);
    }
}

template <int N> __global__ void layer_norm_rows(LayerNorm l)
{
    Rows from = l.residual.data ? l.sum : l.x;
    for (int64_t r = first_row(); r < l.rows; r += row_step()) {
        if (l.residual.data)
            add_residual<N>(l, r);
        float mean = row_mean<N>(l.cols, from, r), rstd = row_rstd<N>(l.cols, from, r, mean, l.eps);
        normalise<N>(l, from, r, mean, rstd);
        if (l.mean && lane_index() == 0)
            l.mean[r] = mean;
        if (l.rstd && lane_index() == 0)
            l.rstd[r] = rstd;
    }
}

static void layer_norm(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows residual, Rows sum,
                       const float *gamma, const float *beta, float eps, Rows y, float *mean, float *rstd)
{
    rows_check(x, "layer_norm");
    rows_check(residual, "layer_norm");
    rows_check(sum, "layer_norm");
    rows_check(y, "layer_norm");
    LayerNorm l = {rows, cols, x, residual, sum, y, gamma, beta, eps, mean, rstd};
    unsigned grid = grid_for(blocks_for(rows, WARPS));
    if (ROWS_WIDTH(cols, x, residual, sum, y, rows_of(gamma), rows_of(beta)) == 4)
        LAUNCH(layer_norm_rows<4>, grid, WARPS * WARP, 0, exec, l);
    else
        LAUNCH(layer_norm_rows<1>, grid, WARPS * WARP, 0, exec, l);
}

typedef struct LayerNormGradient {
    int64_t rows, cols;
    Rows dy, x, dx;
    const float *gamma, *mean, *rstd;
    bool add;
} LayerNormGradient;

/* dx (+)= rstd (g - mean(g) - xhat mean(g xhat)) with g = dy gamma and xhat = (x - mean) rstd */
template <int N> __global__ void layer_norm_gradient_rows(LayerNormGradient l)
{
    for (int64_t r = first_row(); r < l.rows; r += row_step()) {
        float mean = l.mean[r], rstd = l.rstd[r], sum_g = 0, sum_gx = 0;
        for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
            Floats<N> dy = rows_load<N>(l.dy, r, c), x = rows_load<N>(l.x, r, c);
            Floats<N> gamma = l.gamma ? floats_load<N>(l.gamma + c) : floats_of<N>(1);
            for (int i = 0; i < N; i++) {
                float g = dy.at[i] * gamma.at[i];
                sum_g += g;
                sum_gx += g * ((x.at[i] - mean) * rstd);
            }
        }
        float mean_g = warp_sum(sum_g) / (float)l.cols, mean_gx = warp_sum(sum_gx) / (float)l.cols;
        for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
            Floats<N> dy = rows_load<N>(l.dy, r, c), x = rows_load<N>(l.x, r, c);
            Floats<N> gamma = l.gamma ? floats_load<N>(l.gamma + c) : floats_of<N>(1);
            Floats<N> dx = l.add ? rows_load<N>(l.dx, r, c) : floats_of<N>(0);
            for (int i = 0; i < N; i++)
                dx.at[i] += rstd * (dy.at[i] * gamma.at[i] - mean_g - (x.at[i] - mean) * rstd * mean_gx);
            rows_store<N>(l.dx, r, c, dx);
        }
    }
}

/* ---- dgamma and dbeta: the rows are cut into chunks; a block sums a chunk of a strip of WARP columns */

enum { CHUNKS = 128, LEAST_CHUNK_ROWS = 32, PHASES = 8 };

static int64_t gradient_chunk(int64_t rows)
{
    int64_t chunk = blocks_for(rows, CHUNKS);
    return chunk > LEAST_CHUNK_ROWS ? chunk : (int64_t)LEAST_CHUNK_ROWS;
}

static size_t layer_norm_gradient_scratch(int64_t rows, int64_t cols)
{
    return (size_t)(blocks_for(rows, gradient_chunk(rows)) * 2 * cols) * sizeof(float);
}

/* partial[chunk] = sums over the chunk's rows of dy xhat and of dy, [2, cols]. Thread (lane, phase) takes its column of
 * the rows phase, phase + PHASES, ... of the chunk; the phases are added in order. */
__global__ void affine_partials(LayerNormGradient l, int64_t chunk_rows, float *partial)
{
    __shared__ float dgammas[PHASES][WARP], dbetas[PHASES][WARP];
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    int64_t c = (int64_t)blockIdx.x * WARP + lane, chunk = blockIdx.y;
    int64_t first = chunk * chunk_rows, last = first + chunk_rows < l.rows ? first + chunk_rows : l.rows;
    float dgamma = 0, dbeta = 0;
    for (int64_t r = first + phase; r < last && c < l.cols; r += PHASES) {
        float dy = rows_get(l.dy, r, c);
        dgamma += dy * ((rows_get(l.x, r, c) - l.mean[r]) * l.rstd[r]);
        dbeta += dy;
    }
    dgammas[phase][lane] = dgamma;
    dbetas[phase][lane] = dbeta;
    __syncthreads();
    if (phase > 0 || c >= l.cols)
        return;
    for (int p = 1; p < PHASES; p++) {
        dgamma += dgammas[p][lane];
        dbeta += dbetas[p][lane];
    }
    partial[(2 * chunk) * l.cols + c] = dgamma;
    partial[(2 * chunk + 1) * l.cols + c] = dbeta;
}

/* sums (+)= the chunks' partial sums in order; blockIdx.y 0: dgamma, 1: dbeta. */
__global__ void affine_sums(int64_t cols, int64_t chunks, const float *partial, bool add, float *dgamma, float *dbeta)
{
    int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    float *sums = blockIdx.y == 0 ? dgamma : dbeta;
    if (c >= cols || !sums)
        return;
    float sum = add ? sums[c] : 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        sum += partial[(2 * chunk + blockIdx.y) * cols + c];
    sums[c] = sum;
}

static void affine_gradient(const Exec *exec, LayerNormGradient l, bool add, float *dgamma, float *dbeta)
{
    contract(exec->scratch_bytes >= layer_norm_gradient_scratch(l.rows, l.cols),
             "layer_norm_gradient: scratch is too small");
    int64_t chunk = gradient_chunk(l.rows), chunks = blocks_for(l.rows, chunk);
    float *partial = (float *)exec->scratch;
    LAUNCH(affine_partials, dim3((unsigned)blocks_for(l.cols, WARP), (unsigned)chunks), dim3(WARP, PHASES), 0, exec, l,
           chunk, partial);
    LAUNCH(affine_sums, dim3((unsigned)blocks_for(l.cols, 128), 2), 128, 0, exec, l.cols, chunks, partial, add, dgamma,
           dbeta);
}

static void layer_norm_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows x, const float *gamma,
                                const float *mean, const float *rstd, bool add, Rows dx, bool add_affine, float *dgamma,
                                float *dbeta)
{
    rows_check(dy, "layer_norm_gradient");
    rows_check(x, "layer_norm_gradient");
    rows_check(dx, "layer_norm_gradient");
    LayerNormGradient l = {rows, cols, dy, x, dx, gamma, mean, rstd, add};
    unsigned grid = dx.data ? grid_for(blocks_for(rows, WARPS)) : 0;
    if (ROWS_WIDTH(cols, dy, x, dx, rows_of(gamma)) == 4)
        LAUNCH(layer_norm_gradient_rows<4>, grid, WARPS * WARP, 0, exec, l);
    else
        LAUNCH(layer_norm_gradient_rows<1>, grid, WARPS * WARP, 0, exec, l);
    if (dgamma || dbeta)
        affine_gradient(exec, l, add_affine, dgamma, dbeta);
}

/* ---- Rows of length 1 */

typedef struct L2Norm {
    int64_t rows, cols;
    Rows x, y, dy, dx;
    float *inverse, eps;
    bool add;
} L2Norm;

template <int N> DEVICE float rows_dot(Rows a, Rows b, int64_t r, int64_t cols)
{
    float sum = 0;
    for (int64_t c = lane_index() * N; c < cols; c += WARP * N) {
        Floats<N> u = rows_load<N>(a, r, c), v = rows_load<N>(b, r, c);
        for (int i = 0; i < N; i++)
            sum += u.at[i] * v.at[i];
    }
    return warp_sum(sum);
}

template <int N> __global__ void l2_norm_rows(L2Norm l)
{
    for (int64_t r = first_row(); r < l.rows; r += row_step()) {
        float length = sqrtf(rows_dot<N>(l.x, l.x, r, l.cols));
        float inverse = 1.0f / (length > l.eps ? length : l.eps);
        for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
            Floats<N> v = rows_load<N>(l.x, r, c);
            for (int i = 0; i < N; i++)
                v.at[i] *= inverse;
            rows_store<N>(l.y, r, c, v);
        }
        if (l.inverse && lane_index() == 0)
            l.inverse[r] = inverse;
    }
}

static void l2_norm(const Exec *exec, int64_t rows, int64_t cols, Rows x, float eps, Rows y, float *inverse)
{
    rows_check(x, "l2_norm");
    rows_check(y, "l2_norm");
    L2Norm l = {rows, cols, x, y, {}, {}, inverse, eps, false};
    unsigned grid = grid_for(blocks_for(rows, WARPS));
    if (ROWS_WIDTH(cols, x, y) == 4)
        LAUNCH(l2_norm_rows<4>, grid, WARPS * WARP, 0, exec, l);
    else
        LAUNCH(l2_norm_rows<1>, grid, WARPS * WARP, 0, exec, l);
}

/* dx = inverse dy - along x */
template <int N> __global__ void l2_norm_gradient_rows(L2Norm l)
{
    for (int64_t r = first_row(); r < l.rows; r += row_step()) {
        float inverse = l.inverse[r], along = 0;
        if (inverse < 1.0f / l.eps)
            along = inverse * inverse * inverse * rows_dot<N>(l.x, l.dy, r, l.cols);
        for (int64_t c = lane_index() * N; c < l.cols; c += WARP * N) {
            Floats<N> x = rows_load<N>(l.x, r, c), dy = rows_load<N>(l.dy, r, c);
            Floats<N> dx = l.add ? rows_load<N>(l.dx, r, c) : floats_of<N>(0);
            for (int i = 0; i < N; i++)
                dx.at[i] += dy.at[i] * inverse - x.at[i] * along;
            rows_store<N>(l.dx, r, c, dx);
        }
    }
}

static void l2_norm_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows x, const float *inverse,
                             float eps, bool add, Rows dx)
{
    rows_check(dy, "l2_norm_gradient");
    rows_check(x, "l2_norm_gradient");
    rows_check(dx, "l2_norm_gradient");
    L2Norm l = {rows, cols, x, {}, dy, dx, (float *)inverse, eps, add};
    unsigned grid = grid_for(blocks_for(rows, WARPS));
    if (ROWS_WIDTH(cols, x, dy, dx) == 4)
        LAUNCH(l2_norm_gradient_rows<4>, grid, WARPS * WARP, 0, exec, l);
    else
        LAUNCH(l2_norm_gradient_rows<1>, grid, WARPS * WARP, 0, exec, l);
}

const NormKernels cuda_norm = {
    .layer_norm = layer_norm,
    .layer_norm_gradient_scratch = layer_norm_gradient_scratch,
    .layer_norm_gradient = layer_norm_gradient,
    .l2_norm = l2_norm,
    .l2_norm_gradient = l2_norm_gradient,
};
