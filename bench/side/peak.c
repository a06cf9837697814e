/* What the processors could do at this very moment: multiply-adds in registers, nothing else. On shared machines it moves
 * (two virtual processors on one core halve it for seconds), so every timing has a reading beside it. */
#include "bench/side/side.h"

#include "common/base/clock.h"
#include "common/base/memory.h"

#include <omp.h>

enum {
    CHAINS = 12,
    ROUNDS = 10000
}; /* chains: more than latency times throughput of any x86 (2 x 5), fewer than registers */

/* ROUNDS rounds of CHAINS vectors; the value returned only keeps the compiler from dropping them. */
#define FMA_LOOP(name, attribute, lanes)                                                                               \
    attribute static float name(void)                                                                                  \
    {                                                                                                                  \
        typedef float Vector __attribute__((vector_size((lanes) * sizeof(float))));                                    \
        Vector sum[CHAINS], factor = (Vector){0} + 0.999f, step = (Vector){0} + 0.001f;                                \
        for (int i = 0; i < CHAINS; i++)                                                                               \
            sum[i] = (Vector){0} + (float)i;                                                                           \
        for (int r = 0; r < ROUNDS; r++) {                                                                             \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + step;                 \
        }                                                                                                              \
        for (int i = 1; i < CHAINS; i++)                                                                               \
            sum[0] += sum[i];                                                                                          \
        return sum[0][0];                                                                                              \
    }

typedef struct Loop {
    float (*run)(void);
    int lanes;
} Loop;

FMA_LOOP(fma_plain, , 4)
#ifdef __x86_64__
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), 8)
FMA_LOOP(fma_avx512, __attribute__((target("avx512f,fma"))), 16)
#endif

static Loop widest_loop(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return (Loop){fma_avx512, 16};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (Loop){fma_avx2, 8};
#endif
    return (Loop){fma_plain, 4};
}

double peak_gflops(int threads, double milliseconds)
{
    const Loop loop = widest_loop();
    int64_t *loops = mem_new((size_t)threads * sizeof *loops);
    volatile float sink = 0;
    double begun = clock_seconds(), end = begun + 1e-3 * milliseconds;
#pragma omp parallel num_threads(threads)
    {
        int64_t done = 0;
        float value = 0;
        while (clock_seconds() < end) {
            value += loop.run();
            done++;
        }
        loops[omp_get_thread_num()] = done;
        if (value < 0)
            sink = value; /* never: all terms are positive */
    }
    double seconds = clock_seconds() - begun, flop = 0;
    for (int i = 0; i < threads; i++)
        flop += 2.0 * CHAINS * ROUNDS * loop.lanes * (double)loops[i];
    (void)sink;
    mem_free(loops);
    return 1e-9 * flop / seconds;
}

double memory_bandwidth(int threads, double milliseconds)
{
    enum { COUNT = 16 << 20, PASS_BYTES = 2 * COUNT * (int)sizeof(float) };
    float *from = mem_new(COUNT * sizeof *from), *to = mem_new(COUNT * sizeof *to);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < COUNT; i++) /* brings the pages */
        from[i] = to[i] = 1;
    double begun = clock_seconds(), passed = 0;
    int passes = 0;
    while (passed < 1e-3 * milliseconds) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int i = 0; i < COUNT; i++)
            to[i] = from[i] * 0.999f;
        passes++;
        passed = clock_seconds() - begun;
    }
    mem_free(from);
    mem_free(to);
    return 1e-9 * PASS_BYTES * passes / passed;
}
