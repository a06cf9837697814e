/* Adafactor's steps: the moments, then the size of the update, then the update, each a pass over the gradient. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

enum { THREADS = 256, CHUNKS = 512, LEAST_CHUNK = 8 * THREADS };

/* Between the kernels of a call; all calls are in one stream. */
static __device__ double sums[CHUNKS]; /* of squares of the update */
static __device__ float step_rate;     /* with the update's clipping */

typedef struct Step {
    AdafactorScalars const *s;
    const float *gradient_scale;
    const double *squares; /* of the parameter */
    int64_t count, batch, rows, cols;
    int64_t chunk; /* values, or rows of a matrix, of a piece of work */
    float *parameter, *v, *by_row, *by_col;
    const float *gradient;
} Step;

/* What is read of the scalars for every value. */
typedef struct Rates {
    float gradient_scale, weight_decay, decay, eps1;
} Rates;

DEVICE Rates rates_of(const Step &a)
{
    Rates r = {*a.gradient_scale, a.s->weight_decay, a.s->decay, a.s->eps1};
    return r;
}

DEVICE float gradient_at(const Step &a, const Rates &r, int64_t i)
{
    float g = a.gradient[i] * r.gradient_scale;
    return r.weight_decay == 0 ? g : g + r.weight_decay * a.parameter[i];
}

__global__ void find_rate(Step a, int chunks)
{
    double sum = 0;
    for (int i = lane_index(); i < chunks; i += WARP)
        sum += sums[i];
    sum = warp_sum(sum);
    double clip = sqrt(sum / (double)a.count) / (double)a.s->clip, scale = sqrt(*a.squares / (double)a.count);
    double floor = (double)a.s->scale_floor, rate = (double)a.s->lr * (scale > floor ? scale : floor);
    if (lane_index() == 0)
        step_rate = (float)(rate / (clip > 1 ? clip : 1));
}

/* ---- One moment a value */

__global__ void whole_moments(Step a)
{
    Rates rates = rates_of(a);
    int64_t first = blockIdx.x * a.chunk, last = first + a.chunk < a.count ? first + a.chunk : a.count;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += THREADS) {
        float g = gradient_at(a, rates, i);
        float v = rates.decay * a.v[i] + (1.0f - rates.decay) * (g * g + rates.eps1), u = g / sqrtf(v);
        a.v[i] = v;
        sum += (double)u * (double)u;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

__global__ void whole_update(Step a)
{
    Rates rates = rates_of(a);
    for (int64_t i = map_col<1>(); i < a.count; i += map_col_step<1>())
        a.parameter[i] -= step_rate * (gradient_at(a, rates, i) / sqrtf(a.v[i]));
}

static void whole(const Exec *exec, int64_t count, const AdafactorScalars *s, const float *gradient_scale,
                  const double *squares, float *parameter, const float *gradient, float *v)
{
    if (count == 0)
        return;
    Step a = {s, gradient_scale, squares, count, 0, 0, 0, 0, parameter, v, NULL, NULL, gradient};
    a.chunk = blocks_for(blocks_for(count, CHUNKS), LEAST_CHUNK) * LEAST_CHUNK;
    int chunks = (int)blocks_for(count, a.chunk);
    MapGrid g = map_grid(1, count);
    LAUNCH(whole_moments, (unsigned)chunks, THREADS, 0, exec, a);
    LAUNCH(find_rate, 1, WARP, 0, exec, a, chunks);
    LAUNCH(whole_update, g.grid, g.block, 0, exec, a);
}

/* ---- Moments of rows and of columns */

enum { WARPS = THREADS / WARP, MOST_PHASES = 32, LEAST_VALUES = 4096 };

/* A warp has a row of one of the matrices. */
__global__ void row_moments(Step a)
{
    Rates rates = rates_of(a);
    int64_t step = (int64_t)gridDim.x * WARPS;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP; r < a.batch * a.rows; r += step) {
        double sum = 0;
        for (int64_t c = lane_index(); c < a.cols; c += WARP) {
            double g = (double)gradient_at(a, rates, r * a.cols + c);
            sum += g * g;
        }
        float mean = (float)(warp_sum(sum) / (double)a.cols) + rates.eps1;
        if (lane_index() == 0)
            a.by_row[r] = rates.decay * a.by_row[r] + (1.0f - rates.decay) * mean;
    }
}

/* A block has a strip of WARP columns of a matrix; thread (lane, phase) takes every row that is as many phases away as the block
 * has, and the phases are added in order. */
__global__ void column_moments(Step a)
{
    __shared__ double parts[MOST_PHASES][WARP];
    Rates rates = rates_of(a);
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y, phases = (int)blockDim.y;
    int64_t c = (int64_t)blockIdx.x * WARP + lane;
    for (int64_t matrix = blockIdx.y; matrix < a.batch; matrix += gridDim.y) {
        double sum = 0;
        for (int64_t r = phase; r < a.rows && c < a.cols; r += phases) {
            double g = (double)gradient_at(a, rates, (matrix * a.rows + r) * a.cols + c);
            sum += g * g;
        }
        parts[phase][lane] = sum;
        __syncthreads();
        if (phase == 0 && c < a.cols) {
            for (int p = 1; p < phases; p++)
                sum += parts[p][lane];
            float mean = (float)(sum / (double)a.rows) + rates.eps1, *moment = a.by_col + matrix * a.cols + c;
            *moment = rates.decay * *moment + (1.0f - rates.decay) * mean;
        }
        __syncthreads();
    }
}

/* The mean of a matrix's moments of rows, in every thread of the block. */
DEVICE double mean_row(const Step &a, int64_t matrix)
{
    double sum = 0;
    for (int64_t r = threadIdx.x; r < a.rows; r += THREADS)
        sum += (double)a.by_row[matrix * a.rows + r];
    return block_sum(sum) / (double)a.rows;
}

/* Every block takes chunks of rows of a matrix. WRITE: the update, else its squares. */
template <bool WRITE> __global__ void factored_update(Step a)
{
    Rates rates = rates_of(a);
    int64_t chunks = blocks_for(a.rows, a.chunk), warp = threadIdx.x / WARP;
    double sum = 0;
    for (int64_t job = blockIdx.x; job < a.batch * chunks; job += gridDim.x) {
        int64_t matrix = job / chunks, top = job % chunks * a.chunk, end = map_lesser(top + a.chunk, a.rows);
        double mean = mean_row(a, matrix);
        for (int64_t row = top + warp; row < end; row += WARPS) {
            int64_t r = matrix * a.rows + row;
            float factor = (float)(1.0 / sqrt((double)a.by_row[r] / mean));
            for (int64_t c = lane_index(); c < a.cols; c += WARP) {
                int64_t i = r * a.cols + c;
                float u = gradient_at(a, rates, i) * factor / sqrtf(a.by_col[matrix * a.cols + c]);
                if (WRITE)
                    a.parameter[i] -= step_rate * u;
                else
                    sum += (double)u * (double)u;
            }
        }
    }
    if (WRITE)
        return;
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

static void factored(const Exec *exec, int64_t batch, int64_t rows, int64_t cols, const AdafactorScalars *s,
                     const float *gradient_scale, const double *squares, float *parameter, const float *gradient,
                     float *by_row, float *by_col)
{
    int64_t count = batch * rows * cols;
    if (count == 0)
        return;
    Step a = {s, gradient_scale, squares, count, batch, rows, cols, 0, parameter, NULL, by_row, by_col, gradient};
    int64_t few = blocks_for(LEAST_VALUES, cols), share = blocks_for(batch * rows, 2 * CHUNKS);
    a.chunk = blocks_for(few > share ? few : share, WARPS) * WARPS;
    int64_t jobs = batch * blocks_for(rows, a.chunk);
    unsigned chunks = (unsigned)map_lesser(jobs, CHUNKS);
    dim3 strips((unsigned)blocks_for(cols, WARP), (unsigned)map_lesser(batch, MAP_MOST_Y));
    LAUNCH(row_moments, grid_for(blocks_for(batch * rows, WARPS)), THREADS, 0, exec, a);
    LAUNCH(column_moments, strips, dim3(WARP, (unsigned)map_lesser(rows, MOST_PHASES)), 0, exec, a);
    LAUNCH(factored_update<false>, chunks, THREADS, 0, exec, a);
    LAUNCH(find_rate, 1, WARP, 0, exec, a, (int)chunks);
    LAUNCH(factored_update<true>, (unsigned)map_lesser(jobs, 1 << 16), THREADS, 0, exec, a);
}

const AdafactorKernels cuda_adafactor = {.whole = whole, .factored = factored};
