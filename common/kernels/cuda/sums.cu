/* Sums over rows and over columns, in chunks cut by size whose partial sums are added in order. */
#include "common/kernels/cuda/elementwise.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/team.cuh"

/* ---- Over rows: blocks of WARP columns and PHASES rows at a time; where those are few, the rows are cut into chunks. */

enum { PHASES = 8, PARTS = 1024, LEAST_ROWS = 4 * PHASES, MOST_CHUNKS = 256 };

typedef struct SumRows {
    int64_t rows, cols, period;
    int64_t repeats, chunk, chunks; /* rows of a phase of the period; how many of them a chunk has; chunks of a phase */
    Rows x;
    bool add;
    float *to; /* the sums or, of each chunk, partial sums [chunks, period, cols] */
} SumRows;

static SumRows sum_rows_plan(int64_t rows, int64_t cols, int64_t period)
{
    SumRows s = {};
    s.rows = rows, s.cols = cols, s.period = period, s.chunks = 1;
    s.chunk = s.repeats = blocks_for(rows, period);
    int64_t strips = blocks_for(cols, WARP), chunks = map_lesser(MOST_CHUNKS, s.repeats / LEAST_ROWS);
    chunks = map_lesser(chunks, PARTS / (strips > 0 ? period * strips : 1));
    if (chunks > 1) {
        s.chunk = blocks_for(s.repeats, chunks);
        s.chunks = blocks_for(s.repeats, s.chunk);
    }
    return s;
}

static size_t partial_bytes(SumRows s)
{
    return s.chunks > 1 ? (size_t)(s.chunks * s.period * s.cols) * sizeof(float) : 0;
}

/* Rows without gaps are summed as rows of `period` times the length. */
size_t cuda_sum_rows_scratch(int64_t rows, int64_t cols, int64_t period)
{
    size_t apart = partial_bytes(sum_rows_plan(rows, cols, period));
    size_t joined = rows % period == 0 ? partial_bytes(sum_rows_plan(rows / period, cols * period, 1)) : 0;
    return joined > apart ? joined : apart;
}

/* A block sums a chunk of a strip; thread (lane, phase) takes every PHASES-th row of its column, and the phases are added in
 * order. */
__global__ void sum_rows_chunks(SumRows s)
{
    __shared__ float sums[PHASES][WARP];
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    int64_t c = (int64_t)blockIdx.x * WARP + lane, chunk = blockIdx.y;
    int64_t first = chunk * s.chunk, last = first + s.chunk < s.repeats ? first + s.chunk : s.repeats;
    for (int64_t p = blockIdx.z; p < s.period; p += gridDim.z) {
        float sum = 0;
        for (int64_t k = first + phase; k < last && c < s.cols; k += PHASES)
            if (p + k * s.period < s.rows)
                sum += rows_get(s.x, p + k * s.period, c);
        sums[phase][lane] = sum;
        __syncthreads();
        if (phase == 0 && c < s.cols) {
            float *to = s.to + (chunk * s.period + p) * s.cols + c;
            sum = s.add ? *to + sum : sum;
            for (int i = 1; i < PHASES; i++)
                sum += sums[i][lane];
            *to = sum;
        }
        __syncthreads();
    }
}

/* sums (+)= the chunks' partial sums in order */
__global__ void add_all_chunks(int64_t count, int64_t chunks, const float *partial, bool add, float *sums)
{
    for (int64_t i = map_col<1>(); i < count; i += map_col_step<1>()) {
        float sum = add ? sums[i] : 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            sum += partial[chunk * count + i];
        sums[i] = sum;
    }
}

void cuda_add_chunks(const Exec *exec, int64_t count, int64_t chunks, const float *partial, bool add, float *sums)
{
    MapGrid g = map_grid(1, count);
    LAUNCH(add_all_chunks, g.grid, g.block, 0, exec, count, chunks, partial, add, sums);
}

void cuda_sum_rows(const Exec *exec, int64_t rows, int64_t cols, Rows x, int64_t period, bool add, float *sums)
{
    rows_check(x, "sum_rows");
    if (x.stride == cols && rows % period == 0) {
        rows /= period;
        cols *= period;
        period = 1;
        x.stride = cols;
    }
    SumRows s = sum_rows_plan(rows, cols, period);
    bool chunked = s.chunks > 1;
    contract(exec->scratch_bytes >= partial_bytes(s), "sum_rows: scratch is too small");
    s.x = x, s.add = add && !chunked, s.to = chunked ? (float *)exec->scratch : sums;
    dim3 grid((unsigned)blocks_for(cols, WARP), (unsigned)s.chunks, (unsigned)map_lesser(period, MAP_MOST_Y));
    LAUNCH(sum_rows_chunks, grid, dim3(WARP, PHASES), 0, exec, s);
    if (chunked)
        cuda_add_chunks(exec, period * cols, s.chunks, (const float *)exec->scratch, add, sums);
}

/* ---- Over columns */

typedef struct SumColumns {
    int64_t rows, cols;
    Rows x, by; /* by.data NULL: ones */
    bool add;
    float *sums;
} SumColumns;

template <typename Team, int N> __global__ void sum_columns_rows(SumColumns s)
{
    for (int64_t r = Team::first_row(); r < s.rows; r += Team::row_step()) {
        float sums[N] = {}, sum = 0;
        for (int64_t c = Team::index() * N; c < s.cols; c += Team::size() * N) {
            Floats<N> x = rows_load<N>(s.x, r, c), by = s.by.data ? rows_load<N>(s.by, r, c) : floats_of<N>(1);
            for (int i = 0; i < N; i++)
                sums[i] += x.at[i] * by.at[i];
        }
        for (int i = 0; i < N; i++)
            sum += sums[i];
        sum = Team::sum(sum);
        if (Team::index() == 0)
            s.sums[r] = s.add ? s.sums[r] + sum : sum;
    }
}

static void run_columns(const Exec *exec, SumColumns s, const char *kernel)
{
    rows_check(s.x, kernel);
    rows_check(s.by, kernel);
    LAUNCH_TEAMS(sum_columns_rows, s.rows, s.cols, ROWS_WIDTH(s.cols, s.x, s.by), exec, s);
}

void cuda_sum_columns(const Exec *exec, int64_t rows, int64_t cols, Rows x, bool add, float *sums)
{
    run_columns(exec, {rows, cols, x, {}, add, sums}, "sum_columns");
}

void cuda_dot_columns(const Exec *exec, int64_t rows, int64_t cols, Rows a, Rows b, bool add, float *sums)
{
    run_columns(exec, {rows, cols, a, b, add, sums}, "dot_columns");
}
