/* train.sync_batch_norm reaches the tape, and the log says where it, or its absence, matters. */
#include "common/comm/virtual.h"
#include "common/nn/layers.h"
#include "common/run/optimization.h"
#include "run_floor/scratch.h"

#include <math.h>

typedef struct Asked {
    const char *folder;
    bool sync, normalises;
    float y[2]; /* what batch norm makes of the first value of each rank */
} Asked;

static const float values[2][2] = {{0, 1}, {2, 3}};

static void begin(Comm *c, void *user)
{
    Asked *a = user;
    Error e;
    int rank = comm_rank(c);
    char *path = path_join(a->folder, rank ? "other" : "log");
    Log *log = log_open(stdout, path, &e);
    Params *p = params_new();
    BatchNorm norm = {.eps = 1e-5f};
    if (a->normalises)
        norm = batch_norm_new(p, "bn", 1, 1e-5f, 0.1f);
    params_allocate(p, true, 0, cpu_backend(&e));
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(&e), .threads = 1, .comm = c});
    optimization_of_ranks(&(OptimizationConfig){.sync_batch_norm = a->sync}, t, p, log);
    Region before = region_open(t, TRAIN, NO_GRAD);
    float y[2];
    tensor_read(t, batch_norm(t, &norm, tensor_from(t, F32, SHAPE(2, 1), values[rank])), y);
    a->y[rank] = y[0];
    region_close(t, before);
    tape_free(t);
    params_free(p);
    log_close(log);
    mem_free(path);
}

static void check(const char *folder, int ranks, bool sync, bool normalises, const char *said)
{
    Asked a = {.folder = folder, .sync = sync, .normalises = normalises};
    virtual_ranks_run(ranks, begin, &a, NULL);
    char *path = path_join(folder, "log");
    assert_file(path, said);
    assert_int_equal(remove(path), 0);
    mem_free(path);
    bool joined =
        sync && ranks > 1; /* mean 1.5, variance 1.25; alone each has one half off its mean, of variance 1/4 */
    for (int r = 0; r < ranks; r++)
        assert_true(fabsf(a.y[r] - (!joined ? -0.99998f : r == 0 ? -1.3416354f : 0.4472118f)) < 1e-5f);
}

static void ranks_are_told_of_batch_norm(void **state)
{
    static const char none[] = "train.sync_batch_norm has no effect: this model has no batch norm\n";
    static const char alone[] =
        "batch norm: each rank has the statistics of its own share, so this is not the run of one "
        "rank; train.sync_batch_norm=yes makes it that\n";
    check(*state, 1, false, true, "");
    check(*state, 1, true, true, "");
    check(*state, 2, false, true, alone);
    check(*state, 2, true, true, "");
    check(*state, 1, true, false, none);
    check(*state, 2, true, false, none);
    check(*state, 2, false, false, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCRATCH_TEST(ranks_are_told_of_batch_norm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
