/* Weights in the form that oneDNN's kernels read fastest: rearranged once a version of a parameter. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_plan.h"
#include <stdlib.h>

/* A parameter's copies: the forward product, the gradient by input, other layouts that other batch sizes like. */
enum { COPIES = 8 };

typedef struct PackedCopy {
    PackUse use;
    const float *source;
    uint64_t version, used;
    Layout layout;
    dnnl_memory_t memory;
    void *data;
} PackedCopy;

struct Packed {
    PackedCopy copies[COPIES];
    int count;
    uint64_t clock; /* counts uses: the copy that was not used for longest makes room */
};

/* What leads from source to target; `packed` is one of the two. */
static Packing reorder_new(Layout source, Layout target, Layout packed, bool add)
{
    Packing packing = {.packed = layout_copy(packed), .packed_bytes = dnnl_memory_desc_get_size(packed)};
    dnnl_primitive_attr_t attributes = plan_attributes(add, false);
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_library));
    dnnl_primitive_desc_t description = describe_reorder(source, target, attributes);
    DNNL(dnnl_primitive_create(&packing.reorder, description));
    DNNL(dnnl_primitive_desc_destroy(description));
    DNNL(dnnl_primitive_attr_destroy(attributes));
    DNNL(dnnl_memory_create(&packing.source, source, plan_engine(), DNNL_MEMORY_NONE));
    DNNL(dnnl_memory_create(&packing.target, target, plan_engine(), DNNL_MEMORY_NONE));
    return packing;
}

Packing packing_new(Layout source, Layout wanted)
{
    return dnnl_memory_desc_equal(wanted, source) ? (Packing){0} : reorder_new(source, wanted, wanted, false);
}

Packing unpacking_new(Layout source, Layout target, bool add)
{
    return reorder_new(source, target, source, add);
}

void packing_free(Packing *packing)
{
    if (!packing->reorder)
        return;
    DNNL(dnnl_primitive_destroy(packing->reorder));
    DNNL(dnnl_memory_destroy(packing->source));
    DNNL(dnnl_memory_destroy(packing->target));
    layout_free(packing->packed);
}

/* A rearrangement is the same on any number of threads: oneDNN's own threading may do it. */
static void reorder(const Exec *exec, const Packing *packing, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    int threads_before = threads_set(exec->threads);
    execute(packing->reorder, 0, arguments, COUNT_OF(arguments));
    threads_set(threads_before);
}

static void pack(const Exec *exec, const Packing *packing, const Weight *weight, dnnl_memory_t to)
{
    DNNL(dnnl_memory_set_data_handle(packing->source, (void *)weight->data));
    reorder(exec, packing, packing->source, to);
}

void weight_unpack(const Exec *exec, Plan *plan, const float *packed, float *target)
{
    const Packing *packing = plan_packing(plan);
    DNNL(dnnl_memory_set_data_handle(packing->source, (void *)packed));
    DNNL(dnnl_memory_set_data_handle(packing->target, target));
    reorder(exec, packing, packing->source, packing->target);
}

static void copy_free(PackedCopy *copy)
{
    DNNL(dnnl_memory_destroy(copy->memory));
    layout_free(copy->layout);
    free(copy->data);
}

static PackedCopy *copy_new(struct Packed *packed, Layout layout)
{
    PackedCopy *place = &packed->copies[0];
    if (packed->count < COPIES) {
        place = &packed->copies[packed->count++];
    } else {
        for (int i = 1; i < packed->count; i++)
            if (packed->copies[i].used < place->used)
                place = &packed->copies[i];
        copy_free(place);
    }
    *place = (PackedCopy){.layout = layout_copy(layout), .data = aligned_memory(dnnl_memory_desc_get_size(layout))};
    DNNL(dnnl_memory_create(&place->memory, layout, plan_engine(), place->data));
    return place;
}

static PackedCopy *copy_find(struct Packed *packed, PackUse use, const float *source, Layout layout)
{
    for (int i = 0; i < packed->count; i++) {
        PackedCopy *copy = &packed->copies[i];
        if (copy->use == use && copy->source == source && dnnl_memory_desc_equal(copy->layout, layout))
            return copy;
    }
    return NULL;
}

/* The parameter's copy in the wanted layout, packed anew if the parameter was written since. */
static PackedCopy *copy_fresh(const Exec *exec, const Packing *packing, PackUse use, const Weight *weight)
{
    if (!*weight->packed)
        *weight->packed = mem_new(sizeof **weight->packed);
    struct Packed *packed = *weight->packed;
    PackedCopy *copy = copy_find(packed, use, weight->data, packing->packed);
    bool stale = !copy || copy->version != weight->version;
    if (!copy)
        copy = copy_new(packed, packing->packed);
    if (stale) {
        pack(exec, packing, weight, copy->memory);
        copy->use = use;
        copy->source = weight->data;
        copy->version = weight->version;
    }
    copy->used = ++packed->clock;
    return copy;
}

Place weight_place(const Exec *exec, Plan *plan, PackUse use, const Weight *weight, Workspace work)
{
    const Packing *packing = plan_packing(plan);
    if (!packing->reorder)
        return (Place){weight->data, NULL};
    if (weight->packed)
        return (Place){NULL, copy_fresh(exec, packing, use, weight)->memory};
    void *data = workspace(work, packing->packed_bytes);
    DNNL(dnnl_memory_set_data_handle(packing->target, data));
    pack(exec, packing, weight, packing->target);
    return (Place){NULL, packing->target};
}

void packed_free(struct Packed **packed)
{
    if (!*packed)
        return;
    for (int i = 0; i < (*packed)->count; i++)
        copy_free(&(*packed)->copies[i]);
    mem_free(*packed);
    *packed = NULL;
}
