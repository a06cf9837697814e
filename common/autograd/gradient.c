/* The way back: where gradients lie, how they add up, and the walk over the nodes. */
#include "common/autograd/tape_parts.h"

/* A gradient has the type of its tensor. */
static Tensor *gradient_make(Tape *t, Tensor *x)
{
    x->gradient = tensor_unheld(t, x->type, x->shape);
    x->gradient->channels_last = x->channels_last;
    tensor_hold(x->gradient);
    return x->gradient;
}

/* The owner's gradient lies where `memory`, of its size and without gaps, has its data. */
static void gradient_take(Tape *t, Tensor *owner, const Tensor *memory)
{
    Tensor *g = tensor_struct(t);
    g->shape = owner->shape;
    g->type = owner->type;
    g->run = g->stride = tensor_count(owner);
    g->channels_last = owner->channels_last;
    g->storage = memory->storage;
    g->storage->refs++;
    g->data = memory->data;
    tensor_hold(g);
    owner->gradient = g;
}

/* A gradient that others share must not be written: its owner gets a copy. With `out` alone it may. */
static void gradient_unshare(Tape *t, Tensor *x, const Tensor *out)
{
    Tensor *old = x->gradient;
    bool with_out = out && out->gradient && out->gradient->storage == old->storage && old->storage->refs == 2;
    if (x->param || old->storage->refs == 1 || with_out)
        return;
    Tensor *copy = gradient_make(t, x);
    KERNEL(t, elementwise, scale, 1, tensor_count(x), 1.0f, ((Rows){old->data, tensor_count(x), old->type}), false,
           ((Rows){copy->data, tensor_count(x), copy->type}));
    tensor_drop(t, old);
}

static void *element_at(const Tensor *x, int64_t index)
{
    return (char *)x->data + (size_t)index * dtype_bytes(x->type);
}

/* ---- Windows. The gradient of an op's result is often written window by window (q, k and v of one projection): what no window
 * has written yet is remembered instead of being zeroed first and added to. */

/* The part that x takes of every period of its owner; false if it is not in every period. */
static bool window_part(const Tensor *x, const Tensor *owner, int64_t *period, GradientPart *part)
{
    int64_t count = tensor_count(owner);
    *period = tensor_is_window(x) ? x->stride : count;
    int64_t periods = *period ? count / *period : 0;
    *part = (GradientPart){x->offset, x->offset + x->run};
    return periods * *period == count && part->to <= *period && periods * x->run == tensor_count(x);
}

/* Takes note that x is about to be written for the first time. False: it overlaps with what was written. */
static bool cover(Tensor *owner, const Tensor *x)
{
    GradientCover *c = &owner->cover;
    int64_t period;
    GradientPart part;
    if (!window_part(x, owner, &period, &part) || (c->count && c->period != period) || c->count == COUNT_OF(c->parts))
        return false;
    int64_t written = part.to - part.from;
    for (int i = 0; i < c->count; i++) {
        if (part.from < c->parts[i].to && c->parts[i].from < part.to)
            return false;
        written += c->parts[i].to - c->parts[i].from;
    }
    c->period = period;
    c->parts[c->count++] = part;
    if (written == period)
        c->count = 0; /* whole */
    return true;
}

/* Zeroes what no window has written. */
static void gradient_complete(Tape *t, Tensor *owner)
{
    GradientCover *c = &owner->cover;
    if (!c->count)
        return;
    Tensor gap = *owner->gradient;
    gap.stride = c->period;
    for (int64_t from = 0; from < c->period;) {
        int64_t next = c->period, end = from;
        for (int i = 0; i < c->count; i++) {
            if (c->parts[i].from <= from && c->parts[i].to > from)
                end = c->parts[i].to;
            else if (c->parts[i].from > from)
                next = MIN(next, c->parts[i].from);
        }
        if (end == from) {
            gap.run = next - from;
            gap.shape = SHAPE(tensor_count(owner) / c->period, gap.run);
            gap.data = element_at(owner->gradient, from);
            op_zero(t, &gap);
            end = next;
        }
        from = end;
    }
    c->count = 0;
}

Slot gradient_slot(Tape *t, Tensor *x)
{
    return gradient_slot_over(t, x, NULL);
}

Slot gradient_slot_over(Tape *t, Tensor *x, const Tensor *out)
{
    if (!x || !x->needs_gradient)
        return (Slot){0};
    Tensor *owner = x->root ? x->root : x;
    contract(!owner->param || !owner->param->summed,
             "%s: a gradient of %s after it was summed over the ranks (tape_backward_part: there is more to come)",
             t->op, owner->param->name);
    bool whole = x->offset == 0 && tensor_count(x) == tensor_count(owner);
    bool present = owner->param ? owner->param->touched : owner->gradient != NULL;
    if (!owner->gradient)
        gradient_make(t, owner);
    else if (present)
        gradient_unshare(t, owner, out);
    bool first = !present && whole;
    if (!whole && owner->from_op && (!present || owner->cover.count))
        first = cover(owner, x);
    if (!first && present)
        gradient_complete(t, owner);
    else if (!first)
        op_zero(t, owner->gradient);
    if (owner->param)
        owner->param->touched = true;
    Slot slot = {.wanted = true, .add = !first, .gradient = *owner->gradient};
    slot.gradient.shape = x->shape;
    slot.gradient.run = x->run;
    slot.gradient.stride = x->stride;
    slot.gradient.channels_last = x->channels_last;
    slot.gradient.data = element_at(owner->gradient, x->offset);
    return slot;
}

Slot gradient_slot_within(Tape *t, Tensor *x)
{
    Tensor *owner = x && x->root ? x->root : x;
    bool alone = x && x->needs_gradient && x->holders == 1 && x->storage && x->storage->pool && x->storage->refs == 1;
    if (!alone || owner->param || owner->gradient || tensor_count(x) != tensor_count(owner))
        return gradient_slot(t, x);
    gradient_take(t, owner, x);
    return (Slot){.wanted = true, .gradient = *x};
}

bool slots_agree(Tape *t, int n, Slot *const *slots)
{
    bool add = false;
    for (int i = 0; i < n; i++)
        add |= slots[i]->wanted && slots[i]->add;
    for (int i = 0; add && i < n; i++) {
        Slot *slot = slots[i];
        if (slot->wanted && !slot->add)
            op_zero(t, &slot->gradient);
        slot->add = slot->wanted;
    }
    return add;
}

void gradient_give(Tape *t, Tensor *x, Tensor *gradient)
{
    if (!x || !x->needs_gradient)
        return;
    Tensor *owner = x->root ? x->root : x;
    contract(gradient->channels_last == x->channels_last && tensor_count(gradient) == tensor_count(x),
             "a gradient in another layout than its tensor");
    bool whole = tensor_count(x) == tensor_count(owner);
    bool shareable = whole && !owner->param && !owner->gradient && gradient->storage && !gradient->root &&
                     gradient->type == owner->type &&
                     !tensor_is_window(gradient); /* a parameter has no storage of the tape's */
    if (shareable) {
        gradient_take(t, owner, gradient);
        return;
    }
    Slot slot = gradient_slot(t, x);
    op_copy(t, gradient, &slot.gradient, slot.add);
}

static Tensor *ones_like(Tape *t, const Tensor *x)
{
    Tensor *ones = op_like(t, x);
    KERNEL(t, elementwise, fill, tensor_count(ones), 1.0f, ones->data);
    return ones;
}

/* The cotangent in the root's layout. */
static Tensor *cotangent_as(Tape *t, Tensor *cotangent, const Tensor *root)
{
    cotangent = contiguous(t, cotangent);
    if (!root->channels_last)
        return cotangent;
    Tensor *turned = op_like(t, root);
    KERNEL(t, elementwise, permute, 4, cotangent->shape.dim, ((const int[]){0, 2, 3, 1}), sizeof(float),
           cotangent->data, turned->data);
    return turned;
}

static void seed_root(Tape *t, Tensor *root, Tensor *cotangent)
{
    char a[128], b[128];
    contract(root->needs_gradient, "tape_backward: a root that depends on nothing that needs a gradient");
    contract(!cotangent || (shape_equal(cotangent->shape, root->shape) && cotangent->type == F32),
             "tape_backward: a root %s with a cotangent %s of %s", shape_text(root->shape, a),
             shape_text(cotangent->shape, b), dtype_name(cotangent->type));
    op_begin(t, "tape_backward", 1, &cotangent);
    Scope s = scope_open(t);
    gradient_give(t, root, cotangent ? cotangent_as(t, cotangent, root) : ones_like(t, root));
    scope_close_n(t, s, NULL, 0);
}

static void gradient_release(Tape *t, Tensor *x)
{
    if (x && x->gradient && !x->param) {
        Tensor *g = x->gradient;
        x->gradient = NULL;
        x->cover.count = 0;
        tensor_drop(t, g);
    }
}

static void backward(Tape *t, Tensor *const *roots, Tensor *const *cotangents, int n, bool last)
{
    struct TapeLists *l = t->lists;
    Region before = region_open(t, t->region.phase, NO_GRAD); /* first order only */
    for (int i = 0; i < n; i++)
        seed_root(t, roots[i], cotangents ? cotangents[i] : NULL);
    while (l->nodes.count) {
        Node *node = l->nodes.items[--l->nodes.count];
        bool reached = node->out->gradient || (node->extra_out && node->extra_out->gradient);
        if (reached) {
            Scope s = scope_open(t);
            t->op = node->op;
            gradient_complete(t, node->out);
            node->backward(t, node);
            scope_close_n(t, s, NULL, 0);
        }
        gradient_release(t, node->out);
        gradient_release(t, node->extra_out);
        node_release(t, node);
        if (last && t->node_done)
            t->node_done(t->node_done_user);
    }
    region_close(t, before);
}

void tape_backward(Tape *t, Tensor *const *roots, Tensor *const *cotangents, int n)
{
    backward(t, roots, cotangents, n, true);
}

void tape_backward_part(Tape *t, Tensor *const *roots, Tensor *const *cotangents, int n)
{
    backward(t, roots, cotangents, n, false);
}

void tape_on_node_done(Tape *t, NodeDone *done, void *user)
{
    t->node_done = done;
    t->node_done_user = user;
}

const Tensor *tensor_gradient(const Tensor *x)
{
    return x->param && !x->param->touched ? NULL : x->gradient;
}

void tensor_needs_gradient(Tensor *x)
{
    x->needs_gradient = true;
}
