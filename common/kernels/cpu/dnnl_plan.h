/* What the oneDNN kernels share (dnnl*.c only). A Plan is a primitive with its memory objects, made once for a shape
 * and found again by its key: plan_get, plan_bind each argument to the caller's memory, plan_run. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/cpu/dnnl.h"
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

typedef struct ImageKey { /* of convolution and pooling; layouts as in ConvolutionShape */
    int64_t batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width;
    int64_t pad_top, pad_left, pad_bottom, pad_right, dilation_height, dilation_width;
    int64_t groups, in_channels_last, out_channels_last;
    int64_t bias, relu, kind;
} ImageKey;

typedef struct ConvertKey {
    MatrixKey from, to;
} ConvertKey;

typedef struct PlanKey PlanKey;
typedef struct Plan Plan;

struct PlanKey {
    void (*build)(Plan *plan, const PlanKey *key); /* makes the primitive; also says which kind of plan this is */
    int64_t threads;                               /* oneDNN divides the work when a primitive is made */
    union {
        ProductKey product;
        ImageKey image;
        ConvertKey convert;
        int64_t words[26];
    };
};

/* The plan of a key, made by key->build if it is new. The key's unused words must be zero. */
Plan *plan_get(const PlanKey *key);

/* For builders: gives the plan its primitive (the description is taken over) and its arguments, DNNL_ARG_... */
void plan_set(Plan *plan, dnnl_primitive_desc_t description, const int *names, int count);
/* For builders: the argument `name` is a weight that lies in memory as `source` says and is packed from there. */
void plan_set_packing(Plan *plan, int name, Layout source);
dnnl_primitive_attr_t plan_attributes(bool add, bool relu); /* free with dnnl_primitive_attr_destroy */
dnnl_engine_t plan_engine(void);

/* Makes a primitive descriptor: one body a version. The layouts may be freed afterwards; bias NULL: none. */
dnnl_primitive_desc_t describe_product(Layout a, Layout b, Layout bias, Layout c, dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution(const ImageKey *k, Layout x, Layout weight, Layout bias, Layout y,
                                           dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution_by_input(const ImageKey *k, Layout dx, Layout weight, Layout dy,
                                                    dnnl_primitive_desc_t forward, dnnl_primitive_attr_t attributes);
dnnl_primitive_desc_t describe_convolution_by_weight(const ImageKey *k, Layout x, Layout dweight, Layout dbias,
                                                     Layout dy, dnnl_primitive_desc_t forward,
                                                     dnnl_primitive_attr_t attributes);

void plan_bind(Plan *plan, int name, const void *data);
/* Binds the packed form of a weight: the parameter's copy for `use` if it is still fresh, else packed now. */
typedef enum PackUse { PACK_LINEAR, PACK_LINEAR_INPUT, PACK_CONVOLUTION } PackUse;
void plan_bind_weight(Plan *plan, int name, PackUse use, const Weight *weight);
void packed_free(struct Packed **packed);
void plan_run(Plan *plan);

/* Memory that grows and is never given back: one piece a purpose. */
typedef enum Workspace { WORK_ONEDNN, WORK_LEFT, WORK_RIGHT, WORK_WEIGHT, WORK_RESULT, WORKSPACES } Workspace;
void *workspace(Workspace which, size_t bytes);

/* How many threads a task of `flops` operations deserves, at most exec->threads. */
int plan_threads(const Exec *exec, double flops);
