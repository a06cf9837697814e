/* Local windows: a thread has a few values of a token of a window, or on the way back of the sequence. */
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"

typedef struct Windows {
    WindowShape shape;
    HeadRows x, y; /* tokens; windows */
    int64_t width; /* C */
    float outside;
    bool add;
} Windows;

BOTH_SIDES int64_t window_of(const WindowShape &s)
{
    return (s.back + 1 + s.forward) * s.block;
}

/* A row is a token of a window. */
template <int N> __global__ void window_rows(Windows w)
{
    const WindowShape &s = w.shape;
    int64_t window = window_of(s), tokens = s.blocks * s.block;
    for (int64_t item = map_row(); item < s.batch * s.blocks * window; item += map_row_step()) {
        int64_t row = item / window, token = (row % s.blocks - s.back) * s.block + item % window;
        bool inside = token >= 0 && token < tokens;
        Rows to = head_row(w.y, 0, row, item % window, 0),
             from = head_row(w.x, 0, row / s.blocks, inside ? token : 0, 0);
        for (int64_t c = map_col<N>(); c < w.width; c += map_col_step<N>())
            rows_store<N>(to, 0, c, inside ? rows_load<N>(from, 0, c) : floats_of<N>(w.outside));
    }
}

static void gather(const Exec *exec, const WindowShape *s, float outside, HeadRows x, HeadRows y)
{
    rows_check(rows_of_heads(x), "windows");
    rows_check(rows_of_heads(y), "windows");
    Windows w = {*s, x, y, y.token_step, outside, false};
    int width = ROWS_WIDTH(w.width, rows_of_heads(x), rows_of_heads(y));
    MapGrid g = map_grid(s->batch * s->blocks * window_of(*s), w.width / width);
    if (width == 4)
        LAUNCH(window_rows<4>, g.grid, g.block, 0, exec, w);
    else
        LAUNCH(window_rows<1>, g.grid, g.block, 0, exec, w);
}

/* A row is a token of the sequence; the windows are met in order. */
template <int N> __global__ void window_gradient_rows(Windows w)
{
    const WindowShape &s = w.shape;
    int64_t tokens = s.blocks * s.block;
    for (int64_t item = map_row(); item < s.batch * tokens; item += map_row_step()) {
        int64_t batch = item / tokens, token = item % tokens, block = token / s.block, place = token % s.block;
        Rows to = head_row(w.x, 0, batch, token, 0);
        for (int64_t c = map_col<N>(); c < w.width; c += map_col_step<N>()) {
            Floats<N> sum = w.add ? rows_load<N>(to, 0, c) : floats_of<N>(0);
            for (int64_t at = block - s.forward; at <= block + s.back; at++) {
                if (at < 0 || at >= s.blocks)
                    continue;
                Rows from = head_row(w.y, 0, batch * s.blocks + at, (block - at + s.back) * s.block + place, 0);
                Floats<N> dy = rows_load<N>(from, 0, c);
                for (int i = 0; i < N; i++)
                    sum.at[i] += dy.at[i];
            }
            rows_store<N>(to, 0, c, sum);
        }
    }
}

static void gather_gradient(const Exec *exec, const WindowShape *s, HeadRows dy, bool add, HeadRows dx)
{
    rows_check(rows_of_heads(dy), "windows, gradient");
    rows_check(rows_of_heads(dx), "windows, gradient");
    Windows w = {*s, dx, dy, dy.token_step, 0, add};
    int width = ROWS_WIDTH(w.width, rows_of_heads(dx), rows_of_heads(dy));
    MapGrid g = map_grid(s->batch * s->blocks * s->block, w.width / width);
    if (width == 4)
        LAUNCH(window_gradient_rows<4>, g.grid, g.block, 0, exec, w);
    else
        LAUNCH(window_gradient_rows<1>, g.grid, g.block, 0, exec, w);
}

/* A row is a query, or where nothing is padding the queries of a block. */
__global__ void sight_values(WindowShape s, const uint8_t *real, uint8_t *seen)
{
    int64_t window = window_of(s), queries = real ? s.block : 1, items = real ? s.batch * s.blocks : s.blocks;
    for (int64_t row = map_row(); row < items * queries; row += map_row_step()) {
        int64_t item = row / queries, batch = item / s.blocks, block = item % s.blocks;
        bool query = !real || real[item * s.block + row % queries];
        for (int64_t c = map_col<1>(); c < window; c += map_col_step<1>()) {
            int64_t at = block + c / s.block - s.back;
            bool inside = at >= 0 && at < s.blocks;
            seen[row * window + c] =
                query && inside && (!real || real[(batch * s.blocks + at) * s.block + c % s.block]);
        }
    }
}

static void sight(const Exec *exec, const WindowShape *s, const uint8_t *real, uint8_t *seen)
{
    MapGrid g = map_grid(real ? s->batch * s->blocks * s->block : s->blocks, window_of(*s));
    LAUNCH(sight_values, g.grid, g.block, 0, exec, *s, real, seen);
}

const WindowKernels cuda_windows = {.gather = gather, .gather_gradient = gather_gradient, .sight = sight};
