/* Rows through norm, product, activation and product: the other families' kernels one after the other, over tiles of rows so large
 * that each fills the GPU and so small that what one leaves is mostly still in the L2 cache (40 MB and more since the A100). */
#include "common/kernels/cuda/number.cuh"
#include "common/kernels/cuda/product.cuh"

enum { TILE_UNIT = 1024 };
static const int64_t TILE_BYTES = (int64_t)16 << 20; /* of the widest rows of a tile: it is written, and read once */

static int64_t tile_rows(const Chain *c)
{
    int64_t widest = c->in > c->width ? c->in : c->width;
    int64_t rows = blocks_for(TILE_BYTES / (widest * (int64_t)dtype_bytes(c->inner)), TILE_UNIT) * TILE_UNIT;
    return rows < c->rows ? rows : c->rows;
}

/* The normalised rows, up's results where they are not kept, f's results. */
typedef struct Stages {
    Rows normal, hidden, active;
    size_t bytes;
} Stages;

static Rows cut(Stages *s, char *memory, int64_t rows, int64_t cols, DType type)
{
    Rows piece = {memory ? memory + s->bytes : NULL, cols, type};
    s->bytes += ((size_t)(rows * cols) * dtype_bytes(type) + 255) / 256 * 256;
    return piece;
}

static Stages stages_of(const Chain *c, char *memory)
{
    Stages s = {};
    int64_t rows = tile_rows(c);
    s.normal = cut(&s, memory, rows, c->in, c->inner);
    if (c->down) {
        s.hidden = cut(&s, memory, rows, c->width, c->inner);
        s.active = cut(&s, memory, rows, c->width, c->inner);
    }
    return s;
}

static size_t forward_scratch(const Exec *, const Chain *c)
{
    return stages_of(c, NULL).bytes;
}

/* What `up` reads: normalised rows, or x in the type of the products. */
static Rows prepared(const Exec *exec, const Chain *c, int64_t rows, Rows x, const Stages *s, float *mean, float *rstd)
{
    const Rows none = {};
    if (c->gamma)
        cuda_norm.layer_norm(exec, rows, c->in, x, none, none, c->gamma, c->beta, c->eps, s->normal, mean, rstd);
    else if (x.type == c->inner)
        return x;
    else
        cuda_elementwise.scale(exec, rows, c->in, 1.0f, x, false, s->normal);
    return s->normal;
}

/* The first product and f in one, where cuBLASLt has f: then `hidden` is written only where it is kept. */
static bool up_and_f(const Exec *exec, const Chain *c, int64_t rows, Rows from, Rows kept, Rows active)
{
    Epilogue f = c->f == UNARY_GELU_TANH            ? EPILOGUE_GELU_TANH
                 : c->f == UNARY_RELU && !kept.data ? EPILOGUE_RELU
                                                    : EPILOGUE_NONE;
    bool fits = kept.stride % 8 == 0 && (uintptr_t)kept.data % 16 == 0; /* its rule for what f got */
    return f != EPILOGUE_NONE && fits &&
           product_linear(exec, rows, c->width, c->in, from, c->up, c->up_bias, f, kept, active);
}

static void forward_rows(const Exec *exec, const Chain *c, int64_t rows, Rows x, Rows kept, float *mean, float *rstd,
                         Rows y)
{
    Stages s = stages_of(c, (char *)exec->scratch);
    Rows from = prepared(exec, c, rows, x, &s, mean, rstd);
    if (!c->down) {
        cuda_matmul.linear(exec, rows, c->width, c->in, from, c->up, c->up_bias, y);
        return;
    }
    if (!up_and_f(exec, c, rows, from, kept, s.active)) {
        Rows hidden = kept.data ? kept : s.hidden;
        cuda_matmul.linear(exec, rows, c->width, c->in, from, c->up, c->up_bias, hidden);
        cuda_elementwise.unary(exec, c->f, rows, c->width, hidden, s.active);
    }
    cuda_matmul.linear(exec, rows, c->out, c->width, s.active, c->down, c->down_bias, y);
}

static void forward(const Exec *exec, const Chain *c, Rows x, Rows hidden, float *mean, float *rstd, Rows y)
{
    int64_t tile = tile_rows(c);
    for (int64_t r = 0; r < c->rows; r += tile)
        forward_rows(exec, c, tile < c->rows - r ? tile : c->rows - r, rows_from(x, r),
                     hidden.data ? rows_from(hidden, r) : hidden, mean ? mean + r : NULL, rstd ? rstd + r : NULL,
                     rows_from(y, r));
}

const ChainKernels cuda_chain = {.forward_scratch = forward_scratch, .forward = forward};
