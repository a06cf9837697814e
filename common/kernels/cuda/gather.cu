/* Rows read and summed by index. A sum is never shared between blocks: the choices are first sorted by the row that they name, in
 * ascending order, then every row adds up its own. */
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

/* Which row choice m of head h of sample b names. */
DEVICE int64_t chosen(const Choices &c, int64_t b, int64_t m, int64_t h)
{
    int64_t at = (b * c.count + m) * c.heads + h;
    int64_t row = c.type == I32 ? ((const int32_t *)c.index)[at] : ((const int64_t *)c.index)[at];
    device_contract(row >= 0 && row < c.rows);
    return row;
}

static void check(const Choices *c, HeadRows x, HeadRows y, const char *kernel)
{
    rows_check(rows_of_heads(x), kernel);
    rows_check(rows_of_heads(y), kernel);
    contract((c->type == I32 || c->type == I64) && c->rows < INT32_MAX && c->count <= INT32_MAX,
             "%s: an index of %s, %lld of %lld rows", kernel, dtype_name(c->type), (long long)c->count,
             (long long)c->rows);
}

/* ---- Gather */

typedef struct Gather {
    Choices choices;
    HeadRows x, y;
    const float *factors;
    bool add;
} Gather;

/* Rows of the map are (sample, choice, head), heads fastest. */
template <int N> __global__ void gather_rows(Gather g)
{
    const Choices &c = g.choices;
    for (int64_t item = map_row(); item < c.batch * c.count * c.heads; item += map_row_step()) {
        int64_t h = item % c.heads, m = item / c.heads % c.count, b = item / c.heads / c.count;
        int64_t i = chosen(c, b, m, h);
        Rows from = head_row(g.x, c.width, b, i, h), to = head_row(g.y, c.width, b, m, h);
        float factor = g.factors ? g.factors[(b * c.rows + i) * c.heads + h] : 1.0f;
        for (int64_t col = map_col<N>(); col < c.width; col += map_col_step<N>()) {
            Floats<N> v = rows_load<N>(from, 0, col), y = g.add ? rows_load<N>(to, 0, col) : floats_of<N>(0);
            for (int k = 0; k < N; k++)
                y.at[k] += v.at[k] * factor;
            rows_store<N>(to, 0, col, y);
        }
    }
}

static void gather(const Exec *exec, const Choices *c, HeadRows x, const float *factors, bool add, HeadRows y)
{
    check(c, x, y, "gather");
    Gather g = {*c, x, y, factors, add};
    int width = ROWS_WIDTH(c->width, rows_of_heads(x), rows_of_heads(y));
    MapGrid m = map_grid(c->batch * c->count * c->heads, c->width / width);
    if (width == 4)
        LAUNCH(gather_rows<4>, m.grid, m.block, 0, exec, g);
    else
        LAUNCH(gather_rows<1>, m.grid, m.block, 0, exec, g);
}

/* ---- Scatter: the choices are sorted */

enum { SCAN_THREADS = 256 };

/* Of each group, a head of a sample. */
typedef struct Scatter {
    Choices choices;
    HeadRows x, y;
    float *factors, eps;
    bool add;
    int *starts;   /* [groups, N+1]: where a row's choices begin in the order */
    int *found;    /* [groups, N]: how many choices of a row have no place yet */
    int *unsorted; /* [groups, M]: a row's choices side by side */
    int *order;    /* [groups, M]: the same, ascending */
} Scatter;

static size_t scatter_scratch(const Choices *c)
{
    return (size_t)(c->batch * c->heads * (2 * c->rows + 1 + 2 * c->count)) * sizeof(int);
}

__global__ void clear_counts(int64_t count, int *found)
{
    for (int64_t i = map_col<1>(); i < count; i += map_col_step<1>())
        found[i] = 0;
}

/* A choice as the index has it: heads fastest. */
typedef struct Choice {
    int64_t m, group, row;
} Choice;

DEVICE Choice choice_at(const Choices &c, int64_t item)
{
    int64_t h = item % c.heads, m = item / c.heads % c.count, b = item / c.heads / c.count;
    Choice choice = {m, b * c.heads + h, chosen(c, b, m, h)};
    return choice;
}

__global__ void count_choices(Scatter s)
{
    const Choices &c = s.choices;
    for (int64_t item = map_col<1>(); item < c.batch * c.count * c.heads; item += map_col_step<1>()) {
        Choice at = choice_at(c, item);
        atomicAdd(&s.found[at.group * c.rows + at.row], 1);
    }
}

/* starts = the sums of the counts before; a block has a group. */
__global__ void scan_counts(Scatter s)
{
    __shared__ int sums[SCAN_THREADS];
    const Choices &c = s.choices;
    int me = (int)threadIdx.x;
    for (int64_t group = blockIdx.x; group < c.batch * c.heads; group += gridDim.x) {
        int *starts = s.starts + group * (c.rows + 1), before = 0;
        for (int64_t first = 0; first < c.rows; first += SCAN_THREADS) {
            int mine = first + me < c.rows ? s.found[group * c.rows + first + me] : 0, sum = mine;
            for (int step = 1; step < SCAN_THREADS; step *= 2) {
                sums[me] = sum;
                __syncthreads();
                sum += me >= step ? sums[me - step] : 0;
                __syncthreads();
            }
            if (first + me < c.rows)
                starts[first + me] = before + sum - mine;
            sums[me] = sum;
            __syncthreads();
            before += sums[SCAN_THREADS - 1];
            __syncthreads();
        }
        if (me == 0)
            starts[c.rows] = before;
    }
}

/* A row's choices come in any order ... */
__global__ void place_choices(Scatter s)
{
    const Choices &c = s.choices;
    for (int64_t item = map_col<1>(); item < c.batch * c.count * c.heads; item += map_col_step<1>()) {
        Choice at = choice_at(c, item);
        int place = atomicAdd(&s.found[at.group * c.rows + at.row], -1) - 1;
        s.unsorted[at.group * c.count + s.starts[at.group * (c.rows + 1) + at.row] + place] = (int)at.m;
    }
}

/* ... and each finds its own place among them: after those that are less. */
__global__ void sort_choices(Scatter s)
{
    const Choices &c = s.choices;
    for (int64_t item = map_col<1>(); item < c.batch * c.count * c.heads; item += map_col_step<1>()) {
        Choice at = choice_at(c, item);
        const int *starts = s.starts + at.group * (c.rows + 1) + at.row, *all = s.unsorted + at.group * c.count;
        int place = starts[0];
        for (int k = starts[0]; k < starts[1]; k++)
            place += all[k] < (int)at.m;
        s.order[at.group * c.count + place] = (int)at.m;
    }
}

/* ---- Scatter: the rows sum what is theirs. Of few choices in order, one thread a column; where a row has MANY, a block shares
 * them, PHASES at a time. */

enum { MANY = 64, PHASES = 8, MANY_BLOCKS = 2048 };

/* Row i of a group. */
typedef struct ScatterRow {
    int64_t b, h, i;
    const int *order; /* of its choices */
    int count;
} ScatterRow;

DEVICE ScatterRow scatter_row(const Scatter &s, int64_t item)
{
    const Choices &c = s.choices;
    int64_t i = item % c.rows, group = item / c.rows;
    const int *starts = s.starts + group * (c.rows + 1) + i;
    ScatterRow row = {group / c.heads, group % c.heads, i, s.order + group * c.count + starts[0],
                      starts[1] - starts[0]};
    return row;
}

/* y (+)= factor sum */
template <int N> DEVICE void write_sum(const Scatter &s, const ScatterRow &row, int64_t col, Floats<N> sum)
{
    const Choices &c = s.choices;
    Rows to = head_row(s.y, c.width, row.b, row.i, row.h);
    float factor = s.factors ? 1.0f / ((float)row.count + s.eps) : 1.0f;
    Floats<N> y = s.add ? rows_load<N>(to, 0, col) : floats_of<N>(0);
    for (int k = 0; k < N; k++)
        y.at[k] += sum.at[k] * factor;
    rows_store<N>(to, 0, col, y);
    if (s.factors && col == 0)
        s.factors[(row.b * c.rows + row.i) * c.heads + row.h] = factor;
}

/* Of the choices first, first + step, ... */
template <int N> DEVICE Floats<N> sum_choices(const Scatter &s, const ScatterRow &row, int64_t col, int first, int step)
{
    Floats<N> sum = floats_of<N>(0);
    for (int k = first; k < row.count; k += step) {
        Floats<N> x = rows_load<N>(head_row(s.x, s.choices.width, row.b, row.order[k], row.h), 0, col);
        for (int i = 0; i < N; i++)
            sum.at[i] += x.at[i];
    }
    return sum;
}

template <int N> __global__ void scatter_few(Scatter s)
{
    const Choices &c = s.choices;
    for (int64_t item = map_row(); item < c.batch * c.heads * c.rows; item += map_row_step()) {
        ScatterRow row = scatter_row(s, item);
        if (row.count > MANY || (row.count == 0 && s.add && !s.factors))
            continue;
        for (int64_t col = map_col<N>(); col < c.width; col += map_col_step<N>())
            write_sum<N>(s, row, col, sum_choices<N>(s, row, col, 0, 1));
    }
}

template <int N> __global__ void scatter_many(Scatter s)
{
    __shared__ Floats<N> sums[PHASES][WARP];
    const Choices &c = s.choices;
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    for (int64_t item = blockIdx.x; item < c.batch * c.heads * c.rows; item += gridDim.x) {
        ScatterRow row = scatter_row(s, item);
        if (row.count <= MANY)
            continue;
        for (int64_t strip = 0; strip < c.width; strip += WARP * N) {
            int64_t col = strip + lane * N;
            Floats<N> sum = floats_of<N>(0);
            if (col < c.width)
                sum = sum_choices<N>(s, row, col, phase, PHASES);
            sums[phase][lane] = sum;
            __syncthreads();
            if (phase == 0 && col < c.width) {
                for (int p = 1; p < PHASES; p++)
                    for (int i = 0; i < N; i++)
                        sum.at[i] += sums[p][lane].at[i];
                write_sum<N>(s, row, col, sum);
            }
            __syncthreads();
        }
    }
}

static void sort(const Exec *exec, const Scatter &s)
{
    const Choices &c = s.choices;
    int64_t groups = c.batch * c.heads;
    MapGrid rows = map_grid(1, groups * c.rows), choices = map_grid(1, groups * c.count);
    LAUNCH(clear_counts, rows.grid, rows.block, 0, exec, groups * c.rows, s.found);
    LAUNCH(count_choices, choices.grid, choices.block, 0, exec, s);
    LAUNCH(scan_counts, grid_for(groups), SCAN_THREADS, 0, exec, s);
    LAUNCH(place_choices, choices.grid, choices.block, 0, exec, s);
    LAUNCH(sort_choices, choices.grid, choices.block, 0, exec, s);
}

template <int N> void sum(const Exec *exec, const Scatter &s)
{
    const Choices &c = s.choices;
    int64_t rows = c.batch * c.heads * c.rows;
    MapGrid few = map_grid(rows, c.width / N);
    LAUNCH(scatter_few<N>, few.grid, few.block, 0, exec, s);
    if (c.count > MANY)
        LAUNCH(scatter_many<N>, (unsigned)map_lesser(rows, MANY_BLOCKS), dim3(WARP, PHASES), 0, exec, s);
}

static void scatter(const Exec *exec, const Choices *c, HeadRows x, float *factors, float eps, bool add, HeadRows y)
{
    check(c, x, y, "scatter");
    contract(exec->scratch_bytes >= scatter_scratch(c), "scatter: scratch is too small");
    int64_t groups = c->batch * c->heads;
    if (c->width == 0 || groups * c->rows == 0)
        return;
    Scatter s = {*c, x, y, factors, eps, add, (int *)exec->scratch, NULL, NULL, NULL};
    s.found = s.starts + groups * (c->rows + 1);
    s.unsorted = s.found + groups * c->rows;
    s.order = s.unsorted + groups * c->count;
    sort(exec, s);
    if (ROWS_WIDTH(c->width, rows_of_heads(x), rows_of_heads(y)) == 4)
        sum<4>(exec, s);
    else
        sum<1>(exec, s);
}

const GatherKernels cuda_gather = {.gather = gather, .scatter_scratch = scatter_scratch, .scatter = scatter};
