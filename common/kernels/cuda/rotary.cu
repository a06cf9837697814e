/* Rotary positions: a thread turns a pair of channels, or N neighbouring pairs where the two of a pair lie apart. */
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/ptx.cuh"

__global__ void table_values(int64_t positions, int64_t half, const float *frequencies, float *table)
{
    for (int64_t p = map_row(); p < positions; p += map_row_step())
        for (int64_t i = map_col<1>(); i < half; i += map_col_step<1>()) {
            double sine, cosine;
            sincos((double)p * (double)frequencies[i], &sine, &cosine);
            table[p * 2 * half + i] = (float)sine;
            table[p * 2 * half + half + i] = (float)cosine;
        }
}

static void rotary_table(const Exec *exec, int64_t positions, int64_t half, const float *frequencies, float *table)
{
    MapGrid g = map_grid(positions, half);
    LAUNCH(table_values, g.grid, g.block, 0, exec, positions, half, frequencies, table);
}

typedef struct Rotate {
    RotaryShape shape;
    const float *table;
    HeadRows x, y;
    bool add;
} Rotate;

template <int N> DEVICE void put(const Rotate &r, Rows y, int64_t c, Floats<N> v)
{
    if (r.add) {
        Floats<N> old = rows_load<N>(y, 0, c);
        for (int i = 0; i < N; i++)
            v.at[i] += old.at[i];
    }
    rows_store<N>(y, 0, c, v);
}

/* Channels `first` + i with `second` + i, i < N. */
template <int N>
DEVICE void turn(const Rotate &r, const float *angles, Rows x, Rows y, int64_t i, int64_t first, int64_t second)
{
    float way = r.shape.back ? -1.0f : 1.0f;
    Floats<N> sine = floats_load<N>(angles + i), cosine = floats_load<N>(angles + r.shape.half + i);
    Floats<N> a = rows_load<N>(x, 0, first), b = rows_load<N>(x, 0, second), u, v;
    for (int k = 0; k < N; k++) {
        u.at[k] = a.at[k] * cosine.at[k] - b.at[k] * (way * sine.at[k]);
        v.at[k] = b.at[k] * cosine.at[k] + a.at[k] * (way * sine.at[k]);
    }
    put<N>(r, y, first, u);
    put<N>(r, y, second, v);
}

DEVICE const float *angles_of(const Rotate &r, int64_t b, int64_t n, int64_t h)
{
    const RotaryShape &s = r.shape;
    int64_t p = s.positions ? s.positions[b * s.batch_step + n * s.token_step + h * s.head_step] : n;
    device_contract(p >= 0 && p < s.table_rows);
    return r.table + p * 2 * s.half;
}

/* Rows are heads of tokens; columns the pairs, and then the channels that pass. */
template <int N> __global__ void rotate_rows(Rotate r)
{
    const RotaryShape &s = r.shape;
    int64_t rows = s.batch * s.tokens * s.heads, columns = s.width - s.half;
    for (int64_t row = map_row(); row < rows; row += map_row_step()) {
        int64_t h = row % s.heads, n = row / s.heads % s.tokens, b = row / s.heads / s.tokens;
        const float *angles = angles_of(r, b, n, h);
        Rows x = head_row(r.x, s.width, b, n, h), y = head_row(r.y, s.width, b, n, h);
        for (int64_t c = map_col<N>(); c < columns; c += map_col_step<N>())
            if (c >= s.half)
                put<N>(r, y, s.half + c, rows_load<N>(x, 0, s.half + c));
            else if (s.pairing == ROTARY_HALVES)
                turn<N>(r, angles, x, y, c, c, s.half + c);
            else
                turn<1>(r, angles, x, y, c, 2 * c, 2 * c + 1);
    }
}

static void rotate(const Exec *exec, const RotaryShape *s, const float *table, HeadRows x, bool add, HeadRows y)
{
    contract(2 * s->half <= s->width, "rotary: %lld of %lld channels", (long long)(2 * s->half), (long long)s->width);
    rows_check(rows_of_heads(x), "rotary");
    rows_check(rows_of_heads(y), "rotary");
    Rotate r = {*s, table, x, y, add};
    bool wide = s->pairing == ROTARY_HALVES && s->half % 4 == 0 &&
                ROWS_WIDTH(s->width, rows_of_heads(x), rows_of_heads(y), rows_of(table)) == 4;
    MapGrid g = map_grid(s->batch * s->tokens * s->heads, (s->width - s->half) / (wide ? 4 : 1));
    if (wide)
        LAUNCH(rotate_rows<4>, g.grid, g.block, 0, exec, r);
    else
        LAUNCH(rotate_rows<1>, g.grid, g.block, 0, exec, r);
}

const RotaryKernels cuda_rotary = {.table = rotary_table, .rotate = rotate};
