/* For whoever writes an op: an op is a shape rule, a kernel, and a node for the way back.
 * Read layer_norm in norm.c as the example. */
#pragma once
#include "common/autograd/tape.h"

typedef struct Node Node;
typedef void Backward(Tape *t, Node *n);

struct Node {
    const char *op;
    Backward *backward;
    Tensor *out;       /* whose gradient has arrived */
    Tensor *extra_out; /* a second result (a log-sum-exp), or NULL */
    Tensor **in;       /* whose gradients may be wanted; entries may be NULL */
    Tensor **saved;    /* what the forward left for the backward; entries may be NULL */
    int ins, saves;
    void *args; /* a copy of the op's own struct */
};

struct Tape {
    Device device;
    const Backend *backend;
    Exec exec;
    Pool *pool;
    Region region;
    DType inner; /* of activations inside a block */
    uint32_t seed, step;
    double macs;
    RandomReplay *replay;
    const char *op;      /* at work, for messages */
    const char *missing; /* a kernel that a rehearsal asked for in vain */
    void *host;          /* host_bytes that op_host gives */
    size_t host_bytes;
    Watcher *watcher;
    void *watcher_user;
    Comm *comm;
    bool sync_batch_norm;
    RowMap rows;
    NodeDone *node_done;
    void *node_done_user;
    struct TapeLists *lists; /* visible tensors, nodes, spare structs: tape.c */
};

/* ---- Forward */

/* Every op begins so, once its inputs are what the kernel gets: a tensor that was released, or a parameter without storage,
 * ends the program here and nowhere else. Entries may be NULL. */
void op_begin(Tape *t, const char *op, int n, Tensor *const *in);
#define OP_BEGIN(t, op, ...)                                                                                           \
    op_begin(t, op, (int)(sizeof((Tensor *[]){__VA_ARGS__}) / sizeof(Tensor *)), (Tensor *[]){__VA_ARGS__})

/* Whether any of the inputs (NULL allowed) needs a gradient and the tape records. */
bool op_records(const Tape *t, int n, Tensor *const *in);
#define OP_RECORDS(t, ...)                                                                                             \
    op_records(t, (int)(sizeof((Tensor *[]){__VA_ARGS__}) / sizeof(Tensor *)), (Tensor *[]){__VA_ARGS__})

/* Remembers the op; y then needs a gradient. args is copied. */
Node *op_record(Tape *t, const char *op, Backward *backward, Tensor *y, const void *args, size_t args_bytes);
void op_inputs(Tape *t, Node *n, int count, Tensor *const *in);
void op_saves(Tape *t, Node *n, int count, Tensor *const *saved);
#define OP_INPUTS(t, n, ...)                                                                                           \
    op_inputs(t, n, (int)(sizeof((Tensor *[]){__VA_ARGS__}) / sizeof(Tensor *)), (Tensor *[]){__VA_ARGS__})
#define OP_SAVES(t, n, ...)                                                                                            \
    op_saves(t, n, (int)(sizeof((Tensor *[]){__VA_ARGS__}) / sizeof(Tensor *)), (Tensor *[]){__VA_ARGS__})

/* A tensor with x's shape, type and layout. */
Tensor *op_like(Tape *t, const Tensor *x);

/* A view of x: the same storage from element `offset` on, its gradient a part of x's. */
Tensor *op_view(Tape *t, Tensor *x, Shape shape, int64_t offset, int64_t run, int64_t stride);

/* y (+)= x, element by element; either may be a window. */
void op_copy(Tape *t, const Tensor *x, Tensor *y, bool add);

/* How many elements of a tensor of this shape belong to one row of the map; 0: it is no tensor of samples. */
int64_t row_map_each(const RowMap *m, Shape shape);

/* How many elements from `from` on, where a row begins, lie side by side in the whole batch's tensor, too, and from where. */
int64_t row_map_piece(const RowMap *m, Shape shape, int64_t from, int64_t *place);

/* [1,...] of every rank -> [ranks,...], in their order and without gradient. */
Tensor *op_gather_ranks(Tape *t, const Tensor *x);

/* For an op that writes a state or buffer in place: what a recorded op still needs must not be written. */
void op_writes_state(const Tape *t, const char *op, Tensor *state);

/* x = 0; it may be a window. */
void op_zero(Tape *t, const Tensor *x);

/* x, or a copy of it whose rows are all one stride apart (rows), or which is contiguous in logical order (contiguous). */
Tensor *op_rows(Tape *t, Tensor *x);
Tensor *contiguous(Tape *t, Tensor *x);

/* ---- Backward */

/* Where the gradient of an input goes: `wanted` false = nowhere. `add` false: the kernel overwrites. */
typedef struct Slot {
    bool wanted, add;
    Tensor gradient; /* as x: a window where x is one */
} Slot;

Slot gradient_slot(Tape *t, Tensor *x);
/* The same for an op that has read a row of `out`'s gradient for the last time when it writes that row of x's: where the
 * two are one piece of memory (out was added to x), the sum is made in place. */
Slot gradient_slot_over(Tape *t, Tensor *x, const Tensor *out);

/* The same for an op that saved x and whose kernel reads each element of it before it writes that of the gradient: where
 * nobody else will look at x again, the gradient takes its memory. */
Slot gradient_slot_within(Tape *t, Tensor *x);

/* For a kernel that has one flag for several gradients: adds to all or to none. Returns the flag; slots that are overwritten
 * while others are added to are zeroed first. */
bool slots_agree(Tape *t, int n, Slot *const *slots);

/* Hands a whole gradient of x's shape over (or adds it): the copy is saved where it can be. */
void gradient_give(Tape *t, Tensor *x, Tensor *gradient);

/* ---- Kernels. On the meta device nothing runs, but a rehearsal notes what could not; a kernel that the backend lacks ends the program with a clear line. */
__attribute__((noreturn)) void kernel_missing(const Tape *t, const char *kernel);
/* Memory of the device: filled with a byte; from the host. Nothing on the meta device. */
void op_fill(Tape *t, void *memory, uint8_t byte, size_t bytes);
void op_upload(Tape *t, void *memory, const void *values, size_t bytes);

/* Where the host writes the elements of a tensor one by one, and what brings them to it then: the tensor's own memory where the
 * host can reach it. One at a time; NULL on the meta device. */
void *op_host(Tape *t, const Tensor *x);
void op_from_host(Tape *t, const Tensor *x);

/* From here on exec's scratch holds at least so many bytes. */
void op_scratch(Tape *t, size_t bytes);
#define KERNEL_SCRATCH(t, family, kernel, ...)                                                                         \
    do {                                                                                                               \
        if ((t)->device != DEVICE_META && (t)->backend->family.kernel)                                                 \
            op_scratch(t, (t)->backend->family.kernel(__VA_ARGS__));                                                   \
    } while (0)

#define KERNEL(t, family, kernel, ...)                                                                                 \
    do {                                                                                                               \
        if ((t)->device == DEVICE_META) {                                                                              \
            if ((t)->backend && !(t)->backend->family.kernel)                                                          \
                (t)->missing = #kernel;                                                                                \
            break;                                                                                                     \
        }                                                                                                              \
        if (!(t)->backend->family.kernel)                                                                              \
            kernel_missing(t, #kernel);                                                                                \
        (t)->backend->family.kernel(&(t)->exec, __VA_ARGS__);                                                          \
    } while (0)

/* A weight [out, ...] as the matrix kernels take it; a parameter brings its packed copy. */
Weight op_weight(const Tensor *w);

/* The data of a tensor that may be NULL, as floats. */
static inline float *op_floats(const Tensor *x)
{
    return x ? (float *)x->data : NULL;
}

/* The rows of a tensor that went through op_rows. */
Rows op_as_rows(const Tensor *x, int64_t *rows, int64_t *cols);

/* x [B,N,heads,width], or a contiguous copy where it is a window that HeadRows cannot say; then those rows. */
Tensor *op_heads(Tape *t, Tensor *x);
HeadRows op_as_heads(const Tensor *x);
