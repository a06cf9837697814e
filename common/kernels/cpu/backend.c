#include "common/kernels/backend.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/kernels/cpu/dnnl.h"
#include "common/kernels/cpu/memory.h"
#include "common/kernels/cpu/vector/levels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 4 };
static const char *const level_names[LEVELS] = {"plain", "avx2", "avx512", "avx512_bf16"}; /* slowest first */

static Backend backends[LEVELS];
static int chosen = -1; /* the level of cpu_backend, once it was asked for */
static pthread_once_t made = PTHREAD_ONCE_INIT;
static pthread_mutex_t choosing = PTHREAD_MUTEX_INITIALIZER;

/* oneDNN chooses its own instructions, the same for all levels. */
#define LEVEL_BACKEND(level)                                                                                           \
    ((Backend){.name = "cpu",                                                                                          \
               .memory = host_memory_kernels,                                                                          \
               .matmul = dnnl_matmul_kernels,                                                                          \
               .convolution = dnnl_convolution_kernels,                                                                \
               .adafactor = adafactor_kernels_##level,                                                                 \
               .attention = attention_kernels_##level,                                                                 \
               .relative = relative_kernels_##level,                                                                   \
               .rotary = rotary_kernels_##level,                                                                       \
               .sight = sight_kernels_##level,                                                                         \
               .kmeans = kmeans_kernels_##level,                                                                       \
               .windows = window_kernels_##level,                                                                      \
               .chain = chain_kernels_##level,                                                                         \
               .norm = norm_kernels_##level,                                                                           \
               .batch_norm = batch_norm_kernels_##level,                                                               \
               .elementwise = elementwise_kernels_##level,                                                             \
               .loss = loss_kernels_##level,                                                                           \
               .gather = gather_kernels_##level,                                                                       \
               .select = select_kernels_##level,                                                                       \
               .augment = augment_kernels_##level,                                                                     \
               .resize = resize_kernels_##level,                                                                       \
               .noise = noise_kernels_##level,                                                                         \
               .optimizer = optimizer_kernels_##level})

#define MAKE_BACKEND(i, level)                                                                                         \
    do {                                                                                                               \
        backends[i] = LEVEL_BACKEND(level);                                                                            \
        backends[i].matmul.linear_weight_gradient = linear_weight_gradient_##level;                                    \
        backends[i].matmul.linear_weight_gradient_scratch = linear_weight_gradient_scratch_##level;                    \
    } while (0)

static void make_backends(void)
{
    MAKE_BACKEND(0, plain);
    MAKE_BACKEND(1, avx2);
    MAKE_BACKEND(2, avx512);
    MAKE_BACKEND(3, avx512_bf16);
    backends[3].bf16 = true;
}

/* What the flags of cmake/floors.cmake let the compiler use at each level. */
static bool machine_has(int level)
{
    __builtin_cpu_init();
    switch (level) {
    case 0:
        return true;
    case 1:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case 2:
        return machine_has(1) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    default:
        return machine_has(2) && __builtin_cpu_supports("avx512bf16");
    }
}

static int level_named(const char *name)
{
    for (int level = 0; level < LEVELS; level++)
        if (strcmp(level_names[level], name) == 0)
            return level;
    return -1;
}

/* The level that ZOO_CPU names, else the best one; -1 with a line. */
static int choose_level(Error *e)
{
    const char *forced = getenv("ZOO_CPU");
    if (!forced || !*forced) {
        int best = LEVELS - 1;
        while (!machine_has(best))
            best--;
        return best;
    }
    int level = level_named(forced);
    if (level < 0) {
        const char *near = str_nearest(forced, level_names, LEVELS);
        error_set(e, "ZOO_CPU=%s: no such level%s%s%s (plain, avx2, avx512 or avx512_bf16)", forced,
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return -1;
    }
    if (!machine_has(level)) {
        error_set(e, "ZOO_CPU=%s: this machine's CPU lacks that level's instructions", forced);
        return -1;
    }
    dnnl_limit_isa(forced);
    return level;
}

const Backend *cpu_backend(Error *e)
{
    pthread_once(&made, make_backends);
    pthread_mutex_lock(&choosing);
    if (chosen < 0)
        chosen = choose_level(e);
    const Backend *backend = chosen < 0 ? NULL : &backends[chosen];
    pthread_mutex_unlock(&choosing);
    return backend;
}

const char *cpu_backend_level(void)
{
    return cpu_backend(NULL) ? level_names[chosen] : "none";
}

const Backend *cpu_backend_at(const char *level)
{
    pthread_once(&made, make_backends);
    int i = level_named(level);
    return i >= 0 && machine_has(i) ? &backends[i] : NULL;
}
