/* The optimizers' steps: one pass over parameter, gradient and state. */
#include "common/kernels/cpu/parallel.h"
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/rows.h"

typedef struct AdamW {
    StepScalars step;
    float gradient_scale;
    float beta1, beta2, eps, decay;
    bool coupled;
    float *parameter, *m, *v;
    const float *gradient;
} AdamW;

static void adamw_piece(const void *job, int64_t first, int64_t last)
{
    const AdamW *a = job;
    float keep = a->coupled ? 1.0f : 1.0f - a->step.lr * a->decay, added = a->coupled ? a->decay : 0.0f,
          rate = a->step.lr / a->step.bias_correction1;
    float root = 1.0f / __builtin_sqrtf(a->step.bias_correction2), gradient_scale = a->gradient_scale;
    float fresh1 = 1.0f - a->beta1, fresh2 = 1.0f - a->beta2, beta2 = a->beta2, eps = a->eps;
    for (int64_t i = first; i < last; i += LANES) {
        int64_t live = last - i;
        Vec g = vec_load_upto(a->gradient + i, live, 0) * gradient_scale, p = vec_load_upto(a->parameter + i, live, 0);
        Vec m = vec_load_upto(a->m + i, live, 0), v = vec_load_upto(a->v + i, live, 0);
        g += added * p;
        m += fresh1 * (g - m);
        v = beta2 * v + fresh2 * g * g;
        p = p * keep - rate * m / (vec_square_root(v) * root + eps);
        vec_store_upto(a->m + i, m, live);
        vec_store_upto(a->v + i, v, live);
        vec_store_upto(a->parameter + i, p, live);
    }
}

static void adamw(const Exec *exec, int64_t count, const StepScalars *step, const float *gradient_scale, float beta1,
                  float beta2, float eps, float decay, bool coupled, float *parameter, const float *gradient, float *m,
                  float *v)
{
    AdamW a = {*step, *gradient_scale, beta1, beta2, eps, decay, coupled, parameter, m, v, gradient};
    parallel_pieces(exec, count, PIECE, count * 28, adamw_piece, &a);
}

typedef struct Sgd {
    StepScalars step;
    float gradient_scale;
    float momentum, decay;
    bool nesterov, first;
    float *parameter, *buffer;
    const float *gradient;
} Sgd;

static void sgd_piece(const void *job, int64_t first, int64_t last)
{
    const Sgd *s = job;
    for (int64_t i = first; i < last; i += LANES) {
        int64_t live = last - i;
        Vec p = vec_load_upto(s->parameter + i, live, 0);
        Vec g = vec_load_upto(s->gradient + i, live, 0) * s->gradient_scale + s->decay * p;
        Vec buffer = s->first ? g : s->momentum * vec_load_upto(s->buffer + i, live, 0) + g;
        p -= s->step.lr * (s->nesterov ? g + s->momentum * buffer : buffer);
        vec_store_upto(s->buffer + i, buffer, live);
        vec_store_upto(s->parameter + i, p, live);
    }
}

static void sgd(const Exec *exec, int64_t count, const StepScalars *step, const float *gradient_scale, float momentum,
                bool nesterov, float decay, bool first, float *parameter, const float *gradient, float *buffer)
{
    Sgd s = {*step, *gradient_scale, momentum, decay, nesterov, first, parameter, buffer, gradient};
    parallel_pieces(exec, count, PIECE, count * 20, sgd_piece, &s);
}

enum { CHUNKS = 64 };

typedef struct Squares {
    const float *x;
    int64_t chunk;
    double *sums; /* [chunks] */
} Squares;

typedef double VecDouble __attribute__((vector_size(LANES * 8)));

static void squares_piece(const void *job, int64_t first, int64_t last)
{
    const Squares *s = job;
    VecDouble sum = {0};
    for (int64_t i = first; i < last; i += LANES) {
        VecDouble x = __builtin_convertvector(vec_load_upto(s->x + i, last - i, 0), VecDouble);
        sum += x * x;
    }
    double total = 0;
    for (int i = 0; i < LANES; i++)
        total += sum[i];
    s->sums[first / s->chunk] = total;
}

static void sum_of_squares(const Exec *exec, int64_t count, const float *x, bool add, double *sum)
{
    double sums[CHUNKS] = {0}, total = 0;
    int64_t chunk = (count + CHUNKS - 1) / CHUNKS;
    Squares s = {x, chunk > PIECE ? chunk : PIECE, sums};
    parallel_pieces(exec, count, s.chunk, count * 4, squares_piece, &s);
    for (int i = 0; i < CHUNKS; i++)
        total += sums[i];
    *sum = (add ? *sum : 0) + total;
}

static void clip_scale(const Exec *exec, double limit, const double *squares, float *scale)
{
    (void)exec;
    double share = limit / (__builtin_sqrt(*squares) + 1e-6);
    *scale = (float)(share < 1 ? share : 1);
}

const OptimizerKernels LEVEL(optimizer_kernels) = {
    .adamw = adamw, .sgd = sgd, .sum_of_squares = sum_of_squares, .clip_scale = clip_scale};
