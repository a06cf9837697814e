/* What the tests of products and convolutions share: random matrices, comparison with a double reference, and a main that
 * runs the whole program once a level (oneDNN's level can only be chosen before its first product), or once on the CUDA backend. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/kernels/backend.h"
#include "common/kernels/cpu/dnnl.h"
#include "support/largest_error.h"
#include "support/levels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static Exec two_threads = {.threads = 2};

static bool bf16_here;         /* the level of this run has bf16 */
static const Backend *backend; /* of that level */

/* `count` numbers of about [-1, 1], rounded to the type; the same ones for the same seed. */
static inline void *random_numbers(size_t count, DType type, uint32_t seed)
{
    void *data = operand_new(count * dtype_bytes(type));
    uint32_t state = seed * 2654435761u + 12345;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        float value = (float)(int32_t)state / 2147483648.f;
        if (type == BF16)
            ((uint16_t *)data)[i] = bf16_from_float(value);
        else
            ((float *)data)[i] = value;
    }
    return data;
}

static inline double number_at(const void *data, DType type, int64_t i)
{
    return type == BF16 ? bf16_to_float(((const uint16_t *)data)[i]) : ((const float *)data)[i];
}

/* Within rounding of a sum whose terms have the absolute sum `size`. */
static inline void assert_near(double got, double want, double size, DType type, const char *what, int64_t i)
{
    double tolerance = 4e-6 * size + 1e-6 + (type == BF16 ? fabs(want) / 256 : 0);
    error_seen(fabs(got - want), tolerance, what);
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: element %lld is %.9g, want %.9g (tolerance %g)", what, (long long)i, got, want, tolerance);
}

static inline int run_at(Level level, int (*run)(void))
{
    backend = level.backend;
    two_threads.stream = backend->stream;
    bf16_here = backend->bf16;
    return run() != 0;
}

/* A level in a child of its own; the device cuda without: no child may use what its parent has opened there. */
static inline int run_at_every_level(int (*run)(void))
{
    int failed = 0;
    for (Level level = {0}; next_level(&level);) {
        printf("level %s\n", level.name);
        fflush(NULL);
        if (testing_cuda())
            return run_at(level, run);
        pid_t child = fork();
        if (child == 0) {
            dnnl_limit_isa(level.name);
            exit(run_at(level, run));
        }
        int status = 1;
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    return failed != 0;
}
