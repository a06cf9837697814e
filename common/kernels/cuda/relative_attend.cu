/* Attention with relative tables. A head's keys and values are few here (a window, a cluster): a tile of queries has all its scores
 * at once, so that the softmax is a plain one. The way back writes out the probabilities and the gradients of the scores of some
 * heads at a time, which is what the gradients of keys, values and tables are sums of.
 *
 * The two sides, keys with R_k and values with R_v, are alike: scores are x . (row + table row) with x = q, and so is the gradient of
 * p, with x = d_o; o is the sum of (row + table row) with the weights p, and dq is, with ds. */
#include "common/kernels/cuda/relative.cuh"

enum { BUFFERS = 512, SHARED_SCORES = 128 << 10, HEADS_BYTES = 32 << 20 };

typedef struct Attend {
    AttentionShape shape;
    Side keys, values;
    HeadRows q, o; /* on the way back o is dq */
    HeadRows d_o;  /* the way back's */
    int64_t group, groups, tiles;
    float *p, *ds; /* of the way back, [groups,Q,K]; forward: p [blocks,TILE,K], or NULL: in shared memory */
} Attend;

static Side side_of(const RelativeAttention *a, bool values, HeadRows rows)
{
    const AttentionShape *s = &a->shape;
    Side side = {{s->batch, s->queries, s->keys, s->q_heads, values ? s->value_width : s->width,
                  values ? a->value_clip : a->key_clip},
                 rows,
                 values ? a->value_table : a->key_table};
    return side;
}

static Attend attend_of(const RelativeAttention *a, HeadRows q, HeadRows k, HeadRows v, HeadRows o)
{
    const AttentionShape *s = &a->shape;
    contract(q.type == F32 && k.type == F32 && v.type == F32 && o.type == F32,
             "relative attention: rows of %s, not of float32", dtype_name(q.type));
    Attend c = {*s, side_of(a, false, k), side_of(a, true, v), q, o, {}, 0, s->batch * s->q_heads, 0, NULL, NULL};
    c.tiles = blocks_for(s->queries, TILE);
    return c;
}

/* Whether query i sees key j. */
DEVICE bool sees(const AttentionShape &s, Group g, int64_t i, int64_t j)
{
    int64_t here = i + s.causal_offset;
    if ((s.causal && j > here) || (s.left >= 0 && j < here - s.left) || (s.right >= 0 && j > here + s.right) ||
        (s.key_lengths && j >= s.key_lengths[g.batch]))
        return false;
    const ScoreTable &keep = s.keep;
    return !keep.data ||
           ((const uint8_t *)
                keep.data)[g.batch % keep.batch * keep.batch_step + g.head / (s.q_heads / keep.heads) * keep.head_step +
                           i * keep.query_step + j * keep.key_step];
}

/* The scores of a tile of queries, masked, become probabilities, p [TILE,K]: all lanes of a warp have the same queries. Returns a
 * bit for each of the thread's queries whose probabilities do not depend on the scores. */
DEVICE unsigned softmax_tile(const AttentionShape &s, Group g, int64_t first, float *p)
{
    unsigned constant = 0;
    for (int n = 0; n < SHARE; n++) {
        int64_t i = first + (int)threadIdx.y + n * PHASES;
        float *row = p + (i - first) * s.keys, largest = -INFINITY, total = 0;
        if (i >= s.queries)
            continue;
        for (int64_t j = lane_index(); j < s.keys; j += WARP) {
            row[j] = sees(s, g, i, j) ? row[j] : s.blocked;
            largest = fmaxf(largest, row[j]);
        }
        largest = warp_max(largest);
        bool empty = largest == -INFINITY;
        for (int64_t j = lane_index(); j < s.keys && !empty; j += WARP) {
            row[j] = expf(row[j] - largest);
            total += row[j];
        }
        total = warp_sum(total);
        float uniform = s.empty_row == EMPTY_UNIFORM ? 1.0f / (float)s.keys : 0;
        for (int64_t j = lane_index(); j < s.keys; j += WARP)
            row[j] = empty ? uniform : row[j] / total;
        constant |= empty ? 1u << n : 0;
    }
    return constant;
}

/* products [TILE,K] = scale * x_i . (row_j + table row). */
DEVICE void all_products(const Side &side, Group g, HeadRows x, int64_t first, float scale, ProductTiles *tiles,
                         float *to)
{
    const RelativeShape &s = side.shape;
    for (int64_t key = 0; key < s.keys; key += TILE) {
        float products[SHARE];
        tile_products(side, g, x, first, key, tiles, products);
        for (int n = 0; n < SHARE; n++) {
            int64_t i = (int)threadIdx.y + n * PHASES, j = key + (int)threadIdx.x;
            if (first + i < s.queries && j < s.keys)
                to[i * s.keys + j] = scale * products[n];
        }
    }
}

/* y_i = scale * sum_j weights[i,j] (row_j + table row). */
DEVICE void all_sums(const Side &side, Group g, int64_t first, float scale, const float *weights, HeadRows y)
{
    const RelativeShape &s = side.shape;
    for (int64_t c = (int)threadIdx.x; c < s.width; c += WARP) {
        float sums[SHARE];
        tile_sums(side, g, first, c, weights, s.keys, sums);
        for (int n = 0; n < SHARE; n++) {
            int64_t i = first + (int)threadIdx.y + n * PHASES;
            if (i < s.queries)
                rows_set(head_row(y, s.width, g.batch, i, g.head), 0, c, scale * sums[n]);
        }
    }
}

__global__ void forward_tiles(Attend c)
{
    __shared__ ProductTiles tiles;
    DYNAMIC_SHARED(float, shared);
    const AttentionShape &s = c.shape;
    float *p = c.p ? c.p + blockIdx.x * TILE * s.keys : shared;
    for (int64_t task = blockIdx.x; task < c.groups * c.tiles; task += gridDim.x) {
        Group g = group_of(c.keys.shape, task / c.tiles);
        int64_t first = task % c.tiles * TILE;
        all_products(c.keys, g, c.q, first, s.scale, &tiles, p);
        __syncthreads();
        softmax_tile(s, g, first, p);
        __syncthreads();
        all_sums(c.values, g, first, 1, p, c.o);
        __syncthreads();
    }
}

static size_t score_bytes(const AttentionShape *s)
{
    return (size_t)(TILE * s->keys) * sizeof(float);
}

size_t relative_forward_scratch(const Exec *exec, const RelativeAttention *a)
{
    (void)exec;
    return score_bytes(&a->shape) <= SHARED_SCORES ? 0 : BUFFERS * score_bytes(&a->shape);
}

void relative_forward(const Exec *exec, const RelativeAttention *a, HeadRows q, HeadRows k, HeadRows v, HeadRows o)
{
    Attend c = attend_of(a, q, k, v, o);
    size_t bytes = score_bytes(&a->shape), scratch = relative_forward_scratch(exec, a);
    contract(exec->scratch_bytes >= scratch, "relative attention: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             scratch);
    c.p = scratch ? (float *)exec->scratch : NULL;
    unsigned grid = scratch ? (unsigned)map_lesser(c.groups * c.tiles, BUFFERS) : grid_for(c.groups * c.tiles);
    LAUNCH(forward_tiles, grid, dim3(WARP, PHASES), scratch ? 0 : bytes, exec, c);
}

/* ---- The way back */

/* ds = p (dp - sum p dp), in place of dp; what does not depend on the scores has 0. */
DEVICE void score_gradients(const AttentionShape &s, Group g, int64_t first, unsigned constant, const float *p,
                            float *ds)
{
    for (int n = 0; n < SHARE; n++) {
        int64_t i = first + (int)threadIdx.y + n * PHASES, row = (i - first) * s.keys;
        float delta = 0;
        if (i >= s.queries)
            continue;
        for (int64_t j = lane_index(); j < s.keys; j += WARP)
            delta += p[row + j] * ds[row + j];
        delta = warp_sum(delta);
        for (int64_t j = lane_index(); j < s.keys; j += WARP) {
            bool moves = !(constant >> n & 1) && sees(s, g, i, j);
            ds[row + j] = moves ? p[row + j] * (ds[row + j] - delta) : 0;
        }
    }
}

/* p, ds and dq of a tile of queries. */
__global__ void backward_tiles(Attend c)
{
    __shared__ ProductTiles tiles;
    const AttentionShape &s = c.shape;
    for (int64_t task = blockIdx.x; task < c.groups * c.tiles; task += gridDim.x) {
        Group g = group_of(c.keys.shape, c.group + task / c.tiles);
        int64_t first = task % c.tiles * TILE, at = (task / c.tiles * s.queries + first) * s.keys;
        float *p = c.p + at, *ds = c.ds + at;
        all_products(c.keys, g, c.q, first, s.scale, &tiles, p);
        all_products(c.values, g, c.d_o, first, 1, &tiles, ds);
        __syncthreads();
        unsigned constant = softmax_tile(s, g, first, p);
        __syncwarp(); /* a warp has its own queries */
        score_gradients(s, g, first, constant, p, ds);
        __syncthreads();
        all_sums(c.keys, g, first, s.scale, ds, c.o);
        __syncthreads();
    }
}

/* dy_j = scale * sum_i weights[i,j] x_i */
typedef struct RowGradient {
    RelativeShape shape;
    int64_t group, groups;
    float scale;
    const float *weights;
    HeadRows x, dy;
} RowGradient;

/* A block has TILE keys of a group; blockIdx.y is a strip of WARP columns. */
__global__ void row_gradient_tiles(RowGradient r)
{
    __shared__ float weights[TILE][TILE + 1];
    const RelativeShape &s = r.shape;
    int lane = (int)threadIdx.x, phase = (int)threadIdx.y;
    int64_t tiles = blocks_for(s.keys, TILE), c = (int64_t)blockIdx.y * WARP + lane;
    for (int64_t task = blockIdx.x; task < r.groups * tiles; task += gridDim.x) {
        Group g = group_of(s, r.group + task / tiles);
        int64_t key = task % tiles * TILE;
        const float *of_group = r.weights + task / tiles * s.queries * s.keys;
        float sums[SHARE] = {};
        for (int64_t first = 0; first < s.queries; first += TILE) {
            for (int i = phase; i < TILE; i += PHASES)
                weights[i][lane] =
                    first + i < s.queries && key + lane < s.keys ? of_group[(first + i) * s.keys + key + lane] : 0;
            __syncthreads();
            for (int i = 0; i < TILE && first + i < s.queries && c < s.width; i++) {
                float x = rows_get(head_row(r.x, s.width, g.batch, first + i, g.head), 0, c);
                for (int n = 0; n < SHARE; n++)
                    sums[n] += weights[i][phase + n * PHASES] * x;
            }
            __syncthreads();
        }
        for (int n = 0; n < SHARE; n++) {
            int64_t j = key + phase + n * PHASES;
            if (j < s.keys && c < s.width)
                rows_set(head_row(r.dy, s.width, g.batch, j, g.head), 0, c, r.scale * sums[n]);
        }
    }
}

/* Heads whose probabilities are written out at a time: as many as HEADS_BYTES hold, and at least one. */
static int64_t heads_at_a_time(const AttentionShape *s)
{
    int64_t all = s->batch * s->q_heads, one = s->queries * s->keys * (int64_t)sizeof(float);
    int64_t some = one > 0 ? map_lesser(all, HEADS_BYTES / one) : all;
    return some > 1 ? some : 1;
}

static int64_t scores_at_a_time(const AttentionShape *s)
{
    return heads_at_a_time(s) * s->queries * s->keys;
}

size_t relative_backward_scratch(const Exec *exec, const RelativeAttention *a)
{
    (void)exec;
    int64_t heads = heads_at_a_time(&a->shape);
    Side keys = side_of(a, false, {}), values = side_of(a, true, {});
    size_t partial = table_gradient_bytes(&keys.shape, heads), other = table_gradient_bytes(&values.shape, heads);
    return (size_t)(2 * scores_at_a_time(&a->shape)) * sizeof(float) + (other > partial ? other : partial);
}

/* Of one side: drows, and dtable (NULL: not wanted), from weights and x. */
static void side_gradients(const Exec *exec, const Attend &c, const Side &side, float scale, const float *weights,
                           HeadRows x, HeadRows drows, float *partial, bool add, float *dtable)
{
    const RelativeShape &s = side.shape;
    RowGradient r = {s, c.group, c.groups, scale, weights, x, drows};
    dim3 grid(grid_for(c.groups * blocks_for(s.keys, TILE)), (unsigned)blocks_for(s.width, WARP));
    LAUNCH(row_gradient_tiles, grid, dim3(WARP, PHASES), 0, exec, r);
    if (side.table && dtable)
        table_gradient(exec, &s, c.group, c.groups, scale, weights, x, partial, add || c.group > 0, dtable);
}

void relative_backward(const Exec *exec, const RelativeAttention *a, const RelativeGradients *g)
{
    const AttentionShape *s = &a->shape;
    int64_t all = s->batch * s->q_heads, step = heads_at_a_time(s);
    size_t scratch = relative_backward_scratch(exec, a);
    contract(exec->scratch_bytes >= scratch, "relative attention: %zu bytes of scratch, not %zu", exec->scratch_bytes,
             scratch);
    Attend c = attend_of(a, g->q, g->k, g->v, g->dq);
    c.d_o = g->d_o;
    c.p = (float *)exec->scratch;
    c.ds = c.p + scores_at_a_time(s);
    float *partial = c.ds + scores_at_a_time(s);
    for (c.group = 0; c.group == 0 || c.group < all; c.group += step) { /* of no heads, too: gradients are 0 */
        c.groups = map_lesser(step, all - c.group);
        LAUNCH(backward_tiles, grid_for(c.groups * c.tiles), dim3(WARP, PHASES), 0, exec, c);
        side_gradients(exec, c, c.keys, s->scale, c.ds, g->q, g->dk, partial, g->add_keys, g->dkey_table);
        side_gradients(exec, c, c.values, 1, c.p, g->d_o, g->dv, partial, g->add_values, g->dvalue_table);
    }
}
