/* What a tensor is: a shape, a type and a piece of storage; contiguous and row-major, but for one exception, the window.
 * Ops on tensors are in common/autograd; this floor knows how tensors lie in memory and how long they live. */
#pragma once
#include "common/kernels/exec.h"
#include "common/tensor/pool.h"

enum { MAX_RANK = 8 };

typedef struct Shape {
    int rank;
    int64_t dim[MAX_RANK];
} Shape;

/* SHAPE(2, 3, 4); a scalar is (Shape){0}. */
#define SHAPE(...) ((Shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})

int64_t shape_count(Shape s);                     /* elements; 1 for a scalar */
int64_t shape_product(Shape s, int from, int to); /* of the axes from .. to-1 */
bool shape_equal(Shape a, Shape b);
const char *shape_text(Shape s, char text[static 128]); /* "[2, 3, 4]" */

/* A block of the pool, shared by a tensor and its windows. */
typedef struct Storage {
    void *data;
    size_t bytes;
    int refs;
    Pool *pool; /* NULL: the memory belongs to somebody else */
} Storage;

/* What makes a tensor a parameter or buffer of a model. */
typedef struct ParamState {
    const char *name;
    bool trainable;
    bool touched;          /* a gradient has arrived since zero_grad: an absent gradient is not one of zero */
    bool summed;           /* it is being summed over the ranks, or has been: nothing may be added to it */
    int pending;           /* recorded ops that may still add to it */
    uint64_t version;      /* raised by every write; packed copies of an older version are stale */
    struct Packed *packed; /* the backend's own arrangement */
} ParamState;

/* Which parts of every `period` elements of a gradient have been written, while some have not; count 0: all. */
typedef struct GradientPart {
    int64_t from, to;
} GradientPart;

typedef struct GradientCover {
    int count;
    int64_t period;
    GradientPart parts[4];
} GradientCover;

/* A window along one axis lies in memory as blocks of `run` elements, `stride` apart; for every other tensor run = stride
 * = count. A reshape may split or join axes within a run or outside it. */
typedef struct Tensor {
    Shape shape;
    DType type;
    void *data; /* the first element; NULL once released */
    int64_t run, stride;
    bool channels_last; /* [B,C,H,W] whose memory is [B,H,W,C]: only convolutions, elementwise ops, batch norm
                         * and tokens_from_map meet such a tensor, every other op asks contiguous() first */
    bool needs_gradient;
    Storage *storage;
    struct Tensor *root;     /* of a window or reshape: the tensor whose gradient it shares; else NULL */
    int64_t offset;          /* elements from the root's first */
    struct Tensor *gradient; /* same shape and layout; never set on a window */
    GradientCover cover;
    bool from_op; /* the result of a recorded op */
    ParamState *param;
    int holders; /* who still looks at the data: the scope, tape_keep, nodes that saved it */
    int refs;    /* who still knows the tensor: holders and nodes */
} Tensor;

static inline int64_t tensor_count(const Tensor *x)
{
    return shape_count(x->shape);
}

static inline int64_t tensor_dim(const Tensor *x, int axis) /* from the end where negative */
{
    return x->shape.dim[axis < 0 ? axis + x->shape.rank : axis];
}

static inline bool tensor_is_window(const Tensor *x)
{
    return x->run != x->stride;
}

/* The tensor as rows of its last axis (C values): false if the rows of a window are not all `stride` apart, and then a
 * contiguous copy is needed. A scalar is one row of one. */
bool tensor_rows(const Tensor *x, int64_t *rows, int64_t *cols, Rows *out);

/* The tensor as blocks of contiguous elements: always possible. */
Rows tensor_blocks(const Tensor *x, int64_t *blocks, int64_t *run);

/* Element index -> element offset from data, through the window. */
int64_t tensor_offset(const Tensor *x, int64_t index);
