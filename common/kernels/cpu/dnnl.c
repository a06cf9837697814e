/* Plans: oneDNN primitives and their memory objects, kept by shape, the least recently used one leaving first. */
#include "common/kernels/cpu/dnnl_plan.h"
#include "common/base/memory.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* A model needs about five plans a layer of distinct shape; code and tables of one take some 100 kB. */
enum { PLANS = 512, BUCKETS = 1024, ARGUMENTS = 6 };

struct Plan {
    PlanKey key;
    Plan *next_in_bucket;
    Plan *newer, *older; /* by last use */
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[ARGUMENTS];
    dnnl_memory_t own[ARGUMENTS]; /* the plan's memory objects; a packed weight's argument points to its copy's */
    void *bound[ARGUMENTS];       /* where they point now */
    int argument_count;
    size_t scratchpad_bytes;
    dnnl_primitive_t pack; /* from the weight as it lies in memory to the form that the primitive wants; NULL: same */
    dnnl_memory_t pack_source;
    Layout packed_layout;
};

static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    Plan *buckets[BUCKETS];
    Plan *newest, *oldest;
    int count;
    struct {
        void *data;
        size_t bytes;
    } workspaces[WORKSPACES];
} state;

void dnnl_succeed(dnnl_status_t status, const char *call, const char *file, int line)
{
    if (status == dnnl_out_of_memory)
        user_fatal("out of memory in oneDNN: lower train.batch_size");
    if (status != dnnl_success)
        contract_broken(file, line, "oneDNN answers status %d to %s", (int)status, call);
}

void dnnl_limit_isa(const char *level)
{
    static const struct {
        const char *level;
        dnnl_cpu_isa_t isa;
    } limits[] = {{"plain", dnnl_cpu_isa_sse41},
                  {"avx2", dnnl_cpu_isa_avx2},
                  {"avx512", dnnl_cpu_isa_avx512_core},
                  {"avx512_bf16", dnnl_cpu_isa_avx512_core_bf16}};
    for (int i = 0; i < COUNT_OF(limits); i++)
        if (strcmp(level, limits[i].level) == 0)
            DNNL(dnnl_set_max_cpu_isa(limits[i].isa));
}

dnnl_engine_t plan_engine(void)
{
    if (!state.engine) {
        DNNL(dnnl_engine_create(&state.engine, dnnl_cpu, 0));
        DNNL(dnnl_stream_create(&state.stream, state.engine, dnnl_stream_default_flags));
        DNNL(dnnl_set_primitive_cache_capacity(0)); /* ours is the one; two would keep evicted primitives alive */
    }
    return state.engine;
}

int dnnl_plan_count(void)
{
    return state.count;
}

int dnnl_plan_limit(void)
{
    return PLANS;
}

static void *aligned_memory(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!data)
        user_fatal("out of memory: oneDNN kernels need %zu bytes; lower train.batch_size", bytes);
    return data;
}

void *workspace(Workspace which, size_t bytes)
{
    if (state.workspaces[which].bytes < bytes) {
        free(state.workspaces[which].data);
        state.workspaces[which].data = aligned_memory(bytes);
        state.workspaces[which].bytes = bytes;
    }
    return state.workspaces[which].data;
}

/* oneDNN divides some products by the number of threads and then sums in another order (gradients by weight, and
 * every product below AVX-512): one thread gives the same bytes everywhere. */
int plan_threads(const Exec *exec, double flops)
{
    bool always_the_same = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
    return flops < 4e5 || !always_the_same ? 1 : exec->threads;
}

static Plan **bucket_of(const PlanKey *key)
{
    uint64_t hash = (uint64_t)(uintptr_t)key->build ^ (uint64_t)key->threads << 56;
    for (int i = 0; i < COUNT_OF(key->words); i++)
        hash = (hash ^ (uint64_t)key->words[i]) * 0x9e3779b97f4a7c15u ^ hash >> 29;
    return &state.buckets[hash >> 32 & (BUCKETS - 1)];
}

static void unlink_use(Plan *plan)
{
    *(plan->newer ? &plan->newer->older : &state.newest) = plan->older;
    *(plan->older ? &plan->older->newer : &state.oldest) = plan->newer;
}

static void link_newest(Plan *plan)
{
    plan->newer = NULL;
    plan->older = state.newest;
    *(state.newest ? &state.newest->newer : &state.oldest) = plan;
    state.newest = plan;
}

static void plan_free(Plan *plan)
{
    Plan **place = bucket_of(&plan->key);
    while (*place != plan)
        place = &(*place)->next_in_bucket;
    *place = plan->next_in_bucket;
    unlink_use(plan);
    for (int i = 0; i < plan->argument_count; i++)
        DNNL(dnnl_memory_destroy(plan->own[i]));
    DNNL(dnnl_primitive_destroy(plan->primitive));
    if (plan->pack) {
        DNNL(dnnl_primitive_destroy(plan->pack));
        DNNL(dnnl_memory_destroy(plan->pack_source));
    }
    layout_free(plan->packed_layout);
    mem_free(plan);
    state.count--;
}

/* oneDNN asks OpenMP how many threads to use; OpenMP is told only where that differs. */
static int threads_set(int threads)
{
    int before = omp_get_max_threads();
    if (threads != before)
        omp_set_num_threads(threads);
    return before;
}

Plan *plan_get(const PlanKey *key)
{
    Plan **bucket = bucket_of(key);
    Plan *plan = *bucket;
    while (plan && memcmp(&plan->key, key, sizeof *key) != 0)
        plan = plan->next_in_bucket;
    if (plan) {
        if (plan != state.newest) {
            unlink_use(plan);
            link_newest(plan);
        }
        return plan;
    }
    if (state.count == PLANS)
        plan_free(state.oldest);
    plan = mem_new(sizeof *plan);
    plan->key = *key;
    int threads_before = threads_set((int)key->threads);
    key->build(plan, key);
    threads_set(threads_before);
    plan->next_in_bucket = *bucket;
    *bucket = plan;
    link_newest(plan);
    state.count++;
    return plan;
}

static void add_argument(Plan *plan, int name, Layout layout)
{
    contract(plan->argument_count < ARGUMENTS, "a plan with more than %d arguments", (int)ARGUMENTS);
    int i = plan->argument_count++;
    DNNL(dnnl_memory_create(&plan->own[i], layout, plan_engine(), DNNL_MEMORY_NONE));
    plan->arguments[i] = (dnnl_exec_arg_t){name, plan->own[i]};
}

void plan_set(Plan *plan, dnnl_primitive_desc_t description, const int *names, int count)
{
    for (int i = 0; i < count; i++)
        add_argument(plan, names[i], dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, names[i]));
    Layout scratchpad = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    plan->scratchpad_bytes = scratchpad ? dnnl_memory_desc_get_size(scratchpad) : 0;
    if (plan->scratchpad_bytes > 0)
        add_argument(plan, DNNL_ARG_SCRATCHPAD, scratchpad);
    DNNL(dnnl_primitive_create(&plan->primitive, description));
    DNNL(dnnl_primitive_desc_destroy(description));
}

static int argument_of(const Plan *plan, int name)
{
    int i = 0;
    while (i < plan->argument_count && plan->arguments[i].arg != name)
        i++;
    contract(i < plan->argument_count, "a plan has no argument %d", name);
    return i;
}

void plan_bind(Plan *plan, int name, const void *data)
{
    int i = argument_of(plan, name);
    plan->arguments[i].memory = plan->own[i];
    if (plan->bound[i] != data) {
        plan->bound[i] = (void *)data;
        DNNL(dnnl_memory_set_data_handle(plan->own[i], plan->bound[i]));
    }
}

static void execute(dnnl_primitive_t primitive, const dnnl_exec_arg_t *arguments, int count, int64_t threads)
{
    int threads_before = threads_set((int)threads);
    DNNL(dnnl_primitive_execute(primitive, state.stream, count, arguments));
    threads_set(threads_before);
}

void plan_run(Plan *plan)
{
    if (plan->scratchpad_bytes > 0)
        plan_bind(plan, DNNL_ARG_SCRATCHPAD, workspace(WORK_ONEDNN, plan->scratchpad_bytes));
    execute(plan->primitive, plan->arguments, plan->argument_count, plan->key.threads);
}

/* ---- packed weights ---- */

/* A parameter's copies: the forward product, the gradient by input, and other layouts that other batch sizes like. */
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

void plan_set_packing(Plan *plan, int name, Layout source)
{
    const_dnnl_primitive_desc_t description;
    DNNL(dnnl_primitive_get_primitive_desc(plan->primitive, &description));
    Layout wanted = dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, name);
    if (dnnl_memory_desc_equal(wanted, source))
        return;
    dnnl_primitive_desc_t reorder;
    DNNL(dnnl_reorder_primitive_desc_create(&reorder, source, plan_engine(), wanted, plan_engine(), NULL));
    DNNL(dnnl_primitive_create(&plan->pack, reorder));
    DNNL(dnnl_primitive_desc_destroy(reorder));
    DNNL(dnnl_memory_create(&plan->pack_source, source, plan_engine(), DNNL_MEMORY_NONE));
    plan->packed_layout = layout_copy(wanted);
}

static void pack(Plan *plan, const Weight *weight, dnnl_memory_t to)
{
    DNNL(dnnl_memory_set_data_handle(plan->pack_source, (void *)weight->data));
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, plan->pack_source}, {DNNL_ARG_TO, to}};
    execute(plan->pack, arguments, COUNT_OF(arguments), plan->key.threads);
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

/* The parameter's copy in the plan's layout, packed anew if the parameter was written since. */
static PackedCopy *copy_fresh(Plan *plan, PackUse use, const Weight *weight)
{
    if (!*weight->packed)
        *weight->packed = mem_new(sizeof **weight->packed);
    struct Packed *packed = *weight->packed;
    PackedCopy *copy = NULL;
    for (int i = 0; i < packed->count && !copy; i++) {
        PackedCopy *c = &packed->copies[i];
        if (c->use == use && c->source == weight->data && dnnl_memory_desc_equal(c->layout, plan->packed_layout))
            copy = c;
    }
    bool stale = !copy || copy->version != weight->version;
    if (!copy)
        copy = copy_new(packed, plan->packed_layout);
    if (stale) {
        pack(plan, weight, copy->memory);
        copy->use = use;
        copy->source = weight->data;
        copy->version = weight->version;
    }
    copy->used = ++packed->clock;
    return copy;
}

void plan_bind_weight(Plan *plan, int name, PackUse use, const Weight *weight)
{
    if (!plan->pack) {
        plan_bind(plan, name, weight->data);
    } else if (weight->packed) {
        plan->arguments[argument_of(plan, name)].memory = copy_fresh(plan, use, weight)->memory;
    } else {
        plan_bind(plan, name, workspace(WORK_WEIGHT, dnnl_memory_desc_get_size(plan->packed_layout)));
        pack(plan, weight, plan->arguments[argument_of(plan, name)].memory);
    }
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
