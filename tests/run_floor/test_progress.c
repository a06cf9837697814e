#include "run_floor/scratch.h"
#include "common/run/progress.h"
#include "common/run/readable.h"

#include <fcntl.h>
#include <math.h>
#include <sys/ioctl.h>

#define ACCURACY ((Measure){"accuracy", true})

static double now;

static double fake_clock(void)
{
    return now;
}

/* Runs `epochs` of 100 steps of 64 images, each step `seconds` long. */
static void run_steps(Log *log, int epochs, double seconds, double accuracy)
{
    Progress p;
    progress_begin(&p, log, &(ProgressPlan){epochs, 100, 100 * epochs, 0, "images", ACCURACY});
    p.clock = fake_clock;
    p.begun = p.last_step = p.last_live = p.last_line = now = 1000;
    for (int epoch = 1; epoch <= epochs; epoch++) {
        for (int step = 1; step <= 100; step++) {
            now += seconds;
            progress_step(&p, &(ProgressStep){epoch, step, 64, 0.5, accuracy, 0.01});
        }
    }
}

static int lines_of(const char *text)
{
    int lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

static char *through_a_pipe(const char *folder, double seconds, double accuracy)
{
    Error e;
    char *path = path_join(folder, "stdout"), *log_path = path_join(folder, "log.txt");
    FILE *screen = fopen(path, "w");
    assert_non_null(screen);
    Log *log = log_open(screen, log_path, &e);
    assert_non_null(log);
    assert_false(log_is_live(log));
    run_steps(log, 2, seconds, accuracy);
    log_close(log);
    fclose(screen);
    char *text = file_read(path, NULL, &e);
    assert_file(log_path, text);
    unlink(log_path);
    mem_free(path);
    mem_free(log_path);
    return text;
}

static void a_pipe_gets_whole_lines(void **state)
{
    /* 20 s an epoch: a line each tenth, and nothing that only a terminal understands */
    char *text = through_a_pipe(*state, 0.2, 0.8231);
    assert_int_equal(lines_of(text), 20);
    assert_null(strpbrk(text, "\r\x1b"));
    const char *first = "epoch 1/2  step  10/100  loss 0.5000  accuracy 82.31 %  320 images/s  waited 0.1 s for data  "
                        "38 s left\n";
    assert_true(str_starts(text, first));
    assert_true(str_ends(text, "step 100/100  loss 0.5000  accuracy 82.31 %  320 images/s  waited 1.0 s for data  "
                               "0 s left\n"));
    mem_free(text);
    /* 0.1 s an epoch: only its end */
    text = through_a_pipe(*state, 0.001, NAN);
    assert_int_equal(lines_of(text), 2);
    assert_null(strstr(text, "accuracy"));
    mem_free(text);
    /* 10 min an epoch: a sign of life every ten seconds (6 s a step) */
    text = through_a_pipe(*state, 6, 0.5);
    assert_int_equal(lines_of(text), 2 * 50);
    assert_non_null(strstr(text, " min "));
    mem_free(text);
}

static char *through_a_terminal(const char *folder, double seconds, int columns)
{
    Error e;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        skip();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
    fcntl(master, F_SETFL, O_NONBLOCK);
    setenv("TERM", "xterm", 1);

    char *log_path = path_join(folder, "log.txt");
    FILE *screen = fdopen(slave, "w");
    Log *log = log_open(screen, log_path, &e);
    assert_true(log_is_live(log));
    run_steps(log, 1, seconds, 0.5);
    log_line(log, "epoch 1: validation accuracy 50.00 %%");
    log_close(log);

    Str seen = {0};
    char part[1024];
    for (ssize_t n; (n = read(master, part, sizeof part)) > 0;)
        str_add_bytes(&seen, part, (size_t)n);
    fclose(screen);
    close(master);
    mem_free(log_path);
    return seen.text;
}

static void a_terminal_gets_one_line_rewritten(void **state)
{
    /* 4 s in 100 steps: at most ten rewrites a second, each from the line's start and cleared to its end */
    char *text = through_a_terminal(*state, 0.04, 40);
    int rewrites = 0;
    for (char *c = text; (c = strstr(c, "\repoch 1/1")); c++, rewrites++) {
        char *end = strstr(c, "\x1b[K");
        assert_non_null(end);
        assert_true(end - c - 1 < 40);
    }
    assert_in_range(rewrites, 30, 41);
    /* the only whole line is the last; the live line was cleared first (a terminal writes \r\n for \n) */
    assert_int_equal(lines_of(text), 1);
    assert_true(str_ends(text, "\r\x1b[Kepoch 1: validation accuracy 50.00 %\r\n"));
    mem_free(text);

    Error e;
    char *path = path_join(*state, "log.txt"), *logged = file_read(path, NULL, &e);
    assert_null(strpbrk(logged, "\r\x1b"));
    assert_true(lines_of(logged) > 1);
    assert_true(str_ends(logged, "\nepoch 1: validation accuracy 50.00 %\n"));
    mem_free(path);
    mem_free(logged);
}

/* 25 steps in rounds of 10: the step of the run is shown, and the last round is shorter. */
static void a_run_may_be_counted_in_steps(void **state)
{
    Error e;
    char *path = path_join(*state, "log.txt");
    FILE *screen = fopen("/dev/null", "w");
    Log *log = log_open(screen, path, &e);
    Progress p;
    progress_begin(&p, log, &(ProgressPlan){0, 10, 25, 0, "tokens", {"bits_per_byte", false}});
    p.clock = fake_clock;
    p.begun = p.last_step = p.last_live = p.last_line = now = 1000;
    for (int step = 1; step <= 25; step++) {
        now += 0.01;
        progress_step(&p, &(ProgressStep){(step + 9) / 10, (step - 1) % 10 + 1, 64, 0.5, 0.7, 0});
    }
    log_close(log);
    fclose(screen);
    char *logged = file_read(path, NULL, &e);
    assert_int_equal(lines_of(logged), 3);
    assert_true(str_starts(logged, "step 10/25  loss 0.5000  bits_per_byte 0.7000  6,400 tokens/s"));
    assert_non_null(strstr(logged, "\nstep 25/25  loss"));
    mem_free(path);
    mem_free(logged);
}

static void an_evaluation_does_not_slow_the_rate(void **state)
{
    (void)state;
    Progress p;
    FILE *screen = fopen("/dev/null", "w");
    Log *log = log_open(screen, NULL, NULL);
    progress_begin(&p, log,
                   &(ProgressPlan){2, 10, 20, 10, "images", ACCURACY}); /* the first epoch was another process's */
    p.clock = fake_clock;
    p.begun = p.last_step = now = 0;
    assert_true(isnan(progress_left(&p)));
    for (int step = 1; step <= 5; step++) {
        now += 1;
        progress_step(&p, &(ProgressStep){2, step, 100, 1, 1, 0});
    }
    assert_true(fabs(progress_left(&p) - 5) < 1e-9);
    now += 100;
    progress_pause_over(&p);
    now += 1;
    progress_step(&p, &(ProgressStep){2, 6, 100, 1, 1, 0});
    assert_true(fabs(progress_rate(&p) - 100) < 1e-6);
    log_close(log);
    fclose(screen);
}

static void numbers_are_readable(void **state)
{
    (void)state;
    assert_string_equal(readable_seconds(0.25).text, "0.25 s");
    assert_string_equal(readable_seconds(59.6).text, "1 min 00 s");
    assert_string_equal(readable_seconds(3725).text, "1 h 02 min");
    assert_string_equal(readable_seconds(3 * 86400 + 4 * 3600).text, "3 d 04 h");
    assert_string_equal(readable_seconds(NAN).text, "?");
    assert_string_equal(readable_count(0).text, "0");
    assert_string_equal(readable_count(999).text, "999");
    assert_string_equal(readable_count(1234567).text, "1,234,567");
    assert_string_equal(readable_count(-123456).text, "-123,456");
    assert_string_equal(readable_count(INT64_MIN).text, "-9,223,372,036,854,775,808");
    assert_string_equal(readable_bytes(1023).text, "1023 bytes");
    assert_string_equal(readable_bytes(1.5 * 1024 * 1024).text, "1.5 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(a_pipe_gets_whole_lines),
        SCRATCH_TEST(a_run_may_be_counted_in_steps),
        SCRATCH_TEST(a_terminal_gets_one_line_rewritten),
        cmocka_unit_test(an_evaluation_does_not_slow_the_rate),
        cmocka_unit_test(numbers_are_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
