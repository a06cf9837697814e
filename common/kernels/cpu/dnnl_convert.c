/* Matrices of oneDNN plans, and bringing one into another type or layout. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_plan.h"
#include <string.h>

Matrix matrix_of(int64_t rows, int64_t columns, Rows m, bool transposed)
{
    MatrixKey key = {.rows = rows, .columns = columns, .batch = 1, .type = m.type};
    key.row_stride = transposed ? 1 : rows == 1 ? columns : m.stride;
    key.column_stride = !transposed ? 1 : columns == 1 ? rows : m.stride;
    return (Matrix){key, m.data};
}

const char *matrix_at(const Matrix *m, int64_t item, int64_t row)
{
    int64_t element = (m->key.batch > 1 ? item * m->key.batch_stride : 0) + row * m->key.row_stride;
    return (const char *)m->data + element * (int64_t)dtype_bytes((DType)m->key.type);
}

Layout matrix_layout(const MatrixKey *m, bool batched)
{
    int64_t dims[] = {m->batch, m->rows, m->columns};
    int64_t batch_stride = m->batch > 1 ? m->batch_stride : MAX(m->rows * m->row_stride, m->columns * m->column_stride);
    int64_t strides[] = {batch_stride, m->row_stride, m->column_stride};
    return layout_strided((DType)m->type, batched ? 3 : 2, dims + !batched, strides + !batched);
}

static void build_conversion(Plan *plan, const PlanKey *key)
{
    const ConvertKey *c = &key->convert;
    Layout from = matrix_layout(&c->from, true), to = matrix_layout(&c->to, true);
    dnnl_primitive_attr_t attributes = plan_attributes(c->add, false);
    plan_set(plan, describe_reorder(from, to, attributes), (int[]){DNNL_ARG_FROM, DNNL_ARG_TO}, 2);
    DNNL(dnnl_primitive_attr_destroy(attributes));
    layout_free(from);
    layout_free(to);
}

Plan *conversion_plan(const Exec *exec, MatrixKey from, MatrixKey to, bool add)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build_conversion;
    key.convert = (ConvertKey){from, to, add};
    return plan_get(exec, &key);
}

typedef struct Conversion {
    Matrix from, to;
    int64_t step;
    Plan *full, *last;
} Conversion;

static Plan *rows_conversion(const Exec *exec, const Conversion *c, int64_t rows)
{
    MatrixKey from = c->from.key, to = c->to.key;
    from.rows = to.rows = rows;
    return conversion_plan(exec, from, to, false);
}

static void conversion_task(void *context, int64_t index, int thread)
{
    const Conversion *c = context;
    int64_t row = index * c->step;
    Place places[] = {{matrix_at(&c->from, 0, row), NULL}, {matrix_at(&c->to, 0, row), NULL}};
    plan_run(row + c->step <= c->from.key.rows ? c->full : c->last, thread, places);
}

Rows as_bf16(const Exec *exec, int64_t rows, int64_t columns, Rows m, Workspace work)
{
    if (m.type == BF16)
        return m;
    Rows to = {workspace(work, (size_t)(rows * columns) * 2), columns, BF16};
    Conversion c = {.from = matrix_of(rows, columns, m, false), .to = matrix_of(rows, columns, to, false)};
    double cost = 8. * (double)columns; /* as many flops as moving six bytes takes time */
    c.step = task_units(rows, cost);
    int64_t tasks = (rows + c.step - 1) / c.step;
    c.full = rows_conversion(exec, &c, c.step);
    c.last = rows_conversion(exec, &c, rows - (tasks - 1) * c.step);
    tasks_run(exec, tasks, cost * (double)rows, conversion_task, &c);
    return to;
}
