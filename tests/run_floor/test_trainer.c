/* The training loop: when the hooks of a task are called, and that a resumed run does not begin again. */
#include "common/autograd/ops.h"
#include "common/comm/virtual.h"
#include "common/run/trainer.h"
#include "run_floor/scratch.h"

enum { EPOCHS = 2, STEPS = 3 };

/* One weight, whose loss is its square; a buffer that counts the steps after each of them. */
typedef struct Counter {
    Task task; /* first: a Task is one */
    Params *params;
    Tensor *weight, *count, *own, *output; /* own: each rank writes its number there */
    float share;                           /* of the loss that is this rank's; 0: all */
    float rank, validated;                 /* validated: what `own` was in the last validation */
    int begun, refuse_at;                  /* train_step fails at this step of the epoch; -1: never */
    float after[EPOCHS * STEPS];
} Counter;

static Counter *counter_of(Task *task)
{
    return task->own;
}

static double learning_rate(const Task *task, int64_t epoch, int64_t step)
{
    (void)task, (void)epoch, (void)step;
    return 0.25;
}

static void seek(Task *task, int64_t epoch, int64_t step)
{
    (void)task, (void)epoch, (void)step;
}

static double waited(const Task *task)
{
    (void)task;
    return 0;
}

static bool before_training(Task *task, Tape *t, Error *e)
{
    (void)t, (void)e;
    counter_of(task)->begun++;
    return true;
}

static bool train_step(Task *task, Tape *t, int64_t epoch, StepResult *result, Error *e)
{
    Counter *c = counter_of(task);
    if (epoch == 1 && c->refuse_at == 1)
        return error_set(e, "refused");
    c->output = tape_keep(t, square(t, c->weight));
    *(float *)c->own->data = c->rank;
    result->count = 1;
    result->loss = (double)tensor_scalar(t, c->output);
    Tensor *loss = c->share > 0 ? scale(t, c->output, c->share) : c->output;
    tape_backward(t, &loss, NULL, 1);
    return true;
}

/* The forward's tensors are still there, and the weight has been stepped. */
static void post_step(Task *task, Tape *t)
{
    Counter *c = counter_of(task);
    float *count = c->count->data;
    assert_true(tensor_scalar(t, c->output) > 0);
    c->after[(int)*count] = *(float *)c->weight->data;
    *count += 1;
}

static bool validate(Task *task, Tape *t, double *figures, Error *e)
{
    (void)t, (void)e;
    Counter *c = counter_of(task);
    c->validated = *(float *)c->own->data;
    figures[0] = (double)c->validated;
    return true;
}

static void counter_open(Counter *c, const Backend *backend)
{
    *c = (Counter){.params = params_new(), .refuse_at = -1};
    c->weight = params_add(c->params, "weight", SHAPE(1), INIT_ONES);
    c->count = params_add_buffer(c->params, "count", SHAPE(1), INIT_ZEROS);
    c->own = params_add_buffer(c->params, "own", SHAPE(1), INIT_ZEROS);
    params_allocate(c->params, true, 0, backend);
    c->task = (Task){.own = c,
                     .epochs = EPOCHS,
                     .steps = STEPS,
                     .unit = "weights",
                     .measure = {.name = "weight"},
                     .params = c->params,
                     .optimizer = optimizer_new(&(OptimizerOptions){.kind = OPTIMIZER_SGD}, c->params),
                     .learning_rate = learning_rate,
                     .seek = seek,
                     .train_step = train_step,
                     .before_training = before_training,
                     .post_step = post_step,
                     .validate = validate,
                     .waited = waited};
}

static void counter_close(Counter *c)
{
    optimizer_free(c->task.optimizer);
    params_free(c->params);
}

static TrainerEnd train(Counter *c, const char *run, const char *resume, Error *e)
{
    const Backend *backend = cpu_backend(e);
    Log *log = log_open(stdout, NULL, e);
    Tape *t = tape_new(&(TapeOptions){.backend = backend, .threads = 1});
    TrainerEnd end =
        trainer_run(&c->task, t, &(TrainerOptions){.run = run, .log = log, .resume = resume, .save_seconds = 1e9}, e);
    tape_free(t);
    log_close(log);
    return end;
}

static void hooks_are_called(void **state)
{
    Error e;
    Counter c;
    counter_open(&c, cpu_backend(&e));
    assert_int_equal(train(&c, *state, NULL, &e), TRAINER_DONE);
    assert_int_equal(c.begun, 1);
    assert_true(*(float *)c.count->data == EPOCHS * STEPS);
    for (int i = 0; i < EPOCHS * STEPS; i++)
        assert_true(c.after[i] == (float)(1.0 / (2 << i))); /* w -= 0.25 * 2 w */
    counter_close(&c);
}

static void a_resumed_run_does_not_begin_again(void **state)
{
    Error e;
    Counter first, second;
    counter_open(&first, cpu_backend(&e));
    first.refuse_at = 1;
    assert_int_equal(train(&first, *state, NULL, &e), TRAINER_FAILED);
    assert_string_equal(e.text, "refused");
    counter_open(&second, cpu_backend(&e));
    char *checkpoint = path_join(*state, "checkpoints/3");
    assert_int_equal(train(&second, *state, checkpoint, &e), TRAINER_DONE);
    assert_int_equal(second.begun, 0);
    assert_true(*(float *)second.count->data == EPOCHS * STEPS); /* the buffer came back with the checkpoint */
    assert_true(second.after[STEPS] == 1.0f / 16);
    mem_free(checkpoint);
    counter_close(&first);
    counter_close(&second);
}

/* ---- Ranks */

typedef struct Ranks {
    char *folder;
    TrainerEnd end[2];
    Error error[2];
    int refused[2];
} Ranks;

static void train_whole_batches(Comm *c, void *user)
{
    Ranks *r = user;
    int rank = comm_rank(c);
    Error *e = &r->error[rank];
    Counter counter;
    counter_open(&counter, cpu_backend(e));
    counter.task.rows_local = "its loss compares every row with every other";
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(e), .threads = 1, .comm = c});
    r->end[rank] = trainer_run(&counter.task, t, &(TrainerOptions){.run = r->folder, .save_seconds = 1e9}, e);
    tape_free(t);
    counter_close(&counter);
}

static void a_training_that_cannot_be_split_refuses_ranks(void **state)
{
    Ranks r = {.folder = *state};
    virtual_ranks_run(2, train_whole_batches, &r, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r.end[i], TRAINER_FAILED);
        assert_string_equal(r.error[i].text, "2 ranks, but this training cannot be split among them: its loss compares "
                                             "every row with every other");
    }
    char *metrics = path_join(*state, "metrics.csv");
    assert_false(file_exists(metrics));
    mem_free(metrics);
}

/* The weight's loss is a part of each rank's, and rank 0 alone writes. */
static void train_together(Comm *c, void *user)
{
    Ranks *r = user;
    int rank = comm_rank(c);
    Error *e = &r->error[rank];
    Counter counter;
    counter_open(&counter, cpu_backend(e));
    counter.share = 0.5f;
    counter.rank = (float)(rank + 1);
    counter.task.figures[0] = "val_own";
    counter.task.figure_count = 1;
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(e), .threads = 1, .comm = c});
    Log *log = log_open(stdout, NULL, e);
    char *folder = rank ? str_copy("/nowhere/at/all") : str_copy(r->folder);
    r->end[rank] = trainer_run(&counter.task, t, &(TrainerOptions){.run = folder, .log = log, .save_seconds = 1e9}, e);
    for (int i = 0; i < EPOCHS * STEPS; i++)
        r->refused[rank] += counter.after[i] != (float)(1.0 / (2 << i));
    r->refused[rank] += counter.validated != 1; /* every rank validates with rank 0's buffers */
    mem_free(folder);
    log_close(log);
    tape_free(t);
    counter_close(&counter);
}

static void ranks_train_together_and_one_writes(void **state)
{
    Ranks r = {.folder = *state};
    virtual_ranks_run(2, train_together, &r, NULL);
    for (int i = 0; i < 2; i++) {
        if (r.end[i] != TRAINER_DONE)
            fail_msg("rank %d: %s", i, r.error[i].text);
        assert_int_equal(r.refused[i], 0);
    }
    char *checkpoint = path_join(*state, "checkpoints/6");
    assert_true(folder_exists(checkpoint));
    mem_free(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(hooks_are_called),
        SCRATCH_TEST(a_resumed_run_does_not_begin_again),
        SCRATCH_TEST(a_training_that_cannot_be_split_refuses_ranks),
        SCRATCH_TEST(ranks_train_together_and_one_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
