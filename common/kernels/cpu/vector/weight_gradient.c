/* dw[N,K] (+)= dy[M,N]^T x[M,K], the product whose sum runs over tokens. Letters: M tokens, N outputs, K inputs.
 *
 * A matrix library would first transpose dy and rearrange x, for a sum that reads each only N/8 or K/48 times. But both
 * already lie as an outer product wants them: a token's outputs side by side, and its inputs. So a tile of dw,
 * ROWS x (up to VECTORS vectors), stays in registers and takes one token after the other from where it lies. What does
 * not fill a tile is brought into a panel first; bf16 is woven into pairs of tokens, a span of them at a time, for the
 * instruction that multiplies and adds two at once; and where the tokens' rows lie so that a cache keeps few of them, x
 * is brought into the order of the tiles, again a span at a time. Each element of dw is a sum over a chunk of
 * tokens, added to the sum of the chunks before. */
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/levels.h"

enum {
    TOKENS = 128,               /* of a chunk: its 48 columns of x are 24 KiB, within the first-level cache */
    ROWS = LANES == 16 ? 8 : 4, /* with VECTORS: as many accumulators as there are registers, but a few */
    VECTORS = 3,
    GROUP = 64,           /* outputs of a task, at most */
    SPAN_BYTES = 1 << 21, /* that both factors take, as pairs or as they are: they stay in the caches */
    COLLIDING =
        512 / 4, /* floats: rows that many apart, or twice as many, meet in 24 of a first-level cache's 64 sets */
    FEWEST_OUTPUTS = 192, /* that are worth bringing x into order */
    TOGETHER = 8          /* tokens that are brought into order before the next columns are */
};

typedef struct Gradient {
    int64_t m, n, k;
    Rows dy, x;
    int64_t group, groups, vectors, strips; /* a task is a group of outputs by a strip of inputs */
    bool half, add;                         /* half: both factors are rounded to bf16 */
    float *dy_pairs, *x_pairs;              /* [(m+1)/2][pair_stride(n or k)], or NULL */
    float *x_order;                         /* [strips][m][vectors * LANES], or NULL */
    float *dw;
} Gradient;

/* One chunk of tokens as the tile sees it: row s (a token, or a pair of them in 32 bits a column) at s * stride. While
 * it is read, what lies `ahead` of it is fetched into the second-level cache: the next chunk, whose rows are too far
 * apart for the processor to guess. */
typedef struct Chunk {
    const float *data;
    int64_t stride, ahead;
} Chunk;

/* The sum over a chunk for ROWS outputs and `vectors` vectors of inputs, added to or written over the rows of dw that
 * are live. */
static inline __attribute__((always_inline)) void tile(int64_t steps, int vectors, bool pairs, Chunk dy, Chunk x,
                                                       int64_t live_rows, int64_t live_columns, bool add, float *dw,
                                                       int64_t stride)
{
    Vec sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (Vec){0};
    for (int64_t s = 0; s < steps; s++) {
        const float *dy_row = dy.data + s * dy.stride, *x_row = x.data + s * x.stride;
        __builtin_prefetch(dy_row + dy.ahead, 0, 2);
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            __builtin_prefetch(x_row + x.ahead + j * LANES, 0, 2);
        Vec inputs[VECTORS];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            inputs[j] = vec_load(x_row + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++) {
            Vec output = vec_set(dy_row[i]);
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                sum[i][j] = vec_add_term(pairs, sum[i][j], output, inputs[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
        if (i < live_rows)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) {
                float *place = dw + i * stride + j * LANES;
                int64_t live = live_columns - j * LANES;
                vec_store_upto(place, add ? vec_load_upto(place, live, 0) + sum[i][j] : sum[i][j], live);
            }
}

/* The tile, with the numbers that must be constants for it to stay in registers. */
static void tile_of(int64_t steps, int64_t vectors, bool pairs, Chunk dy, Chunk x, int64_t live_rows,
                    int64_t live_columns, bool add, float *dw, int64_t stride)
{
#define TILE(v, p) tile(steps, v, p, dy, x, live_rows, live_columns, add, dw, stride)
    if (HALF_PRODUCTS && pairs)
        vectors == 3 ? TILE(3, true) : vectors == 2 ? TILE(2, true) : TILE(1, true);
    else
        vectors == 3 ? TILE(3, false) : vectors == 2 ? TILE(2, false) : TILE(1, false);
#undef TILE
}

static inline Vec load_half(const uint16_t *place)
{
    VecHalf half;
    memcpy(&half, place, sizeof half);
    return vec_from_half(half);
}

/* LANES columns from `place` on, of which `live` are there, rounded to bf16. */
static inline Vec read_rounded(DType type, const void *place, int64_t live)
{
    if (type == F32)
        return vec_from_half(vec_to_half(vec_load_upto(place, live, 0)));
    if (live >= LANES)
        return load_half(place);
    Vec v = {0};
    for (int64_t i = 0; i < live; i++)
        v[i] = bf16_to_float(((const uint16_t *)place)[i]);
    return v;
}

/* Two tokens in one: the even one is the lower half of each lane. */
static inline Vec pair_of(Vec even, Vec odd)
{
    typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
    return (Vec)((Bits)even >> 16 | (Bits)odd);
}

static int64_t padded(int64_t columns)
{
    return (columns + LANES - 1) / LANES * LANES;
}

/* From one pair of tokens to the next: the columns, and a vector more where the pairs of a few of them would meet. */
static int64_t pair_stride(int64_t columns)
{
    return padded(columns) + (padded(columns) % COLLIDING == 0 ? LANES : 0);
}

/* LANES columns of a pair of tokens; what is behind the last token or column is 0. */
static inline Vec read_pair(Rows m, int64_t token, int64_t tokens, int64_t column, int64_t columns)
{
    const char *even = (const char *)m.data + (token * m.stride + column) * (int64_t)dtype_bytes(m.type);
    const char *odd = even + m.stride * (int64_t)dtype_bytes(m.type);
    int64_t live = columns - column;
    return pair_of(read_rounded(m.type, even, live), token + 1 < tokens ? read_rounded(m.type, odd, live) : (Vec){0});
}

/* The pairs first .. last-1 of a span, of both factors. */
static void weave(const void *job, int64_t first, int64_t last)
{
    const Gradient *g = job;
    int64_t n = pair_stride(g->n), k = pair_stride(g->k);
    for (int64_t p = first; p < last; p++) {
        for (int64_t c = 0; c < g->n; c += LANES)
            vec_store(g->dy_pairs + p * n + c, read_pair(g->dy, 2 * p, g->m, c, g->n));
        for (int64_t c = 0; c < g->k; c += LANES)
            vec_store(g->x_pairs + p * k + c, read_pair(g->x, 2 * p, g->m, c, g->k));
    }
}

/* `width` columns, whole vectors, of the tokens [first, first + tokens); zeros behind the matrix's `columns`. */
static Chunk panel_of(const Gradient *g, Rows m, int64_t columns, int64_t first, int64_t tokens, int64_t column,
                      int64_t width, float *panel)
{
    Chunk chunk = {panel, width, 0};
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = column; c < column + width; c += LANES, panel += LANES) {
            const char *place = (const char *)m.data + ((first + t) * m.stride + c) * (int64_t)dtype_bytes(m.type);
            int64_t live = columns - c;
            vec_store(panel,
                      g->half ? read_rounded(m.type, place, live) : vec_load_upto((const float *)place, live, 0));
        }
    return chunk;
}

/* `live` columns of a chunk as the tile wants them, in a multiple of `multiple`. */
static Chunk chunk_of(const Gradient *g, Rows m, const float *pairs, int64_t columns, int64_t first, int64_t tokens,
                      int64_t column, int64_t live, int64_t multiple, float *panel)
{
    int64_t stride = pair_stride(columns);
    if (pairs)
        return (Chunk){pairs + first / 2 * stride + column, stride, TOKENS * stride};
    if (!g->half && live % multiple == 0)
        return (Chunk){(const float *)m.data + first * m.stride + column, m.stride, TOKENS * m.stride};
    return panel_of(g, m, columns, first, tokens, column, padded(live), panel);
}

/* One task: a group of outputs by a strip of inputs, over all tokens. */
static void gradient_tile(const Gradient *g, int64_t group, int64_t strip)
{
    _Alignas(64) float dy_panel[TOKENS * GROUP], x_panel[TOKENS * VECTORS * LANES];
    int64_t n0 = group * g->group, n_live = least(g->group, g->n - n0);
    int64_t width = g->vectors * LANES, k0 = strip * width, k_live = least(width, g->k - k0);
    int64_t vectors = (k_live + LANES - 1) / LANES;
    bool pairs = g->dy_pairs != NULL;
    const int64_t chunk = pairs ? 2 * TOKENS : TOKENS; /* the same bytes */
    for (int64_t first = 0; first < g->m; first += chunk) {
        int64_t tokens = least(chunk, g->m - first), steps = pairs ? (tokens + 1) / 2 : tokens;
        Chunk dy = chunk_of(g, g->dy, g->dy_pairs, g->n, first, tokens, n0, n_live, ROWS, dy_panel), x;
        if (g->x_order)
            x = (Chunk){g->x_order + (strip * g->m + first) * width, width, 0};
        else
            x = chunk_of(g, g->x, g->x_pairs, g->k, first, tokens, k0, k_live, LANES, x_panel);
        for (int64_t n = 0; n < n_live; n += ROWS, x.ahead = 0) /* x is fetched once */
            tile_of(steps, vectors, pairs, (Chunk){dy.data + n, dy.stride, dy.ahead}, x, n_live - n, k_live,
                    g->add || first > 0, g->dw + (n0 + n) * g->k + k0, g->k);
    }
}

static void gradient_tasks(const void *job, int64_t first, int64_t last)
{
    const Gradient *g = job;
    for (int64_t task = first; task < last; task++)
        gradient_tile(g, task / g->strips, task % g->strips);
}

/* Tokens that are woven at a time: about SPAN_BYTES of pairs, in whole chunks. */
static int64_t span_of(int64_t m, int64_t n, int64_t k)
{
    int64_t chunks = SPAN_BYTES / (2 * TOKENS * 2 * (pair_stride(n) + pair_stride(k)));
    return least((chunks < 1 ? 1 : chunks) * 2 * TOKENS, m);
}

/* Strips of equal width, as few as there can be. */
static void cut_inputs(Gradient *g)
{
    int64_t vectors = (g->k + LANES - 1) / LANES;
    g->strips = (vectors + VECTORS - 1) / VECTORS;
    g->vectors = (vectors + g->strips - 1) / g->strips;
    g->strips = (vectors + g->vectors - 1) / g->vectors;
}

/* Of x, one token in order. */
static int64_t ordered_floats(const Gradient *g)
{
    return g->strips * g->vectors * LANES;
}

/* Tokens whose x is brought into order at a time. */
static int64_t ordered_span(const Gradient *g, int64_t m)
{
    int64_t chunks = SPAN_BYTES / (TOKENS * (padded(g->n) + ordered_floats(g)) * (int64_t)sizeof(float));
    return least((chunks < 1 ? 1 : chunks) * TOKENS, m);
}

size_t LEVEL(linear_weight_gradient_scratch)(int64_t m, int64_t n, int64_t k)
{
    size_t pairs = HALF_PRODUCTS ? (size_t)((span_of(m, n, k) + 1) / 2 * (pair_stride(n) + pair_stride(k))) : 0,
           ordered = 0;
    if (n >= FEWEST_OUTPUTS && k > 0) {
        Gradient g = {.n = n, .k = k};
        cut_inputs(&g);
        ordered = (size_t)(ordered_span(&g, m) * ordered_floats(&g));
    }
    return (pairs > ordered ? pairs : ordered) * sizeof(float);
}

/* The tasks of all tokens that g knows. */
static void run_tasks(const Exec *exec, Gradient *g)
{
    /* Large groups read x less often, but there should be some eight tasks to share. */
    int64_t blocks = (g->n + ROWS - 1) / ROWS, most = GROUP / ROWS, wanted = blocks * g->strips / 8;
    int64_t fewest = g->half ? LANES / ROWS : 1; /* a panel has whole vectors */
    g->group = least(wanted < fewest ? fewest : wanted, most) * ROWS;
    g->groups = (g->n + g->group - 1) / g->group;
    parallel_pieces(exec, g->groups * g->strips, 1, g->m * g->n * g->k / 16, gradient_tasks, g);
}

/* The inputs of the tokens first .. last-1 of a span. */
static void order_tokens(const Gradient *g, int64_t first, int64_t last)
{
    const float *x = g->x.data;
    const int64_t width = g->vectors * LANES;
    for (int64_t strip = 0; strip < g->strips; strip++)
        for (int64_t s = first; s < last; s++)
            for (int64_t c = strip * width; c < least((strip + 1) * width, g->k); c += LANES)
                vec_store(g->x_order + (strip * g->m + s) * width + c - strip * width,
                          vec_load_upto(x + s * g->x.stride + c, g->k - c, 0));
}

static void order(const void *job, int64_t first, int64_t last)
{
    const Gradient *g = job;
    for (int64_t i = first; i < last; i++)
        order_tokens(g, i * TOGETHER, least((i + 1) * TOGETHER, g->m));
}

/* The gradient of the `span` tokens from `first` on, added to that of the tokens before them. */
static Gradient part_of(const Gradient *whole, int64_t first, int64_t span)
{
    Gradient g = *whole;
    g.m = least(span, whole->m - first);
    g.dy = rows_from(whole->dy, first);
    g.x = rows_from(whole->x, first);
    g.add = whole->add || first > 0;
    return g;
}

/* A span after the other: x is brought into order by all threads, then both are multiplied by all. (dy's colliding rows are
 * read once a tile, one line a token, which the processor hides; bringing it into order, too, took a fifth of the time.) */
static void gradient_in_order(const Exec *exec, const Gradient *whole)
{
    int64_t span = ordered_span(whole, whole->m);
    for (int64_t first = 0; first < whole->m; first += span) {
        Gradient g = part_of(whole, first, span);
        g.x_order = exec->scratch;
        int64_t pieces = (g.m + TOGETHER - 1) / TOGETHER, floats = TOGETHER * ordered_floats(&g);
        parallel_pieces(exec, pieces, 1 + PIECE / floats, pieces * floats, order, &g);
        run_tasks(exec, &g);
    }
}

/* A span after the other: woven by all threads, then multiplied by all. */
static void gradient_in_pairs(const Exec *exec, const Gradient *whole)
{
    int64_t span = span_of(whole->m, whole->n, whole->k), width = pair_stride(whole->n) + pair_stride(whole->k);
    for (int64_t first = 0; first < whole->m; first += span) {
        Gradient g = part_of(whole, first, span);
        g.dy_pairs = exec->scratch;
        g.x_pairs = g.dy_pairs + (g.m + 1) / 2 * pair_stride(g.n);
        parallel_pieces(exec, (g.m + 1) / 2, 1 + PIECE / width, (g.m + 1) / 2 * width * 4, weave, &g);
        run_tasks(exec, &g);
    }
}

void LEVEL(linear_weight_gradient)(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows dy, Rows x, bool add,
                                   float *dw)
{
    rows_check(dy, "linear_weight_gradient");
    rows_check(x, "linear_weight_gradient");
    Gradient g = {.m = m, .n = n, .k = k, .dy = dy, .x = x, .add = add, .dw = dw};
    g.half = dy.type == BF16 || x.type == BF16;
    if (m == 0 && !add)
        memset(dw, 0, (size_t)(n * k) * sizeof *dw);
    if (m == 0 || n == 0 || k == 0)
        return;
    cut_inputs(&g);
    if (HALF_PRODUCTS && g.half)
        gradient_in_pairs(exec, &g);
    else if (!g.half && n >= FEWEST_OUTPUTS && x.stride % COLLIDING == 0)
        gradient_in_order(exec, &g);
    else
        run_tasks(exec, &g);
}
