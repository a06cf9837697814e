/* Who sees whom, a thread a value. */
#include "common/kernels/cuda/heads.cuh"
#include "common/kernels/cuda/map.cuh"
#include "common/kernels/cuda/team.cuh"

typedef struct Nonzero {
    int64_t batch, tokens, heads, width;
    HeadRows x;
    uint8_t *seen;
} Nonzero;

/* A warp has a row: head h of token n of sample b, heads fastest. */
template <int N> __global__ void nonzero_rows(Nonzero z)
{
    int64_t rows = z.batch * z.tokens * z.heads;
    for (int64_t r = WarpTeam::first_row(); r < rows; r += WarpTeam::row_step()) {
        int64_t h = r % z.heads, n = r / z.heads % z.tokens, b = r / z.heads / z.tokens;
        Rows x = head_row(z.x, z.width, b, n, h);
        bool any = false;
        for (int64_t c = lane_index() * N; c < z.width; c += WARP * N) {
            Floats<N> v = rows_load<N>(x, 0, c);
            for (int i = 0; i < N; i++)
                any |= v.at[i] != 0;
        }
        any = __any_sync(ALL_LANES, any);
        if (lane_index() == 0)
            z.seen[(b * z.heads + h) * z.tokens + n] = any;
    }
}

static void nonzero(const Exec *exec, int64_t batch, int64_t tokens, int64_t heads, int64_t width, HeadRows x,
                    uint8_t *seen)
{
    rows_check(rows_of_heads(x), "nonzero");
    Nonzero z = {batch, tokens, heads, width, x, seen};
    unsigned grid = grid_for(blocks_for(batch * tokens * heads, TEAM_WARPS));
    if (ROWS_WIDTH(width, rows_of_heads(x)) == 4)
        LAUNCH(nonzero_rows<4>, grid, TEAM_WARPS * WARP, 0, exec, z);
    else
        LAUNCH(nonzero_rows<1>, grid, TEAM_WARPS * WARP, 0, exec, z);
}

typedef struct Routed {
    RoutedSight sight;
    uint8_t *seen;
    float value, *bias;
} Routed;

/* The index of member `rank` of a cluster of `size`. */
DEVICE int64_t member(const RoutedSight &s, const int32_t *index, int64_t size, int64_t batch, int64_t head,
                      int64_t cluster, int64_t rank)
{
    return index ? index[((batch * s.clusters + cluster) * size + rank) * s.heads + head] : rank;
}

DEVICE bool sees(const RoutedSight &s, int64_t batch, int64_t query, int64_t key)
{
    if (s.self && query == key)
        return true;
    if (s.causal && key > query)
        return false;
    return (!s.query_real || s.query_real[batch * s.query_tokens + query]) &&
           (!s.key_real || s.key_real[batch * s.key_tokens + key]);
}

/* A row is a query of a head and a cluster; its columns are the memory and the cluster's keys. */
__global__ void routed_values(Routed r)
{
    const RoutedSight &s = r.sight;
    int64_t columns = s.memory + s.keys, rows = s.batch * s.clusters * s.heads * s.queries;
    for (int64_t row = map_row(); row < rows; row += map_row_step()) {
        int64_t rank = row % s.queries, head = row / s.queries % s.heads, group = row / s.queries / s.heads;
        int64_t batch = group / s.clusters, cluster = group % s.clusters;
        int64_t query = member(s, s.query_index, s.queries, batch, head, cluster, rank);
        for (int64_t c = map_col<1>(); c < columns; c += map_col_step<1>()) {
            bool memory = c < s.memory;
            int64_t key = memory ? -1 : member(s, s.key_index, s.keys, batch, head, cluster, c - s.memory);
            if (r.seen)
                r.seen[row * columns + c] = memory || sees(s, batch, query, key);
            else
                r.bias[row * columns + c] = query == key ? r.value : 0;
        }
    }
}

static void run_routed(const Exec *exec, const Routed &r)
{
    const RoutedSight &s = r.sight;
    MapGrid g = map_grid(s.batch * s.clusters * s.heads * s.queries, s.memory + s.keys);
    LAUNCH(routed_values, g.grid, g.block, 0, exec, r);
}

static void routed(const Exec *exec, const RoutedSight *s, uint8_t *seen)
{
    run_routed(exec, {*s, seen, 0, NULL});
}

static void routed_self(const Exec *exec, const RoutedSight *s, float value, float *bias)
{
    run_routed(exec, {*s, NULL, value, bias});
}

const SightKernels cuda_sight = {.nonzero = nonzero, .routed = routed, .routed_self = routed_self};
