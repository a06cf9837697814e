/* Softmax of rows and the cross-entropy with targets over all classes. Exponentials are kept in the result where it is fp32, and computed
 * a second time where it is not, or is a logarithm. */
#include "common/kernels/cpu/vector/levels.h"
#include "common/kernels/cpu/vector/loss.h"
#include "common/kernels/cpu/vector/rows.h"
#include "common/kernels/cpu/vector/spans.h"

#include <math.h>

typedef struct Softmax {
    int64_t cols;
    Rows x, y;
    bool logarithm;
    const float *targets; /* the losses' only; NULL for a softmax alone */
    float *losses;
} Softmax;

static float row_largest(Rows x, int64_t r, int64_t cols)
{
    float values[BLOCK];
    Vec largest = vec_set(-INFINITY);
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t n = least(BLOCK, cols - c);
        const float *v = rows_read(x, r, c, n, values);
        for (int64_t i = 0; i < n; i += LANES)
            largest = vec_max(largest, vec_load_upto(v + i, n - i, -INFINITY));
    }
    return vec_largest(largest);
}

/* The exponentials can wait in y for their sum. */
static bool keeps_exponentials(const Softmax *s)
{
    return !s->logarithm && s->y.type == F32;
}

/* Sum of e^(x - largest); they are left in y if they are kept. */
static float row_exponentials(const Softmax *s, int64_t r, float largest)
{
    float values[BLOCK], unkept[BLOCK];
    Vec sum = vec_set(0);
    for (int64_t c = 0; c < s->cols; c += BLOCK) {
        int64_t n = least(BLOCK, s->cols - c);
        const float *x = rows_read(s->x, r, c, n, values);
        float *y = keeps_exponentials(s) ? rows_open(s->y, r, c, n, false, NULL) : unkept;
        for (int64_t i = 0; i < n; i += LANES) {
            Vec e = vec_exp(vec_load_upto(x + i, n - i, 0) - largest);
            vec_store_upto(y + i, e, n - i);
            sum += n - i >= LANES ? e : vec_first(e, n - i);
        }
    }
    return vec_sum(sum);
}

/* y = e^(x - largest) / sum, or its logarithm. */
static void softmax_row(const Softmax *s, int64_t r, float largest, float sum)
{
    float x_values[BLOCK], y_values[BLOCK], factor = 1.0f / sum, shift = s->logarithm ? logf(sum) : 0.0f;
    bool kept = keeps_exponentials(s);
    for (int64_t c = 0; c < s->cols; c += BLOCK) {
        int64_t n = least(BLOCK, s->cols - c);
        const float *x = rows_read(kept ? s->y : s->x, r, c, n, x_values);
        float *y = rows_open(s->y, r, c, n, false, y_values);
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = vec_load_upto(x + i, n - i, 0);
            if (!kept)
                v = s->logarithm ? v - largest - shift : vec_exp(v - largest);
            vec_store_upto(y + i, s->logarithm ? v : v * factor, n - i);
        }
        rows_close(s->y, r, c, n, y);
    }
}

/* - sum_c target (x - largest - ln sum) */
static float cross_entropy_row(const Softmax *s, int64_t r, float largest, float sum)
{
    float values[BLOCK], log_sum = logf(sum);
    Vec loss = vec_set(0);
    for (int64_t c = 0; c < s->cols; c += BLOCK) {
        int64_t n = least(BLOCK, s->cols - c);
        const float *x = rows_read(s->x, r, c, n, values), *target = s->targets + r * s->cols + c;
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = vec_load_upto(x + i, n - i, largest) - largest;
            loss += vec_load_upto(target + i, n - i, 0) * (log_sum - v);
        }
    }
    return vec_sum(loss);
}

static void softmax_piece(const void *job, int64_t first, int64_t last)
{
    const Softmax *s = job;
    for (int64_t r = first; r < last; r++) {
        float largest = row_largest(s->x, r, s->cols), sum = row_exponentials(s, r, largest);
        if (s->losses)
            s->losses[r] = cross_entropy_row(s, r, largest, sum);
        softmax_row(s, r, largest, sum);
    }
}

static void softmax_run(const Exec *exec, int64_t rows, Softmax s, const char *kernel)
{
    rows_check(s.x, kernel);
    rows_check(s.y, kernel);
    parallel_pieces(exec, rows, rows_a_piece(s.cols), rows * s.cols * 8, softmax_piece, &s);
}

static void softmax(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows y)
{
    softmax_run(exec, rows, (Softmax){.cols = cols, .x = x, .y = y}, "softmax");
}

static void log_softmax(const Exec *exec, int64_t rows, int64_t cols, Rows x, Rows y)
{
    softmax_run(exec, rows, (Softmax){.cols = cols, .x = x, .y = y, .logarithm = true}, "log_softmax");
}

static void soft_cross_entropy(const Exec *exec, int64_t rows, int64_t cols, Rows logits, const float *targets,
                               float *probabilities, float *losses)
{
    Rows y = {.data = probabilities, .stride = cols, .type = F32};
    Softmax s = {.cols = cols, .x = logits, .y = y, .targets = targets, .losses = losses};
    softmax_run(exec, rows, s, "soft_cross_entropy");
}

typedef struct SoftmaxGradient {
    int64_t cols;
    Rows dy, y, dx; /* of the loss: dy is the target, y the probabilities */
    const float *dlosses;
    bool add;
} SoftmaxGradient;

static float row_dot(const SoftmaxGradient *s, int64_t r)
{
    float dy_values[BLOCK], y_values[BLOCK];
    Vec sum = vec_set(0);
    for (int64_t c = 0; c < s->cols; c += BLOCK) {
        int64_t n = least(BLOCK, s->cols - c);
        const float *dy = rows_read(s->dy, r, c, n, dy_values), *y = rows_read(s->y, r, c, n, y_values);
        for (int64_t i = 0; i < n; i += LANES)
            sum += vec_load_upto(dy + i, n - i, 0) * vec_load_upto(y + i, n - i, 0);
    }
    return vec_sum(sum);
}

static void softmax_gradient_piece(const void *job, int64_t first, int64_t last)
{
    const SoftmaxGradient *s = job;
    float dy_values[BLOCK], y_values[BLOCK], dx_values[BLOCK];
    for (int64_t r = first; r < last; r++) {
        float dot = row_dot(s, r);
        for (int64_t c = 0; c < s->cols; c += BLOCK) {
            int64_t n = least(BLOCK, s->cols - c);
            const float *dy = rows_read(s->dy, r, c, n, dy_values), *y = rows_read(s->y, r, c, n, y_values);
            float *dx = rows_open(s->dx, r, c, n, s->add, dx_values);
            for (int64_t i = 0; i < n; i += LANES) {
                Vec v = vec_load_upto(y + i, n - i, 0) * (vec_load_upto(dy + i, n - i, 0) - dot);
                if (s->add)
                    v += vec_load_upto(dx + i, n - i, 0);
                vec_store_upto(dx + i, v, n - i);
            }
            rows_close(s->dx, r, c, n, dx);
        }
    }
}

static void softmax_gradient(const Exec *exec, int64_t rows, int64_t cols, Rows dy, Rows y, bool add, Rows dx)
{
    rows_check(dy, "softmax_gradient");
    rows_check(y, "softmax_gradient");
    rows_check(dx, "softmax_gradient");
    SoftmaxGradient s = {.cols = cols, .dy = dy, .y = y, .dx = dx, .add = add};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 12, softmax_gradient_piece, &s);
}

static void cross_entropy_gradient_piece(const void *job, int64_t first, int64_t last)
{
    const SoftmaxGradient *s = job;
    float values[BLOCK];
    for (int64_t r = first; r < last; r++) {
        const float *target = (const float *)s->dy.data + r * s->cols, *p = (const float *)s->y.data + r * s->cols;
        float weight = span_sum(s->cols, target), dloss = s->dlosses[r];
        for (int64_t c = 0; c < s->cols; c += BLOCK) {
            int64_t n = least(BLOCK, s->cols - c);
            float *dx = rows_open(s->dx, r, c, n, s->add, values);
            for (int64_t i = 0; i < n; i += LANES) {
                Vec v = vec_load_upto(p + c + i, n - i, 0) * weight - vec_load_upto(target + c + i, n - i, 0);
                v *= dloss;
                if (s->add)
                    v += vec_load_upto(dx + i, n - i, 0);
                vec_store_upto(dx + i, v, n - i);
            }
            rows_close(s->dx, r, c, n, dx);
        }
    }
}

static void soft_cross_entropy_gradient(const Exec *exec, int64_t rows, int64_t cols, const float *dlosses,
                                        const float *probabilities, const float *targets, bool add, Rows dlogits)
{
    rows_check(dlogits, "soft_cross_entropy_gradient");
    SoftmaxGradient s = {.cols = cols,
                         .dy = {.data = (void *)targets, .stride = cols, .type = F32},
                         .y = {.data = (void *)probabilities, .stride = cols, .type = F32},
                         .dx = dlogits,
                         .dlosses = dlosses,
                         .add = add};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 12, cross_entropy_gradient_piece, &s);
}

const LossKernels LEVEL(loss_kernels) = {
    .softmax = softmax,
    .log_softmax = log_softmax,
    .softmax_gradient = softmax_gradient,
    .soft_cross_entropy = soft_cross_entropy,
    .soft_cross_entropy_gradient = soft_cross_entropy_gradient,
    .cross_entropy = LEVEL(cross_entropy),
    .cross_entropy_gradient = LEVEL(cross_entropy_gradient),
};
