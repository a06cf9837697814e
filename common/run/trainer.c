#include "common/run/trainer.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/nn/gradient_sum.h"
#include "common/run/checkpoint.h"
#include "common/run/metrics.h"
#include "common/run/progress.h"
#include "common/run/tensorboard.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ROWS_AN_EPOCH = 10, TRAIN_COLUMNS = 4, SUMS = 4 };

/* Where a run stands, beside its parameters and its optimizer: all that a checkpoint must bring back. Doubles are stored as
 * their bits. */
typedef struct Standing {
    int64_t step;      /* steps done */
    double best;       /* the best validation so far; NaN: none */
    double sums[SUMS]; /* since the last row of metrics: loss, measure (both times count), count, steps */
} Standing;

/* A step that was started: which one it is, and seconds waited for its data. */
typedef struct Started {
    int64_t number, epoch, step;
    double waited;
} Started;

typedef struct Trainer {
    Task *task;
    Tape *tape;
    const TrainerOptions *options;
    Comm *comm;
    GradientSum *sum;
    bool writes; /* this rank does */
    Standing at;
    Started started; /* whose result is still to come, if `behind` */
    bool behind;
    Metrics *metrics;
    EventFile *events;
    Progress progress;
    int64_t stored[2 + SUMS]; /* the standing as a checkpoint has it */
    double last_save;
    char measure_tag[64], measure_column[64];
} Trainer;

static volatile sig_atomic_t interrupted;

static int64_t total_steps(const Task *task)
{
    return task->epochs ? task->epochs * task->steps : task->total;
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* a second one kills */
    interrupted = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- Checkpoints */

static void standing_to_bits(const Standing *s, int64_t *bits)
{
    bits[0] = s->step;
    memcpy(&bits[1], &s->best, sizeof s->best);
    memcpy(&bits[2], s->sums, sizeof s->sums);
}

static void standing_from_bits(Standing *s, const int64_t *bits)
{
    s->step = bits[0];
    memcpy(&s->best, &bits[1], sizeof s->best);
    memcpy(s->sums, &bits[2], sizeof s->sums);
}

static bool save(Trainer *r, bool best, Error *e)
{
    if (!r->writes)
        return true;
    TensorToWrite state[4];
    int states = optimizer_to_write(r->task->optimizer, state);
    standing_to_bits(&r->at, r->stored);
    state[states++] = (TensorToWrite){"trainer.standing", I64, 1, {COUNT_OF(r->stored)}, r->stored};
    int count;
    TensorToWrite *model = params_to_write(r->task->params, &count);
    CheckpointContent content = {.model = model,
                                 .model_count = count,
                                 .state = state,
                                 .state_count = states,
                                 .metadata = r->options->metadata,
                                 .metadata_count = r->options->metadata_count};
    bool good = metrics_sync(r->metrics, e) && checkpoint_save(r->options->run, r->at.step, &content, best, e);
    mem_free(model);
    r->last_save = clock_seconds();
    return good;
}

static bool load_standing(Trainer *r, const Checkpoint *c, Error *e)
{
    const FileTensor *x = tensor_file_find(c->state, "trainer.standing");
    int64_t bits[2 + SUMS];
    if (!x || x->count != COUNT_OF(bits))
        return error_set(e, "%s: trainer.standing is missing", tensor_file_path(c->state));
    if (!tensor_file_read(c->state, x, I64, bits, e))
        return false;
    standing_from_bits(&r->at, bits);
    if (r->at.step < 0 || r->at.step > total_steps(r->task))
        return error_set(e, "%s: step %lld of a run of %lld steps", tensor_file_path(c->state), (long long)r->at.step,
                         (long long)total_steps(r->task));
    return true;
}

static bool resume(Trainer *r, Error *e)
{
    Checkpoint c;
    LoadReport report = {0};
    if (!checkpoint_open(&c, r->options->resume, true, e))
        return false;
    bool good = params_load(r->task->params, c.model, &(LoadOptions){.strict = true}, &report, e) &&
                optimizer_load(r->task->optimizer, c.state, e) && load_standing(r, &c, e);
    load_report_free(&report);
    checkpoint_close(&c);
    return good;
}

/* ---- Rows of metrics.csv and TensorBoard */

static bool write_row(Trainer *r, double lr, const double *figures, Error *e)
{
    const Task *task = r->task;
    const char *tags[TRAIN_COLUMNS] = {"train/epoch", "train/lr", "train/loss", r->measure_tag};
    double values[TRAIN_COLUMNS + TASK_FIGURES], *sums = r->at.sums;
    values[0] = (double)r->at.step / (double)(task->epochs ? task->steps : task->pass);
    values[1] = lr;
    values[2] = sums[2] > 0 ? sums[0] / sums[2] : NAN;
    values[3] = sums[2] > 0 ? sums[1] / sums[2] : NAN;
    for (int i = 0; i < task->figure_count; i++)
        values[TRAIN_COLUMNS + i] = figures ? figures[i] : NAN;
    memset(r->at.sums, 0, sizeof r->at.sums);
    if (!r->writes)
        return true;
    if (!metrics_add(r->metrics, r->at.step, values, e))
        return false;
    for (int i = 0; i < TRAIN_COLUMNS + task->figure_count; i++)
        if (isfinite(values[i]) &&
            !events_scalar(r->events, i < TRAIN_COLUMNS ? tags[i] : task->figures[i - TRAIN_COLUMNS], r->at.step,
                           values[i], e))
            return false;
    return true;
}

static bool open_files(Trainer *r, Error *e)
{
    const char *measure = r->task->measure.name;
    contract(measure, "a task whose steps tell nothing beside their loss");
    if (!r->writes)
        return true;
    snprintf(r->measure_tag, sizeof r->measure_tag, "train/%s", measure);
    snprintf(r->measure_column, sizeof r->measure_column, "train_%s", measure);
    const char *columns[TRAIN_COLUMNS + TASK_FIGURES] = {"epoch", "lr", "train_loss", r->measure_column};
    for (int i = 0; i < r->task->figure_count; i++)
        columns[TRAIN_COLUMNS + i] = r->task->figures[i];
    char *path = path_join(r->options->run, "metrics.csv");
    r->metrics =
        metrics_open(path, columns, TRAIN_COLUMNS + r->task->figure_count, r->options->resume ? r->at.step : -1, e);
    mem_free(path);
    if (r->metrics)
        r->events = events_open(r->options->run, r->at.step + 1, e);
    return r->events != NULL;
}

/* ---- The loop */

static bool end_of_epoch(Trainer *r, double lr, Error *e)
{
    Task *task = r->task;
    double figures[TASK_FIGURES];
    bool best = true;
    if (task->figure_count) {
        params_share_buffers(task->params, r->comm); /* those that the checkpoint gets */
        if (!task->validate(task, r->tape, figures, e))
            return false;
        best = isnan(r->at.best) || (task->least ? figures[0] < r->at.best : figures[0] > r->at.best);
        if (best)
            r->at.best = figures[0];
        Str line = {0};
        if (task->epochs)
            str_add(&line, "epoch %lld/%d ", (long long)(r->at.step / task->steps), task->epochs);
        else
            str_add(&line, "step %lld/%lld ", (long long)r->at.step, (long long)task->total);
        for (int i = 0; i < task->figure_count; i++)
            if (isfinite(figures[i]))
                str_add(&line, "  %s %.4f", task->figures[i], figures[i]);
        log_line(r->options->log, "%s%s", line.text, best ? "  (best so far)" : "");
        str_free(&line);
    }
    bool good = write_row(r, lr, task->figure_count ? figures : NULL, e) && save(r, best, e);
    progress_pause_over(&r->progress);
    return good;
}

/* Counts a step. What went wrong in its forward has reached the parameters by now, but no checkpoint. */
static bool count_step(Trainer *r, const Started *s, const StepResult *result, Error *e)
{
    if (!isfinite(result->loss))
        return error_set(
            e,
            "the loss became %g at step %lld of the run; lower train.lr, or resume from the last checkpoint "
            "with another one",
            result->loss, (long long)s->number);
    r->at.sums[0] += result->loss * (double)result->count;
    r->at.sums[1] += result->measure * (double)result->count;
    r->at.sums[2] += (double)result->count;
    progress_step(&r->progress, &(ProgressStep){.epoch = (int)s->epoch + 1,
                                                .step = s->step + 1,
                                                .count = result->count,
                                                .loss = result->loss,
                                                .measure = result->measure,
                                                .waited = s->waited});
    return true;
}

/* The result of the last step that has not told it. */
static bool catch_up(Trainer *r, Error *e)
{
    StepResult result = {.measure = NAN};
    if (!r->behind)
        return true;
    r->behind = false;
    r->task->step_result(r->task, r->tape, &result);
    return count_step(r, &r->started, &result, e);
}

static bool compute_step(Trainer *r, Started *now, double *lr, Error *e)
{
    Task *task = r->task;
    StepResult result = {.measure = NAN};
    tape_set_step(r->tape, (uint32_t)r->at.step);
    params_zero_gradients(task->params);
    gradient_sum_begin(r->sum);
    Region before = region_open(r->tape, TRAIN, GRAD);
    bool good = task->train_step(task, r->tape, now->epoch, &result, e);
    region_close(r->tape, before);
    if (!good)
        return false;
    gradient_sum_finish(r->sum);
    now->waited = task->waited(task) - now->waited;
    if (!task->step_result && !count_step(r, now, &result, e))
        return false;
    *lr = task->learning_rate(task, now->epoch, now->step);
    optimizer_step(task->optimizer, r->tape, *lr);
    if (task->post_step)
        task->post_step(task, r->tape);
    tape_reset(r->tape);
    return true;
}

/* The step before is caught up with when all of this one was given to the device, which then has work while the host waits. */
static bool one_step(Trainer *r, int64_t epoch, int64_t step, double *lr, Error *e)
{
    Started now = {r->at.step + 1, epoch, step, r->task->waited(r->task)};
    tape_begin_step(r->tape);
    bool good = compute_step(r, &now, lr, e);
    tape_end_step(r->tape);
    if (!good || !catch_up(r, e))
        return false;
    r->at.step++;
    r->started = now;
    r->behind = r->task->step_result != NULL;
    return true;
}

static TrainerEnd loop(Trainer *r, Error *e)
{
    Task *task = r->task;
    int64_t total = total_steps(task);
    double lr = 0;
    while (r->at.step < total) {
        int64_t epoch = r->at.step / task->steps, step = r->at.step % task->steps;
        if (!one_step(r, epoch, step, &lr, e))
            return TRAINER_FAILED;
        bool last = step + 1 == task->steps || r->at.step == total;
        bool row = (step + 1) * ROWS_AN_EPOCH / task->steps > step * ROWS_AN_EPOCH / task->steps;
        if ((last || row) && !catch_up(r, e))
            return TRAINER_FAILED;
        if (last ? !end_of_epoch(r, lr, e) : row && !write_row(r, lr, NULL, e))
            return TRAINER_FAILED;
        /* On all ranks at once: a result that is caught up with is a sum over them. */
        bool stops = comm_any(r->comm, interrupted);
        bool due = comm_any(r->comm, r->writes && clock_seconds() - r->last_save > r->options->save_seconds);
        if (!last && (stops || due) && !(catch_up(r, e) && save(r, false, e)))
            return TRAINER_FAILED;
        if (stops)
            return TRAINER_INTERRUPTED;
    }
    return TRAINER_DONE;
}

/* Signals tell this rank to stop, and, where it then waits in vain, that another one has died. */
static char *watch(const Trainer *r)
{
    char *last_words =
        str_format("another rank has ended, and with it this run; it goes on from its last checkpoint with "
                   "--resume %s",
                   r->options->run);
    catch_signals();
    comm_watch(r->comm, &interrupted, last_words);
    return last_words;
}

TrainerEnd trainer_run(Task *task, Tape *t, const TrainerOptions *options, Error *e)
{
    Trainer r = {.task = task,
                 .tape = t,
                 .options = options,
                 .comm = tape_comm(t),
                 .writes = comm_rank(tape_comm(t)) == 0,
                 .at.best = NAN,
                 .last_save = clock_seconds()};
    TrainerEnd end = TRAINER_FAILED;
    bool begins = !options->resume && task->before_training;
    if (task->rows_local && comm_ranks(r.comm) > 1) {
        error_set(e, "%d ranks, but this training cannot be split among them: %s", comm_ranks(r.comm),
                  task->rows_local);
        return end;
    }
    if ((!options->resume || resume(&r, e)) && open_files(&r, e) && (!begins || task->before_training(task, t, e))) {
        task->seek(task, r.at.step / task->steps, r.at.step % task->steps);
        progress_begin(&r.progress, options->log,
                       &(ProgressPlan){.epochs = task->epochs,
                                       .steps = task->steps,
                                       .total = total_steps(task),
                                       .done = r.at.step,
                                       .unit = task->unit,
                                       .measure = task->measure});
        char *last_words = watch(&r);
        r.sum = gradient_sum_new(task->params, t, 0);
        end = loop(&r, e);
        gradient_sum_free(r.sum);
        comm_watch(r.comm, NULL, NULL);
        mem_free(last_words);
    }
    metrics_close(r.metrics);
    events_close(r.events);
    return end;
}
