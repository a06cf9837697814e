/* What the emulator's own tests share: faults that are planted, and what is said of them. */
#pragma once
#include "common/kernels/cuda/launch.cuh"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <cmocka.h>
}

static inline float *device_floats(int count)
{
    void *memory;
    assert_int_equal(cudaMalloc(&memory, (size_t)count * sizeof(float)), cudaSuccess);
    assert_int_equal(cudaMemset(memory, 0, (size_t)count * sizeof(float)), cudaSuccess);
    return (float *)memory;
}

enum Build { PLAIN = 1, ASAN = 2, WATCHED = 4, ALL_BUILDS = 7 };
#if defined ZOO_CUDA_RACES
static const Build this_build = WATCHED;
#elif defined __SANITIZE_ADDRESS__
static const Build this_build = ASAN;
#else
static const Build this_build = PLAIN;
#endif

/* Words that the line on stderr must have; NULL: nothing is said, and the process ends well. */
typedef struct Planted {
    const char *name;
    void (*run)(int fault);
    int fault;
    int builds; /* in which it is seen */
    const char *words;
} Planted;

/* Runs it in a process of its own (a forked one has no CUDA), with what it says on stderr. Returns its exit status. */
static inline int status_of(int index, char *said, size_t size)
{
    FILE *text = tmpfile();
    char number[16];
    snprintf(number, sizeof number, "%d", index);
    assert_non_null(text);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        unsetenv("ZOO_ABORT");
        dup2(fileno(text), STDERR_FILENO);
        execl("/proc/self/exe", "faults", number, (char *)NULL);
        _exit(3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    rewind(text);
    said[fread(said, 1, size - 1, text)] = 0;
    fclose(text);
    return status;
}

static inline void check_planted(const Planted *planted, size_t count)
{
    static char said[1 << 16];
    for (const Planted *p = planted; p < planted + count; p++) {
        if (!(p->builds & this_build))
            continue;
        int status = status_of((int)(p - planted), said, sizeof said);
        if (p->words ? status == 0 || !strstr(said, p->words) : status != 0 || said[0])
            fail_msg("%s: status %d, \"%s\" expected in: %s", p->name, status, p->words ? p->words : "nothing", said);
    }
}

/* Of main: a program that was called with a number is such a process, and runs that fault. */
static inline void run_planted(const Planted *planted, int arguments, char **argument)
{
    if (arguments < 2)
        return;
    const Planted *p = &planted[atoi(argument[1])];
    p->run(p->fault);
    _exit(0);
}
