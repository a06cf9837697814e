/* One value in, one value out: each kernel is a function of a few values, mapped over the matrix. */
#include "common/kernels/cuda/elementwise.cuh"
#include "common/kernels/cuda/functions.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/value_map.h"

struct UnaryValue {
    Unary f;
    template <int N> __device__ __forceinline__ Floats<N> of(Floats<N> x, Floats<N>, float) const
    {
        return unary_values<N>(f, x);
    }
};

struct UnaryGradient {
    Unary f;
    template <int N> __device__ __forceinline__ Floats<N> of(Floats<N> dy, Floats<N> x, float) const
    {
        Floats<N> slope = unary_slopes<N>(f, x);
        for (int i = 0; i < N; i++)
            dy.at[i] *= slope.at[i];
        return dy;
    }
};

struct Operation {
    Binary f;
    template <int N> __device__ __forceinline__ Floats<N> of(Floats<N> a, Floats<N> b, float) const
    {
        for (int i = 0; i < N; i++)
            a.at[i] = f == BINARY_ADD        ? a.at[i] + b.at[i]
                      : f == BINARY_SUBTRACT ? a.at[i] - b.at[i]
                      : f == BINARY_MULTIPLY ? a.at[i] * b.at[i]
                                             : a.at[i] / b.at[i];
        return a;
    }
};

struct Scaled {
    template <int N> __device__ __forceinline__ Floats<N> of(Floats<N> x, Floats<N>, float factor) const
    {
        for (int i = 0; i < N; i++)
            x.at[i] *= factor;
        return x;
    }
};

template <typename F, int N> __global__ void map_values(Map m, F f)
{
    for (int64_t r = map_row(); r < m.rows; r += map_row_step()) {
        int64_t b_row = m.b_period ? r % m.b_period : r;
        float factor = m.factors ? m.factors[r / m.repeat] : m.factor;
        for (int64_t c = map_col<N>(); c < m.cols; c += map_col_step<N>()) {
            Floats<N> b = m.b.data ? rows_load<N>(m.b, b_row, c) : floats_of<N>(0);
            Floats<N> v = f.of(rows_load<N>(m.a, r, c), b, factor);
            if (m.add) {
                Floats<N> y = rows_load<N>(m.y, r, c);
                for (int i = 0; i < N; i++)
                    v.at[i] += y.at[i];
            }
            rows_store<N>(m.y, r, c, v);
        }
    }
}

template <typename F> void map_run(const Exec *exec, Map m, F f, const char *kernel)
{
    rows_check(m.a, kernel);
    rows_check(m.b, kernel);
    rows_check(m.y, kernel);
    m = map_joined(m);
    int width = ROWS_WIDTH(m.cols, m.a, m.b, m.y);
    MapGrid g = map_grid(m.rows, m.cols / width);
    if (width == 4)
        LAUNCH((map_values<F, 4>), g.grid, g.block, 0, exec, m, f);
    else
        LAUNCH((map_values<F, 1>), g.grid, g.block, 0, exec, m, f);
}

static void unary(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows x, Rows y)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = x, m.y = y;
    map_run(exec, m, UnaryValue{f}, "unary");
}

static void unary_gradient(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows dy, Rows x, bool add, Rows dx)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = dy, m.b = x, m.add = add, m.y = dx;
    map_run(exec, m, UnaryGradient{f}, "unary_gradient");
}

typedef struct Both {
    Unary f;
    int64_t rows, cols;
    Rows dy, x, y, dx;
} Both;

template <int N> __global__ void unary_both_values(Both m)
{
    for (int64_t r = map_row(); r < m.rows; r += map_row_step())
        for (int64_t c = map_col<N>(); c < m.cols; c += map_col_step<N>()) {
            Floats<N> x = rows_load<N>(m.x, r, c), dy = rows_load<N>(m.dy, r, c), slope = unary_slopes<N>(m.f, x);
            for (int i = 0; i < N; i++)
                dy.at[i] *= slope.at[i];
            rows_store<N>(m.y, r, c, unary_values<N>(m.f, x));
            rows_store<N>(m.dx, r, c, dy);
        }
}

static void unary_both(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows dy, Rows x, Rows y, Rows dx)
{
    const Rows all[] = {dy, x, y, dx};
    for (Rows m : all)
        rows_check(m, "unary_both");
    if (gapless(dy, cols) && gapless(x, cols) && gapless(y, cols) && gapless(dx, cols)) {
        cols *= rows;
        rows = cols ? 1 : 0;
        dy.stride = x.stride = y.stride = dx.stride = cols;
    }
    Both both = {f, rows, cols, dy, x, y, dx};
    int width = ROWS_WIDTH(cols, dy, x, y, dx);
    MapGrid g = map_grid(rows, cols / width);
    if (width == 4)
        LAUNCH(unary_both_values<4>, g.grid, g.block, 0, exec, both);
    else
        LAUNCH(unary_both_values<1>, g.grid, g.block, 0, exec, both);
}

static void binary(const Exec *exec, Binary f, int64_t rows, int64_t cols, Rows a, Rows b, Rows y)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = a, m.b = b, m.y = y;
    map_run(exec, m, Operation{f}, "binary");
}

static void scale(const Exec *exec, int64_t rows, int64_t cols, float factor, Rows x, bool add, Rows y)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = x, m.factor = factor, m.add = add, m.y = y;
    map_run(exec, m, Scaled{}, "scale");
}

static void scale_rows(const Exec *exec, int64_t rows, int64_t cols, const float *factors, int64_t repeat, Rows x,
                       bool add, Rows y)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = x, m.factors = factors, m.repeat = repeat, m.add = add, m.y = y;
    map_run(exec, m, Scaled{}, "scale_rows");
}

static void add_rows(const Exec *exec, int64_t rows, int64_t cols, Rows x, const float *table, int64_t period, Rows y)
{
    Map m = {};
    m.rows = rows, m.cols = cols, m.a = x, m.b = {(void *)table, cols, F32}, m.b_period = period, m.y = y;
    map_run(exec, m, Operation{BINARY_ADD}, "add_rows");
}

template <int N> __global__ void fill_values(int64_t count, float value, float *y)
{
    for (int64_t i = map_col<N>(); i < count; i += map_col_step<N>())
        floats_store<N>(y + i, floats_of<N>(value));
}

static void fill(const Exec *exec, int64_t count, float value, float *y)
{
    int width = ROWS_WIDTH(count, rows_of(y));
    MapGrid g = map_grid(1, count / width);
    if (width == 4)
        LAUNCH(fill_values<4>, g.grid, g.block, 0, exec, count, value, y);
    else
        LAUNCH(fill_values<1>, g.grid, g.block, 0, exec, count, value, y);
}

const ElementwiseKernels cuda_elementwise = {
    .unary = unary,
    .unary_gradient = unary_gradient,
    .unary_both = unary_both,
    .binary = binary,
    .scale = scale,
    .scale_rows = scale_rows,
    .add_rows = add_rows,
    .sum_rows_scratch = cuda_sum_rows_scratch,
    .sum_rows = cuda_sum_rows,
    .sum_columns = cuda_sum_columns,
    .dot_columns = cuda_dot_columns,
    .permute = cuda_permute,
    .copy = cuda_copy,
    .fill = fill,
};
