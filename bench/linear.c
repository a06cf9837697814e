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
    float *x, *w, *bias, *dy, *result; /* [M,K], [N,K], [N], [M,N] */
    struct Packed *packed;
} Product;

static Rows rows(float *data, int64_t stride)
{
    return (Rows){data, stride, F32};
}

static void multiply(void *own)
{
    Product *p = own;
    const MatmulKernels *kernels = &p->backend->matmul;
    const Weight weight = {.data = p->w, .stride = p->k, .version = 1, .packed = &p->packed};
    switch (p->direction) {
    case FORWARD:
        kernels->linear(&p->exec, p->m, p->n, p->k, rows(p->x, p->k), &weight, p->bias, rows(p->result, p->n));
        break;
    case BY_INPUT:
        kernels->linear_input_gradient(&p->exec, p->m, p->n, p->k, rows(p->dy, p->n), &weight, false,
                                       rows(p->result, p->k));
        break;
    default:
        kernels->linear_weight_gradient(&p->exec, p->m, p->n, p->k, rows(p->dy, p->n), rows(p->x, p->k), false,
                                        p->result);
    }
}

static bool check(void *own, const char *path, Error *e)
{
    Product *p = own;
    multiply(p);
    const int64_t shapes[DIRECTIONS][2] = {{p->m, p->n}, {p->m, p->k}, {p->n, p->k}};
    const int64_t *shape = shapes[p->direction];
    TensorToWrite result = {"result", F32, 2, {shape[0], shape[1]}, p->result};
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

static float *values(const char *name, int64_t count)
{
    float *x = mem_new((size_t)count * sizeof *x);
    side_fill(name, count, 1, x);
    return x;
}

static bool write_inputs(const Product *p, const char *path, Error *e)
{
    const TensorToWrite inputs[] = {{"x", F32, 2, {p->m, p->k}, p->x},
                                    {"w", F32, 2, {p->n, p->k}, p->w},
                                    {"bias", F32, 1, {p->n}, p->bias},
                                    {"dy", F32, 2, {p->m, p->n}, p->dy}};
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
    if (!backend)
        return false;
    if (direction == DIRECTIONS || m < 1 || n < 1 || k < 1 || threads < 1)
        return error_set(e, "expected direction=forward|input|weight, and m, n, k, threads above 0");
    Product *p = mem_new(sizeof *p);
    *p = (Product){.backend = backend, .direction = (Direction)direction, .m = m, .n = n, .k = k};
    p->exec = (Exec){.threads = threads, .scratch = mem_new(SCRATCH), .scratch_bytes = SCRATCH};
    p->x = values("x", m * k);
    p->w = values("w", n * k);
    p->bias = values("bias", n);
    p->dy = values("dy", m * n);
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
