/* ZOO_CPU is read once in a process, so each question is asked in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/memory.h"
#include "common/kernels/backend.h"
#include "support/levels.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `check` in a child whose ZOO_CPU is `level` (NULL: not set); it must return true. */
static void in_child(const char *level, bool (*check)(const char *level))
{
    pid_t child = fork();
    if (child == 0) {
        if (level)
            setenv("ZOO_CPU", level, 1);
        else
            unsetenv("ZOO_CPU");
        _exit(check(level) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool chosen_is_best(const char *level)
{
    (void)level;
    Error e;
    const Backend *backend = cpu_backend(&e);
    Level best = {0};
    for (Level next = best; next_level(&next);)
        best = next;
    return backend && backend == best.backend && strcmp(cpu_backend_level(), best.name) == 0;
}

static bool chosen_is(const char *level)
{
    Error e;
    const Backend *backend = cpu_backend(&e);
    if (!cpu_backend_at(level))
        return !backend && strstr(e.text, level) && strstr(e.text, "lacks");
    return backend == cpu_backend_at(level) && cpu_backend(&e) == backend && strcmp(cpu_backend_level(), level) == 0;
}

static bool is_refused(const char *level)
{
    Error e;
    return !cpu_backend(&e) && strstr(e.text, level) && strstr(e.text, "avx512_bf16") && !strchr(e.text, '\n');
}

static bool is_refused_with_hint(const char *level)
{
    Error e;
    return !cpu_backend(&e) && strstr(e.text, level) && strstr(e.text, "did you mean 'avx512'");
}

static void best_level_by_default(void **state)
{
    (void)state;
    in_child(NULL, chosen_is_best);
    in_child("", chosen_is_best);
}

static void forced_level(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(level_names); i++)
        in_child(level_names[i], chosen_is);
}

static void unknown_level(void **state)
{
    (void)state;
    in_child("neon", is_refused);
    in_child("avx51", is_refused_with_hint);
    assert_null(cpu_backend_at("neon"));
}

static void plain_is_everywhere(void **state)
{
    (void)state;
    assert_non_null(cpu_backend_at("plain"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(best_level_by_default), cmocka_unit_test(forced_level),
                                       cmocka_unit_test(unknown_level), cmocka_unit_test(plain_is_everywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
