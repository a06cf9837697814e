/* A linear layer's three products at one shape: y = x w^T + b, dx = dy w, dw = dy^T x. M tokens, N outputs, K inputs.
 * The weights do not change between turns, so they are packed once, as they are once a training step. */
#include "bench/side/side.h"

#include "common/base/memory.h"

#include <string.h>

typedef enum Direction { FORWARD, BY_INPUT, BY_WEIGHT, DIRECTIONS } Direction;

static const char *const direction_names[DIRECTIONS] = {"forward", "input", "weight"};

typedef struct Product {
    const Backend *backend;
    Exec exec;
    Direction direction;
    int64_t m, n, k;
    DType type;      /* of x, y, dx, dy */
    void *x, *dy;    /* [M,K], [M,N] */
    float *w, *bias; /* [N,K], [N] */
    void *result;
    struct Packed *packed;
} Product;

static void multiply(void *own)
{
    Product *p = own;
    const MatmulKernels *kernels = &p->backend->matmul;
    const Weight weight = {.data = p->w, .stride = p->k, .version = 1, .packed = &p->packed};
    const Rows x = {p->x, p->k, p->type}, dy = {p->dy, p->n, p->type};
    switch (p->direction) {
    case FORWARD:
        kernels->linear(&p->exec, p->m, p->n, p->k, x, &weight, p->bias, (Rows){p->result, p->n, p->type});
        break;
    case BY_INPUT:
        kernels->linear_input_gradient(&p->exec, p->m, p->n, p->k, dy, &weight, false,
                                       (Rows){p->result, p->k, p->type});
        break;
    default:
        kernels->linear_weight_gradient(&p->exec, p->m, p->n, p->k, dy, x, false, p->result);
    }
}

static bool check(void *own, const char *path, Error *e)
{
    Product *p = own;
    multiply(p);
    const int64_t shapes[DIRECTIONS][2] = {{p->m, p->n}, {p->m, p->k}, {p->n, p->k}};
    const int64_t *shape = shapes[p->direction];
    DType type = p->direction == BY_WEIGHT ? F32 : p->type;
    TensorToWrite result = {"result", type, 2, {shape[0], shape[1]}, p->result};
    return safetensors_write(path, &result, 1, NULL, 0, e);
}

static void close_product(void *own)
{
    Product *p = own;
    p->backend->matmul.packed_free(&p->packed);
    mem_free(p->exec.scratch);
    mem_free(p->x);
    mem_free(p->w);
    mem_free(p->bias);
    mem_free(p->dy);
    mem_free(p->result);
    mem_free(p);
}

static void *values(const char *name, int64_t count, DType type)
{
    void *x = mem_new((size_t)count * dtype_bytes(type));
    side_fill(name, count, 1, type, x);
    return x;
}

static bool write_inputs(const Product *p, const char *path, Error *e)
{
    const TensorToWrite inputs[] = {{"x", p->type, 2, {p->m, p->k}, p->x},
                                    {"w", F32, 2, {p->n, p->k}, p->w},
                                    {"bias", F32, 1, {p->n}, p->bias},
                                    {"dy", p->type, 2, {p->m, p->n}, p->dy}};
    return safetensors_write(path, inputs, COUNT_OF(inputs), NULL, 0, e);
}

static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    enum { SCRATCH = 64 << 20 };
    const char *name = words_text(words, "direction", "forward");
    int direction = 0;
    while (direction < DIRECTIONS && strcmp(name, direction_names[direction]))
        direction++;
    int64_t m = words_int(words, "m", 0), n = words_int(words, "n", 0), k = words_int(words, "k", 0);
    int threads = (int)words_int(words, "threads", 2);
    const Backend *backend = cpu_backend(e);
    DType type;
    if (!backend || !words_precision(words, backend, &type, e))
        return false;
    if (direction == DIRECTIONS || m < 1 || n < 1 || k < 1 || threads < 1)
        return error_set(e, "expected direction=forward|input|weight, and m, n, k, threads above 0");
    Product *p = mem_new(sizeof *p);
    *p = (Product){.backend = backend, .direction = (Direction)direction, .m = m, .n = n, .k = k, .type = type};
    p->exec = (Exec){.threads = threads, .scratch = mem_new(SCRATCH), .scratch_bytes = SCRATCH};
    p->x = values("x", m * k, type);
    p->w = values("w", n * k, F32);
    p->bias = values("bias", n, F32);
    p->dy = values("dy", m * n, type);
    p->result = mem_new((size_t)MAX(m * MAX(n, k), n * k) * sizeof(float));
    *c = (Case){.own = p,
                .flop = 2.0 * (double)m * (double)n * (double)k,
                .items = m,
                .threads = threads,
                .operation = multiply,
                .check = check,
                .close = close_product};
    bool good = write_inputs(p, inputs, e);
    if (!good)
        close_product(p);
    return good;
}

int main(void)
{
    return side_main(prepare);
}
