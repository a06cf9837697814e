/* Matrix products through cuBLASLt. Letters: M rows (tokens), N outputs, K inputs.
 *
 * A product is in bf16 where its input or its output is: then both factors are rounded to bf16, and sums stay fp32. cuBLASLt
 * adds to a bf16 result a bias of the same type, so that is rounded too. It thinks in columns: our c[M,N] = a b is its
 * c^T = b^T a^T, the same memory without a copy. */
#include "common/kernels/cuda/number.cuh"
#include "common/kernels/cuda/product.cuh"
#include "common/kernels/cuda/ptx.cuh"
#include <cublasLt.h>

/* What one call of cuBLASLt may use for itself; more than this pays nowhere (NVIDIA's advice for Hopper is 32 MiB). */
static const size_t WORKSPACE_BYTES = (size_t)32 << 20;

/* One of the three matrices of a product: [rows, cols] as it lies in memory, `step` elements from one of the batch to the next. */
typedef struct MatrixKey {
    int64_t type, rows, cols, stride, step, transposed;
    int64_t alignment; /* in bytes, up to the 16 that loads can use */
} MatrixKey;

typedef struct ProductKey {
    MatrixKey a, b, c;
    int64_t batch, add, bias, epilogue, before_stride; /* 0: what f got is not kept */
} ProductKey;

typedef struct ProductPlan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool found;
} ProductPlan;

typedef struct Product {
    const char *name;
    int64_t batch, m, n, k;
    Rows a, b, c;
    int64_t a_step, b_step, c_step;
    bool a_transposed, b_transposed, add;
    const float *bias;
    Epilogue f;
    Rows before;
} Product;

/* c[M,N] = a[M,K] b[K,N], and nothing besides. */
static Product product_of(const char *name, int64_t batch, int64_t m, int64_t n, int64_t k, Rows a, Rows b, Rows c)
{
    Product p = {};
    p.name = name;
    p.batch = batch;
    p.m = m;
    p.n = n;
    p.k = k;
    p.a = a;
    p.b = b;
    p.c = c;
    return p;
}

static void succeed(cublasStatus_t status, const Product *p)
{
    if (status != CUBLAS_STATUS_SUCCESS)
        library_failed(cublasLtGetStatusString(status),
                       status == CUBLAS_STATUS_ALLOC_FAILED || status == CUBLAS_STATUS_NOT_INITIALIZED ||
                           status == CUBLAS_STATUS_ARCH_MISMATCH,
                       "%s of %lld x [%lld, %lld] %s by [%lld, %lld] %s in cuBLASLt", p->name, (long long)p->batch,
                       (long long)p->m, (long long)p->k, dtype_name(p->a.type), (long long)p->k, (long long)p->n,
                       dtype_name(p->b.type));
}

/* ---- Plans */

static const Product
    *planned; /* the call whose plan is being made: for messages, and the bias whose alignment counts */

#define SET_PRODUCT(product, name, value)                                                                              \
    succeed(cublasLtMatmulDescSetAttribute(product, name, &(value), sizeof(value)), planned)
#define SET_LAYOUT(layout, name, value)                                                                                \
    succeed(cublasLtMatrixLayoutSetAttribute(layout, name, &(value), sizeof(value)), planned)
#define SET_PREFERENCE(preference, name, value)                                                                        \
    succeed(cublasLtMatmulPreferenceSetAttribute(preference, name, &(value), sizeof(value)), planned)

static cublasLtHandle_t library(const Product *p)
{
    static cublasLtHandle_t handle;
    if (!handle)
        succeed(cublasLtCreate(&handle), p);
    return handle;
}

static cublasLtMatrixLayout_t layout_of(const MatrixKey *m, int64_t batch)
{
    cublasLtMatrixLayout_t layout;
    cudaDataType_t type = m->type == BF16 ? CUDA_R_16BF : CUDA_R_32F;
    int32_t count = (int32_t)batch;
    succeed(cublasLtMatrixLayoutCreate(&layout, type, (uint64_t)m->cols, (uint64_t)m->rows, m->stride), planned);
    SET_LAYOUT(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
    SET_LAYOUT(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m->step);
    return layout;
}

static cublasLtEpilogue_t epilogue_of(const ProductKey *key)
{
    if (key->epilogue == EPILOGUE_RELU)
        return key->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    if (key->epilogue == EPILOGUE_GELU_TANH && key->before_stride)
        return key->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    if (key->epilogue == EPILOGUE_GELU_TANH)
        return key->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    return key->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* The two vectors or matrices that a product may have besides: they change from call to call. */
static void set_pointers(const ProductPlan *plan, const Product *p)
{
    if (p->bias)
        SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias);
    if (p->before.data)
        SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->before.data);
}

static void describe(ProductPlan *plan, const ProductKey *key)
{
    bool halves = key->a.type == BF16;
    cublasComputeType_t sums = halves || !cuda_tf32() ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;
    succeed(cublasLtMatmulDescCreate(&plan->product, sums, CUDA_R_32F), planned);
    cublasOperation_t left = key->b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t right = key->a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, left);
    SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, right);
    cublasLtEpilogue_t epilogue = epilogue_of(key);
    SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (key->before_stride)
        SET_PRODUCT(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, key->before_stride);
    plan->a = layout_of(&key->b, key->batch);
    plan->b = layout_of(&key->a, key->batch);
    plan->c = layout_of(&key->c, key->batch);
}

static void plan_make(ProductPlan *plan, const ProductKey *key)
{
    describe(plan, key);
    set_pointers(plan, planned);
    cublasLtMatmulPreference_t preference;
    succeed(cublasLtMatmulPreferenceCreate(&preference), planned);
    uint32_t a = (uint32_t)key->b.alignment, b = (uint32_t)key->a.alignment, c = (uint32_t)key->c.alignment;
    SET_PREFERENCE(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE_BYTES);
    SET_PREFERENCE(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a);
    SET_PREFERENCE(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b);
    SET_PREFERENCE(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c);
    SET_PREFERENCE(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
    cublasLtMatmulHeuristicResult_t best;
    int count = 0;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library(planned), plan->product, plan->a, plan->b, plan->c,
                                                           plan->c, preference, 1, &best, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    plan->found = status == CUBLAS_STATUS_SUCCESS && count > 0;
    if (plan->found)
        plan->algorithm = best.algo;
    else if (key->epilogue == EPILOGUE_NONE) /* an epilogue that it lacks is the caller's own pass */
        succeed(status == CUBLAS_STATUS_SUCCESS ? CUBLAS_STATUS_NOT_SUPPORTED : status, planned);
}

static void plan_end(ProductPlan *plan)
{
    cublasLtMatmulDescDestroy(plan->product);
    cublasLtMatrixLayoutDestroy(plan->a);
    cublasLtMatrixLayoutDestroy(plan->b);
    cublasLtMatrixLayoutDestroy(plan->c);
}

/* ---- Products */

static int64_t alignment_of(const void *data)
{
    uintptr_t bits = (uintptr_t)data | 16;
    return (int64_t)(bits & -bits);
}

/* op(m) is [rows, cols]. The stride of one row alone may be anything. */
static MatrixKey matrix_key(Rows m, int64_t rows, int64_t cols, int64_t step, bool transposed)
{
    int64_t lines = transposed ? cols : rows, length = transposed ? rows : cols;
    return {m.type, lines, length, lines == 1 ? length : m.stride, step, transposed, alignment_of(m.data)};
}

static bool product(const Exec *exec, const Product *p)
{
    static Plans<ProductKey, ProductPlan> plans;
    contract(p->batch <= INT32_MAX, "%s: a batch of %lld", p->name, (long long)p->batch);
    ProductKey key;
    memset(&key, 0, sizeof key);
    key.a = matrix_key(p->a, p->m, p->k, p->a_step, p->a_transposed);
    key.b = matrix_key(p->b, p->k, p->n, p->b_step, p->b_transposed);
    key.c = matrix_key(p->c, p->m, p->n, p->c_step, false);
    int64_t beside = alignment_of(p->bias);
    key.c.alignment = key.c.alignment < beside ? key.c.alignment : beside;
    key.batch = p->batch;
    key.add = p->add;
    key.bias = p->bias != NULL;
    key.epilogue = p->f;
    key.before_stride = p->before.data ? p->before.stride : 0;
    planned = p;
    ProductPlan *plan = plan_get(&plans, &key, plan_make, plan_end);
    if (!plan->found)
        return false;
    set_pointers(plan, p);
    const float one = 1, beta = p->add ? 1 : 0;
    succeed(cublasLtMatmul(library(p), plan->product, &one, p->b.data, plan->a, p->a.data, plan->b, &beta, p->c.data,
                           plan->c, p->c.data, plan->c, &plan->algorithm,
                           room_take(ROOM_LIBRARY, WORKSPACE_BYTES, p->name), WORKSPACE_BYTES,
                           (cudaStream_t)exec->stream),
            p);
    return true;
}

/* A warp has a row. */
enum { WARPS = 4 };

/* y = bias in every row, or 0: what is left of a product over no inputs. */
__global__ void fill_rows(int64_t rows, int64_t cols, const float *bias, Rows y)
{
    int64_t warp = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP;
    for (int64_t r = warp; r < rows; r += (int64_t)gridDim.x * WARPS)
        for (int64_t c = lane_index(); c < cols; c += WARP)
            rows_set(y, r, c, bias ? bias[c] : 0);
}

static void fill(const Exec *exec, int64_t rows, int64_t cols, const float *bias, Rows y)
{
    if (cols > 0)
        LAUNCH(fill_rows, grid_for(blocks_for(rows, WARPS)), WARPS * WARP, 0, exec, rows, cols, bias, y);
}

/* ---- bf16 */

static const int64_t ROW_UNIT = 8; /* bf16 numbers in 16 bytes: rows of our own begin on such */

static int64_t row_length(int64_t cols)
{
    return blocks_for(cols, ROW_UNIT) * ROW_UNIT;
}

static Rows as_bf16(const Exec *exec, const char *name, int64_t rows, int64_t cols, Rows x, Room where)
{
    if (x.type == BF16)
        return x;
    Rows to = {room_take(where, (size_t)(rows * row_length(cols)) * sizeof(bf16), name), row_length(cols), BF16};
    cuda_elementwise.scale(exec, rows, cols, 1.0f, x, false, to);
    return to;
}

/* w [N,K] in bf16: the parameter's copy, or for another tensor one for this call. */
static Rows weight_bf16(const Exec *exec, const char *name, int64_t n, int64_t k, const Weight *w)
{
    Rows stored = {(void *)w->data, w->stride, F32}, copy = {NULL, row_length(k), BF16};
    if (!w->packed)
        return as_bf16(exec, name, n, k, stored, ROOM_WEIGHT);
    bool fresh;
    copy.data = packed_copy(w, FORM_BF16, n, k, (size_t)(n * copy.stride) * sizeof(bf16), name, &fresh);
    if (!fresh)
        cuda_elementwise.scale(exec, n, k, 1.0f, stored, false, copy);
    return copy;
}

/* A bias in the type of the results. */
static const float *bias_beside(const Exec *exec, const char *name, int64_t n, const float *bias, DType type)
{
    return bias && type == BF16 ? (const float *)as_bf16(exec, name, 1, n, rows_of(bias), ROOM_BIAS).data : bias;
}

/* ---- The entries */

/* p with w [N,K] as its right factor; both factors are bf16 where one of the product's sides is. */
static void take_weight(const Exec *exec, int64_t n, int64_t k, const Weight *w, Product *p)
{
    p->b = {(void *)w->data, w->stride, F32};
    if (p->a.type != BF16 && p->c.type != BF16)
        return;
    p->a = as_bf16(exec, p->name, p->m, p->k, p->a, ROOM_LEFT);
    p->b = weight_bf16(exec, p->name, n, k, w);
}

bool product_linear(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows x, const Weight *w, const float *bias,
                    Epilogue f, Rows before, Rows y)
{
    rows_check(x, "linear");
    rows_check(y, "linear");
    Product p = product_of("linear", 1, m, n, k, x, {}, y);
    take_weight(exec, n, k, w, &p);
    p.b_transposed = true;
    p.f = f;
    p.before = before;
    p.bias = bias_beside(exec, p.name, n, bias, y.type);
    return product(exec, &p);
}

static void linear(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows x, const Weight *w, const float *bias,
                   Rows y)
{
    const Rows none = {};
    if (m == 0 || n == 0)
        return;
    if (k == 0)
        fill(exec, m, n, bias, y);
    else
        product_linear(exec, m, n, k, x, w, bias, EPILOGUE_NONE, none, y);
}

static void linear_input_gradient(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows dy, const Weight *w, bool add,
                                  Rows dx)
{
    rows_check(dy, "linear_input_gradient");
    rows_check(dx, "linear_input_gradient");
    if (m == 0 || k == 0)
        return;
    if (n == 0) {
        if (!add)
            fill(exec, m, k, NULL, dx);
        return;
    }
    Product p = product_of("linear_input_gradient", 1, m, k, n, dy, {}, dx);
    take_weight(exec, n, k, w, &p);
    p.add = add;
    product(exec, &p);
}

/* What rounded factors need is a room: it depends on their types, which this function is not told. */
static size_t linear_weight_gradient_scratch(int64_t, int64_t, int64_t)
{
    return 0;
}

static void linear_weight_gradient(const Exec *exec, int64_t m, int64_t n, int64_t k, Rows dy, Rows x, bool add,
                                   float *dw)
{
    rows_check(dy, "linear_weight_gradient");
    rows_check(x, "linear_weight_gradient");
    if (n == 0 || k == 0)
        return;
    Product p = product_of("linear_weight_gradient", 1, n, k, m, dy, x, {dw, k, F32});
    if (m == 0) {
        if (!add)
            fill(exec, n, k, NULL, p.c);
        return;
    }
    if (dy.type == BF16 || x.type == BF16) {
        p.a = as_bf16(exec, p.name, m, n, dy, ROOM_LEFT);
        p.b = as_bf16(exec, p.name, m, k, x, ROOM_RIGHT);
    }
    p.a_transposed = true;
    p.add = add;
    product(exec, &p);
}

static Rows rows_at(Rows m, int64_t element)
{
    m.data = (char *)m.data + element * (int64_t)dtype_bytes(m.type);
    return m;
}

static void matmul(const Exec *exec, int64_t batch, int64_t m, int64_t n, int64_t k, Rows a, int64_t a_step,
                   bool a_transposed, Rows b, int64_t b_step, bool b_transposed, bool add, Rows c, int64_t c_step)
{
    contract(a.type == b.type && (c.type == F32 || c.type == a.type), "matmul of %s by %s into %s", dtype_name(a.type),
             dtype_name(b.type), dtype_name(c.type));
    rows_check(a, "matmul");
    if (batch == 0 || m == 0 || n == 0)
        return;
    if (k == 0) {
        for (int64_t i = 0; i < batch && !add; i++)
            fill(exec, m, n, NULL, rows_at(c, i * c_step));
        return;
    }
    /* One b for all: the batch is more rows of a, if its matrices follow each other as rows do. */
    if (b_step == 0 && !a_transposed && a_step == m * a.stride && c_step == m * c.stride) {
        m *= batch;
        batch = 1;
    }
    Product p = product_of("matmul", batch, m, n, k, a, b, c);
    p.a_step = a_step;
    p.b_step = b_step;
    p.c_step = c_step;
    p.a_transposed = a_transposed;
    p.b_transposed = b_transposed;
    p.add = add;
    product(exec, &p);
}

const MatmulKernels cuda_matmul = {
    .linear = linear,
    .linear_input_gradient = linear_input_gradient,
    .linear_weight_gradient_scratch = linear_weight_gradient_scratch,
    .linear_weight_gradient = linear_weight_gradient,
    .matmul = matmul,
    .packed_free = packed_free,
};
