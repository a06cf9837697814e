/* Rows read and summed by index. A sum is never shared between threads: the choices are first sorted by the row that they
 * name (a counting sort, which keeps their order), then every row adds up its own, so that it is written once and the sum
 * has one order for any number of threads. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

enum {
    STRIP = 256, /* columns of a task; wider rows are cut, which also shares a row that many choose between threads */
    VECTORS = 4, /* that are summed at a time */
    AHEAD = 8,   /* choices between asking for a row and adding it */
    MOST_CACHED = 4 << 20 /* values of a result that a cache may still hold when it is read: 16 MB */
};

static int64_t chosen(const Choices *c, int64_t b, int64_t m, int64_t h)
{
    int64_t at = (b * c->count + m) * c->heads + h;
    int64_t row = c->type == I32 ? ((const int32_t *)c->index)[at] : ((const int64_t *)c->index)[at];
    contract(row >= 0 && row < c->rows, "a choice of row %lld, of %lld", (long long)row, (long long)c->rows);
    return row;
}

/* One row of heads, as row 0 of a matrix. */
static Rows row_at(HeadRows x, int64_t width, int64_t b, int64_t n, int64_t h)
{
    int64_t at = b * x.batch_step + n * x.token_step + h * width;
    return (Rows){(char *)x.data + (size_t)at * dtype_bytes(x.type), 0, x.type};
}

static void check(const Choices *c, HeadRows x, HeadRows y, const char *kernel)
{
    rows_check((Rows){x.data, 0, x.type}, kernel);
    rows_check((Rows){y.data, 0, y.type}, kernel);
    contract((c->type == I32 || c->type == I64) && c->rows <= INT32_MAX && c->count <= INT32_MAX,
             "%s: an index of %s, %lld of %lld rows", kernel, dtype_name(c->type), (long long)c->count,
             (long long)c->rows);
}

/* ---- Gather */

typedef struct Gather {
    const Choices *choices;
    HeadRows x, y;
    const float *factors;
    bool add;
} Gather;

/* to (+)= factor * from */
static void row_into(int64_t width, Rows from, float factor, bool add, Rows to)
{
    float x_values[BLOCK], y_values[BLOCK];
    for (int64_t c = 0; c < width; c += BLOCK) {
        int64_t n = least(BLOCK, width - c);
        const float *x = rows_read(from, 0, c, n, x_values);
        float *y = rows_open(to, 0, c, n, add, y_values);
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = vec_load_upto(x + i, n - i, 0) * factor;
            if (add)
                v += vec_load_upto(y + i, n - i, 0);
            vec_store_upto(y + i, v, n - i);
        }
        rows_close(to, 0, c, n, y);
    }
}

/* Items are (sample, choice, head), heads fastest. */
static void gather_piece(const void *job, int64_t first, int64_t last)
{
    const Gather *g = job;
    const Choices *c = g->choices;
    bool plain = !g->add && !g->factors && g->x.type == g->y.type;
    int64_t h = first % c->heads, m = first / c->heads % c->count, b = first / c->heads / c->count;
    for (int64_t item = first; item < last; item++) {
        int64_t i = chosen(c, b, m, h);
        Rows from = row_at(g->x, c->width, b, i, h), to = row_at(g->y, c->width, b, m, h);
        if (plain)
            memcpy(to.data, from.data, (size_t)c->width * dtype_bytes(to.type));
        else
            row_into(c->width, from, g->factors ? g->factors[(b * c->rows + i) * c->heads + h] : 1.0f, g->add, to);
        if (++h == c->heads) {
            h = 0;
            m = m + 1 < c->count ? m + 1 : 0;
            b += m == 0;
        }
    }
}

static void gather(const Exec *exec, const Choices *c, HeadRows x, const float *factors, bool add, HeadRows y)
{
    check(c, x, y, "gather");
    Gather g = {.choices = c, .x = x, .y = y, .factors = factors, .add = add};
    int64_t items = c->batch * c->count * c->heads;
    parallel_pieces(exec, items, rows_a_piece(c->width), items * c->width * 8, gather_piece, &g);
}

/* ---- Scatter */

typedef struct Scatter {
    const Choices *choices;
    HeadRows x, y;
    float *factors, eps;
    bool add;
    int32_t *starts,
        *order; /* of each sample and head: [N+1] where a row's choices begin in the order, and that order [M] */
    int64_t strips;
    bool streams; /* y is larger than the caches */
} Scatter;

static size_t scatter_scratch(const Choices *c)
{
    return (size_t)(c->batch * c->heads * (c->rows + 1 + c->count)) * sizeof(int32_t);
}

/* Sorts the choices of the samples' heads first .. last-1 by row. */
static void sort_piece(const void *job, int64_t first, int64_t last)
{
    const Scatter *s = job;
    const Choices *c = s->choices;
    for (int64_t group = first; group < last; group++) {
        int64_t b = group / c->heads, h = group % c->heads;
        int32_t *starts = s->starts + group * (c->rows + 1), *order = s->order + group * c->count;
        memset(starts, 0, (size_t)(c->rows + 1) * sizeof *starts);
        for (int64_t m = 0; m < c->count; m++)
            starts[chosen(c, b, m, h) + 1]++;
        for (int64_t i = 0; i < c->rows; i++)
            starts[i + 1] += starts[i];
        for (int64_t m = 0; m < c->count; m++)
            order[starts[chosen(c, b, m, h)]++] = (int32_t)m;
        memmove(starts + 1, starts, (size_t)c->rows * sizeof *starts); /* each stands where the next one begins */
        starts[0] = 0;
    }
}

/* Asks for a row that is summed some choices later: no hardware foresees it. */
static inline void fetch_row(const Scatter *s, Rows row, int64_t from, int64_t n)
{
    const char *bytes = row.data;
    int64_t each = (int64_t)dtype_bytes(s->x.type);
    for (int64_t at = from * each; at < (from + n) * each; at += 64)
        __builtin_prefetch(bytes + at);
}

/* Columns from .. from + n - 1 of the rows that the choices name, added in their order; `known` choices follow in all. n <= STRIP.
 * The sums stay in registers: of zeros in memory GCC makes a `rep stos`, for which the first addition waits. */
static void sum_choices(const Scatter *s, int64_t b, int64_t h, const int32_t *choices, int64_t count, int64_t known,
                        int64_t from, int64_t n, float *sum)
{
    float values[VECTORS * LANES];
    for (int64_t c = 0; c < n; c += VECTORS * LANES) {
        int64_t width = least(VECTORS * LANES, n - c);
        Vec sums[VECTORS] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
        for (int64_t k = 0; k < count; k++) {
            if (k + AHEAD < known)
                fetch_row(s, row_at(s->x, s->choices->width, b, choices[k + AHEAD], h), from + c, width);
            const float *x = rows_read(row_at(s->x, s->choices->width, b, choices[k], h), 0, from + c, width, values);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                if (v * LANES < width)
                    sums[v] += vec_load_upto(x + v * LANES, width - v * LANES, 0);
        }
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            if (v * LANES < width)
                vec_store(sum + c + v * LANES, sums[v]);
    }
}

/* A strip that nobody chose. Of a table that no cache holds (a vocabulary's gradient, of which a batch touches little) it is
 * written past the caches, which would otherwise read each line first. */
static void zero_strip(const Scatter *s, Rows row, int64_t from, int64_t n)
{
    char *to = (char *)row.data + (size_t)from * dtype_bytes(row.type);
    size_t bytes = (size_t)n * dtype_bytes(row.type), vector = sizeof(Vec);
    if (!s->streams || (uintptr_t)to % vector != 0 || bytes % vector != 0) {
        memset(to, 0, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += vector)
        VEC_OP(stream_ps)((float *)(to + i), vec_set(0));
}

/* One strip of one row of y. */
static void scatter_row(const Scatter *s, int64_t group, int64_t i, int64_t strip)
{
    const Choices *c = s->choices;
    const int32_t *starts = s->starts + group * (c->rows + 1), *order = s->order + group * c->count;
    int64_t b = group / c->heads, h = group % c->heads, from = strip * STRIP, n = least(STRIP, c->width - from);
    float sum[STRIP], values[STRIP], factor = 1.0f;
    Rows to = row_at(s->y, c->width, b, i, h);
    if (starts[i] == starts[i + 1] && !s->factors) {
        if (!s->add)
            zero_strip(s, to, from, n);
        return;
    }
    sum_choices(s, b, h, order + starts[i], starts[i + 1] - starts[i], c->count - starts[i], from, n, sum);
    if (s->factors) {
        factor = 1.0f / ((float)(starts[i + 1] - starts[i]) + s->eps);
        if (strip == 0)
            s->factors[(b * c->rows + i) * c->heads + h] = factor;
    }
    float *y = rows_open(to, 0, from, n, s->add, values);
    for (int64_t j = 0; j < n; j += LANES) {
        Vec v = vec_load(sum + j) * factor;
        if (s->add)
            v += vec_load_upto(y + j, n - j, 0);
        vec_store_upto(y + j, v, n - j);
    }
    rows_close(to, 0, from, n, y);
}

/* The first row whose work begins at `at` or later: row i's begins after i rows and the choices of the rows before it. */
static int64_t first_row(const int32_t *starts, int64_t rows, int64_t at)
{
    int64_t low = 0, high = rows;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (starts[middle] + middle >= at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Work is measured in rows of y and of x: each strip of each sample's head has N + M. A piece takes the rows of y whose
 * work begins in it. */
static void scatter_piece(const void *job, int64_t first, int64_t last)
{
    const Scatter *s = job;
    const Choices *c = s->choices;
    int64_t work = c->rows + c->count;
    for (int64_t part = first / work; part * work < last; part++) {
        int64_t group = part / s->strips, from = part * work;
        const int32_t *starts = s->starts + group * (c->rows + 1);
        int64_t end = first_row(starts, c->rows, last - from);
        for (int64_t i = first_row(starts, c->rows, first - from); i < end; i++)
            scatter_row(s, group, i, part % s->strips);
    }
    if (s->streams)
        _mm_sfence(); /* what went past the caches is seen before the next kernel */
}

static void scatter(const Exec *exec, const Choices *c, HeadRows x, float *factors, float eps, bool add, HeadRows y)
{
    check(c, x, y, "scatter");
    contract(exec->scratch_bytes >= scatter_scratch(c), "scatter: scratch is too small");
    int64_t groups = c->batch * c->heads, work = c->rows + c->count;
    int32_t *starts = exec->scratch;
    Scatter s = {.choices = c,
                 .x = x,
                 .y = y,
                 .factors = factors,
                 .eps = eps,
                 .add = add,
                 .starts = starts,
                 .order = starts + groups * (c->rows + 1),
                 .strips = (c->width + STRIP - 1) / STRIP,
                 .streams = groups * c->rows * c->width > MOST_CACHED};
    if (s.strips == 0 || c->rows == 0)
        return;
    parallel_pieces(exec, groups, 1, groups * work * 16, sort_piece, &s);
    parallel_pieces(exec, groups * s.strips * work, rows_a_piece(least(c->width, STRIP)), groups * work * c->width * 4,
                    scatter_piece, &s);
}

const GatherKernels LEVEL(gather_kernels) = {
    .gather = gather,
    .scatter_scratch = scatter_scratch,
    .scatter = scatter,
};
