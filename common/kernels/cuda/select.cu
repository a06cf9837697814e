/* The largest of a row, and the largest rows of each column: a column's w-th largest value is found digit by digit from counts of
 * its keys, and one last pass writes the rows in their order. */
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/team.cuh"

/* A number with the float's place in the order; both zeros have one, and a NaN counts as -infinity. */
DEVICE uint32_t key_of(float x)
{
    uint32_t bits = float_bits(x == x ? x + 0.0f : -INFINITY); /* -0 becomes 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* ---- The largest of a row */

typedef struct Largest {
    int64_t rows, cols;
    Rows x;
    int32_t *index;
} Largest;

DEVICE uint64_t warp_largest(uint64_t x)
{
    for (int step = WARP / 2; step > 0; step /= 2) {
        uint64_t other = __shfl_xor_sync(ALL_LANES, x, step);
        x = other > x ? other : x;
    }
    return x;
}

/* A key and, below it, its column, turned round: the first of equal keys is the largest. */
template <typename Team, int N> __global__ void largest_rows(Largest l)
{
    __shared__ uint64_t of_warp[TEAM_THREADS / WARP];
    for (int64_t r = Team::first_row(); r < l.rows; r += Team::row_step()) {
        uint64_t largest = 0;
        for (int64_t c = Team::index() * N; c < l.cols; c += Team::size() * N) {
            Floats<N> v = rows_load<N>(l.x, r, c);
            for (int i = 0; i < N; i++) {
                uint64_t pair = (uint64_t)key_of(v.at[i]) << 32 | (uint32_t) ~(uint32_t)(c + i);
                largest = pair > largest ? pair : largest;
            }
        }
        largest = warp_largest(largest);
        if (Team::size() > WARP) {
            if (lane_index() == 0)
                of_warp[Team::index() / WARP] = largest;
            __syncthreads();
            largest = warp_largest(lane_index() < TEAM_THREADS / WARP ? of_warp[lane_index()] : 0);
            __syncthreads();
        }
        if (Team::index() == 0)
            l.index[r] = (int32_t) ~(uint32_t)largest;
    }
}

static void largest(const Exec *exec, int64_t rows, int64_t cols, Rows x, int32_t *index)
{
    rows_check(x, "largest");
    contract(rows == 0 || (cols > 0 && cols <= INT32_MAX), "largest: rows of %lld columns", (long long)cols);
    Largest l = {rows, cols, x, index};
    LAUNCH_TEAMS(largest_rows, rows, cols, ROWS_WIDTH(cols, x), exec, l);
}

/* ---- The largest rows of a column */

enum { THREADS = 256, DIGITS = 256, DIGIT_BITS = 8, TILE = 32, TILE_ROWS = 8, LANE_DIGITS = DIGITS / WARP };

typedef struct Top {
    TopRows shape;
    const float *scores;
    uint32_t *keys; /* [B,H,K,N] */
    int32_t *index;
} Top;

static size_t top_rows_scratch(const Exec *exec, const TopRows *s)
{
    (void)exec;
    return (size_t)(s->batch * s->heads * s->rows * s->cols) * sizeof(uint32_t);
}

/* Columns of the scores become rows of keys. */
__global__ void make_keys(Top t)
{
    __shared__ uint32_t tile[TILE][TILE + 1];
    const TopRows &s = t.shape;
    int lane = (int)threadIdx.x;
    int64_t across = blocks_for(s.cols, TILE), tiles = across * blocks_for(s.rows, TILE);
    for (int64_t job = blockIdx.x; job < tiles * s.batch * s.heads; job += gridDim.x) {
        int64_t table = job / tiles * s.rows * s.cols, k = job % tiles % across * TILE, n = job % tiles / across * TILE;
        for (int i = (int)threadIdx.y; i < TILE; i += TILE_ROWS)
            if (n + i < s.rows && k + lane < s.cols)
                tile[i][lane] = key_of(t.scores[table + (n + i) * s.cols + k + lane]);
        __syncthreads();
        for (int i = (int)threadIdx.y; i < TILE; i += TILE_ROWS)
            if (k + i < s.cols && n + lane < s.rows)
                t.keys[table + (k + i) * s.rows + n + lane] = tile[lane][i];
        __syncthreads();
    }
}

/* The part of a key that is known, and how many of the keys with it are wanted. */
typedef struct Bound {
    uint32_t known, mask;
    int wanted;
} Bound;

/* The next digit of the wanted-th largest key, from the counts of that digit. By the first warp: a lane has LANE_DIGITS digits,
 * the largest in lane 0. */
DEVICE void next_digit(const int *counts, int shift, Bound *bound)
{
    int first = DIGITS - 1 - lane_index() * LANE_DIGITS, mine = 0;
    for (int i = 0; i < LANE_DIGITS; i++)
        mine += counts[first - i];
    int before = mine;
    for (int step = 1; step < WARP; step *= 2) {
        int other = __shfl_up_sync(ALL_LANES, before, (unsigned)step);
        before += lane_index() >= step ? other : 0;
    }
    before -= mine;
    int wanted = bound->wanted;
    __syncwarp();
    if (before >= wanted || before + mine < wanted)
        return;
    int digit = first;
    for (; before + counts[digit] < wanted; digit--)
        before += counts[digit];
    bound->known |= (uint32_t)digit << shift;
    bound->mask |= (uint32_t)(DIGITS - 1) << shift;
    bound->wanted = wanted - before;
}

/* The wanted-th largest of the keys, and how many equal to it are wanted. */
DEVICE void find_bound(const uint32_t *keys, int64_t rows, int wanted, int *counts, Bound *bound)
{
    if (threadIdx.x == 0) {
        Bound nothing = {0, 0, wanted};
        *bound = nothing;
    }
    for (int shift = 32 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        counts[threadIdx.x] = 0;
        __syncthreads();
        uint32_t known = bound->known, mask = bound->mask;
        for (int64_t n = threadIdx.x; n < rows; n += THREADS)
            if ((keys[n] & mask) == known)
                atomicAdd(&counts[keys[n] >> shift & (DIGITS - 1)], 1);
        __syncthreads();
        if (threadIdx.x < WARP)
            next_digit(counts, shift, bound);
        __syncthreads();
    }
}

/* How many threads before this one in the block have it, and in *all how many there are. */
DEVICE int threads_before(bool has, int *of_warp, int *all)
{
    int warp = (int)threadIdx.x / WARP, before = 0, sum = 0;
    unsigned lanes = __ballot_sync(ALL_LANES, has);
    if (lane_index() == 0)
        of_warp[warp] = __popc(lanes);
    __syncthreads();
    for (int w = 0; w < THREADS / WARP; w++) {
        before += w < warp ? of_warp[w] : 0;
        sum += of_warp[w];
    }
    __syncthreads();
    *all = sum;
    return before + __popc(lanes & ((1u << lane_index()) - 1));
}

/* A block has a column. Of the keys that are equal to the bound, the first ones are taken. */
__global__ void top_of_columns(Top t)
{
    __shared__ int counts[DIGITS], of_warp[THREADS / WARP];
    __shared__ Bound bound;
    const TopRows &s = t.shape;
    for (int64_t column = blockIdx.x; column < s.batch * s.heads * s.cols; column += gridDim.x) {
        const uint32_t *keys = t.keys + column * s.rows;
        int64_t k = column % s.cols, h = column / s.cols % s.heads, b = column / s.cols / s.heads;
        int32_t *index = t.index + (b * s.cols + k) * s.count * s.heads + h;
        find_bound(keys, s.rows, (int)s.count, counts, &bound);
        int taken = 0, equal = 0, all;
        for (int64_t first = 0; first < s.rows; first += THREADS) {
            int64_t n = first + threadIdx.x;
            uint32_t key = n < s.rows ? keys[n] : 0;
            bool ties = n < s.rows && key == bound.known;
            int ties_before = equal + threads_before(ties, of_warp, &all);
            equal += all;
            bool take = n < s.rows && (key > bound.known || (ties && ties_before < bound.wanted));
            int place = taken + threads_before(take, of_warp, &all);
            taken += all;
            if (take)
                index[place * s.heads] = (int32_t)n;
        }
        __syncthreads(); /* the bound is found again */
    }
}

static void top_rows(const Exec *exec, const TopRows *s, const float *scores, int32_t *index)
{
    contract(s->count >= 0 && s->count <= s->rows && s->rows <= INT32_MAX, "top_rows: %lld of %lld rows",
             (long long)s->count, (long long)s->rows);
    contract(exec->scratch_bytes >= top_rows_scratch(exec, s), "top_rows: scratch is too small");
    if (s->count == 0)
        return;
    Top t = {*s, scores, (uint32_t *)exec->scratch, index};
    int64_t tables = s->batch * s->heads, tiles = blocks_for(s->rows, TILE) * blocks_for(s->cols, TILE);
    LAUNCH(make_keys, grid_for(tables * tiles), dim3(TILE, TILE_ROWS), 0, exec, t);
    LAUNCH(top_of_columns, grid_for(tables * s->cols), THREADS, 0, exec, t);
}

const SelectKernels cuda_select = {.largest = largest, .top_rows_scratch = top_rows_scratch, .top_rows = top_rows};
