/* A training step of a small transformer: the same bytes on any number of threads, the same code on the meta device, and in
 * the steady state not one allocation of ours. */
#include "support/small_transformer.h"

#include <dlfcn.h>

/* ---- Every call of the allocator in this process passes here first. Calls from oneDNN and the OpenMP and C libraries
 * themselves are counted apart: oneDNN allocates a few times in each call. */

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static volatile bool counting;
static volatile int calls_of_ours, calls_of_libraries;

#ifndef __SANITIZE_ADDRESS__
static bool of_a_library(const void *caller)
{
    static const char *const libraries[] = {"libdnnl", "libgomp", "libstdc++"};
    Dl_info info;
    if (!dladdr(caller, &info) || !info.dli_fname)
        return false;
    for (int i = 0; i < COUNT_OF(libraries); i++)
        if (strstr(info.dli_fname, libraries[i]))
            return true;
    return false;
}

static void count(const void *caller)
{
    if (!counting)
        return;
    if (of_a_library(caller))
        __atomic_fetch_add(&calls_of_libraries, 1, __ATOMIC_RELAXED);
    else
        __atomic_fetch_add(&calls_of_ours, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_calloc(number, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : 12;
}
#endif

/* ---- A run: a transformer and its data. */

typedef struct Training {
    Tape *tape;
    Transformer model;
    Optimizer *optimizer;
    float *x, *targets;
    uint32_t step;
} Training;

static Training training_new(int threads)
{
    Training r = {.tape = test_tape(threads), .model = transformer_new(8, 33, 48, 0.1f)};
    const Transformer *m = &r.model;
    params_allocate(m->params, true, 3, test_backend());
    r.optimizer = optimizer_new(
        &(OptimizerOptions){OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05},
        m->params);
    int64_t count_x = m->batch * m->tokens * m->width, count_targets = m->batch * m->classes;
    r.x = mem_new((size_t)count_x * sizeof(float));
    r.targets = mem_new((size_t)count_targets * sizeof(float));
    random_floats("x", count_x, -1, 1, r.x);
    for (int64_t b = 0; b < m->batch; b++)
        r.targets[b * m->classes + b % m->classes] = 1;
    return r;
}

static float training_step(Training *r)
{
    return transformer_step(r->tape, &r->model, r->optimizer, r->x, r->targets, r->step++);
}

static void training_free(Training *r)
{
    optimizer_free(r->optimizer);
    params_free(r->model.params);
    tape_free(r->tape);
    mem_free(r->x);
    mem_free(r->targets);
}

/* ---- Tests */

static void it_learns(void **state)
{
    (void)state;
    Training r = training_new(2);
    size_t used = pool_used(tape_pool(r.tape));
    float first = training_step(&r), last = first;
    int steps = testing_once() ? 8 : 60;
    for (int i = 0; i < steps; i++)
        last = training_step(&r);
    assert_true(first > 2 && last < (testing_once() ? 0.9f : 0.5f) * first);
    assert_int_equal(pool_used(tape_pool(r.tape)), used);
    training_free(&r);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    float *values[4] = {NULL};
    int64_t flat = 0;
    for (int threads = 1; threads <= 3; threads++) {
        Training r = training_new(threads);
        for (int i = 0; i < 3; i++)
            training_step(&r);
        flat = params_flat_count(r.model.params);
        values[threads] = mem_new((size_t)flat * sizeof(float));
        params_download(r.model.params, values[threads], params_flat_values(r.model.params),
                        (size_t)flat * sizeof(float));
        training_free(&r);
    }
    for (int threads = 2; threads <= 3; threads++)
        assert_memory_equal(values[1], values[threads], (size_t)flat * sizeof(float));
    for (int threads = 1; threads <= 3; threads++)
        mem_free(values[threads]);
}

/* Forward and backward with no memory behind the tensors: the multiply-adds and the bytes of the real run. */
static void the_meta_device_counts_the_same(void **state)
{
    (void)state;
    static const float zeros[8 * 33 * 48];
    double macs[2];
    size_t peak[2];
    for (int real = 0; real < 2; real++) {
        Transformer m = transformer_new(8, 33, 48, 0.1f);
        TapeOptions on_meta = {.device = DEVICE_META, .seed = 7};
        Tape *t = real ? test_tape(1) : tape_new(&on_meta);
        params_allocate(m.params, real, 3, real ? test_backend() : NULL);
        Region before = region_open(t, TRAIN, GRAD);
        Tensor *in = tensor_from(t, F32, SHAPE(m.batch, m.tokens, m.width), zeros);
        Tensor *target = tensor_from(t, F32, SHAPE(m.batch, m.classes), zeros);
        Tensor *loss = mean_all(t, soft_cross_entropy(t, transformer_logits(t, &m, in), target, NULL));
        tape_backward(t, &loss, NULL, 1);
        region_close(t, before);
        macs[real] = tape_macs(t);
        peak[real] = pool_peak(tape_pool(t));
        tape_reset(t);
        params_free(m.params);
        tape_free(t);
    }
    /* A block: 4 + 2 * 2 products of [C,C] a token, and q k^T and p v; the head. */
    double tokens = 8 * 33, width = 48, block = tokens * (8 * width * width + 2 * 33 * width);
    assert_true(macs[0] == 2 * block + 8 * width * 10);
    assert_true(macs[0] == macs[1]);
    if (!testing_cuda()) /* whose tensors are aligned to more */
        assert_int_equal(peak[0], peak[1]);
}

#ifndef __SANITIZE_ADDRESS__
static void the_counter_counts(void **state)
{
    (void)state;
    calls_of_ours = 0;
    counting = true;
    mem_free(mem_resize(mem_new(100), 200));
    counting = false;
    assert_int_equal(calls_of_ours, 2);
}

static void the_steady_state_allocates_nothing(void **state)
{
    (void)state;
    if (testing_cuda())
        skip(); /* NVIDIA's runtime is part of that library, and the emulated one makes fibers and lists */
    for (int threads = 1; threads <= 2; threads++) {
        Training r = training_new(threads);
        for (int i = 0; i < 3; i++)
            training_step(&r);
        calls_of_ours = calls_of_libraries = 0;
        counting = true;
        for (int i = 0; i < 5; i++)
            training_step(&r);
        counting = false;
        print_message("allocations in 5 steps on %d threads: %d of ours, %d of oneDNN and OpenMP\n", threads,
                      calls_of_ours, calls_of_libraries);
        assert_int_equal(calls_of_ours, 0);
        training_free(&r);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(the_meta_device_counts_the_same),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(the_counter_counts),
        cmocka_unit_test(the_steady_state_allocates_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
