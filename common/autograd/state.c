#include "common/autograd/state.h"

#include "common/autograd/ops.h"
#include "common/autograd/tape_parts.h"

#include <stdlib.h>
#include <string.h>

struct States {
    ARRAY(Tensor *) list;
    size_t allocated; /* of them */
    const Backend *backend;
};

States *states_new(void)
{
    return mem_new(sizeof(States));
}

void states_free(States *owner)
{
    if (!owner)
        return;
    for (size_t i = 0; i < owner->list.count; i++) {
        if (owner->backend && i < owner->allocated)
            owner->backend->memory.give(owner->list.items[i]->data);
        mem_free(owner->list.items[i]);
    }
    array_free(&owner->list);
    mem_free(owner);
}

/* Its owner holds it, and knows it, as long as it lives: no scope that it went through gives it back. */
Tensor *state_new(States *owner, Shape shape, DType type)
{
    Tensor *x = mem_new(sizeof *x);
    *x = (Tensor){.shape = shape, .type = type, .holders = 1, .refs = 1};
    x->run = x->stride = shape_count(shape);
    *array_add(&owner->list) = x;
    return x;
}

static void *zeroed(const Backend *backend, size_t bytes)
{
    Exec exec = {.threads = 1, .stream = backend->stream};
    void *data = backend->memory.take(bytes);
    if (!data)
        user_fatal("out of memory: %zu bytes of a state", bytes);
    backend->memory.fill(&exec, data, 0, bytes);
    return data;
}

void states_allocate(States *owner, const Backend *backend)
{
    owner->backend = backend;
    for (; owner->allocated < owner->list.count; owner->allocated++) {
        Tensor *x = owner->list.items[owner->allocated];
        size_t bytes = (size_t)tensor_count(x) * dtype_bytes(x->type);
        x->data = backend ? zeroed(backend, bytes) : (void *)4096; /* never read on the meta device */
    }
}

void states_allocate_on(States *owner, const Tape *t)
{
    states_allocate(owner, t->device == DEVICE_META ? NULL : t->backend);
}

/* ---- Writing */

static void begin(Tape *t, const char *op, Tensor *state, Tensor *x)
{
    OP_BEGIN(t, op, state, x);
    op_writes_state(t, op, state);
}

void op_writes_state(const Tape *t, const char *op, Tensor *state)
{
    char text[128];
    int own = state->param ? 0 : 1;
    contract(!t->lists->nodes.count || state->refs <= own,
             "%s: a recorded op still reads the state %s; write it after the way back", op,
             shape_text(state->shape, text));
    contract(!state->root && !state->needs_gradient, "%s: no state, nor a buffer", op);
    if (state->param)
        state->param->version++;
}

void state_write(Tape *t, Tensor *state, int axis, int64_t offset, Tensor *x)
{
    char a[128], b[128];
    begin(t, "state_write", state, x);
    Shape fits = x->shape;
    contract(axis >= 0 && axis < state->shape.rank && axis < fits.rank, "state_write: axis %d of %s", axis,
             shape_text(state->shape, a));
    fits.dim[axis] = state->shape.dim[axis];
    contract(shape_equal(fits, state->shape) && x->shape.dim[axis] > 0, "state_write: %s along axis %d of %s",
             shape_text(x->shape, b), axis, shape_text(state->shape, a));
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    op_copy(t, contiguous(t, x), narrow(t, state, axis, offset, x->shape.dim[axis]), false);
    scope_close_n(t, s, NULL, 0);
    region_close(t, before);
}

static void whole(Tape *t, const char *op, Tensor *state, Tensor *x, bool add)
{
    char a[128], b[128];
    begin(t, op, state, x);
    contract(shape_equal(state->shape, x->shape), "%s: %s to %s", op, shape_text(x->shape, a),
             shape_text(state->shape, b));
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    op_copy(t, contiguous(t, x), state, add);
    scope_close_n(t, s, NULL, 0);
    region_close(t, before);
}

void state_set(Tape *t, Tensor *state, Tensor *x)
{
    whole(t, "state_set", state, x, false);
}

void state_add(Tape *t, Tensor *state, Tensor *x)
{
    whole(t, "state_add", state, x, true);
}

void state_clear(Tape *t, Tensor *state)
{
    begin(t, "state_clear", state, NULL);
    op_zero(t, state);
}
