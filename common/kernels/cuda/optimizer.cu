/* The optimizers' steps: one pass over parameter, gradient and state. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

typedef struct AdamW {
    int64_t count;
    const StepScalars *step;
    const float *gradient_scale;
    float beta1, beta2, eps, decay;
    bool coupled;
    float *parameter, *m, *v;
    const float *gradient;
} AdamW;

template <int N> __global__ void adamw_values(AdamW a)
{
    float lr = a.step->lr, scale = *a.gradient_scale;
    float keep = a.coupled ? 1.0f : 1.0f - lr * a.decay, added = a.coupled ? a.decay : 0.0f;
    float rate = lr / a.step->bias_correction1, root = 1.0f / sqrtf(a.step->bias_correction2);
    float fresh1 = 1.0f - a.beta1, fresh2 = 1.0f - a.beta2;
    for (int64_t i = map_col<N>(); i < a.count; i += map_col_step<N>()) {
        Floats<N> g = floats_load<N>(a.gradient + i), p = floats_load<N>(a.parameter + i);
        Floats<N> m = floats_load<N>(a.m + i), v = floats_load<N>(a.v + i);
        for (int k = 0; k < N; k++) {
            float gradient = g.at[k] * scale + added * p.at[k];
            m.at[k] += fresh1 * (gradient - m.at[k]);
            v.at[k] = a.beta2 * v.at[k] + fresh2 * gradient * gradient;
            p.at[k] = p.at[k] * keep - rate * m.at[k] / (sqrtf(v.at[k]) * root + a.eps);
        }
        floats_store<N>(a.m + i, m);
        floats_store<N>(a.v + i, v);
        floats_store<N>(a.parameter + i, p);
    }
}

static void adamw(const Exec *exec, int64_t count, const StepScalars *step, const float *gradient_scale, float beta1,
                  float beta2, float eps, float decay, bool coupled, float *parameter, const float *gradient, float *m,
                  float *v)
{
    AdamW a = {count, step, gradient_scale, beta1, beta2, eps, decay, coupled, parameter, m, v, gradient};
    int width = ROWS_WIDTH(count, rows_of(parameter), rows_of(gradient), rows_of(m), rows_of(v));
    MapGrid g = map_grid(1, count / width);
    if (width == 4)
        LAUNCH(adamw_values<4>, g.grid, g.block, 0, exec, a);
    else
        LAUNCH(adamw_values<1>, g.grid, g.block, 0, exec, a);
}

typedef struct Sgd {
    int64_t count;
    const StepScalars *step;
    const float *gradient_scale;
    float momentum, decay;
    bool nesterov, first;
    float *parameter, *buffer;
    const float *gradient;
} Sgd;

template <int N> __global__ void sgd_values(Sgd s)
{
    float lr = s.step->lr, scale = *s.gradient_scale;
    for (int64_t i = map_col<N>(); i < s.count; i += map_col_step<N>()) {
        Floats<N> g = floats_load<N>(s.gradient + i), p = floats_load<N>(s.parameter + i);
        Floats<N> buffer = floats_load<N>(s.buffer + i);
        for (int k = 0; k < N; k++) {
            float gradient = g.at[k] * scale + s.decay * p.at[k];
            buffer.at[k] = s.first ? gradient : s.momentum * buffer.at[k] + gradient;
            p.at[k] -= lr * (s.nesterov ? gradient + s.momentum * buffer.at[k] : buffer.at[k]);
        }
        floats_store<N>(s.buffer + i, buffer);
        floats_store<N>(s.parameter + i, p);
    }
}

static void sgd(const Exec *exec, int64_t count, const StepScalars *step, const float *gradient_scale, float momentum,
                bool nesterov, float decay, bool first, float *parameter, const float *gradient, float *buffer)
{
    Sgd s = {count, step, gradient_scale, momentum, decay, nesterov, first, parameter, buffer, gradient};
    int width = ROWS_WIDTH(count, rows_of(parameter), rows_of(gradient), rows_of(buffer));
    MapGrid g = map_grid(1, count / width);
    if (width == 4)
        LAUNCH(sgd_values<4>, g.grid, g.block, 0, exec, s);
    else
        LAUNCH(sgd_values<1>, g.grid, g.block, 0, exec, s);
}

/* ---- Sums of squares: each block sums a chunk, and one warp the chunks. */

enum { CHUNKS = 512, SUM_THREADS = 256, LEAST_CHUNK = 16 * SUM_THREADS };

/* Between the two kernels of a call; all calls are in one stream. */
static __device__ double partial_squares[CHUNKS];

template <int N> __global__ void squares_of_chunks(int64_t count, int64_t chunk, const float *x)
{
    int64_t first = blockIdx.x * chunk, last = first + chunk < count ? first + chunk : count;
    double sum = 0;
    for (int64_t i = first + (int64_t)threadIdx.x * N; i < last; i += SUM_THREADS * N) {
        Floats<N> v = floats_load<N>(x + i);
        for (int k = 0; k < N; k++)
            sum += (double)v.at[k] * (double)v.at[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial_squares[blockIdx.x] = sum;
}

__global__ void sum_of_chunks(int chunks, bool add, double *sum)
{
    double part = 0;
    for (int i = lane_index(); i < chunks; i += WARP)
        part += partial_squares[i];
    part = warp_sum(part);
    if (lane_index() == 0)
        *sum = add ? *sum + part : part;
}

static void sum_of_squares(const Exec *exec, int64_t count, const float *x, bool add, double *sum)
{
    int64_t chunk = blocks_for(blocks_for(count, CHUNKS), LEAST_CHUNK) * LEAST_CHUNK;
    unsigned chunks = chunk ? (unsigned)blocks_for(count, chunk) : 0;
    if (ROWS_WIDTH(count, rows_of(x)) == 4)
        LAUNCH(squares_of_chunks<4>, chunks, SUM_THREADS, 0, exec, count, chunk, x);
    else
        LAUNCH(squares_of_chunks<1>, chunks, SUM_THREADS, 0, exec, count, chunk, x);
    LAUNCH(sum_of_chunks, 1, WARP, 0, exec, (int)chunks, add, sum);
}

__global__ void clip_one(double limit, const double *squares, float *scale)
{
    double share = limit / (sqrt(*squares) + 1e-6);
    *scale = (float)(share < 1 ? share : 1);
}

static void clip_scale(const Exec *exec, double limit, const double *squares, float *scale)
{
    LAUNCH(clip_one, 1, 1, 0, exec, limit, squares, scale);
}

const OptimizerKernels cuda_optimizer = {
    .adamw = adamw, .sgd = sgd, .sum_of_squares = sum_of_squares, .clip_scale = clip_scale};
