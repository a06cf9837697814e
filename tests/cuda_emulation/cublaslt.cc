/* cuBLASLt as loops: D = f(alpha op(A) op(B) + beta C + bias), column-major, sums in double. What NVIDIA's documentation
 * forbids is refused here too: a description that does not fit, an alignment that was not promised, an auxiliary matrix whose
 * columns begin at odd places. TF32 is as exact as fp32: what it loses, only a GPU shows. */
#include <cublasLt.h>

#include "common/kernels/dtype.h"
#include "tests/cuda_emulation/dry.h"
#include "tests/cuda_emulation/internal.h"

#include <algorithm>
#include <stdio.h>
#include <vector>

struct EmulatedBlas {
    int unused;
};
struct EmulatedProduct {
    cublasComputeType_t compute;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    void *aux;
    int64_t aux_ld;
};
struct EmulatedMatrix {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld, step;
    int32_t batch;
};
struct EmulatedPreference {
    uint64_t workspace;
    uint32_t a, b, c, d; /* alignments */
};

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    static const char *const names[] = {"the requested functionality succeeded",
                                        "not initialised",
                                        "memory ran out",
                                        "an invalid value",
                                        "not for this GPU",
                                        "not supported"};
    return names[status];
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    if (emulated_breaks_captures(false)) /* it asks for memory, and may wait */
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new EmulatedBlas();
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Descriptions */

static cublasStatus_t set(void *field, size_t field_bytes, const void *value, size_t bytes)
{
    if (bytes != field_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute, cudaDataType_t)
{
    *product = new EmulatedProduct{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, NULL, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t p, cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes)
{
    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&p->a, sizeof p->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&p->b, sizeof p->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&p->epilogue, sizeof p->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&p->bias, sizeof p->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
        return set(&p->aux, sizeof p->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        return set(&p->aux_ld, sizeof p->aux_ld, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product)
{
    delete product;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *matrix, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld)
{
    *matrix = new EmulatedMatrix{type, rows, cols, ld, 0, 1};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t m, cublasLtMatrixLayoutAttribute_t what,
                                                const void *value, size_t bytes)
{
    return what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? set(&m->batch, sizeof m->batch, value, bytes)
                                                      : set(&m->step, sizeof m->step, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matrix)
{
    delete matrix;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new EmulatedPreference{0, 256, 256, 256, 256};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t what, const void *value,
                                                    size_t bytes)
{
    switch (what) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set(&p->workspace, sizeof p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return set(&p->a, sizeof p->a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return set(&p->b, sizeof p->b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return set(&p->c, sizeof p->c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return set(&p->d, sizeof p->d, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- What fits */

static bool has_bias(cublasLtEpilogue_t e)
{
    return e >= CUBLASLT_EPILOGUE_BIAS;
}

static bool has_aux(cublasLtEpilogue_t e)
{
    return e == CUBLASLT_EPILOGUE_GELU_AUX || e == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
}

static bool matrix_fits(const EmulatedMatrix *m, cublasOperation_t operation, uint64_t rows, uint64_t cols)
{
    bool turned = operation == CUBLAS_OP_T;
    return m->rows == (turned ? cols : rows) && m->cols == (turned ? rows : cols) && m->ld >= (int64_t)m->rows &&
           m->batch >= 1;
}

/* The table of types of cublasLtMatmul, as far as it is needed. */
static cublasStatus_t product_fits(const EmulatedProduct *p, const EmulatedMatrix *a, const EmulatedMatrix *b,
                                   const EmulatedMatrix *c, const EmulatedMatrix *d)
{
    uint64_t k = p->a == CUBLAS_OP_T ? a->rows : a->cols;
    if (!matrix_fits(a, p->a, d->rows, k) || !matrix_fits(b, p->b, k, d->cols) ||
        !matrix_fits(c, CUBLAS_OP_N, d->rows, d->cols) || !matrix_fits(d, CUBLAS_OP_N, d->rows, d->cols) ||
        d->rows == 0 || d->cols == 0 || k == 0 || a->batch != d->batch || b->batch != d->batch || c->batch != d->batch)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (has_aux(p->epilogue) && (p->aux_ld % 8 != 0 || p->aux_ld < (int64_t)d->rows))
        return CUBLAS_STATUS_INVALID_VALUE;
    bool types = a->type == b->type && c->type == d->type && (d->type == CUDA_R_32F || d->type == a->type) &&
                 (a->type == CUDA_R_32F || p->compute == CUBLAS_COMPUTE_32F);
    return types ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool aligned(const void *data, uint32_t alignment)
{
    return (uintptr_t)data % alignment == 0;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t p, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    *count = 0;
    cublasStatus_t fits = product_fits(p, a, b, c, d);
    if (fits != CUBLAS_STATUS_SUCCESS)
        return fits;
    if (has_bias(p->epilogue) && !aligned(p->bias, preference->d))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0].algo = {preference->workspace, preference->a, preference->b, preference->c, preference->d};
    results[0].workspaceSize = preference->workspace;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- The product */

static double number(const void *data, cudaDataType_t type, int64_t i)
{
    return type == CUDA_R_32F ? ((const float *)data)[i] : bf16_to_float(((const uint16_t *)data)[i]);
}

static void store(void *data, cudaDataType_t type, int64_t i, double value)
{
    if (type == CUDA_R_32F)
        ((float *)data)[i] = (float)value;
    else
        ((uint16_t *)data)[i] = bf16_from_float((float)value);
}

/* op(m) of one of the batch, row by row. */
static std::vector<float> dense(const void *data, const EmulatedMatrix *m, cublasOperation_t operation, int64_t item)
{
    int64_t rows = (int64_t)m->rows, cols = (int64_t)m->cols;
    std::vector<float> values((size_t)(rows * cols));
    for (int64_t c = 0; c < cols; c++)
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = operation == CUBLAS_OP_T ? c * rows + r : r * cols + c;
            values[(size_t)at] = (float)number(data, m->type, item * m->step + c * m->ld + r);
        }
    return values;
}

static double through(cublasLtEpilogue_t epilogue, double x)
{
    switch (epilogue) {
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
        return x > 0 ? x : 0;
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return x;
    }
}

/* A row of D, that is one of its rows over all columns; sums as they come out of the loop over k. */
static void finish_row(const EmulatedProduct *p, const EmulatedMatrix *d, int64_t item, int64_t row, const double *sums,
                       float alpha, float beta, const void *c_data, const EmulatedMatrix *c, void *d_data)
{
    for (int64_t col = 0; col < (int64_t)d->cols; col++) {
        int64_t at = item * d->step + col * d->ld + row;
        double value = alpha * sums[col];
        if (beta != 0)
            value += beta * number(c_data, c->type, item * c->step + col * c->ld + row);
        if (has_bias(p->epilogue))
            value += number(p->bias, d->type, row);
        if (has_aux(p->epilogue))
            store(p->aux, d->type, col * p->aux_ld + row, value);
        store(d_data, d->type, at, through(p->epilogue, value));
    }
}

static double bytes_of(const EmulatedMatrix *m)
{
    double items = m->step == 0 ? 1 : m->batch;
    return items * (double)m->rows * (double)m->cols * (m->type == CUDA_R_32F ? 4 : 2);
}

/* "cublasLt 1 x [m, n, k]" in rows as we write them. */
static bool dry_product(const EmulatedProduct *p, const EmulatedMatrix *a, const EmulatedMatrix *b,
                        const EmulatedMatrix *d, bool add)
{
    char name[96];
    double m = (double)d->cols, n = (double)d->rows, k = (double)(p->a == CUBLAS_OP_T ? a->rows : a->cols);
    snprintf(name, sizeof name, "cublasLt %d x [%.0f, %.0f, %.0f]", d->batch, m, n, k);
    const char *type = a->type != CUDA_R_32F ? "bf16" : p->compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? "tf32" : "fp32";
    return dry_library(name, type, bytes_of(a) + bytes_of(b) + (add ? bytes_of(d) : 0),
                       bytes_of(d) * (has_aux(p->epilogue) ? 2 : 1), 2 * m * n * k * d->batch);
}

static void check_memory(std::initializer_list<const void *> operands)
{
    for (const void *data : operands)
        device_memory_check("cublasLtMatmul", data);
}

/* A product as it was asked for, with copies of its descriptions: a graph runs it when those may be gone. */
struct Call {
    EmulatedProduct product;
    EmulatedMatrix a, b, c, d;
    const void *a_data, *b_data, *c_data;
    void *d_data, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
};

static void run(const Call *call)
{
    const EmulatedProduct *p = &call->product;
    const EmulatedMatrix *a = &call->a, *b = &call->b, *d = &call->d;
    if (dry_product(p, a, b, d, call->beta != 0))
        return;
    DeviceMemoryOpen open;
    if (call->workspace_bytes > 0) /* it is nobody else's */
        memset(call->workspace, 0xff, call->workspace_bytes < 4096 ? call->workspace_bytes : 4096);
    int64_t rows = (int64_t)d->rows, cols = (int64_t)d->cols, k = (int64_t)(p->a == CUBLAS_OP_T ? a->rows : a->cols);
    std::vector<double> sums((size_t)cols);
    for (int64_t item = 0; item < d->batch; item++) {
        std::vector<float> left = dense(call->a_data, a, p->a, item), right = dense(call->b_data, b, p->b, item);
        for (int64_t row = 0; row < rows; row++) {
            std::fill(sums.begin(), sums.end(), 0.0);
            for (int64_t i = 0; i < k; i++) {
                double factor = left[(size_t)(row * k + i)];
                const float *others = &right[(size_t)(i * cols)];
                for (int64_t col = 0; col < cols; col++)
                    sums[(size_t)col] += factor * others[col];
            }
            finish_row(p, d, item, row, sums.data(), call->alpha, call->beta, call->c_data, &call->c, call->d_data);
        }
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t p, const void *alpha, const void *a_data,
                              cublasLtMatrixLayout_t a, const void *b_data, cublasLtMatrixLayout_t b, const void *beta,
                              const void *c_data, cublasLtMatrixLayout_t c, void *d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    cublasStatus_t fits = product_fits(p, a, b, c, d);
    if (fits != CUBLAS_STATUS_SUCCESS)
        return fits;
    if (!aligned(a_data, algo->alignment_a) || !aligned(b_data, algo->alignment_b) ||
        !aligned(c_data, algo->alignment_c) || !aligned(d_data, algo->alignment_d) ||
        (has_bias(p->epilogue) && !aligned(p->bias, algo->alignment_d)) || workspace_bytes < algo->workspace_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    check_memory({a_data, b_data, *(const float *)beta != 0 ? c_data : a_data, d_data,
                  has_bias(p->epilogue) ? p->bias : d_data, has_aux(p->epilogue) ? p->aux : d_data,
                  workspace_bytes ? workspace : d_data});
    Call call = {*p,
                 *a,
                 *b,
                 *c,
                 *d,
                 a_data,
                 b_data,
                 c_data,
                 d_data,
                 workspace,
                 workspace_bytes,
                 *(const float *)alpha,
                 *(const float *)beta};
    emulated_do(stream, {EmulatedWork::KERNEL, 0, NULL, NULL, 0, [=] { run(&call); }, 0});
    return CUBLAS_STATUS_SUCCESS;
}
