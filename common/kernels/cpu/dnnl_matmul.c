/* Matrix products through oneDNN. Letters: M rows (tokens), N outputs, K inputs.
 *
 * A product is in bf16 where its input or its output is: then both factors are rounded to bf16, and sums stay fp32. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_plan.h"
#include <string.h>

static Layout bias_layout(int64_t n)
{
    return layout_strided(F32, 2, (int64_t[]){1, n}, (int64_t[]){n, 1});
}

static void build_product(Plan *plan, const PlanKey *key)
{
    const ProductKey *p = &key->product;
    bool batched = p->c.batch > 1;
    Layout a = matrix_layout(&p->a, batched), c = matrix_layout(&p->c, batched);
    Layout b = p->b_packed ? layout_any((DType)p->a.type, 2, (int64_t[]){p->b.rows, p->b.columns})
                           : matrix_layout(&p->b, batched);
    Layout bias = p->bias ? bias_layout(p->c.columns) : NULL;
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

/* A product cut into tasks: some rows of one item of the batch, or some whole items. */
typedef struct Product {
    Matrix a, b, c;
    const float *bias;
    int64_t step_items;
    RowCut cut;
    Plan *full, *last; /* the last task of the batch, or the last piece of an item, may be smaller */
    Place weight, last_weight;
} Product;

static Plan *product_plan(const Exec *exec, const Product *p, bool packed, bool add, int64_t items, int64_t rows)
{
    PlanKey key;
    memset(&key, 0, sizeof key);
    key.build = build_product;
    key.product = (ProductKey){
        .a = p->a.key, .b = p->b.key, .c = p->c.key, .b_packed = packed, .bias = p->bias != NULL, .add = add};
    key.product.a.rows = key.product.c.rows = rows;
    MatrixKey *all[] = {&key.product.a, &key.product.b, &key.product.c};
    for (int i = 0; i < COUNT_OF(all); i++) {
        all[i]->batch = MIN(all[i]->batch, items);
        if (all[i]->batch == 1)
            all[i]->batch_stride = 0;
    }
    return plan_get(exec, &key);
}

enum { SIX = 6, SIXES = 48 };

static bool sums_in_sixes(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa(), avx2 = dnnl_cpu_isa_avx2, avx512 = dnnl_cpu_isa_avx512_core;
    return (isa & avx2) == avx2 && (isa & avx512) != avx512;
}

/* Up to a size that is summed in sixes throughout. */
static int64_t rounded_up(int64_t rows)
{
    int64_t unit = rows <= SIXES ? SIX : SIXES;
    return (rows + unit - 1) / unit * unit;
}

RowCut row_cut(int64_t rows, int64_t tile, bool overwrites)
{
    RowCut cut = {.rows = rows, .tile = tile, .sixes = overwrites && sums_in_sixes()};
    if (cut.sixes && rows < SIX)
        return (RowCut){.rows = rows, .tile = rows, .tasks = 1};
    if (cut.sixes) {
        int64_t unit = rows >= SIXES ? SIXES : SIX;
        cut.tile = MIN(rounded_up(tile), rows / unit * unit);
        cut.tasks = rows / cut.tile;
        cut.last = rounded_up(rows % cut.tile) % cut.tile;
        return cut;
    }
    while (cut.tile < rows && (cut.tile <= 1 || rows % cut.tile == 1))
        cut.tile++;
    cut.tasks = (rows + cut.tile - 1) / cut.tile;
    cut.last = rows % cut.tile;
    return cut;
}

int row_pieces(const RowCut *cut, int64_t task, RowPiece pieces[static 2])
{
    int64_t first = task * cut->tile, rest = cut->rows - first - cut->tile;
    pieces[0] = (RowPiece){first, MIN(cut->tile, cut->rows - first)};
    if (!cut->sixes || rest <= 0 || rest >= cut->tile)
        return 1;
    int64_t rows = rounded_up(rest);
    pieces[1] = (RowPiece){cut->rows - rows, rows};
    return 2;
}

static void product_piece(const Product *p, int64_t item, RowPiece piece, int thread)
{
    bool full = item + p->step_items <= p->c.key.batch && piece.rows == p->cut.tile;
    Place weight = full ? p->weight : p->last_weight;
    if (!weight.memory)
        weight.data = matrix_at(&p->b, item, 0);
    Place places[] = {{matrix_at(&p->a, item, piece.first), NULL},
                      weight,
                      {matrix_at(&p->c, item, piece.first), NULL},
                      {p->bias, NULL}};
    plan_run(full ? p->full : p->last, thread, places);
}

static void product_task(void *context, int64_t index, int thread)
{
    const Product *p = context;
    RowPiece pieces[2];
    int count = row_pieces(&p->cut, index % p->cut.tasks, pieces);
    for (int i = 0; i < count; i++)
        product_piece(p, index / p->cut.tasks * p->step_items, pieces[i], thread);
}

/* c (+)= a b + bias. With `weight`, b is a view of it and is packed as `use`. */
static void product_into(const Exec *exec, Matrix a, Matrix b, Matrix c, const float *bias, bool add,
                         const Weight *weight, PackUse use)
{
    Product p = {.a = a, .b = b, .c = c, .bias = bias};
    int64_t batch = c.key.batch, m = c.key.rows;
    double flops_of_row = 2. * (double)c.key.columns * (double)b.key.rows;
    p.step_items = task_units(batch, flops_of_row * (double)m);
    p.cut =
        p.step_items > 1 ? (RowCut){.rows = m, .tile = m, .tasks = 1} : row_cut(m, task_units(m, flops_of_row), !add);
    int64_t item_tasks = (batch + p.step_items - 1) / p.step_items,
            last_items = batch - (item_tasks - 1) * p.step_items;
    p.full = product_plan(exec, &p, weight != NULL, add, p.step_items, p.cut.tile);
    p.last = product_plan(exec, &p, weight != NULL, add, last_items, p.cut.last ? p.cut.last : p.cut.tile);
    if (weight) {
        p.weight = weight_place(exec, p.full, use, weight, WORK_WEIGHT);
        p.last_weight = p.last == p.full ? p.weight : weight_place(exec, p.last, use, weight, WORK_WEIGHT_LAST);
    }
    tasks_run(exec, item_tasks * p.cut.tasks, flops_of_row * (double)m * (double)batch, product_task, &p);
}

/* The first columns of a batch of matrices. */
static void copy_columns(const Matrix *from, const Matrix *to)
{
    size_t bytes = dtype_bytes((DType)to->key.type);
    for (int64_t item = 0; item < to->key.batch; item++)
        for (int64_t row = 0; row < to->key.rows; row++)
            memcpy((char *)matrix_at(to, item, row), matrix_at(from, item, row), bytes);
}

/* A batch of columns with its numbers side by side, in `work`; the caller fills it. */
static Matrix contiguous_column(const Matrix *column, Workspace work)
{
    Matrix made = *column;
    made.data = workspace(work, (size_t)(made.key.batch * made.key.rows) * dtype_bytes((DType)made.key.type));
    made.key.row_stride = 1;
    made.key.batch_stride = made.key.rows;
    return made;
}

/* product_into, and a detour: oneDNN 3.7 takes a result of one column for contiguous, whatever its stride says. */
static void product(const Exec *exec, Matrix a, Matrix b, Matrix c, const float *bias, bool add, const Weight *weight,
                    PackUse use)
{
    if (c.key.columns > 1 || c.key.row_stride == 1) {
        product_into(exec, a, b, c, bias, add, weight, use);
        return;
    }
    Matrix column = contiguous_column(&c, WORK_RESULT);
    if (add)
        copy_columns(&c, &column);
    product_into(exec, a, b, column, bias, add, weight, use);
    copy_columns(&column, &c);
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
    Rows stored = {(void *)w->data, w->stride, F32};
    product(exec, matrix_of(m, k, x, false), matrix_of(k, n, stored, true), matrix_of(m, n, y, false), bias, false, w,
            PACK_LINEAR);
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
    Rows stored = {(void *)w->data, w->stride, F32};
    product(exec, matrix_of(m, n, dy, false), matrix_of(n, k, stored, false), matrix_of(m, k, dx, false), NULL, add, w,
            PACK_LINEAR_INPUT);
}

RowProduct row_product_new(const Exec *exec, const RowCut *cut, int64_t n, int64_t k, Rows x, const Weight *w,
                           const float *bias, Rows y)
{
    Rows stored = {(void *)w->data, w->stride, F32};
    Product p = {.a = matrix_of(cut->tile, k, x, false),
                 .b = matrix_of(k, n, stored, true),
                 .c = matrix_of(cut->tile, n, y, false),
                 .bias = bias};
    RowProduct made = {.bias = bias, .tile = cut->tile};
    for (int i = 0; i < 2; i++) {
        made.plan[i] = product_plan(exec, &p, true, false, 1, i && cut->last ? cut->last : cut->tile);
        Place place = weight_place(exec, made.plan[i], PACK_LINEAR, w, WORK_WEIGHT);
        made.memory[i] = place.memory;
        made.weight[i] = place.data;
    }
    return made;
}

void row_product_run(const RowProduct *p, int64_t rows, Rows x, Rows y, int thread)
{
    int rest = rows != p->tile;
    Place places[] = {{x.data, NULL}, {p->weight[rest], p->memory[rest]}, {y.data, NULL}, {p->bias, NULL}};
    plan_run(p->plan[rest], thread, places);
}

static Rows rows_at(Rows m, int64_t element)
{
    m.data = (char *)m.data + element * (int64_t)dtype_bytes(m.type);
    return m;
}

static Matrix matrices_of(int64_t batch, int64_t step, Matrix m)
{
    m.key.batch = step == 0 ? 1 : batch;
    m.key.batch_stride = step;
    return m;
}

static void matmul(const Exec *exec, int64_t batch, int64_t m, int64_t n, int64_t k, Rows a, int64_t a_step,
                   bool a_transposed, Rows b, int64_t b_step, bool b_transposed, bool add, Rows c, int64_t c_step)
{
    contract(a.type == b.type && (c.type == F32 || c.type == a.type), "matmul of %s by %s into %s", dtype_name(a.type),
             dtype_name(b.type), dtype_name(c.type));
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
    if (a_transposed && m == 1 && a.stride > 1) {
        Matrix column = matrices_of(batch, a_step, matrix_of(k, 1, a, false));
        Matrix contiguous = contiguous_column(&column, WORK_LEFT);
        copy_columns(&column, &contiguous);
        a = (Rows){(void *)contiguous.data, 1, a.type};
        a_step = a_step == 0 ? 0 : k;
    }
    product(exec, matrices_of(batch, a_step, matrix_of(m, k, a, a_transposed)),
            matrices_of(batch, b_step, matrix_of(k, n, b, b_transposed)),
            matrices_of(batch, c_step, matrix_of(m, n, c, false)), NULL, add, NULL, 0);
}

const MatmulKernels dnnl_matmul_kernels = {
    .linear = linear,
    .linear_input_gradient = linear_input_gradient,
    .matmul = matmul,
    .packed_free = packed_free,
};
