/* What the oneDNN kernels share (dnnl*.c only).
 *
 * A Plan is a primitive for ONE thread with memory objects for every thread, made once for a shape and found again by
 * its key. A kernel cuts its work into tasks by size alone (rows, images), and tasks_run hands them to the threads:
 * whichever thread runs a task, and however many there are, it computes the same bytes. oneDNN's own threading does not
 * promise that (its gradients by weight, and every product below AVX-512, sum in an order that follows the thread
 * count), and it costs more on small products. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/cpu/dnnl.h"
#include "common/kernels/cpu/row_product.h"
#include <oneapi/dnnl/dnnl.h>

/* The one difference between 2.x and 3.x that reaches the types: a memory descriptor is a struct or a handle. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t Layout;
#else
typedef const dnnl_memory_desc_t *Layout;
#endif

#define DNNL(call) dnnl_succeed((call), #call, __FILE__, __LINE__)
void dnnl_succeed(dnnl_status_t status, const char *call, const char *file, int line);

dnnl_data_type_t dnnl_type(DType type);

Layout layout_strided(DType type, int rank, const int64_t *dims, const int64_t *strides);
Layout layout_any(DType type, int rank, const int64_t *dims); /* oneDNN chooses */
Layout layout_copy(Layout layout);
void layout_free(Layout layout); /* NULL is fine */

/* What a plan computes. Only int64_t inside: keys are compared as bytes. */
typedef struct MatrixKey {
    int64_t rows, columns, batch; /* batch 1: the same matrix for the whole batch */
    int64_t row_stride, column_stride, batch_stride;
    int64_t type;
} MatrixKey;

typedef struct ProductKey { /* c[M,N] (+)= a[M,K] b[K,N] + bias[N] */
    MatrixKey a, b, c;
    int64_t b_packed; /* b lies as oneDNN likes it best, rearranged from the strides above */
    int64_t bias, add;
} ProductKey;

typedef struct ImageKey { /* of convolution and pooling */
    int64_t batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width;
    int64_t pad_top, pad_left, pad_bottom, pad_right, dilation_height, dilation_width;
    int64_t groups, channels_last; /* of both sides */
    int64_t weight_stride, bias, relu, add;
    int64_t layout_batch; /* the gradient by weight lies as it would for this batch */
    int64_t pooling;      /* PoolingKind */
} ImageKey;

typedef struct ConvertKey { /* to (+)= from */
    MatrixKey from, to;
    int64_t add;
} ConvertKey;

/* Memory that grows and is never given back: one piece a purpose. */
typedef enum Workspace { WORK_LEFT, WORK_RIGHT, WORK_WEIGHT, WORK_WEIGHT_LAST, WORK_RESULT, WORKSPACES } Workspace;
void *workspace(Workspace which, size_t bytes);
void *aligned_memory(size_t bytes); /* 64 bytes; free() it */

typedef struct PlanKey PlanKey;
typedef struct Plan Plan;

struct PlanKey {
    void (*build)(Plan *plan, const PlanKey *key); /* makes the primitive; also says which kind of plan this is */
    union {
        ProductKey product;
        ImageKey image;
        ConvertKey convert;
        int64_t words[28];
    };
};

/* The plan of a key, made by key->build if it is new, ready for exec->threads threads. It stays while the kernel that
 * asked runs: the least recently used leave first. The key's unused words must be zero. */
Plan *plan_get(const Exec *exec, const PlanKey *key);

/* Where an argument lies: at an address, or in a memory object that is ready. */
typedef struct Place {
    const void *data;
    dnnl_memory_t memory;
} Place;

size_t plan_place_bytes(const Plan *plan, int place);

/* Runs on one thread, the `thread`-th; places in the order of the names that the builder gave. */
void plan_run(Plan *plan, int thread, const Place *places);

/* How many of `units` equal units of work make one task. Depends on sizes only, never on threads. */
int64_t task_units(int64_t units, double flops_of_unit);

/* ---- for builders ---- */

/* Gives the plan its primitive (the description is taken over) and its arguments, DNNL_ARG_... */
void plan_set(Plan *plan, dnnl_primitive_desc_t description, const int *names, int count);
/* The argument `name` is a weight that lies in memory as `source` says and is packed from there. */
void plan_set_packing(Plan *plan, int name, Layout source);
/* The argument `name` is a weight's gradient that is brought from its own layout to `target`, overwriting or adding. */
void plan_set_unpacking(Plan *plan, int name, Layout target, bool add);
dnnl_primitive_attr_t plan_attributes(bool add, bool relu); /* free with dnnl_primitive_attr_destroy */
dnnl_engine_t plan_engine(void);

/* Makes a primitive description: one body a version. The layouts may be freed afterwards; bias NULL: none. */
dnnl_primitive_desc_t describe_product(Layout a, Layout b, Layout bias, Layout c, dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution(const ImageKey *k, Layout x, Layout weight, Layout bias, Layout y,
                                           dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution_by_input(const ImageKey *k, Layout dx, Layout weight, Layout dy,
                                                    dnnl_primitive_desc_t forward, dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution_by_weight(const ImageKey *k, Layout x, Layout dweight, Layout dbias,
                                                     Layout dy, dnnl_primitive_desc_t forward,
                                                     dnnl_primitive_attr_t attributes);

dnnl_primitive_desc_t describe_pooling(const ImageKey *k, bool training, Layout x, Layout y,
                                       dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_pooling_gradient(const ImageKey *k, Layout dx, Layout dy, dnnl_primitive_desc_t forward,
                                                dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_reorder(Layout from, Layout to, dnnl_primitive_attr_t attributes);

/* ---- matrices (dnnl_convert.c) ---- */

/* A factor or result: how it lies, and where. */
typedef struct Matrix {
    MatrixKey key;
    const void *data;
} Matrix;

/* [rows, columns] of a batch of one. The stride along an axis of one element is never used: it is made the contiguous
 * one, so that such matrices share a plan. */
Matrix matrix_of(int64_t rows, int64_t columns, Rows m, bool transposed);
const char *matrix_at(const Matrix *m, int64_t item, int64_t row);
Layout matrix_layout(const MatrixKey *m, bool batched);

Plan *conversion_plan(const Exec *exec, MatrixKey from, MatrixKey to, bool add); /* places: from, to */
/* m [rows, columns] rounded to bf16 into `work`, if it is not bf16 already. */
Rows as_bf16(const Exec *exec, int64_t rows, int64_t columns, Rows m, Workspace work);

/* ---- packed weights (dnnl_pack.c) ---- */

/* How a plan wants its weight or makes a weight's gradient, and the primitive between that and the caller's layout. */
typedef struct Packing {
    dnnl_primitive_t reorder; /* NULL: the weight is taken as it lies */
    dnnl_memory_t source, target;
    Layout packed;
    size_t packed_bytes;
} Packing;

Packing *plan_packing(Plan *plan);
Packing packing_new(Layout source, Layout wanted);
Packing unpacking_new(Layout source, Layout target, bool add);
void packing_free(Packing *packing);

/* The weight as the plan wants it: the parameter's copy for `use` if it is still fresh, else packed now (a tensor that
 * is no parameter: into `work`). */
typedef enum PackUse { PACK_LINEAR, PACK_LINEAR_INPUT, PACK_CONVOLUTION } PackUse;
Place weight_place(const Exec *exec, Plan *plan, PackUse use, const Weight *weight, Workspace work);
/* target (+)= packed, as plan_set_unpacking said. */
void weight_unpack(const Exec *exec, Plan *plan, const float *packed, float *target);

int threads_set(int threads); /* tells OpenMP, and so oneDNN; returns what it was */
void execute(dnnl_primitive_t primitive, int thread, const dnnl_exec_arg_t *arguments, int count);
