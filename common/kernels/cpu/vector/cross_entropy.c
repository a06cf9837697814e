/* Cross-entropy with one label a row. A vocabulary makes the logits the largest tensor of a model, and nothing of their size
 * is kept beside them: the way back computes the exponentials a second time, which costs less than the way to memory. */
#include "common/kernels/cpu/vector/loss.h"
#include "common/kernels/cpu/vector/rows.h"

#include <math.h>

typedef struct CrossEntropy {
    int64_t cols, ignore;
    Rows logits, dlogits;
    const int64_t *labels;
    const float *dlosses;
    float *lse, *losses;
    bool add;
} CrossEntropy;

static bool row_counts(const CrossEntropy *e, int64_t r)
{
    int64_t label = e->labels[r];
    contract(label == e->ignore || (label >= 0 && label < e->cols), "cross_entropy: a label %lld of %lld classes",
             (long long)label, (long long)e->cols);
    return label != e->ignore;
}

static float span_largest(int64_t n, const float *x)
{
    Vec largest = vec_set(-INFINITY);
    for (int64_t i = 0; i < n; i += LANES)
        largest = vec_max(largest, vec_load_upto(x + i, n - i, -INFINITY));
    return vec_largest(largest);
}

/* ln sum e^x in one pass: where a block brings a larger value, the sum of those before it is scaled down. */
static float log_sum_of_row(Rows x, int64_t r, int64_t cols)
{
    float values[BLOCK], largest = -INFINITY;
    Vec sum = vec_set(0);
    for (int64_t c = 0; c < cols; c += BLOCK) {
        int64_t n = least(BLOCK, cols - c);
        const float *v = rows_read(x, r, c, n, values);
        float before = largest, here = span_largest(n, v);
        largest = here > before ? here : before;
        if (largest == -INFINITY)
            continue;
        sum *= vec_exp(vec_set(before - largest));
        for (int64_t i = 0; i < n; i += LANES)
            sum += vec_exp(vec_load_upto(v + i, n - i, -INFINITY) - largest);
    }
    return largest + logf(vec_sum(sum));
}

static void losses_piece(const void *job, int64_t first, int64_t last)
{
    const CrossEntropy *e = job;
    float value;
    for (int64_t r = first; r < last; r++) {
        e->lse[r] = e->losses[r] = 0;
        if (!row_counts(e, r))
            continue;
        e->lse[r] = log_sum_of_row(e->logits, r, e->cols);
        e->losses[r] = e->lse[r] - *rows_read(e->logits, r, e->labels[r], 1, &value);
    }
}

void LEVEL(cross_entropy)(const Exec *exec, int64_t rows, int64_t cols, Rows logits, const int64_t *labels,
                          int64_t ignore, float *lse, float *losses)
{
    rows_check(logits, "cross_entropy");
    CrossEntropy e = {.cols = cols, .ignore = ignore, .logits = logits, .labels = labels, .lse = lse, .losses = losses};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * 4, losses_piece, &e);
}

static void gradient_row(const CrossEntropy *e, int64_t r)
{
    float x_values[BLOCK], dx_values[BLOCK], lse = e->lse[r], dloss = e->dlosses[r];
    for (int64_t c = 0; c < e->cols; c += BLOCK) {
        int64_t n = least(BLOCK, e->cols - c), label = e->labels[r] - c;
        const float *x = rows_read(e->logits, r, c, n, x_values);
        float *dx = rows_open(e->dlogits, r, c, n, e->add, dx_values);
        for (int64_t i = 0; i < n; i += LANES) {
            Vec v = vec_exp(vec_load_upto(x + i, n - i, 0) - lse) * dloss;
            if (e->add)
                v += vec_load_upto(dx + i, n - i, 0);
            vec_store_upto(dx + i, v, n - i);
        }
        if (label >= 0 && label < n)
            dx[label] -= dloss;
        rows_close(e->dlogits, r, c, n, dx);
    }
}

static void zero_row(const CrossEntropy *e, int64_t r)
{
    Rows row = rows_from(e->dlogits, r);
    memset(row.data, 0, (size_t)e->cols * dtype_bytes(row.type));
}

static void gradient_piece(const void *job, int64_t first, int64_t last)
{
    const CrossEntropy *e = job;
    for (int64_t r = first; r < last; r++)
        if (row_counts(e, r))
            gradient_row(e, r);
        else if (!e->add)
            zero_row(e, r);
}

void LEVEL(cross_entropy_gradient)(const Exec *exec, int64_t rows, int64_t cols, const float *dlosses, Rows logits,
                                   const int64_t *labels, int64_t ignore, const float *lse, bool add, Rows dlogits)
{
    rows_check(logits, "cross_entropy_gradient");
    rows_check(dlogits, "cross_entropy_gradient");
    CrossEntropy e = {.cols = cols,
                      .ignore = ignore,
                      .logits = logits,
                      .dlogits = dlogits,
                      .labels = labels,
                      .dlosses = dlosses,
                      .lse = (float *)lse,
                      .add = add};
    parallel_pieces(exec, rows, rows_a_piece(cols), rows * cols * (add ? 12 : 8), gradient_piece, &e);
}
