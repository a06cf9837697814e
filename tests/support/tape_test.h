/* What the tests of tensors, tape, attention and layers share: tapes, random tensors, and children that are
 * expected to end with a broken contract. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/autograd/op.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"
#include "tests/support/device.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static inline const Backend *test_backend(void)
{
    Error e;
    const Backend *backend = testing_cuda() ? cuda_backend(&e) : cpu_backend(&e);
    if (!backend)
        fail_msg("%s", e.text);
    return backend;
}

static inline Tape *test_tape(int threads)
{
    return tape_new(&(TapeOptions){.backend = test_backend(), .threads = threads, .seed = 7});
}

/* A tape that a child may use as well: a GPU that its parent has opened is not there for it. */
static inline Tape *tape_for_children(void)
{
    Error e;
    return tape_new(&(TapeOptions){.backend = cpu_backend(&e), .threads = 1, .seed = 7});
}

/* Uniform numbers; `name` chooses them. */
static inline void random_floats(const char *name, int64_t count, double low, double high, float *out)
{
    Random r = random_at(5, STREAM_DATA, random_site(name), 0);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)random_between(&r, low, high);
}

static inline Tensor *random_tensor(Tape *t, const char *name, Shape shape)
{
    float *values = mem_new((size_t)shape_count(shape) * sizeof(float));
    random_floats(name, shape_count(shape), -1, 1, values);
    Tensor *x = tensor_from(t, F32, shape, values);
    mem_free(values);
    return x;
}

static inline Tensor *random_leaf(Tape *t, const char *name, Shape shape)
{
    Tensor *x = random_tensor(t, name, shape);
    tensor_needs_gradient(x);
    return x;
}

/* The elements of x on the host; free them. */
static inline float *floats_of(Tape *t, const Tensor *x)
{
    float *values = mem_new((size_t)tensor_count(x) * sizeof(float));
    tensor_read(t, x, values);
    return values;
}

static inline void assert_floats(Tape *t, const Tensor *x, const float *expected)
{
    float *values = floats_of(t, x);
    for (int64_t i = 0; i < tensor_count(x); i++)
        if (!(values[i] == expected[i]))
            fail_msg("element %ld is %.9g, not %.9g", (long)i, (double)values[i], (double)expected[i]);
    mem_free(values);
}

/* What a forward and its way back need at most beside what was there: begin, the forward to y, then the peak. */
static inline size_t peak_begin(Tape *t)
{
    pool_peak_reset(tape_pool(t));
    return pool_used(tape_pool(t));
}

static inline size_t peak_of_backward(Tape *t, size_t before, Tensor *y)
{
    Tensor *loss = sum_all(t, y);
    tape_backward(t, &loss, NULL, 1);
    return pool_peak(tape_pool(t)) - before;
}

/* Runs `act` in a child, where test_tape is on the CPU, its stderr into `message`, and returns the child's wait status. */
static inline int child_status(void (*act)(void *), void *argument, bool abort, char message[static 512])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        if (abort)
            setenv("ZOO_ABORT", "1", 1);
        else
            unsetenv("ZOO_ABORT");
        child_begins();
        signal(SIGABRT, SIG_DFL);
        act(argument);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; length < 511 && (got = read(ends[0], message + length, 511 - length)) > 0;)
        length += (size_t)got;
    message[length] = '\0';
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* `act` must end the process with exit code 1 and a line that contains `words`. */
static inline void expect_broken_contract(void (*act)(void *), void *argument, const char *words)
{
    char message[512];
    int status = child_status(act, argument, false, message);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || !strstr(message, words))
        fail_msg("expected exit 1 and \"%s\"; the status is %d, the message \"%s\"", words, status, message);
}
