/* Collectives over virtual ranks: every number of ranks, sizes that the ranks do not divide, several sums under way at once. */
#include "common/comm/launch.h"
#include "common/comm/virtual.h"
#include "support/tape_test.h"

enum { MOST_RANKS = 7, LENGTH = 37 };

/* What ranks find wrong, each in a thread where cmocka cannot stop the test. */
typedef struct Findings {
    const Backend *backend;
    int wrong[MOST_RANKS];
    float sums[MOST_RANKS][LENGTH];
} Findings;

static float value_of(int rank, int i)
{
    return (float)(rank + 1) * 0.1f + (float)i * 0.37f;
}

static void sums_and_gathers(Comm *c, void *user)
{
    Findings *f = user;
    int rank = comm_rank(c), ranks = comm_ranks(c), *wrong = &f->wrong[rank];
    double pair[] = {rank + 1, 2};
    comm_sum_doubles(c, pair, 2);
    *wrong += pair[0] != ranks * (ranks + 1) / 2 || pair[1] != 2 * ranks;

    int16_t all[MOST_RANKS], mine = (int16_t)(100 + rank);
    comm_gather(c, &mine, sizeof mine, all);
    for (int r = 0; r < ranks; r++)
        *wrong += all[r] != 100 + r;

    *wrong += comm_any(c, false) || !comm_any(c, rank == ranks - 1);

    char *text = comm_share_text(c, rank ? "another" : "the first");
    *wrong += strcmp(text, "the first") != 0 || comm_share_text(c, NULL) != NULL;
    mem_free(text);
}

/* Of every length from 0 to LENGTH, exact to rounding, and the same bits everywhere. */
static void vectors(Comm *c, void *user)
{
    Findings *f = user;
    int rank = comm_rank(c), ranks = comm_ranks(c), *wrong = &f->wrong[rank];
    for (int n = 0; n <= LENGTH; n++) {
        float *x = f->sums[rank];
        for (int i = 0; i < n; i++)
            x[i] = value_of(rank, i);
        comm_sum_floats(c, f->backend, x, n);
        for (int i = 0; i < n; i++) {
            double expected = 0;
            for (int r = 0; r < ranks; r++)
                expected += (double)value_of(r, i);
            *wrong += expected - (double)x[i] > 1e-5 || (double)x[i] - expected > 1e-5;
        }
    }
}

/* Begun in one order, gone on with in another by every rank, and the next round begun as soon as one is over. */
static void several_at_once(Comm *c, void *user)
{
    enum { SUMS = 3 };
    Findings *f = user;
    int rank = comm_rank(c), ranks = comm_ranks(c);
    float x[SUMS][5];
    CommSum *sums[SUMS];
    for (int s = 0; s < SUMS; s++)
        sums[s] = comm_sum_new(c, f->backend, s + 1, x[s], 5);
    for (int round = 0; round < 3; round++) {
        for (int s = 0; s < SUMS; s++) {
            for (int i = 0; i < 5; i++)
                x[s][i] = (float)(rank + s * 10 + i + round);
            comm_sum_begin(sums[s]);
            comm_sum_go_on(sums[(s + rank) % (s + 1)]);
        }
        comm_sums_finish((CommSum *[]){sums[rank % SUMS], sums[(rank + 1) % SUMS], sums[(rank + 2) % SUMS]}, SUMS);
        for (int s = 0; s < SUMS; s++)
            for (int i = 0; i < 5; i++)
                f->wrong[rank] += x[s][i] != (float)(ranks * (ranks - 1) / 2 + ranks * (s * 10 + i + round));
    }
    for (int s = 0; s < SUMS; s++)
        comm_sum_free(sums[s]);
}

static Findings *findings(void **state)
{
    Findings *f = *state;
    memset(f->wrong, 0, sizeof f->wrong);
    return f;
}

static void for_every_number(Findings *f, RankProgram *program)
{
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        virtual_ranks_run(ranks, program, f, NULL);
        for (int r = 0; r < ranks; r++)
            assert_int_equal(f->wrong[r], 0);
    }
}

static void host_values(void **state)
{
    for_every_number(findings(state), sums_and_gathers);
}

static void sums_of_vectors(void **state)
{
    Findings *f = findings(state);
    for_every_number(f, vectors);
    for (int r = 1; r < MOST_RANKS; r++)
        assert_memory_equal(f->sums[0], f->sums[r], sizeof f->sums[0]);
}

/* Memory that the host must not look at goes around as a copy. */
static void sums_of_device_memory(void **state)
{
    Backend elsewhere = *test_backend();
    elsewhere.memory.on_host = false;
    Findings device = {.backend = &elsewhere}, *f = findings(state);
    for_every_number(f, vectors);
    for_every_number(&device, vectors);
    assert_memory_equal(f->sums, device.sums, sizeof device.sums);
}

static void sums_under_way(void **state)
{
    for_every_number(findings(state), several_at_once);
}

static void one_sum(Comm *c, void *user)
{
    float x[12] = {0};
    comm_sum_floats(c, ((Findings *)user)->backend, x, 12);
}

/* 2 (P - 1) / P of the vector, in 2 (P - 1) messages. */
static void what_a_rank_sends(void **state)
{
    CommTraffic sent[4];
    virtual_ranks_run(4, one_sum, *state, sent);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(sent[r].messages, 6);
        assert_int_equal(sent[r].bytes, 6 * 3 * (int)sizeof(float));
    }
}

static void waits_for_nobody(Comm *c, void *user)
{
    (void)user;
    if (comm_rank(c) == 0)
        comm_any(c, true);
}

static void wait_for_each_other(void *unused)
{
    (void)unused;
    virtual_ranks_run(3, waits_for_nobody, NULL, NULL);
}

static void a_rank_that_nobody_answers(void **state)
{
    (void)state;
    expect_broken_contract(wait_for_each_other, NULL, "virtual ranks that all wait for each other: rank 0");
}

static void one_rank_does_nothing(void **state)
{
    const Findings *f = *state;
    double x = 3;
    float y = 4;
    comm_sum_doubles(NULL, &x, 1);
    comm_sum_floats(NULL, f->backend, &y, 1);
    assert_true(x == 3 && y == 4);
    assert_true(comm_rank(NULL) == 0 && comm_ranks(NULL) == 1 && comm_any(NULL, true) && !comm_any(NULL, false));
    comm_close(NULL);
}

/* What launchers leave in the environment. */
static void launchers(void **state)
{
    (void)state;
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "PMIX_RANK",
                                        "SLURM_NTASKS",
                                        "SLURM_LOCALID",
                                        "SLURM_STEP_NUM_TASKS",
                                        "PMI_SIZE",
                                        "PMI_RANK"};
    for (int i = 0; i < COUNT_OF(names); i++)
        unsetenv(names[i]);
    Launch l = launch_describe();
    assert_true(l.rank == 0 && l.ranks == 1 && l.local_rank == 0 && l.local_ranks == 1);
    setenv("SLURM_NTASKS", "4", 1); /* a shell inside an allocation: nothing was launched */
    assert_int_equal(launch_describe().ranks, 1);
    setenv("PMIX_RANK", "3", 1); /* srun --mpi=pmix */
    setenv("SLURM_LOCALID", "1", 1);
    l = launch_describe();
    assert_true(l.rank == 3 && l.ranks == 4 && l.local_rank == 1);
    setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
    setenv("OMPI_COMM_WORLD_RANK", "5", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "2", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4", 1);
    l = launch_describe();
    assert_true(l.rank == 5 && l.ranks == 8 && l.local_rank == 2 && l.local_ranks == 4);
}

int main(void)
{
    Error e;
    Findings f = {.backend = cpu_backend(&e)};
    void *state = &f;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(host_values, state),           cmocka_unit_test_prestate(sums_of_vectors, state),
        cmocka_unit_test_prestate(sums_of_device_memory, state), cmocka_unit_test_prestate(sums_under_way, state),
        cmocka_unit_test_prestate(what_a_rank_sends, state),     cmocka_unit_test(a_rank_that_nobody_answers),
        cmocka_unit_test_prestate(one_rank_does_nothing, state), cmocka_unit_test(launchers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
