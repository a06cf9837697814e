/* One value in, one value out: each kernel is a function of a few vectors, mapped over spans of at most BLOCK columns. */
#include "common/kernels/cpu/vector/elementwise.h"

#include "common/kernels/cpu/vector/functions.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/value_map.h"

/* y (+)= f(a, b, factor) over n <= BLOCK columns. b is NULL where f does not use it. */
typedef void Span(int64_t n, const float *a, const float *b, float factor, bool add, float *y);
/* y = f(x), dx = dy f'(x). */
typedef void BothSpan(int64_t n, const float *dy, const float *x, float *y, float *dx);

typedef struct SpanMap {
    Map map;
    Span *span;
} SpanMap;

static int64_t blocks_of(int64_t cols)
{
    return (cols + BLOCK - 1) / BLOCK;
}

/* Items are the blocks of all rows, row by row. */
static void map_piece(const void *job, int64_t first, int64_t last)
{
    const SpanMap *span_map = job;
    const Map *m = &span_map->map;
    float a_values[BLOCK], b_values[BLOCK], y_values[BLOCK];
    int64_t blocks = blocks_of(m->cols), r = first / blocks, c = first % blocks * BLOCK;
    for (int64_t i = first; i < last; i++) {
        int64_t n = least(BLOCK, m->cols - c), b_row = m->b_period ? r % m->b_period : r;
        const float *a = rows_read(m->a, r, c, n, a_values);
        const float *b = m->b.data ? rows_read(m->b, b_row, c, n, b_values) : NULL;
        float *y = rows_open(m->y, r, c, n, m->add, y_values);
        span_map->span(n, a, b, m->factors ? m->factors[r / m->repeat] : m->factor, m->add, y);
        rows_close(m->y, r, c, n, y);
        c += BLOCK;
        if (c >= m->cols) {
            c = 0;
            r++;
        }
    }
}

static void map_run(const Exec *exec, Map m, Span *span, const char *kernel)
{
    rows_check(m.a, kernel);
    rows_check(m.b, kernel);
    rows_check(m.y, kernel);
    if (m.rows <= 0 || m.cols <= 0)
        return;
    m = map_joined(m);
    SpanMap job = {m, span};
    int64_t items = m.rows * blocks_of(m.cols), piece = PIECE / least(m.cols, BLOCK);
    int64_t bytes = m.rows * m.cols * 4 * (m.b.data || m.add ? 3 : 2);
    parallel_pieces(exec, items, piece, bytes, map_piece, &job);
}

#define SPAN(name, value)                                                                                              \
    static void name(int64_t n, const float *a, const float *b, float factor, bool add, float *y)                      \
    {                                                                                                                  \
        (void)b, (void)factor;                                                                                         \
        for (int64_t i = 0; i < n; i += LANES) {                                                                       \
            Vec v = value;                                                                                             \
            if (add)                                                                                                   \
                v = vec_load_upto(y + i, n - i, 0) + v;                                                                \
            vec_store_upto(y + i, v, n - i);                                                                           \
        }                                                                                                              \
    }
#define A vec_load_upto(a + i, n - i, 1)
#define B vec_load_upto(b + i, n - i, 1)
#define FUNCTION_SPANS(name)                                                                                           \
    SPAN(name##_span, name(A))                                                                                         \
    SPAN(name##_gradient_span, A *name##_slope(B)) /* a: dy, b: x */                                                   \
    static void name##_both_span(int64_t n, const float *dy, const float *x, float *y, float *dx)                      \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i += LANES) {                                                                       \
            Vec v = vec_load_upto(x + i, n - i, 1), slope = vec_load_upto(dy + i, n - i, 1) * name##_slope(v);         \
            vec_store_upto(y + i, name(v), n - i);                                                                     \
            vec_store_upto(dx + i, slope, n - i);                                                                      \
        }                                                                                                              \
    }

FUNCTION_SPANS(gelu)
FUNCTION_SPANS(gelu_tanh)
FUNCTION_SPANS(relu)
FUNCTION_SPANS(vec_sigmoid)
FUNCTION_SPANS(vec_tanh)
FUNCTION_SPANS(silu)
FUNCTION_SPANS(vec_exp)
FUNCTION_SPANS(vec_log)
FUNCTION_SPANS(square)
FUNCTION_SPANS(vec_square_root)
SPAN(add_span, A + B)
SPAN(subtract_span, A - B)
SPAN(multiply_span, A *B)
SPAN(divide_span, A / B)
SPAN(scale_span, A *factor)

static const struct {
    Span *value, *gradient;
    BothSpan *both;
} functions[UNARY_COUNT] = {
    [UNARY_GELU] = {gelu_span, gelu_gradient_span, gelu_both_span},
    [UNARY_GELU_TANH] = {gelu_tanh_span, gelu_tanh_gradient_span, gelu_tanh_both_span},
    [UNARY_RELU] = {relu_span, relu_gradient_span, relu_both_span},
    [UNARY_SIGMOID] = {vec_sigmoid_span, vec_sigmoid_gradient_span, vec_sigmoid_both_span},
    [UNARY_TANH] = {vec_tanh_span, vec_tanh_gradient_span, vec_tanh_both_span},
    [UNARY_SILU] = {silu_span, silu_gradient_span, silu_both_span},
    [UNARY_EXPONENTIAL] = {vec_exp_span, vec_exp_gradient_span, vec_exp_both_span},
    [UNARY_LOGARITHM] = {vec_log_span, vec_log_gradient_span, vec_log_both_span},
    [UNARY_SQUARE] = {square_span, square_gradient_span, square_both_span},
    [UNARY_SQUARE_ROOT] = {vec_square_root_span, vec_square_root_gradient_span, vec_square_root_both_span},
};

static Span *const operations[BINARY_COUNT] = {
    [BINARY_ADD] = add_span,
    [BINARY_SUBTRACT] = subtract_span,
    [BINARY_MULTIPLY] = multiply_span,
    [BINARY_DIVIDE] = divide_span,
};

static void unary(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows x, Rows y)
{
    Map m = {.rows = rows, .cols = cols, .a = x, .y = y};
    map_run(exec, m, functions[f].value, "unary");
}

static void unary_gradient(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows dy, Rows x, bool add, Rows dx)
{
    Map m = {.rows = rows, .cols = cols, .a = dy, .b = x, .add = add, .y = dx};
    map_run(exec, m, functions[f].gradient, "unary_gradient");
}

typedef struct Both {
    BothSpan *span;
    int64_t rows, cols;
    Rows dy, x, y, dx;
} Both;

static void both_piece(const void *job, int64_t first, int64_t last)
{
    const Both *m = job;
    float dy_values[BLOCK], x_values[BLOCK], y_values[BLOCK], dx_values[BLOCK];
    int64_t blocks = blocks_of(m->cols);
    for (int64_t i = first; i < last; i++) {
        int64_t r = i / blocks, c = i % blocks * BLOCK, n = least(BLOCK, m->cols - c);
        float *y = rows_open(m->y, r, c, n, false, y_values), *dx = rows_open(m->dx, r, c, n, false, dx_values);
        m->span(n, rows_read(m->dy, r, c, n, dy_values), rows_read(m->x, r, c, n, x_values), y, dx);
        rows_close(m->y, r, c, n, y);
        rows_close(m->dx, r, c, n, dx);
    }
}

static void unary_both(const Exec *exec, Unary f, int64_t rows, int64_t cols, Rows dy, Rows x, Rows y, Rows dx)
{
    Both m = {functions[f].both, rows, cols, dy, x, y, dx};
    const Rows *const all[] = {&dy, &x, &y, &dx};
    for (int i = 0; i < 4; i++)
        rows_check(*all[i], "unary_both");
    if (rows > 0 && cols > 0)
        parallel_pieces(exec, rows * blocks_of(cols), PIECE / least(cols, BLOCK), rows * cols * 16, both_piece, &m);
}

static void binary(const Exec *exec, Binary f, int64_t rows, int64_t cols, Rows a, Rows b, Rows y)
{
    Map m = {.rows = rows, .cols = cols, .a = a, .b = b, .y = y};
    map_run(exec, m, operations[f], "binary");
}

static void scale(const Exec *exec, int64_t rows, int64_t cols, float factor, Rows x, bool add, Rows y)
{
    Map m = {.rows = rows, .cols = cols, .a = x, .factor = factor, .add = add, .y = y};
    map_run(exec, m, scale_span, "scale");
}

static void scale_rows(const Exec *exec, int64_t rows, int64_t cols, const float *factors, int64_t repeat, Rows x,
                       bool add, Rows y)
{
    Map m = {.rows = rows, .cols = cols, .a = x, .factors = factors, .repeat = repeat, .add = add, .y = y};
    map_run(exec, m, scale_span, "scale_rows");
}

static void add_rows(const Exec *exec, int64_t rows, int64_t cols, Rows x, const float *table, int64_t period, Rows y)
{
    Rows b = {.data = (void *)table, .stride = cols, .type = F32};
    Map m = {.rows = rows, .cols = cols, .a = x, .b = b, .b_period = period, .y = y};
    map_run(exec, m, add_span, "add_rows");
}

typedef struct Copy {
    size_t bytes, x_step, y_step;
    const char *x;
    char *y;
} Copy;

enum { COPY_BLOCK = BLOCK * 4 };

/* Items are the blocks of all rows, row by row. */
static void copy_piece(const void *job, int64_t first, int64_t last)
{
    const Copy *m = job;
    int64_t bytes = (int64_t)m->bytes, blocks = (bytes + COPY_BLOCK - 1) / COPY_BLOCK;
    for (int64_t i = first; i < last; i++) {
        int64_t r = i / blocks, c = i % blocks * COPY_BLOCK;
        memcpy(m->y + (size_t)r * m->y_step + c, m->x + (size_t)r * m->x_step + c,
               (size_t)least(COPY_BLOCK, bytes - c));
    }
}

static void copy(const Exec *exec, int64_t rows, size_t bytes, const void *x, size_t x_step, void *y, size_t y_step)
{
    if (rows <= 0 || bytes == 0)
        return;
    if (x_step == bytes && y_step == bytes) {
        bytes *= (size_t)rows;
        rows = 1;
    }
    Copy m = {.bytes = bytes, .x_step = x_step, .y_step = y_step, .x = x, .y = y};
    int64_t blocks = ((int64_t)bytes + COPY_BLOCK - 1) / COPY_BLOCK;
    parallel_pieces(exec, rows * blocks, PIECE * 4 / least((int64_t)bytes, COPY_BLOCK), rows * (int64_t)bytes * 2,
                    copy_piece, &m);
}

typedef struct Fill {
    float value, *y;
} Fill;

static void fill_piece(const void *job, int64_t first, int64_t last)
{
    const Fill *f = job;
    for (int64_t i = first; i < last; i += LANES)
        vec_store_upto(f->y + i, vec_set(f->value), last - i);
}

static void fill(const Exec *exec, int64_t count, float value, float *y)
{
    Fill f = {value, y};
    parallel_pieces(exec, count, PIECE, count * 4, fill_piece, &f);
}

const ElementwiseKernels LEVEL(elementwise_kernels) = {
    .unary = unary,
    .unary_gradient = unary_gradient,
    .unary_both = unary_both,
    .binary = binary,
    .scale = scale,
    .scale_rows = scale_rows,
    .add_rows = add_rows,
    .sum_rows_scratch = LEVEL(sum_rows_scratch),
    .sum_rows = LEVEL(sum_rows),
    .sum_columns = LEVEL(sum_columns),
    .dot_columns = LEVEL(dot_columns),
    .permute = LEVEL(permute),
    .copy = copy,
    .fill = fill,
};
