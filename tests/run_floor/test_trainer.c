/* The training loop: when the hooks of a task are called, and that a resumed run does not begin again. */
#include "common/autograd/ops.h"
#include "common/run/trainer.h"
#include "run_floor/scratch.h"

enum { EPOCHS = 2, STEPS = 3 };

/* One weight, whose loss is its square; a buffer that counts the steps after each of them. */
typedef struct Counter {
    Task task; /* first: a Task is one */
    Params *params;
    Tensor *weight, *count, *output;
    int begun, refuse_at; /* train_step fails at this step of the epoch; -1: never */
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
    result->count = 1;
    result->loss = (double)tensor_scalar(t, c->output);
    tape_backward(t, &c->output, NULL, 1);
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

static void counter_open(Counter *c, const Backend *backend)
{
    *c = (Counter){.params = params_new(), .refuse_at = -1};
    c->weight = params_add(c->params, "weight", SHAPE(1), INIT_ONES);
    c->count = params_add_buffer(c->params, "count", SHAPE(1), INIT_ZEROS);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(hooks_are_called),
        SCRATCH_TEST(a_resumed_run_does_not_begin_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
