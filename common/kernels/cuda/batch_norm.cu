/* BatchNorm. Values lie in planes (a row is one channel of one sample) or as rows of channels. Moments are taken of so many values
 * at a time that they are in the cache when they are asked for again, as differences from the first value of their chunk, and
 * joined, as on the CPU. */
#include "common/kernels/cuda/elementwise.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

enum { PLANE_THREADS = 256, PHASES = 8, PARTS = 2048, MOST_CHUNKS = 128, AT_ONCE = 1 << 14, ROWS_AT_ONCE = 128 };

typedef struct BatchNorm {
    ChannelShape s;
    Rows x, y, dy, dx;
    const float *mean, *rstd, *gamma, *beta;
    bool relu, add;
    const float *sum_g, *sum_gx, *count; /* NULL: none */
    int64_t chunk, at_once;              /* samples or rows */
    int across;                          /* threads of a block of planes that go along a row: a power of two */
    float *partial;                      /* [chunks, 2, channels] */
} BatchNorm;

static bool in_planes(const ChannelShape *s)
{
    return s->inner != 1;
}

static int64_t values_of(const ChannelShape *s)
{
    return s->batch * s->channels * s->inner;
}

/* Samples or rows whose moments are taken together. */
static int64_t at_once_of(const ChannelShape *s)
{
    int64_t samples = s->inner > 0 && s->inner < AT_ONCE ? AT_ONCE / s->inner : 1;
    return in_planes(s) ? samples : (int64_t)ROWS_AT_ONCE;
}

static int64_t chunk_of(const ChannelShape *s)
{
    int64_t strips = in_planes(s) ? s->channels : blocks_for(s->channels, WARP), at_once = at_once_of(s);
    int64_t chunks = map_lesser(MOST_CHUNKS, strips < PARTS ? PARTS / (strips > 0 ? strips : 1) : 1);
    return blocks_for(blocks_for(s->batch, at_once), chunks) * at_once;
}

static int64_t chunks_of(const ChannelShape *s)
{
    return s->batch > 0 ? blocks_for(s->batch, chunk_of(s)) : 0;
}

static size_t partial_bytes(const ChannelShape *s)
{
    return (size_t)(chunks_of(s) * 2 * s->channels) * sizeof(float);
}

static BatchNorm batch_norm_of(const ChannelShape *s, const float *statistics, const ChannelAffine *affine)
{
    BatchNorm n = {};
    n.s = *s, n.chunk = chunk_of(s), n.at_once = at_once_of(s), n.across = 1;
    while (n.across < PLANE_THREADS && n.across < s->inner)
        n.across *= 2;
    if (statistics)
        n.mean = statistics, n.rstd = statistics + s->channels;
    if (affine)
        n.gamma = affine->gamma, n.beta = affine->beta, n.relu = affine->relu;
    return n;
}

/* ---- What blocks do with their chunk */

/* The chunk of a block of columns [WARP, PHASES] or of a plane, and its place among the partial results. */
typedef struct Part {
    int64_t from, to, c;
    float *first, *second;
} Part;

DEVICE Part part_of(const BatchNorm &n, int64_t c)
{
    int64_t from = blockIdx.y * n.chunk;
    float *first = n.partial + (int64_t)blockIdx.y * 2 * n.s.channels + c;
    Part p = {from, map_lesser(from + n.chunk, n.s.batch), c, first, first + n.s.channels};
    return p;
}

DEVICE int64_t column_of_thread(void)
{
    return (int64_t)blockIdx.x * WARP + threadIdx.x;
}

/* The sum over the phases, in order, for each of WARP columns. */
DEVICE float phases_sum(float x)
{
    __shared__ float of_phase[PHASES][WARP];
    of_phase[threadIdx.y][threadIdx.x] = x;
    __syncthreads();
    float sum = of_phase[0][threadIdx.x];
    for (int p = 1; p < PHASES; p++)
        sum += of_phase[p][threadIdx.x];
    __syncthreads(); /* of_phase may be written again */
    return sum;
}

/* Sums of f(row, column of the row) over the rows from .. to - 1 of a plane's channel (the block gets them) or of a column (its
 * phases do). */
template <typename F> DEVICE float plane_sum(const BatchNorm &n, int64_t c, int64_t from, int64_t to, F f)
{
    float sum = 0;
    for (int64_t b = from + threadIdx.x / n.across; b < to; b += PLANE_THREADS / n.across)
        for (int64_t i = threadIdx.x % n.across; i < n.s.inner; i += n.across)
            sum += f(b * n.s.channels + c, i);
    return block_sum(sum);
}

template <typename F> DEVICE float column_sum(const BatchNorm &n, int64_t c, int64_t from, int64_t to, F f)
{
    float sum = 0;
    for (int64_t r = from + threadIdx.y; r < to && c < n.s.channels; r += PHASES)
        sum += f(r, c);
    return phases_sum(sum);
}

template <bool PLANES, typename F> DEVICE float sum_of(const BatchNorm &n, int64_t c, int64_t from, int64_t to, F f)
{
    return PLANES ? plane_sum(n, c, from, to, f) : column_sum(n, c, from, to, f);
}

/* Whether this thread writes the results of its channel. */
template <bool PLANES> DEVICE bool writes(const BatchNorm &n, int64_t c)
{
    return PLANES ? threadIdx.x == 0 : threadIdx.y == 0 && c < n.s.channels;
}

#define LAUNCH_CHUNKS(kernel, n, exec)                                                                                 \
    do {                                                                                                               \
        unsigned chunks = values_of(&(n).s) > 0 ? (unsigned)chunks_of(&(n).s) : 0;                                     \
        if (in_planes(&(n).s))                                                                                         \
            LAUNCH(kernel<true>, dim3((unsigned)(n).s.channels, chunks), PLANE_THREADS, 0, exec, n);                   \
        else                                                                                                           \
            LAUNCH(kernel<false>, dim3((unsigned)blocks_for((n).s.channels, WARP), chunks), dim3(WARP, PHASES), 0,     \
                   exec, n);                                                                                           \
    } while (0)

/* ---- Moments (Chan, Golub and LeVeque, 1979, "Updating formulae and a pairwise algorithm for computing sample variances") */

typedef struct Moments {
    float mean, squares, count;
} Moments;

DEVICE Moments joined(Moments a, float mean, float squares, float more)
{
    if (more == 0)
        return a;
    float share = more / (a.count + more), d = mean - a.mean;
    Moments both = {a.mean + d * share, a.squares + squares + d * d * a.count * share, a.count + more};
    return both;
}

template <bool PLANES> __global__ void moments_chunks(BatchNorm n)
{
    int64_t c = PLANES ? (int64_t)blockIdx.x : column_of_thread();
    Part p = part_of(n, c);
    bool there = c < n.s.channels;
    float shift = !there ? 0 : PLANES ? rows_get(n.x, p.from * n.s.channels + c, 0) : rows_get(n.x, p.from, c);
    Moments all = {0, 0, 0};
    for (int64_t from = p.from; from < p.to; from += n.at_once) {
        int64_t to = map_lesser(from + n.at_once, p.to);
        float more = (float)((to - from) * n.s.inner);
        float middle =
            sum_of<PLANES>(n, c, from, to, [&](int64_t r, int64_t i) { return rows_get(n.x, r, i) - shift; });
        middle /= more;
        float squares = sum_of<PLANES>(n, c, from, to, [&](int64_t r, int64_t i) {
            float d = rows_get(n.x, r, i) - shift - middle;
            return d * d;
        });
        all = joined(all, middle, squares, more);
    }
    if (writes<PLANES>(n, c)) {
        *p.first = shift + all.mean;
        *p.second = all.squares;
    }
}

__global__ void join_chunks(BatchNorm n, int64_t chunks, float *to)
{
    int64_t c = map_col<1>(), channels = n.s.channels;
    if (c >= channels)
        return;
    Moments all = {0, 0, 0};
    for (int64_t k = 0; k < chunks; k++) {
        float more = (float)(map_lesser(n.chunk, n.s.batch - k * n.chunk) * n.s.inner);
        const float *part = n.partial + k * 2 * channels + c;
        all = joined(all, part[0], part[channels], more);
    }
    to[c] = all.mean;
    to[channels + c] = all.squares;
    if (c == 0)
        to[2 * channels] = all.count;
}

enum { CHANNELS = 128 }; /* a block, where a channel has a thread */

static unsigned channel_blocks(int64_t channels)
{
    return (unsigned)blocks_for(channels, CHANNELS);
}

static void moments(const Exec *exec, const ChannelShape *s, Rows x, float *to)
{
    rows_check(x, "moments");
    contract(exec->scratch_bytes >= partial_bytes(s), "moments: scratch is too small");
    BatchNorm n = batch_norm_of(s, NULL, NULL);
    n.x = x, n.partial = (float *)exec->scratch;
    LAUNCH_CHUNKS(moments_chunks, n, exec);
    LAUNCH(join_chunks, channel_blocks(s->channels), CHANNELS, 0, exec, n, chunks_of(s), to);
}

__global__ void join_parts(int64_t channels, int64_t parts, const float *of_parts, float eps, RunningStatistics running,
                           float *to)
{
    int64_t c = map_col<1>();
    if (c >= channels)
        return;
    Moments all = {0, 0, 0};
    for (int64_t p = 0; p < parts; p++) {
        const float *part = of_parts + p * (2 * channels + 1);
        all = joined(all, part[c], part[channels + c], part[2 * channels]);
    }
    if (running.mean && all.count > 1) {
        float share = running.momentum;
        running.mean[c] = (1 - share) * running.mean[c] + share * all.mean;
        running.variance[c] = (1 - share) * running.variance[c] + share * (all.squares / (all.count - 1));
        if (c == 0 && running.batches)
            ++*running.batches;
    }
    to[c] = all.mean;
    to[channels + c] = 1.0f / sqrtf((all.count > 0 ? all.squares / all.count : 0) + eps);
    if (c == 0)
        to[2 * channels] = all.count;
}

static void statistics(const Exec *exec, int64_t channels, int64_t parts, const float *of_parts, float eps,
                       const RunningStatistics *running, float *to)
{
    LAUNCH(join_parts, channel_blocks(channels), CHANNELS, 0, exec, channels, parts, of_parts, eps, *running, to);
}

__global__ void remembered(int64_t channels, const float *mean, const float *variance, float eps, float *to)
{
    int64_t c = map_col<1>();
    if (c >= channels)
        return;
    to[c] = mean[c];
    to[channels + c] = 1.0f / sqrtf(variance[c] + eps);
    if (c == 0)
        to[2 * channels] = 0;
}

static void running_statistics(const Exec *exec, int64_t channels, const float *mean, const float *variance, float eps,
                               float *to)
{
    LAUNCH(remembered, channel_blocks(channels), CHANNELS, 0, exec, channels, mean, variance, eps, to);
}

/* ---- Value by value */

typedef struct Factors {
    float mean, scale, beta; /* scale: gamma rstd */
    float shift_g, shift_gx; /* what dx takes from g: shift_g + (x - mean) shift_gx */
} Factors;

DEVICE Factors factors_at(const BatchNorm &n, int64_t c)
{
    float rstd = n.rstd[c];
    Factors f = {n.mean[c], n.gamma ? n.gamma[c] * rstd : rstd, n.beta ? n.beta[c] : 0, 0, 0};
    if (n.sum_g) {
        float of_count = 1.0f / *n.count;
        f.shift_g = n.sum_g[c] * of_count;
        f.shift_gx = n.sum_gx[c] * rstd * of_count;
    }
    return f;
}

/* xhat gamma + beta, the same bits wherever it is asked for. */
DEVICE float normal_of(const Factors &f, float x)
{
    return fmaf(x - f.mean, f.scale, f.beta);
}

/* dy, or 0 where relu stopped it. */
DEVICE float let_through(const BatchNorm &n, const Factors &f, float x, float dy)
{
    return !n.relu || normal_of(f, x) > 0 ? dy : 0;
}

/* Calls step(row, column, factors of N values from there on) for every N-th value that is this thread's. */
template <bool PLANES, int N, typename F> DEVICE void each_value(const BatchNorm &n, F step)
{
    int64_t rows = PLANES ? n.s.batch * n.s.channels : n.s.batch, cols = PLANES ? n.s.inner : n.s.channels;
    Factors f[PLANES ? 1 : N];
    for (int64_t r = map_row(); r < rows; r += map_row_step()) {
        if (PLANES)
            f[0] = factors_at(n, r % n.s.channels);
        for (int64_t c = map_col<N>(); c < cols; c += map_col_step<N>()) {
            if (!PLANES)
                for (int i = 0; i < N; i++)
                    f[i] = factors_at(n, c + i);
            step(r, c, f);
        }
    }
}

template <bool PLANES, int N> __global__ void normalise_values(BatchNorm n)
{
    each_value<PLANES, N>(n, [&](int64_t r, int64_t c, const Factors *f) {
        Floats<N> v = rows_load<N>(n.x, r, c);
        for (int i = 0; i < N; i++) {
            v.at[i] = normal_of(f[PLANES ? 0 : i], v.at[i]);
            v.at[i] = n.relu && v.at[i] < 0 ? 0 : v.at[i];
        }
        rows_store<N>(n.y, r, c, v);
    });
}

/* dx (+)= scale (g - shift_g - (x - mean) shift_gx) */
template <bool PLANES, int N> __global__ void gradient_values(BatchNorm n)
{
    each_value<PLANES, N>(n, [&](int64_t r, int64_t c, const Factors *factors) {
        Floats<N> dy = rows_load<N>(n.dy, r, c), x = rows_load<N>(n.x, r, c);
        Floats<N> dx = n.add ? rows_load<N>(n.dx, r, c) : floats_of<N>(0);
        for (int i = 0; i < N; i++) {
            const Factors &f = factors[PLANES ? 0 : i];
            float g = let_through(n, f, x.at[i], dy.at[i]);
            dx.at[i] += f.scale * (g - f.shift_g - (x.at[i] - f.mean) * f.shift_gx);
        }
        rows_store<N>(n.dx, r, c, dx);
    });
}

/* Starts kernel<PLANES, N>, N = 4 where `width` is 4, else 1. */
#define LAUNCH_VALUES(kernel, n, width, exec)                                                                          \
    do {                                                                                                               \
        bool planes = in_planes(&(n).s);                                                                               \
        int64_t rows = planes ? (n).s.batch * (n).s.channels : (n).s.batch, cols = cols_of(&(n).s);                    \
        MapGrid g = map_grid(rows, cols / (width));                                                                    \
        if (planes && (width) == 4)                                                                                    \
            LAUNCH((kernel<true, 4>), g.grid, g.block, 0, exec, n);                                                    \
        else if (planes)                                                                                               \
            LAUNCH((kernel<true, 1>), g.grid, g.block, 0, exec, n);                                                    \
        else if ((width) == 4)                                                                                         \
            LAUNCH((kernel<false, 4>), g.grid, g.block, 0, exec, n);                                                   \
        else                                                                                                           \
            LAUNCH((kernel<false, 1>), g.grid, g.block, 0, exec, n);                                                   \
    } while (0)

static int64_t cols_of(const ChannelShape *s)
{
    return in_planes(s) ? s->inner : s->channels;
}

static void normalise(const Exec *exec, const ChannelShape *s, Rows x, const float *stats, const ChannelAffine *affine,
                      Rows y)
{
    rows_check(x, "normalise");
    rows_check(y, "normalise");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.x = x, n.y = y;
    LAUNCH_VALUES(normalise_values, n, ROWS_WIDTH(cols_of(s), x, y), exec);
}

/* ---- Backward */

template <bool PLANES> __global__ void sums_chunks(BatchNorm n)
{
    int64_t c = PLANES ? (int64_t)blockIdx.x : column_of_thread();
    Part p = part_of(n, c);
    Factors f = {};
    if (c < n.s.channels)
        f = factors_at(n, c);
    float sum_gx = 0;
    float sum_g = sum_of<PLANES>(n, c, p.from, p.to, [&](int64_t r, int64_t i) {
        float x = rows_get(n.x, r, i), g = let_through(n, f, x, rows_get(n.dy, r, i));
        sum_gx += g * (x - f.mean);
        return g;
    });
    sum_gx = PLANES ? block_sum(sum_gx) : phases_sum(sum_gx);
    if (writes<PLANES>(n, c)) {
        *p.first = sum_g;
        *p.second = sum_gx * n.rstd[c];
    }
}

static void gradient_sums(const Exec *exec, const ChannelShape *s, Rows dy, Rows x, const float *stats,
                          const ChannelAffine *affine, float *sums)
{
    rows_check(dy, "gradient_sums");
    rows_check(x, "gradient_sums");
    contract(exec->scratch_bytes >= partial_bytes(s), "gradient_sums: scratch is too small");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.dy = dy, n.x = x, n.partial = (float *)exec->scratch;
    LAUNCH_CHUNKS(sums_chunks, n, exec);
    cuda_add_chunks(exec, 2 * s->channels, values_of(s) > 0 ? chunks_of(s) : 0, n.partial, false, sums);
}

static void gradient(const Exec *exec, const ChannelShape *s, Rows dy, Rows x, const float *stats,
                     const ChannelAffine *affine, const float *sums, bool add, Rows dx)
{
    rows_check(dy, "gradient");
    rows_check(x, "gradient");
    rows_check(dx, "gradient");
    BatchNorm n = batch_norm_of(s, stats, affine);
    n.dy = dy, n.x = x, n.dx = dx, n.add = add;
    if (sums)
        n.sum_g = sums, n.sum_gx = sums + s->channels, n.count = stats + 2 * s->channels;
    LAUNCH_VALUES(gradient_values, n, ROWS_WIDTH(cols_of(s), dy, x, dx), exec);
}

const BatchNormKernels cuda_batch_norm = {
    .moments_scratch = partial_bytes,
    .moments = moments,
    .statistics = statistics,
    .running_statistics = running_statistics,
    .normalise = normalise,
    .gradient_sums_scratch = partial_bytes,
    .gradient_sums = gradient_sums,
    .gradient = gradient,
};
