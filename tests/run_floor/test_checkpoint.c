/* A run that is killed at any instant finds its newest checkpoint whole; a full disk costs one line. */
#include "run_floor/scratch.h"
#include "common/run/checkpoint.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { ELEMENTS = 50000 };

/* Tensors whose every element tells the step. */
static bool save(const char *run, int64_t step, bool best, Error *e)
{
    static float weights[ELEMENTS];
    static int64_t moments[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
        weights[i] = (float)step;
        moments[i] = step;
    }
    const TensorToWrite model = {"head.weight", F32, 2, {ELEMENTS / 100, 100}, weights};
    const TensorToWrite state = {"adamw.moment", I64, 1, {ELEMENTS}, moments};
    const MetadataEntry metadata = {"config_hash", "1234"};
    return checkpoint_save(run, step, &(CheckpointContent){&model, 1, &state, 1, &metadata, 1}, best, e);
}

static void assert_saved(const char *run, int64_t step, bool best)
{
    Error e;
    if (!save(run, step, best, &e))
        fail_msg("%s", e.text);
}

/* Opens the checkpoint and checks each element of it; gives its step. */
static int64_t assert_whole(const char *folder)
{
    static float weights[ELEMENTS];
    static int64_t moments[ELEMENTS];
    Error e;
    Checkpoint c;
    if (!checkpoint_open(&c, folder, true, &e))
        fail_msg("%s", e.text);
    assert_string_equal(tensor_file_metadata(c.model, "config_hash"), "1234");
    const FileTensor *model = tensor_file_find(c.model, "head.weight");
    const FileTensor *state = tensor_file_find(c.state, "adamw.moment");
    assert_non_null(model);
    assert_non_null(state);
    assert_int_equal(model->count, ELEMENTS);
    assert_int_equal(state->count, ELEMENTS);
    assert_true(tensor_file_read(c.model, model, F32, weights, &e));
    assert_true(tensor_file_read(c.state, state, I64, moments, &e));
    for (int i = 0; i < ELEMENTS; i++)
        assert_true(weights[i] == (float)c.step && moments[i] == c.step);
    int64_t step = c.step;
    checkpoint_close(&c);
    return step;
}

/* What lies in <run>/checkpoints, names with a space behind each. */
static char *listing(const char *run)
{
    char **names, *folder = path_join(run, "checkpoints");
    int count;
    assert_true(folder_list(folder, &names, &count, NULL));
    Str all = {0};
    for (int i = 0; i < count; i++)
        str_add(&all, "%s ", names[i]);
    names_free(names, count);
    mem_free(folder);
    return all.text;
}

static void assert_listing(const char *run, const char *expected)
{
    char *found = listing(run);
    assert_string_equal(found, expected);
    mem_free(found);
}

static void assert_named(const char *run, const char *link, int64_t step)
{
    Error e;
    char *folder = checkpoint_named(run, link, &e);
    if (!folder)
        fail_msg("%s", e.text);
    assert_int_equal(assert_whole(folder), step);
    mem_free(folder);
}

/* NULL: nothing was saved. */
static char *latest_of(const char *run)
{
    Error e;
    char *latest;
    if (!checkpoint_latest(run, &latest, &e))
        fail_msg("%s", e.text);
    return latest;
}

static void keeps_the_last_and_the_best(void **state)
{
    Error e;
    const char *run = *state;
    assert_null(latest_of(run));
    assert_null(checkpoint_named(run, "best", &e));
    assert_saved(run, 100, false);
    assert_listing(run, "100 last ");
    assert_saved(run, 200, true);
    assert_listing(run, "200 best last ");
    assert_saved(run, 300, false);
    assert_saved(run, 1000, false);
    assert_listing(run, "1000 200 best last ");
    assert_named(run, "last", 1000);
    assert_named(run, "best", 200);
    assert_saved(run, 1000, true); /* again: an interrupt right after a save */
    assert_listing(run, "1000 best last ");
    char *latest = latest_of(run);
    assert_int_equal(assert_whole(latest), 1000);
    mem_free(latest);
}

static void ignores_what_a_kill_left(void **state)
{
    Error e;
    const char *run = *state;
    assert_saved(run, 100, true);
    char *part = path_join(run, "checkpoints/200.part"), *file = path_join(part, "model.safetensors");
    char *link = path_join(run, "checkpoints/last.part"), *last = path_join(run, "checkpoints/last");
    assert_true(folder_make(part, &e));
    write_text(file, "half");
    assert_int_equal(symlink("200", link), 0);
    char *latest = latest_of(run);
    assert_int_equal(assert_whole(latest), 100);
    assert_listing(run, "100 best last ");

    /* Killed when the folder was whole and `last` not yet replaced: the next start does what was left to do. */
    assert_saved(run, 300, true);
    char *folder = path_join(run, "checkpoints/300"), *whole = path_join(run, "checkpoints/400");
    char *best = path_join(run, "checkpoints/best");
    assert_saved(run, 400, true);
    assert_int_equal(unlink(last) | unlink(best) | symlink("300", last) | symlink("300", best), 0);
    assert_true(folder_make(folder, &e));
    mem_free(latest);
    latest = latest_of(run);
    assert_string_equal(latest, whole);
    assert_listing(run, "400 best last ");
    assert_named(run, "best", 400);
    char *all[] = {part, file, link, last, latest, folder, whole, best};
    for (int i = 0; i < COUNT_OF(all); i++)
        mem_free(all[i]);
}

/* A child saves one step after the other, from the newest it finds; the parent kills it after a random time. */
static void save_until_killed(const char *run)
{
    Error e;
    char *latest = latest_of(run);
    int64_t step = latest ? strtoll(path_base(latest), NULL, 10) : 0;
    for (;;) {
        step++;
        if (!save(run, step, step % 3 == 0, &e))
            _exit(1);
    }
}

static void survives_kill_9_at_any_instant(void **state)
{
    enum { KILLS = 60 };
    int longest = 40000; /* microseconds until the kill; more where a machine gets nothing saved in that time */
    const char *run = *state;
    int64_t newest = 0;
    srand(7);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            save_until_killed(run);
        nanosleep(&(struct timespec){0, 1000L * (rand() % longest)}, NULL);
        int status;
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status)); /* not ended by an error of its own */

        char *latest = latest_of(run);
        if (!latest) {
            assert_int_equal(newest, 0);
            longest = MIN(2 * longest, 900000);
            continue;
        }
        int64_t step = assert_whole(latest);
        assert_true(step >= newest);
        newest = step;
        assert_named(run, "last", newest);
        if (newest >= 3)
            assert_named(run, "best", newest - newest % 3);
        char *names = listing(run);
        assert_null(strstr(names, ".part"));
        mem_free(names);
        mem_free(latest);
    }
    assert_true(newest > 0);
}

/* A file that may not grow beyond some bytes fails like one on a full disk, at that byte. */
static void a_full_disk_is_one_line_and_the_older_one_stays(void **state)
{
    const char *run = *state;
    const rlim_t limits[] = {0, 100, 4096, ELEMENTS * sizeof(float), ELEMENTS * sizeof(float) + 1000};
    assert_saved(run, 100, true);
    for (int i = 0; i < COUNT_OF(limits); i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            Error e = {{0}};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){limits[i], limits[i]});
            bool good = save(run, 200, true, &e);
            bool clear = str_starts(e.text, "checkpoint of step 200: ") && strstr(e.text, "safetensors") &&
                         strstr(e.text, strerror(EFBIG)) && !strchr(e.text, '\n');
            _exit(good ? 2 : clear ? 0 : 3);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_listing(run, "100 best last ");
        assert_named(run, "best", 100);
    }
}

static void refuses_what_it_does_not_know(void **state)
{
    Error e = {{0}};
    Checkpoint c;
    const float zero = 0;
    const TensorToWrite tensor = {"w", F32, 1, {1}, &zero};
    const MetadataEntry known[] = {{"format", "attention-zoo checkpoint 1"}, {"step", "5"}};
    const MetadataEntry foreign[] = {{"format", "attention-zoo checkpoint 9"}, {"step", "5"}};
    const MetadataEntry other[] = {{"format", "attention-zoo checkpoint 1"}, {"step", "6"}};
    const MetadataEntry nonsense[] = {{"format", "attention-zoo checkpoint 1"}, {"step", "-6"}};
    char *model = path_join(*state, "model.safetensors"), *rest = path_join(*state, "state.safetensors");
    assert_true(safetensors_write(model, &tensor, 1, known, 2, &e));
    assert_true(checkpoint_open(&c, *state, false, &e)); /* the model alone */
    assert_int_equal(c.step, 5);
    checkpoint_close(&c);
    assert_false(checkpoint_open(&c, *state, true, &e));
    assert_non_null(strstr(e.text, rest));

    const struct {
        const MetadataEntry *metadata;
        const char *line;
    } cases[] = {{foreign, "format is 'attention-zoo checkpoint 9'"},
                 {other, "model.safetensors is of step 5, state.safetensors of step 6"},
                 {nonsense, "'step' is '-6'"}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        assert_true(safetensors_write(rest, &tensor, 1, cases[i].metadata, 2, &e));
        assert_false(checkpoint_open(&c, *state, true, &e));
        if (!strstr(e.text, cases[i].line))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].line);
    }
    assert_true(safetensors_write(rest, &tensor, 1, NULL, 0, &e));
    assert_false(checkpoint_open(&c, *state, true, &e));
    assert_non_null(strstr(e.text, "format is ''"));
    mem_free(model);
    mem_free(rest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(keeps_the_last_and_the_best),    SCRATCH_TEST(ignores_what_a_kill_left),
        SCRATCH_TEST(survives_kill_9_at_any_instant), SCRATCH_TEST(a_full_disk_is_one_line_and_the_older_one_stays),
        SCRATCH_TEST(refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
