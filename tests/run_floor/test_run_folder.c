#include "run_floor/scratch.h"
#include "common/run/run_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void assert_made(const char *root, const char *name, const char *expected)
{
    Error e;
    char *run = run_folder_make(root, "crossvit", name, &e), *path = path_join(root, expected);
    assert_non_null(run);
    assert_string_equal(run, path);
    assert_true(folder_exists(run));
    mem_free(run);
    mem_free(path);
}

static void takes_the_first_free_number(void **state)
{
    const char *root = *state;
    assert_made(root, "tiny", "crossvit/tiny");
    assert_made(root, "tiny", "crossvit/tiny-2");
    assert_made(root, "tiny", "crossvit/tiny-3");
    char *second = path_join(root, "crossvit/tiny-2");
    assert_true(folder_remove(second, NULL));
    assert_made(root, "tiny", "crossvit/tiny-2");
    assert_made(root, "tiny", "crossvit/tiny-4");
    assert_made(root, "default", "crossvit/default");
    mem_free(second);
}

static void leaves_a_file_of_that_name_alone(void **state)
{
    char *model = path_join(*state, "crossvit"), *file = path_join(model, "tiny");
    assert_true(folder_make(model, NULL));
    write_text(file, "mine");
    assert_made(*state, "tiny", "crossvit/tiny-2");
    assert_file(file, "mine");
    mem_free(model);
    mem_free(file);
}

static void refuses_names_that_leave_the_folder(void **state)
{
    const char *names[] = {"", "..", "a/b", ".hidden", "-n", "a\nb"};
    for (int i = 0; i < COUNT_OF(names); i++) {
        Error e = {{0}};
        assert_null(run_folder_make(*state, "crossvit", names[i], &e));
        assert_non_null(strstr(e.text, "plain name"));
    }
    Error e = {{0}};
    assert_null(run_folder_arm(*state, "../up", 1, &e));
    assert_non_null(strstr(e.text, "arm '../up'"));
}

static void says_why_it_cannot_be_made(void **state)
{
    char *file = path_join(*state, "root");
    write_text(file, "");
    Error e;
    assert_null(run_folder_make(file, "crossvit", "tiny", &e));
    assert_non_null(strstr(e.text, file));
    mem_free(file);
}

/* Eight processes that start at once each get a folder of their own. */
static void gives_no_folder_twice(void **state)
{
    enum { PROCESSES = 8 };
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(run_folder_make(*state, "crossvit", "tiny", NULL) ? 0 : 1);
        assert_true(pid > 0);
    }
    for (int i = 0, status; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    char **names, *model = path_join(*state, "crossvit");
    int count;
    assert_true(folder_list(model, &names, &count, NULL));
    assert_int_equal(count, PROCESSES);
    names_free(names, count);
    mem_free(model);
}

static void set_started(const char *run, long seconds)
{
    char *status = path_join(run, "status");
    struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, status, times, 0), 0);
    mem_free(status);
}

static void finds_the_newest_unfinished_run(void **state)
{
    Error e;
    assert_null(run_folder_newest_unfinished(*state, "crossvit", &e));
    assert_non_null(strstr(e.text, "no unfinished run"));
    char *runs[3];
    for (int i = 0; i < 3; i++) {
        runs[i] = run_folder_make(*state, "crossvit", i == 1 ? "zebra" : "alpha", &e);
        assert_non_null(runs[i]);
        set_started(runs[i], 1000 + 10 * i);
    }
    char *found = run_folder_newest_unfinished(*state, "crossvit", &e);
    assert_string_equal(found, runs[2]);
    mem_free(found);
    assert_true(run_folder_finish(runs[2], &e));
    assert_true(run_folder_finished(runs[2]));
    assert_false(run_folder_finished(runs[1]));
    found = run_folder_newest_unfinished(*state, "crossvit", &e);
    assert_string_equal(found, runs[1]);
    mem_free(found);
    for (int i = 0; i < 3; i++)
        mem_free(runs[i]);
}

static void finds_an_arm_again(void **state)
{
    Error e;
    char *run = run_folder_make(*state, "crossvit", "experiment", &e);
    char *arm = run_folder_arm(run, "pairwise", 3, &e), *path = path_join(run, "pairwise/seed3");
    assert_string_equal(arm, path);
    assert_true(run_folder_finish(arm, &e));
    char *again = run_folder_arm(run, "pairwise", 3, &e);
    assert_string_equal(again, path);
    assert_true(run_folder_finished(again));
    mem_free(run);
    mem_free(arm);
    mem_free(path);
    mem_free(again);
}

static void begins_with_the_first_figures(void **state)
{
    Error e;
    char *run = run_folder_make(*state, "crossvit", "experiment", &e);
    char *arm = run_folder_arm(run, "pairwise", 4294967295, &e), *metrics = path_join(arm, "metrics.csv");
    assert_non_null(strstr(arm, "/pairwise/seed4294967295"));
    assert_false(run_folder_begun(run));
    assert_true(file_write(metrics, "", 0, &e));
    assert_true(run_folder_begun(arm));
    assert_true(run_folder_begun(run));
    mem_free(run);
    mem_free(arm);
    mem_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(takes_the_first_free_number),
        SCRATCH_TEST(leaves_a_file_of_that_name_alone),
        SCRATCH_TEST(refuses_names_that_leave_the_folder),
        SCRATCH_TEST(says_why_it_cannot_be_made),
        SCRATCH_TEST(gives_no_folder_twice),
        SCRATCH_TEST(finds_the_newest_unfinished_run),
        SCRATCH_TEST(finds_an_arm_again),
        SCRATCH_TEST(begins_with_the_first_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
