/* Matrix products through oneDNN. Letters: M rows (tokens), N outputs, K inputs.
 *
 * Products in bf16 where the input or the output is: then both factors are rounded to bf16 and sums stay fp32. */
#include "common/kernels/cpu/dnnl_plan.h"
#include "common/base/memory.h"
#include <string.h>

/* [rows, columns] as a MatrixKey. A stride along an axis of one element is never used: it is made the contiguous one,
 * so that such matrices share a plan. */
static MatrixKey matrix(int64_t rows, int64_t columns, Rows m, bool transposed)
{
    MatrixKey key = {.rows = rows, .columns = columns, .batch = 1, .type = m.type};
    key.row_stride = transposed ? 1 : m.stride;
    key.column_stride = transposed ? m.stride : 1;
    if (rows == 1 && !transposed)
        key.row_stride = columns;
    if (columns == 1 && transposed)
        key.column_stride = rows;
    return key;
}

static Layout matrix_layout(const MatrixKey *m, bool batched)
{
    int64_t dims[] = {m->batch, m->rows, m->columns};
    int64_t batch_stride = m->batch > 1 ? m->batch_stride : MAX(m->rows * m->row_stride, m->columns * m->column_stride);
    int64_t strides[] = {batch_stride, m->row_stride, m->column_stride};
    return layout_strided((DType)m->type, batched ? 3 : 2, dims + !batched, strides + !batched);
}

static Layout bias_layout(int64_t n, bool batched)
{
    int64_t dims[] = {1, 1, n}, strides[] = {n, n, 1};
    return layout_strided(F32, batched ? 3 : 2, dims + !batched, strides + !batched);
}

static void build_product(Plan *plan, const PlanKey *key)
{
    const ProductKey *p = &key->product;
    bool batched = p->c.batch > 1;
    Layout a = matrix_layout(&p->a, batched), c = matrix_layout(&p->c, batched);
    Layout b = p->b_packed ? layout_any((DType)p->a.type, 2, (int64_t[]){p->b.rows, p->b.columns})
                           : matrix_layout(&p->b, batched);
    Layout bias = p->bias ? bias_layout(p->c.columns, batched) : NULL;
    dnnl_primitive_attr_t attributes = plan_attributes(p->add, false);
    int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    plan_set(plan, describe_product(a, b, bias, c, attributes), names, bias ? 4 : 3);
    DNNL(dnnl_primitive_attr_destroy(attributes));
    if (p->b_packed) {
        Layout stored = matrix_layout(&p->b, false);
        plan_set_packing(plan, DNNL_ARG_WEIGHTS, stored);
        layout_free(stored);
    }
    layout_free(a);
    layout_free(b);
    layout_free(c);
    layout_free(bias);
}

static void build_convert(Plan *plan, const PlanKey *key)
{
    Layout from = matrix_layout(&key->convert.from, false), to = matrix_layout(&key->convert.to, false);
    dnnl_primitive_attr_t attributes = plan_attributes(false, false);
    dnnl_primitive_desc_t reorder;
    DNNL(dnnl_reorder_primitive_desc_create(&reorder, from, plan_engine(), to, plan_engine(), attributes));
    DNNL(dnnl_primitive_attr_destroy(attributes));
    plan_set(plan, reorder, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO}, 2);
    layout_free(from);
    layout_free(to);
}

/* m [rows, columns] rounded to bf16 into `work`, if it is not bf16 already. */
static Rows as_bf16(const Exec *exec, int64_t rows, int64_t columns, Rows m, Workspace work)
{
    if (m.type == BF16)
        return m;
    Rows to = {workspace(work, (size_t)(rows * columns) * 2), columns, BF16};
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build_convert;
    key.threads = plan_threads(exec, (double)(rows * columns));
    key.convert.from = matrix(rows, columns, m, false);
    key.convert.to = matrix(rows, columns, to, false);
    Plan *plan = plan_get(&key);
    plan_bind(plan, DNNL_ARG_FROM, m.data);
    plan_bind(plan, DNNL_ARG_TO, to.data);
    plan_run(plan);
    return to;
}

static void zero_rows(int64_t m, int64_t n, Rows c)
{
    size_t bytes = dtype_bytes(c.type);
    for (int64_t i = 0; i < m; i++)
        memset((char *)c.data + (size_t)(i * c.stride) * bytes, 0, (size_t)n * bytes);
}

/* y = bias: what is left of a product over no inputs. */
static void fill_rows(int64_t m, int64_t n, const float *bias, Rows y)
{
    zero_rows(m, n, y);
    for (int64_t i = 0; bias && i < m; i++)
        for (int64_t j = 0; j < n; j++)
            if (y.type == BF16)
                ((uint16_t *)y.data)[i * y.stride + j] = bf16_from_float(bias[j]);
            else
                ((float *)y.data)[i * y.stride + j] = bias[j];
}

/* c[M,N] (+)= a[M,K] b + bias with the weight b [K,N], a view of w. */
static void product_by_weight(const Exec *exec, MatrixKey a, const void *a_data, MatrixKey b, PackUse use,
                              const Weight *w, const float *bias, bool add, MatrixKey c, void *c_data)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build_product;
    key.threads = plan_threads(exec, 2. * (double)a.rows * (double)b.rows * (double)b.columns);
    key.product = (ProductKey){.a = a, .b = b, .c = c, .b_packed = true, .bias = bias != NULL, .add = add};
    Plan *plan = plan_get(&key);
    plan_bind(plan, DNNL_ARG_SRC, a_data);
    plan_bind_weight(plan, DNNL_ARG_WEIGHTS, use, w);
    plan_bind(plan, DNNL_ARG_DST, c_data);
    if (bias)
        plan_bind(plan, DNNL_ARG_BIAS, bias);
    plan_run(plan);
}

static void linear(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows x, const Weight *w, const float *bias,
                   Rows y)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) {
        fill_rows(m, n, bias, y);
        return;
    }
    if (y.type == BF16)
        x = as_bf16(exec, m, k, x, WORK_LEFT);
    Rows stored = {NULL, w->stride, F32};
    product_by_weight(exec, matrix(m, k, x, false), x.data, matrix(k, n, stored, true), PACK_LINEAR, w, bias, false,
                      matrix(m, n, y, false), y.data);
}

static void linear_input_gradient(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows dy, const Weight *w, bool add,
                                  Rows dx)
{
    if (m == 0 || k == 0)
        return;
    if (n == 0) {
        if (!add)
            zero_rows(m, k, dx);
        return;
    }
    if (dx.type == BF16)
        dy = as_bf16(exec, m, n, dy, WORK_LEFT);
    Rows stored = {NULL, w->stride, F32};
    product_by_weight(exec, matrix(m, n, dy, false), dy.data, matrix(n, k, stored, false), PACK_LINEAR_INPUT, w, NULL,
                      add, matrix(m, k, dx, false), dx.data);
}

/* c (+)= a b with all three where they lie. */
static void product(const Exec *exec, MatrixKey a, const void *a_data, MatrixKey b, const void *b_data, bool add,
                    MatrixKey c, void *c_data)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build_product;
    key.threads = plan_threads(exec, 2. * (double)c.batch * (double)c.rows * (double)c.columns * (double)a.columns);
    key.product = (ProductKey){.a = a, .b = b, .c = c, .add = add};
    Plan *plan = plan_get(&key);
    plan_bind(plan, DNNL_ARG_SRC, a_data);
    plan_bind(plan, DNNL_ARG_WEIGHTS, b_data);
    plan_bind(plan, DNNL_ARG_DST, c_data);
    plan_run(plan);
}

static void linear_weight_gradient(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows dy, Rows x, bool add,
                                   float *dw)
{
    if (n == 0 || k == 0)
        return;
    Rows c = {dw, k, F32};
    if (m == 0) {
        if (!add)
            zero_rows(n, k, c);
        return;
    }
    if (dy.type == BF16 || x.type == BF16) {
        dy = as_bf16(exec, m, n, dy, WORK_LEFT);
        x = as_bf16(exec, m, k, x, WORK_RIGHT);
    }
    Exec alone = *exec; /* see plan_threads */
    alone.threads = 1;
    product(&alone, matrix(n, m, dy, true), dy.data, matrix(m, k, x, false), x.data, add, matrix(n, k, c, false), dw);
}

static Rows rows_at(Rows m, int64_t element)
{
    m.data = (char *)m.data + (size_t)element * dtype_bytes(m.type);
    return m;
}

static void matmul(const Exec *exec, int64_t batch, int64_t m, int64_t n, int64_t k, Rows a, int64_t a_step,
                   bool a_transposed, Rows b, int64_t b_step, bool b_transposed, bool add, Rows c, int64_t c_step)
{
    if (batch == 0 || m == 0 || n == 0)
        return;
    if (k == 0) {
        for (int64_t i = 0; i < batch && !add; i++)
            zero_rows(m, n, rows_at(c, i * c_step));
        return;
    }
    /* One b for all: the batch is more rows of a, if its matrices follow each other as rows do. */
    if (b_step == 0 && !a_transposed && a_step == m * a.stride && c_step == m * c.stride) {
        m *= batch;
        batch = 1;
    }
    if (a_step == 0 && b_step == 0 && batch > 1) { /* the same product `batch` times: oneDNN has no name for that */
        for (int64_t i = 0; i < batch; i++)
            matmul(exec, 1, m, n, k, a, 0, a_transposed, b, 0, b_transposed, add, rows_at(c, i * c_step), 0);
        return;
    }
    contract(a.type == b.type && (c.type == F32 || c.type == a.type), "matmul of %s by %s into %s", dtype_name(a.type),
             dtype_name(b.type), dtype_name(c.type));
    MatrixKey left = matrix(m, k, a, a_transposed), right = matrix(k, n, b, b_transposed), out = matrix(m, n, c, false);
    left.batch = a_step == 0 ? 1 : batch;
    right.batch = b_step == 0 ? 1 : batch;
    out.batch = batch;
    left.batch_stride = a_step;
    right.batch_stride = b_step;
    out.batch_stride = c_step;
    product(exec, left, a.data, right, b.data, add, out, c.data);
}

const MatmulKernels dnnl_matmul_kernels = {
    .linear = linear,
    .linear_input_gradient = linear_input_gradient,
    .linear_weight_gradient = linear_weight_gradient,
    .matmul = matmul,
    .packed_free = packed_free,
};
