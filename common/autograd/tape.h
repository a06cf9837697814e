/* The tape: runs ops at once and, when gradients are on, remembers them for the way back.
 *
 *     Tape *t = tape_new(&(TapeOptions){.backend = backend, .threads = 2});
 *     Tensor *loss = mean(t, cross_entropy(t, linear(t, x, w, b), targets));
 *     tape_backward(t, &loss, NULL, 1);      // parameters now have gradients
 *     tape_reset(t);                         // the step is over, its memory is back in the pool
 */
#pragma once
#include "common/comm/comm.h"
#include "common/kernels/backend.h"
#include "common/tensor/random.h"
#include "common/tensor/tensor.h"

typedef enum Device { DEVICE_CPU, DEVICE_CUDA, DEVICE_META } Device; /* of a backend's memory; or shapes alone */
typedef enum Phase { TRAIN, EVAL } Phase;                            /* dropout, drop path, batch statistics */
typedef enum Recording { GRAD, NO_GRAD } Recording;                  /* whether ops are remembered */

typedef struct Tape Tape;

typedef struct TapeOptions {
    Device device;          /* DEVICE_META, or whatever the backend's is */
    const Backend *backend; /* NULL on the meta device */
    int threads;
    uint32_t seed;
    DType inner; /* F32, or BF16: see tape_inner */
    Comm *comm;  /* the ranks that train together; NULL: one alone */
} TapeOptions;

Tape *tape_new(const TapeOptions *options);
void tape_free(Tape *t);

/* ---- Lifetimes. An op's result lives until the innermost open scope closes. Closing returns y, which now belongs to the
 * enclosing scope; it may be older than the scope, or a parameter. Without gradients everything else made inside goes back
 * to the pool; with gradients what backward needs stays until backward is done with it. */
typedef struct Scope {
    size_t mark;
} Scope;

Scope scope_open(Tape *t);
Tensor *scope_close(Tape *t, Scope s, Tensor *y);
void scope_close_n(Tape *t, Scope s, Tensor **keep,
                   int n); /* entries may be NULL; closed again in a loop, a scope lets go
                                                              * of what the last round kept */

/* x may be read until tape_reset, whatever closes before. Returns x. */
Tensor *tape_keep(Tape *t, Tensor *x);

/* Ends a step: every tensor that is not a parameter is gone. */
void tape_reset(Tape *t);

/* Around a step of training, all of its work from the first upload to tape_reset: a GPU may start it as a whole (a CUDA graph). Reads
 * and fetches in between are as always. Steps do not nest. */
void tape_begin_step(Tape *t);
void tape_end_step(Tape *t);

/* ---- Mode: a region, which nests. */
typedef struct Region {
    Phase phase;
    Recording recording;
} Region;

Region region_open(Tape *t, Phase phase, Recording recording); /* returns what was, for region_close */
void region_close(Tape *t, Region before);
bool tape_training(const Tape *t);

/* The type of activations inside a block, and of what backward saves of them: F32, or BF16 where `precision: bf16`. The
 * residual stream, statistics, losses and the gradients of parameters are F32 in either case. */
DType tape_inner(const Tape *t);

/* ---- Backward: adds d(sum_i roots[i] . cotangents[i]) to the gradient of every tensor that needs one. cotangents NULL (or
 * an entry NULL): ones. The nodes are used up. */
void tape_backward(Tape *t, Tensor *const *roots, Tensor *const *cotangents, int n);

/* The same for all but the last backward of a step whose batch goes through the network in parts: no gradient of a parameter
 * is whole yet. */
void tape_backward_part(Tape *t, Tensor *const *roots, Tensor *const *cotangents, int n);

/* Called during tape_backward whenever an op has gone its way back; a parameter without pending ops then has its whole
 * gradient. NULL ends it. */
typedef void NodeDone(void *user);
void tape_on_node_done(Tape *t, NodeDone *done, void *user);

/* The gradient of a leaf after tape_backward, NULL if none arrived. */
const Tensor *tensor_gradient(const Tensor *x);

/* ---- Tensors made from outside. Data is copied to the device; NULL leaves it undefined. */
Tensor *tensor_make(Tape *t, DType type, Shape shape);
Tensor *tensor_from(Tape *t, DType type, Shape shape, const void *data);
void tensor_read(Tape *t, const Tensor *x, void *out); /* to the host, contiguous, [B,C,H,W] order */
float tensor_scalar(Tape *t, const Tensor *x);

/* A read that does not wait for the device: of what is not looked at before the next step has been started. fetch_values waits
 * for this value alone; it stays until the next fetch. */
void tensor_fetch(Tape *t, const Tensor *x, Fetch *fetch);
const void *fetch_values(Tape *t, Fetch *fetch);
void fetch_free(Tape *t, Fetch *fetch);

void tensor_needs_gradient(Tensor *x); /* for a leaf whose gradient is wanted */

/* ---- Random draws of a step: a function of (seed, site, call of that site in this step, step, element). */
void tape_set_step(Tape *t, uint32_t step);
PhiloxDraw tape_draw(Tape *t, uint32_t site);

/* The element is that of the whole batch's tensor, whatever part of the batch is here. */
Comm *tape_comm(const Tape *t);
void tape_use_comm(Tape *t, Comm *comm); /* NULL: what follows is this rank's alone */

/* Whether BatchNorm in training takes its statistics from the shares of all ranks; at first each takes them from its own. */
void tape_sync_batch_norm(Tape *t, bool yes);

/* Row i of the samples that are here is row place[i] of the whole batch. rows 0: all of it is here. Of a tensor whose first
 * axis is `rows` long, or a multiple (k following rows a sample), the rows are those of the samples; any other belongs to no
 * sample and is drawn alike on every rank. */
typedef struct RowMap {
    const int64_t *place; /* [rows]; stays until the tape is reset */
    int64_t rows;
} RowMap;

RowMap tape_map_rows(Tape *t, RowMap map); /* returns what was, to be set again */

/* The element of the whole batch's tensor that element i of one of this shape is. */
int64_t tape_element(const Tape *t, Shape shape, int64_t i);
void tape_replay(Tape *t, RandomReplay *replay); /* NULL ends it */
RandomReplay *tape_replaying(const Tape *t);

/* ---- Any hidden state can be asked for: a model names what a reader of the paper would look for, and whoever watches the
 * tape sees it. Returns x. Costs nothing while nobody watches. */
typedef void Watcher(void *user, Tape *t, const char *name, Tensor *x);
void tape_watch(Tape *t, Watcher *watcher, void *user); /* NULL ends it */
bool tape_watched(const Tape *t);
__attribute__((format(printf, 3, 4))) Tensor *tape_show(Tape *t, Tensor *x, const char *format, ...);

/* ---- What was done: multiply-adds since the last reset of the counter, memory of the tensors. */
double tape_macs(const Tape *t);
void tape_macs_reset(Tape *t);
Pool *tape_pool(Tape *t);

/* On the meta device: from here on ops note where this backend has no kernel for them; tape_missing names the last one, or is
 * NULL. */
void tape_rehearse(Tape *t, const Backend *backend);
const char *tape_missing(const Tape *t);
