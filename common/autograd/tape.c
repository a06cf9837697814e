#include "common/autograd/tape_parts.h"

#include "common/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_BLOCK = 1 << 16, SCRATCH_BYTES = 8 << 20 };

static void *arena_take(Arena *a, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    contract(bytes <= ARENA_BLOCK, "a node of %zu bytes", bytes);
    if (a->blocks.count == 0 || a->used + bytes > ARENA_BLOCK) {
        if (a->blocks.count)
            a->block++;
        if (a->block == a->blocks.count)
            *array_add(&a->blocks) = mem_new(ARENA_BLOCK);
        a->used = 0;
    }
    char *p = a->blocks.items[a->block] + a->used;
    a->used += bytes;
    return p;
}

static void take_scratch(Tape *t, size_t bytes)
{
    t->exec.scratch = pool_take(t->pool, bytes);
    t->exec.scratch_bytes = bytes;
    if (!t->exec.scratch)
        user_fatal("out of memory in %s: %zu bytes of scratch; lower train.batch_size (or eval.batch_size)",
                   t->op ? t->op : "the first op", bytes);
}

Tape *tape_new(const TapeOptions *options)
{
    Tape *t = mem_new(sizeof *t);
    t->device = options->device;
    if (t->device != DEVICE_META) {
        t->backend = options->backend;
        t->device = t->backend->memory.on_host ? DEVICE_CPU : DEVICE_CUDA;
    }
    t->pool = t->device == DEVICE_CUDA ? pool_new_on(t->backend) : pool_new(t->device == DEVICE_CPU);
    t->exec = (Exec){.threads = MAX(options->threads, 1), .stream = t->backend ? t->backend->stream : NULL};
    take_scratch(t, SCRATCH_BYTES);
    t->seed = options->seed;
    t->inner = options->inner;
    t->comm = options->comm;
    t->region = (Region){EVAL, NO_GRAD};
    t->lists = mem_new(sizeof *t->lists);
    return t;
}

void tape_free(Tape *t)
{
    if (!t)
        return;
    tape_reset(t);
    struct TapeLists *l = t->lists;
    for (size_t i = 0; i < l->spare.count; i++)
        mem_free(l->spare.items[i]);
    for (size_t i = 0; i < l->spare_storage.count; i++)
        mem_free(l->spare_storage.items[i]);
    for (size_t i = 0; i < l->arena.blocks.count; i++)
        mem_free(l->arena.blocks.items[i]);
    array_free(&l->visible);
    array_free(&l->kept);
    array_free(&l->spare);
    array_free(&l->retired);
    array_free(&l->spare_storage);
    array_free(&l->nodes);
    array_free(&l->calls);
    array_free(&l->arena.blocks);
    mem_free(l);
    mem_free(t->host);
    pool_free(t->pool);
    mem_free(t);
}

/* ---- Lifetimes */

static void storage_release(Tape *t, Storage *s)
{
    if (--s->refs > 0)
        return;
    if (s->pool)
        pool_give(s->pool, s->data, s->bytes);
    *array_add(&t->lists->spare_storage) = s;
}

void tensor_unref(Tape *t, Tensor *x)
{
    if (--x->refs > 0 || x->param)
        return;
    if (x->gradient)
        tensor_drop(t, x->gradient);
    if (x->storage)
        storage_release(t, x->storage);
    if (x->root)
        tensor_unref(t, x->root);
#ifdef NDEBUG
    *array_add(&t->lists->spare) = x;
#else
    *array_add(&t->lists->retired) = x;
#endif
}

void tensor_hold(Tensor *x)
{
    x->holders++;
    x->refs++;
}

/* One looks at the data no more. Nobody left: the storage goes, the tensor stays for the nodes that know it. */
void tensor_drop(Tape *t, Tensor *x)
{
    if (--x->holders == 0 && !x->param && x->storage) {
        storage_release(t, x->storage);
        x->storage = NULL;
        x->data = NULL;
    }
    tensor_unref(t, x);
}

Tensor *tensor_struct(Tape *t)
{
    struct TapeLists *l = t->lists;
    Tensor *x = l->spare.count ? l->spare.items[--l->spare.count] : mem_new(sizeof *x);
    *x = (Tensor){0};
    return x;
}

static Storage *storage_new(Tape *t, size_t bytes)
{
    struct TapeLists *l = t->lists;
    void *data = pool_take(t->pool, bytes);
    if (!data)
        user_fatal("out of memory in %s: a tensor of %.1f MB beside %.1f MB in use; lower train.batch_size (or "
                   "eval.batch_size)",
                   t->op ? t->op : "the first op", (double)bytes / 1e6, (double)pool_used(t->pool) / 1e6);
    Storage *s = l->spare_storage.count ? l->spare_storage.items[--l->spare_storage.count] : mem_new(sizeof *s);
    *s = (Storage){.data = data, .bytes = bytes, .refs = 1, .pool = t->pool};
    return s;
}

static void show(Tape *t, Tensor *x)
{
    tensor_hold(x);
    *array_add(&t->lists->visible) = x;
}

/* A tensor that nothing holds yet. */
Tensor *tensor_unheld(Tape *t, DType type, Shape shape)
{
    Tensor *x = tensor_struct(t);
    x->shape = shape;
    x->type = type;
    x->run = x->stride = shape_count(shape);
    x->storage = storage_new(t, (size_t)x->run * dtype_bytes(type));
    x->data = x->storage->data;
    return x;
}

Tensor *tensor_make(Tape *t, DType type, Shape shape)
{
    Tensor *x = tensor_unheld(t, type, shape);
    show(t, x);
    return x;
}

Tensor *op_like(Tape *t, const Tensor *x)
{
    Tensor *y = tensor_make(t, x->type, x->shape);
    y->channels_last = x->channels_last;
    return y;
}

Tensor *op_view(Tape *t, Tensor *x, Shape shape, int64_t offset, int64_t run, int64_t stride)
{
    op_begin(t, "view", 1, &x);
    Tensor *y = tensor_struct(t);
    y->shape = shape;
    y->type = x->type;
    y->run = run;
    y->stride = stride;
    y->data = (char *)x->data + (size_t)offset * dtype_bytes(x->type);
    y->storage = x->storage;
    if (y->storage)
        y->storage->refs++;
    y->root = x->root ? x->root : x;
    y->offset = x->offset + offset;
    y->root->refs++;
    y->needs_gradient = x->needs_gradient && t->region.recording == GRAD;
    show(t, y);
    return y;
}

Scope scope_open(Tape *t)
{
    return (Scope){t->lists->visible.count};
}

void scope_close_n(Tape *t, Scope s, Tensor **keep, int n)
{
    struct TapeLists *l = t->lists;
    contract(s.mark <= l->visible.count, "a scope was closed after the one around it");
    for (int i = 0; i < n; i++)
        if (keep[i])
            tensor_hold(keep[i]);
    while (l->visible.count > s.mark)
        tensor_drop(t, l->visible.items[--l->visible.count]);
    for (int i = 0; i < n; i++)
        if (keep[i])
            *array_add(&l->visible) = keep[i];
}

Tensor *scope_close(Tape *t, Scope s, Tensor *y)
{
    scope_close_n(t, s, &y, 1);
    return y;
}

Tensor *tape_keep(Tape *t, Tensor *x)
{
    op_begin(t, "tape_keep", 1, &x);
    tensor_hold(x);
    *array_add(&t->lists->kept) = x;
    return x;
}

/* A parameter that x is, or is a view of. */
static ParamState *param_of(const Tensor *x)
{
    return x->root ? x->root->param : x->param;
}

void node_release(Tape *t, Node *n)
{
    for (int i = 0; i < n->ins; i++)
        if (n->in[i] && param_of(n->in[i]))
            param_of(n->in[i])->pending--;
    for (int i = 0; i < n->saves; i++)
        if (n->saved[i])
            tensor_drop(t, n->saved[i]);
    for (int i = 0; i < n->ins; i++)
        if (n->in[i])
            tensor_unref(t, n->in[i]);
    tensor_unref(t, n->out);
    if (n->extra_out)
        tensor_unref(t, n->extra_out);
}

void tape_reset(Tape *t)
{
    struct TapeLists *l = t->lists;
    while (l->nodes.count)
        node_release(t, l->nodes.items[--l->nodes.count]);
    while (l->visible.count)
        tensor_drop(t, l->visible.items[--l->visible.count]);
    while (l->kept.count)
        tensor_drop(t, l->kept.items[--l->kept.count]);
    while (l->retired.count)
        *array_add(&l->spare) = l->retired.items[--l->retired.count];
    l->arena.block = l->arena.used = 0;
    l->calls.count = 0;
}

static void step(Tape *t, StepMoment moment)
{
    if (t->device != DEVICE_META)
        t->backend->memory.step(moment);
}

void tape_begin_step(Tape *t)
{
    step(t, STEP_BEGINS);
}

void tape_end_step(Tape *t)
{
    step(t, STEP_ENDS);
}

Region region_open(Tape *t, Phase phase, Recording recording)
{
    Region before = t->region;
    t->region = (Region){phase, recording};
    return before;
}

void region_close(Tape *t, Region before)
{
    t->region = before;
}

bool tape_training(const Tape *t)
{
    return t->region.phase == TRAIN;
}

DType tape_inner(const Tape *t)
{
    return t->inner;
}

/* ---- Recording */

void op_scratch(Tape *t, size_t bytes)
{
    Exec *e = &t->exec;
    if (bytes <= e->scratch_bytes)
        return;
    pool_give(t->pool, e->scratch, e->scratch_bytes);
    size_t rounded = e->scratch_bytes;
    while (rounded < bytes)
        rounded *= 2;
    take_scratch(t, rounded);
}

void op_begin(Tape *t, const char *op, int n, Tensor *const *in)
{
    t->op = op;
    char text[128];
    for (int i = 0; i < n; i++)
        contract(!in[i] || in[i]->data, "%s: input %d %s has no data: its scope has closed, or it was never allocated",
                 op, i, shape_text(in[i]->shape, text));
}

bool op_records(const Tape *t, int n, Tensor *const *in)
{
    if (t->region.recording == NO_GRAD)
        return false;
    for (int i = 0; i < n; i++)
        if (in[i] && in[i]->needs_gradient)
            return true;
    return false;
}

Node *op_record(Tape *t, const char *op, Backward *backward, Tensor *y, const void *args, size_t args_bytes)
{
    Node *n = arena_take(&t->lists->arena, sizeof *n);
    *n = (Node){.op = op, .backward = backward, .out = y};
    if (args_bytes) {
        n->args = arena_take(&t->lists->arena, args_bytes);
        memcpy(n->args, args, args_bytes);
    }
    y->needs_gradient = true;
    y->from_op = true;
    y->refs++;
    *array_add(&t->lists->nodes) = n;
    return n;
}

void op_inputs(Tape *t, Node *n, int count, Tensor *const *in)
{
    n->ins = count;
    n->in = arena_take(&t->lists->arena, (size_t)count * sizeof *in);
    memcpy(n->in, in, (size_t)count * sizeof *in);
    for (int i = 0; i < count; i++) {
        if (!in[i])
            continue;
        in[i]->refs++;
        if (param_of(in[i]))
            param_of(in[i])->pending++;
    }
}

void op_saves(Tape *t, Node *n, int count, Tensor *const *saved)
{
    n->saves = count;
    n->saved = arena_take(&t->lists->arena, (size_t)count * sizeof *saved);
    memcpy(n->saved, saved, (size_t)count * sizeof *saved);
    for (int i = 0; i < count; i++)
        if (saved[i])
            tensor_hold(saved[i]);
}

void kernel_missing(const Tape *t, const char *kernel)
{
    user_fatal("device %s has no %s yet", t->backend ? t->backend->name : "?", kernel);
}

void tape_rehearse(Tape *t, const Backend *backend)
{
    contract(t->device == DEVICE_META, "tape_rehearse: a tape with memory");
    t->backend = backend;
}

const char *tape_missing(const Tape *t)
{
    return t->missing;
}

/* ---- What is watched and counted */

void tape_watch(Tape *t, Watcher *watcher, void *user)
{
    t->watcher = watcher;
    t->watcher_user = user;
}

bool tape_watched(const Tape *t)
{
    return t->watcher != NULL;
}

Tensor *tape_show(Tape *t, Tensor *x, const char *format, ...)
{
    if (!t->watcher)
        return x;
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    t->watcher(t->watcher_user, t, name, x);
    return x;
}

double tape_macs(const Tape *t)
{
    return t->macs;
}

void tape_macs_reset(Tape *t)
{
    t->macs = 0;
}

Pool *tape_pool(Tape *t)
{
    return t->pool;
}
