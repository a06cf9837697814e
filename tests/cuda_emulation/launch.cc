/* A grid: its blocks one after the other, a block's threads as fibers. Blocks, warps and lanes go forward in one launch
 * and backward in the next, so that a result which depends on their order shows as one that changes. */
#include "tests/cuda_emulation/dry.h"
#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/internal.h"
#include "tests/cuda_emulation/race.h"

#include <memory>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { WARP_LANES = 32, MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / WARP_LANES };

/* Of sm_80, the least GPU that the kernels are for: what a block may have of dynamic shared memory. */
static const size_t most_shared_bytes = 163 << 10;

#ifdef __SANITIZE_ADDRESS__
static const size_t stack_bytes = 1 << 20;
#else
static const size_t stack_bytes = 256 << 10;
#endif

enum State { READY, AT_BARRIER, AT_COLLECTIVE, RETURNED };

struct Thread {
    EmulatedThread seen;
    State state;
    int predicate; /* at a barrier: what it came with, then how many came with it */
    const char *file;
    int line;
    Fiber *fiber; /* NULL before its first turn and after its last */
};

/* A collective that some lanes of its mask have reached. */
struct Meeting {
    const EmulatedCollective *what; /* NULL: free */
    const void *argument;
    unsigned arrived;
    EmulatedWarp warp;
};

EmulatedThread *emulated_thread;
EmulatedBlockState emulated_block;

static Thread threads[MAX_THREADS];
static Meeting meetings[MAX_WARPS][WARP_LANES];
static unsigned returned_lanes[MAX_WARPS];
static Fiber stacks[MAX_THREADS], *idle_stacks[MAX_THREADS], host;
static int stacks_made, stacks_idle;
static unsigned long launches;
static void (*kernel_call)(const void *);
static const void *kernel_body;
static pthread_mutex_t running = PTHREAD_MUTEX_INITIALIZER;

void emulated_lock(void)
{
    pthread_mutex_lock(&running);
}

void emulated_unlock(void)
{
    pthread_mutex_unlock(&running);
}

void emulated_fail(const char *format, ...)
{
    fflush(NULL);
    fprintf(stderr, "cuda emulation: ");
    if (emulated_block.launch) {
        const EmulatedLaunch *l = emulated_block.launch;
        fprintf(stderr, "%s:%d: %s: ", l->file, l->line, l->kernel);
    }
    if (emulated_thread) {
        uint3 b = emulated_thread->block_index, t = emulated_thread->thread_index;
        fprintf(stderr, "block (%u, %u, %u) thread (%u, %u, %u): ", b.x, b.y, b.z, t.x, t.y, t.z);
    }
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    if (getenv("ZOO_ABORT"))
        abort();
    _Exit(1);
}

uint3 emulated_thread_index(void)
{
    return emulated_thread->thread_index;
}

uint3 emulated_block_index(void)
{
    return emulated_thread->block_index;
}

dim3 emulated_block_size(void)
{
    return emulated_block.launch->block;
}

dim3 emulated_grid_size(void)
{
    return emulated_block.launch->grid;
}

static Thread *current(void)
{
    return (Thread *)emulated_thread;
}

static int thread_number(const Thread *t)
{
    return (int)(t - threads);
}

int emulated_thread_number(void)
{
    return thread_number(current());
}

/* ---- Turns */

static void thread_main(void)
{
    fiber_arrived(&host);
    kernel_call(kernel_body);
    Thread *t = current();
    t->state = RETURNED;
    fiber_switch(t->fiber, &host, true);
    __builtin_unreachable();
}

static Fiber *stack_take(void)
{
    if (stacks_idle > 0)
        return idle_stacks[--stacks_idle];
    fiber_new(&stacks[stacks_made], stack_bytes);
    return &stacks[stacks_made++];
}

static void complete_meetings(int warp);

/* Lets a thread run until it waits or returns. */
static void turn(Thread *t)
{
    if (!t->fiber) {
        t->fiber = stack_take();
        fiber_start(t->fiber, thread_main);
    }
    emulated_thread = &t->seen;
    emulated_block.stack = t->fiber->stack;
    emulated_block.stack_bytes = t->fiber->stack_bytes;
    fiber_switch(&host, t->fiber, false);
    emulated_thread = NULL;
    if (t->state == RETURNED) {
        idle_stacks[stacks_idle++] = t->fiber;
        t->fiber = NULL;
        int warp = thread_number(t) / WARP_LANES;
        returned_lanes[warp] |= 1u << t->seen.lane;
        complete_meetings(warp);
    }
}

/* The running thread waits; comes back when someone has set its state to READY and its turn has come. */
static void wait_as(State state)
{
    Thread *t = current();
    t->state = state;
    fiber_switch(t->fiber, &host, false);
}

/* ---- Warps */

static void complete(Meeting *m, int warp)
{
    if (m->what->combine)
        m->what->combine(&m->warp, m->argument);
    if (m->what->orders)
        race_warp_ordered(warp, m->arrived);
    if (dry_run())
        dry_collective(m->what->name);
    for (int lane = 0; lane < WARP_LANES; lane++)
        if (m->arrived & 1u << lane)
            threads[warp * WARP_LANES + lane].state = READY;
    m->what = NULL;
}

/* Lanes that have returned are not waited for. */
static void complete_meetings(int warp)
{
    for (Meeting *m = meetings[warp]; m < meetings[warp] + WARP_LANES; m++)
        if (m->what && !(m->warp.mask & ~(m->arrived | returned_lanes[warp])))
            complete(m, warp);
}

static Meeting *meeting_for(Thread *t, const EmulatedCollective *what, unsigned mask)
{
    int warp = thread_number(t) / WARP_LANES;
    Meeting *free_one = NULL;
    for (Meeting *m = meetings[warp]; m < meetings[warp] + WARP_LANES; m++) {
        if (!m->what) {
            free_one = free_one ? free_one : m;
            continue;
        }
        if (m->what == what && m->warp.mask == mask)
            return m;
        if (m->warp.mask & 1u << t->seen.lane)
            emulated_fail("divergent warp: %s with lanes %08x, while lanes %08x wait for it in %s with lanes %08x",
                          what->name, mask, m->arrived, m->what->name, m->warp.mask);
    }
    *free_one = {};
    free_one->what = what;
    free_one->warp.mask = mask;
    return free_one;
}

void emulated_collective(const EmulatedCollective *what, unsigned mask, const void *in, void *out, const void *argument)
{
    Thread *t = current();
    unsigned lane = t->seen.lane;
    if (!(mask & 1u << lane))
        emulated_fail("%s: lane %u is not in its own mask %08x", what->name, lane, mask);
    Meeting *m = meeting_for(t, what, mask);
    m->argument = argument;
    m->arrived |= 1u << lane;
    m->warp.in[lane] = in;
    m->warp.out[lane] = out;
    int warp = thread_number(t) / WARP_LANES;
    if (mask & ~(m->arrived | returned_lanes[warp]))
        wait_as(AT_COLLECTIVE);
    else
        complete(m, warp);
}

/* ---- Blocks */

int emulated_block_barrier(int predicate, const char *file, int line)
{
    Thread *t = current();
    t->predicate = predicate;
    t->file = file;
    t->line = line;
    wait_as(AT_BARRIER);
    return t->predicate;
}

static void fail_at(Thread *t, const char *what)
{
    emulated_thread = &t->seen;
    if (t->state == AT_COLLECTIVE)
        emulated_fail("divergent: waits in a warp collective for lanes that %s", what);
    emulated_fail("divergent barrier: waits at %s:%d while others %s", t->file, t->line, what);
}

/* Every thread waits or has returned: the barrier opens if all that have not returned are at it. Returns false if all
 * have. */
static bool open_barrier(void)
{
    const Thread *first = NULL;
    int with_predicate = 0, waiting = 0;
    for (Thread *t = threads; t < threads + emulated_block.threads; t++) {
        if (t->state == RETURNED)
            continue;
        if (t->state == AT_COLLECTIVE)
            fail_at(t, "do not come (returned, or at a barrier)");
        first = first ? first : t;
        if (t->line != first->line || (t->file != first->file && strcmp(t->file, first->file) != 0)) {
            fprintf(stderr, "cuda emulation: thread %d waits at %s:%d\n", thread_number(first), first->file,
                    first->line);
            fail_at(t, "wait at another one");
        }
        with_predicate += t->predicate != 0;
        waiting++;
    }
    for (Thread *t = threads; t < threads + emulated_block.threads; t++)
        if (t->state == AT_BARRIER) {
            t->state = READY;
            t->predicate = with_predicate;
        }
    race_block_ordered();
    return waiting > 0;
}

/* Turns for a warp's threads until all of them wait for other warps or have returned. */
static void run_warp(int warp, bool forward)
{
    int first = warp * WARP_LANES, last = first + WARP_LANES;
    last = last < emulated_block.threads ? last : emulated_block.threads;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = first; i < last; i++) {
            Thread *t = &threads[forward ? i : first + last - 1 - i];
            if (t->state == READY) {
                turn(t);
                moved = true;
            }
        }
    }
}

/* Numbers the threads of the blocks of a launch, x first; the lanes that the last warp lacks count as returned. */
static void number_threads(const EmulatedLaunch *l)
{
    uint3 index = {0, 0, 0};
    for (int i = 0; i < emulated_block.threads; i++) {
        threads[i].seen.thread_index = index;
        threads[i].seen.lane = (unsigned)i % WARP_LANES;
        if (++index.x == l->block.x) {
            index.x = 0;
            if (++index.y == l->block.y) {
                index.y = 0;
                index.z++;
            }
        }
    }
}

static void run_block(uint3 index, bool forward)
{
    int warps = (emulated_block.threads + WARP_LANES - 1) / WARP_LANES, last = emulated_block.threads % WARP_LANES;
    memset(returned_lanes, 0, sizeof returned_lanes);
    returned_lanes[warps - 1] = last ? ~0u << last : 0;
    memset(emulated_block.shared, 0xff,
           emulated_block.launch->shared_bytes); /* what was there before: NaN as a float */
    for (int i = 0; i < emulated_block.threads; i++) {
        threads[i].state = READY;
        threads[i].seen.block_index = index;
    }
    race_block_begins();
    dry_block_begins();
    do {
        for (int w = 0; w < warps; w++)
            run_warp(forward ? w : warps - 1 - w, forward);
    } while (open_barrier());
}

static void check_sizes(const EmulatedLaunch *l)
{
    unsigned long block = (unsigned long)l->block.x * l->block.y * l->block.z;
    if (l->grid.x > 0x7fffffffu || l->grid.y > 65535 || l->grid.z > 65535)
        emulated_fail("a grid of (%u, %u, %u) blocks is too large", l->grid.x, l->grid.y, l->grid.z);
    if (block == 0 || block > MAX_THREADS || l->block.z > 64)
        emulated_fail("a block of (%u, %u, %u) threads", l->block.x, l->block.y, l->block.z);
    if (l->shared_bytes > most_shared_bytes)
        emulated_fail("%zu bytes of dynamic shared memory, not at most %zu", l->shared_bytes, most_shared_bytes);
}

/* AddressSanitizer maps what it knows of memory from here to there, where two small numbers side by side may seem to point. */
#ifdef __SANITIZE_ADDRESS__
static const uintptr_t shadow_from = 0x7fff8000, shadow_to = 0x10007fff8000;
#else
static const uintptr_t shadow_from = 0, shadow_to = 0;
#endif

/* Is there memory of the host's at this address? */
static bool host_address(uintptr_t address)
{
    const uintptr_t page = 4096, end_of_user_space = (uintptr_t)1 << 47;
    return address >= page && !(address >= shadow_from && address < shadow_to) && address < end_of_user_space &&
           !device_memory_may_be((const void *)address) && msync((void *)(address / page * page), 1, MS_ASYNC) == 0;
}

/* Pointers among the arguments, or in structs that are arguments. */
static void check_arguments(const EmulatedLaunch *l)
{
    for (size_t at = 0; at + sizeof(uintptr_t) <= emulated_block.body_bytes; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, emulated_block.body + at, sizeof word);
        if (word != (uintptr_t)l->function && host_address(word))
            emulated_fail("an argument is %p or has it: the host's memory, which a GPU may not see", (void *)word);
    }
}

static void run_grid(const EmulatedLaunch *l)
{
    bool forward = launches++ % 2 == 0;
    number_threads(l);
    race_launch_begins();
    uint64_t blocks = (uint64_t)l->grid.x * l->grid.y * l->grid.z;
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t n = forward ? i : blocks - 1 - i;
        if (dry_run() && !dry_takes(n, blocks))
            continue;
        run_block(
            {(unsigned)(n % l->grid.x), (unsigned)(n / l->grid.x % l->grid.y), (unsigned)(n / l->grid.x / l->grid.y)},
            forward);
    }
    if (dry_run())
        dry_launch_ends(l, blocks);
}

void *emulated_dynamic_shared(void)
{
    return emulated_block.shared;
}

/* Dynamic shared memory is exactly as long as asked for, so that AddressSanitizer sees its end. */
static void run_launch(const EmulatedLaunch *launch, void (*call)(const void *), const void *body, size_t body_bytes)
{
    emulated_lock();
    DeviceMemoryOpen open;
    emulated_block = {};
    emulated_block.launch = launch;
    emulated_block.threads = (int)(launch->block.x * launch->block.y * launch->block.z);
    emulated_block.body = (const char *)body;
    emulated_block.body_bytes = body_bytes;
    check_sizes(launch);
    check_arguments(launch);
    void *shared;
    if (posix_memalign(&shared, 128, launch->shared_bytes ? launch->shared_bytes : 1))
        emulated_fail("no memory for %zu bytes of dynamic shared memory", launch->shared_bytes);
    emulated_block.shared = (char *)shared;
    kernel_call = call;
    kernel_body = body;
    run_grid(launch);
    free(shared);
    emulated_block = {};
    emulated_unlock();
}

void emulated_launch(EmulatedLaunch launch, EmulatedStream *stream, void (*call)(const void *), const void *body,
                     size_t body_bytes)
{
    if (launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0)
        return;
    if (!emulated_captures(stream)) {
        run_launch(&launch, call, body, body_bytes);
        return;
    }
    std::shared_ptr<void> copy(memcpy(malloc(body_bytes), body, body_bytes), free); /* malloc: aligned for any vector */
    emulated_do(stream, {EmulatedWork::KERNEL, 0, NULL, NULL, 0,
                         [=] { run_launch(&launch, call, copy.get(), body_bytes); }, 0});
}
