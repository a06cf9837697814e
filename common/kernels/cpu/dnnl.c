/* Plans: oneDNN primitives and their memory objects, kept by shape, the least recently used one leaving first. */
#include "common/kernels/cpu/dnnl_plan.h"
#include "common/base/memory.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* A model needs about ten plans a distinct layer shape; code and tables of one take some 100 kB. */
enum { PLANS = 512, BUCKETS = 1024, ARGUMENTS = 5 };

/* A thread's memory objects for a plan. */
typedef struct Seat {
    dnnl_exec_arg_t arguments[ARGUMENTS];
    dnnl_memory_t own[ARGUMENTS]; /* the argument of a packed weight points to its copy's memory object instead */
    const void *bound[ARGUMENTS]; /* where they point now */
} Seat;

struct Plan {
    PlanKey key;
    Plan *next_in_bucket;
    Plan *newer, *older; /* by last use */
    dnnl_primitive_t primitive;
    int names[ARGUMENTS], places, arguments; /* arguments = places, and one more if there is a scratchpad */
    size_t scratchpad_bytes;
    Seat **seats;
    int seat_count;
    Packing packing;
};

typedef struct Memory {
    void *data;
    size_t bytes;
} Memory;

/* What a thread has whatever it runs. */
typedef struct Worker {
    dnnl_stream_t stream;
    Memory scratchpad;
} Worker;

static struct {
    dnnl_engine_t engine;
    Worker *workers;
    int worker_count;
    Plan *buckets[BUCKETS];
    Plan *newest, *oldest;
    int count;
    Memory workspaces[WORKSPACES];
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

void *aligned_memory(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!data)
        user_fatal("out of memory: oneDNN kernels need %zu bytes; lower train.batch_size", bytes);
    return data;
}

static void *memory_grow(Memory *memory, size_t bytes)
{
    if (memory->bytes < bytes) {
        free(memory->data);
        memory->data = aligned_memory(bytes);
        memory->bytes = bytes;
    }
    return memory->data;
}

void *workspace(Workspace which, size_t bytes)
{
    return memory_grow(&state.workspaces[which], bytes);
}

int threads_set(int threads)
{
    int before = omp_get_max_threads();
    if (threads != before)
        omp_set_num_threads(threads);
    return before;
}

/* ---- the cache ---- */

static Plan **bucket_of(const PlanKey *key)
{
    uint64_t hash = (uint64_t)(uintptr_t)key->build;
    for (int i = 0; i < COUNT_OF(key->words); i++)
        hash = ((hash ^ (uint64_t)key->words[i]) * 0x9e3779b97f4a7c15u) ^ (hash >> 29);
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
    for (int s = 0; s < plan->seat_count; s++) {
        for (int i = 0; i < plan->arguments; i++)
            DNNL(dnnl_memory_destroy(plan->seats[s]->own[i]));
        free(plan->seats[s]);
    }
    mem_free(plan->seats);
    DNNL(dnnl_primitive_destroy(plan->primitive));
    packing_free(&plan->packing);
    mem_free(plan);
    state.count--;
}

static Plan *plan_new(const PlanKey *key)
{
    if (state.count == PLANS)
        plan_free(state.oldest);
    Plan *plan = mem_new(sizeof *plan);
    plan->key = *key;
    int threads_before = threads_set(1); /* oneDNN divides the work when a primitive is made */
    key->build(plan, key);
    threads_set(threads_before);
    Plan **bucket = bucket_of(key);
    plan->next_in_bucket = *bucket;
    *bucket = plan;
    link_newest(plan);
    state.count++;
    return plan;
}

static Layout argument_layout(const Plan *plan, int i)
{
    const_dnnl_primitive_desc_t description;
    DNNL(dnnl_primitive_get_primitive_desc(plan->primitive, &description));
    return i < plan->places ? dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, plan->names[i])
                            : dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
}

static Seat *seat_new(const Plan *plan)
{
    Seat *seat = aligned_memory(sizeof *seat); /* a cache line of its own */
    memset(seat, 0, sizeof *seat);
    for (int i = 0; i < plan->arguments; i++) {
        DNNL(dnnl_memory_create(&seat->own[i], argument_layout(plan, i), plan_engine(), DNNL_MEMORY_NONE));
        seat->arguments[i].arg = i < plan->places ? plan->names[i] : DNNL_ARG_SCRATCHPAD;
    }
    return seat;
}

/* Everything that a plan needs on `threads` threads, so that running it makes nothing. */
static void plan_seat(Plan *plan, int threads)
{
    if (state.worker_count < threads) {
        state.workers = mem_resize(state.workers, (size_t)threads * sizeof *state.workers);
        for (; state.worker_count < threads; state.worker_count++) {
            state.workers[state.worker_count] = (Worker){0};
            DNNL(dnnl_stream_create(&state.workers[state.worker_count].stream, plan_engine(),
                                    dnnl_stream_default_flags));
        }
    }
    if (plan->seat_count < threads) {
        plan->seats = mem_resize(plan->seats, (size_t)threads * sizeof *plan->seats);
        while (plan->seat_count < threads)
            plan->seats[plan->seat_count++] = seat_new(plan);
    }
    for (int i = 0; i < threads && plan->scratchpad_bytes > 0; i++)
        memory_grow(&state.workers[i].scratchpad, plan->scratchpad_bytes);
}

Plan *plan_get(const Exec *exec, const PlanKey *key)
{
    Plan *plan = *bucket_of(key);
    while (plan && memcmp(&plan->key, key, sizeof *key) != 0)
        plan = plan->next_in_bucket;
    if (!plan) {
        plan = plan_new(key);
    } else if (plan != state.newest) {
        unlink_use(plan);
        link_newest(plan);
    }
    plan_seat(plan, exec->threads);
    return plan;
}

void plan_set(Plan *plan, dnnl_primitive_desc_t description, const int *names, int count)
{
    contract(count < ARGUMENTS, "a plan with %d arguments", count);
    memcpy(plan->names, names, (size_t)count * sizeof *names);
    Layout scratchpad = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    plan->scratchpad_bytes = scratchpad ? dnnl_memory_desc_get_size(scratchpad) : 0;
    plan->places = count;
    plan->arguments = count + (plan->scratchpad_bytes > 0);
    DNNL(dnnl_primitive_create(&plan->primitive, description));
    DNNL(dnnl_primitive_desc_destroy(description));
}

Packing *plan_packing(Plan *plan)
{
    return &plan->packing;
}

static Layout named_layout(const Plan *plan, int name)
{
    int i = 0;
    while (plan->names[i] != name)
        i++;
    return argument_layout(plan, i);
}

void plan_set_packing(Plan *plan, int name, Layout source)
{
    plan->packing = packing_new(source, named_layout(plan, name));
}

void plan_set_unpacking(Plan *plan, int name, Layout target, bool add)
{
    plan->packing = unpacking_new(named_layout(plan, name), target, add);
}

size_t plan_place_bytes(const Plan *plan, int place)
{
    return dnnl_memory_desc_get_size(argument_layout(plan, place));
}

/* ---- running ---- */

static void seat_bind(Seat *seat, int i, Place place)
{
    if (place.memory) {
        seat->arguments[i].memory = place.memory;
        return;
    }
    seat->arguments[i].memory = seat->own[i];
    if (seat->bound[i] != place.data) {
        seat->bound[i] = place.data;
        DNNL(dnnl_memory_set_data_handle(seat->own[i], (void *)place.data));
    }
}

void execute(dnnl_primitive_t primitive, int thread, const dnnl_exec_arg_t *arguments, int count)
{
    DNNL(dnnl_primitive_execute(primitive, state.workers[thread].stream, count, arguments));
}

void plan_run(Plan *plan, int thread, const Place *places)
{
    Seat *seat = plan->seats[thread];
    for (int i = 0; i < plan->places; i++)
        seat_bind(seat, i, places[i]);
    if (plan->arguments > plan->places)
        seat_bind(seat, plan->places, (Place){state.workers[thread].scratchpad.data, NULL});
    execute(plan->primitive, thread, seat->arguments, plan->arguments);
}

void tasks_run(const Exec *exec, int64_t count, double flops, void (*task)(void *context, int64_t index, int thread),
               void *context)
{
    if (count == 1 || exec->threads == 1 || flops < 4e5) {
        int threads_before = threads_set(1);
        for (int64_t i = 0; i < count; i++)
            task(context, i, 0);
        threads_set(threads_before);
        return;
    }
#pragma omp parallel num_threads(                                                                                      \
    exec->threads) /* always as many: libgomp ends threads that a smaller team leaves out */
    {
        omp_set_num_threads(1); /* of this thread: oneDNN asks for it inside */
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < count; i++)
            task(context, i, omp_get_thread_num());
    }
}

int64_t task_units(int64_t units, double flops_of_unit)
{
    /* A power of two tasks, which any usual number of cores shares evenly; at least 2 MFLOP each, some 20 microseconds
     * of a core and ten times what starting a primitive costs. */
    int64_t tasks = 1;
    while (tasks < 32 && tasks < units && (double)units * flops_of_unit > 4e6 * (double)tasks)
        tasks *= 2;
    return (units + tasks - 1) / tasks;
}
