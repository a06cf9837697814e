/* Relative positions of scores and probabilities that lie written out. (relative_attend.cu never writes the scores of all heads.) */
#include "common/kernels/cuda/relative.cuh"
#include "common/kernels/cuda/elementwise.cuh"

typedef struct Relative {
    Side side;
    float scale;
    HeadRows x;
    float *scores;
    bool add;
} Relative;

/* Which tile of queries of which group a block has, and how many there are of all groups. */
BOTH_SIDES int64_t tiles_of(const RelativeShape &s)
{
    return blocks_for(s.queries, TILE);
}

BOTH_SIDES int64_t groups_of(const RelativeShape &s)
{
    return s.batch * s.heads;
}

/* ---- scores: blockIdx.y is a tile of keys */

__global__ void score_tiles(Relative r)
{
    __shared__ ProductTiles tiles;
    const RelativeShape &s = r.side.shape;
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    int64_t key = (int64_t)blockIdx.y * TILE;
    for (int64_t task = blockIdx.x; task < groups_of(s) * tiles_of(s); task += gridDim.x) {
        int64_t group = task / tiles_of(s), first = task % tiles_of(s) * TILE;
        float products[SHARE];
        tile_products(r.side, group_of(s, group), r.x, first, key, &tiles, products);
        for (int n = 0; n < SHARE; n++) {
            int64_t i = first + phase + n * PHASES, j = key + lane;
            if (i >= s.queries || j >= s.keys)
                continue;
            float *score = r.scores + (group * s.queries + i) * s.keys + j;
            *score = (r.add ? *score : 0) + r.scale * products[n];
        }
    }
}

static void check(HeadRows x)
{
    contract(x.type == F32, "relative: rows of %s, not of float32", dtype_name(x.type));
}

static void scores(const Exec *exec, const RelativeShape *s, float scale, HeadRows x, const float *table, bool add,
                   float *to)
{
    check(x);
    Relative r = {{*s, {}, table}, scale, x, to, add};
    dim3 grid(grid_for(groups_of(*s) * tiles_of(*s)), (unsigned)blocks_for(s->keys, TILE));
    LAUNCH(score_tiles, grid, dim3(WARP, PHASES), 0, exec, r);
}

/* ---- apply: blockIdx.y is a strip of WARP columns */

__global__ void apply_tiles(Relative r)
{
    const RelativeShape &s = r.side.shape;
    int64_t c = (int64_t)blockIdx.y * WARP + threadIdx.x;
    for (int64_t task = blockIdx.x; task < groups_of(s) * tiles_of(s) && c < s.width; task += gridDim.x) {
        int64_t group = task / tiles_of(s), first = task % tiles_of(s) * TILE;
        Group g = group_of(s, group);
        float sums[SHARE];
        tile_sums(r.side, g, first, c, r.scores + (group * s.queries + first) * s.keys, s.keys, sums);
        for (int n = 0; n < SHARE; n++) {
            int64_t i = first + (int)threadIdx.y + n * PHASES;
            if (i >= s.queries)
                continue;
            Rows y = head_row(r.x, s.width, g.batch, i, g.head);
            rows_set(y, 0, c, (r.add ? rows_get(y, 0, c) : 0) + r.scale * sums[n]);
        }
    }
}

static void apply(const Exec *exec, const RelativeShape *s, float scale, const float *from, const float *table,
                  bool add, HeadRows y)
{
    check(y);
    Relative r = {{*s, {}, table}, scale, y, (float *)from, add};
    dim3 grid(grid_for(groups_of(*s) * tiles_of(*s)), (unsigned)blocks_for(s->width, WARP));
    LAUNCH(apply_tiles, grid, dim3(WARP, PHASES), 0, exec, r);
}

/* ---- table_gradient */

enum { PARTS = 4096, MOST_CHUNKS = 64, LEAST_ROWS = 64 };

typedef struct TableGradient {
    RelativeShape shape;
    int64_t group, rows, chunk; /* rows: queries of all groups; chunk: those of a piece */
    float scale;
    const float *scores;
    HeadRows x;
    bool add;
    float *to; /* the gradient, or partial sums [chunks,2M+1,d] */
} TableGradient;

static int64_t gradient_chunks(const RelativeShape *s, int64_t rows)
{
    int64_t most = PARTS / (table_rows(*s) * blocks_for(s->width > 0 ? s->width : 1, WARP));
    most = map_lesser(map_lesser(most, MOST_CHUNKS), rows / LEAST_ROWS);
    return most > 1 ? blocks_for(rows, blocks_for(rows, most)) : 1;
}

/* What a query's scores have for row m of the table: the sum over the keys at that distance, by the lanes of a warp. */
DEVICE float score_of_row(const RelativeShape &s, int64_t i, int64_t m, const float *scores)
{
    int64_t here = i + s.keys - s.queries, at = here + m - s.clip, first = at, end = at + 1;
    if (m == 0)
        first = 0;
    if (m == 2 * s.clip)
        end = s.keys;
    first = first < 0 ? 0 : first;
    end = end < s.keys ? end : s.keys;
    if (m > 0 && m < 2 * s.clip)
        return first < end ? scores[at] : 0;
    float sum = 0;
    for (int64_t j = first + lane_index(); j < end; j += WARP)
        sum += scores[j];
    return warp_sum(sum);
}

/* blockIdx: row of the table, strip of columns, chunk. A warp takes every PHASES-th query; the warps are added in order. */
__global__ void table_gradient_parts(TableGradient t)
{
    __shared__ float sums[PHASES][WARP];
    const RelativeShape &s = t.shape;
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    int64_t m = blockIdx.x, c = (int64_t)blockIdx.y * WARP + lane, first = blockIdx.z * t.chunk;
    int64_t end = map_lesser(first + t.chunk, t.rows);
    float sum = 0;
    for (int64_t r = first + phase; r < end; r += PHASES) {
        int64_t i = r % s.queries;
        Group g = group_of(s, t.group + r / s.queries);
        float score = score_of_row(s, i, m, t.scores + r * s.keys);
        sum += c < s.width ? score * rows_get(head_row(t.x, s.width, g.batch, i, g.head), 0, c) : 0;
    }
    sums[phase][lane] = sum;
    __syncthreads();
    if (phase > 0 || c >= s.width)
        return;
    for (int p = 1; p < PHASES; p++)
        sum += sums[p][lane];
    float *to = t.to + (blockIdx.z * table_rows(s) + m) * s.width + c;
    *to = (t.add ? *to : 0) + t.scale * sum;
}

size_t table_gradient_bytes(const RelativeShape *s, int64_t groups)
{
    int64_t chunks = gradient_chunks(s, groups * s->queries);
    return chunks > 1 ? (size_t)(chunks * table_rows(*s) * s->width) * sizeof(float) : 0;
}

void table_gradient(const Exec *exec, const RelativeShape *s, int64_t group, int64_t groups, float scale,
                    const float *scores, HeadRows x, float *partial, bool add, float *dtable)
{
    int64_t rows = groups * s->queries, chunks = gradient_chunks(s, rows), floats = table_rows(*s) * s->width;
    bool chunked = chunks > 1;
    TableGradient t = {
        *s, group, rows, blocks_for(rows, chunks), scale, scores, x, add && !chunked, chunked ? partial : dtable};
    dim3 grid((unsigned)table_rows(*s), (unsigned)blocks_for(s->width, WARP), (unsigned)chunks);
    LAUNCH(table_gradient_parts, grid, dim3(WARP, PHASES), 0, exec, t);
    if (chunked)
        cuda_add_chunks(exec, floats, chunks, partial, add, dtable);
}

static size_t scratch(const Exec *exec, const RelativeShape *s)
{
    (void)exec;
    return table_gradient_bytes(s, groups_of(*s));
}

static void written_table_gradient(const Exec *exec, const RelativeShape *s, float scale, const float *from, HeadRows x,
                                   bool add, float *dtable)
{
    check(x);
    contract(exec->scratch_bytes >= scratch(exec, s), "relative: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             scratch(exec, s));
    table_gradient(exec, s, 0, groups_of(*s), scale, from, x, (float *)exec->scratch, add, dtable);
}

const RelativeKernels cuda_relative = {
    .scratch = scratch,
    .scores = scores,
    .apply = apply,
    .table_gradient = written_table_gradient,
    .forward_scratch = relative_forward_scratch,
    .forward = relative_forward,
    .backward_scratch = relative_backward_scratch,
    .backward = relative_backward,
};
