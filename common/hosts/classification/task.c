/* The workload: what the shared loop and the commands ask for. */
#include "common/hosts/classification/classification.h"

#include "common/autograd/ops.h"
#include "common/autograd/ranks.h"
#include "common/nn/schedule.h"
#include "common/run/command/command.h"
#include "common/run/readable.h"
#include "datasets/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const ConfigTable classification_data_table, classification_train_table, classification_eval_table;

/* A step whose result is still on the device. */
typedef struct StartedStep {
    Fetch loss, logits;
    int64_t *labels; /* [batch] */
    int rows;
    bool mixed;
} StartedStep;

typedef struct ClassificationTask {
    Task task; /* first: a Task is one of these */
    Job *job;
    Dataset *train, *held, *test;
    Loader *loader;
    ImageTransform train_transform, eval_transform;
    CosineSchedule schedule;
    float *targets; /* [batch, classes] */
    StartedStep steps[2];
    int64_t begun, told; /* steps: of the one with number n, steps[n % 2] */
    char part_figures[CLASSIFIER_PARTS][48];
} ClassificationTask;

static const Classifier *classifier_of(const Job *job)
{
    return job->model->workload_hooks;
}

/* ---- Learning rate */

static CosineSchedule schedule_of(const TrainConfig *c, int64_t steps)
{
    double lr = c->optimization.lr, peak = c->lr_batch > 0 ? lr * c->batch_size / c->lr_batch : lr;
    CosineSchedule s = {
        .peak = peak, .floor = c->schedule == SCHEDULE_CONSTANT ? peak : c->min_lr, .start = c->warmup_lr};
    if (c->schedule == SCHEDULE_TIMM) {
        s.warmup = (int64_t)c->warmup;
        s.total = c->epochs;
    } else {
        s.total = c->epochs * steps;
        s.warmup = (int64_t)(c->warmup < 1 ? c->warmup * (double)s.total : c->warmup * (double)steps);
    }
    return s;
}

static double learning_rate(const Task *task, int64_t epoch, int64_t step)
{
    const ClassificationTask *c = task->own;
    const TrainConfig *config = c->job->settings->train;
    if (config->schedule == SCHEDULE_TIMM)
        return schedule_timm_cosine(&c->schedule, epoch);
    return schedule_cosine(&c->schedule, epoch * task->steps + step);
}

/* ---- One step */

static int count_right(const float *logits, const int64_t *labels, int rows, int classes)
{
    int right = 0;
    for (int i = 0; i < rows; i++)
        right += classification_rank(logits + (int64_t)i * classes, classes, labels[i]) == 0;
    return right;
}

/* What data.skip_corrupt lets pass is named, once: every epoch meets the same files. */
static void say_replaced(Log *log, const Batch *batch)
{
    if (batch->corrupt > 0 && batch->epoch == 0)
        log_line(log, "replaced: %s%s", batch->corrupt_line.text,
                 batch->corrupt > 1 ? " (and more of this batch)" : "");
}

/* What the ranks add up. */
typedef struct StepSums {
    double rows, loss, right;
} StepSums;

/* The batch as the network gets it: what the loader has left to the device. */
static Tensor *mixed_images(Tape *t, const Batch *batch, const Mix *mix)
{
    Scope s = scope_open(t);
    return scope_close(t, s, mix_images(t, mix, batch_images(t, batch)));
}

/* Leaves `result` to step_result. */
static bool train_step(Task *task, Tape *t, int64_t epoch, StepResult *result, Error *e)
{
    ClassificationTask *c = task->own;
    const Settings *s = c->job->settings;
    const TrainConfig *config = s->train;
    const Classifier *classifier = classifier_of(c->job);
    int classes = classifier->classes(s->model);
    (void)epoch;
    (void)result;
    const Batch *batch = loader_next(c->loader, e);
    if (!batch)
        return false;
    say_replaced(c->job->log, batch);
    Random random = batch->random;
    MixOptions options = {config->mixup, config->cutmix, config->mix_probability, config->mix_switch};
    Mix mix = mix_draw(&options, batch->size, batch->size, &random);
    mix_targets(&mix, batch->labels, batch->rows, classes, config->smoothing, c->targets);

    Tensor *x = mixed_images(t, batch, &mix);
    Tensor *targets = tensor_from(t, F32, SHAPE(batch->rows, classes), c->targets);
    RowMap before = tape_map_rows(t, (RowMap){batch->place, batch->place ? batch->rows : 0});
    Tensor *logits = tape_keep(t, classifier->forward(t, c->job->network, x, NULL));
    Tensor *loss = tape_keep(t, comm_mean(t, soft_cross_entropy(t, logits, targets, NULL)));
    tape_backward(t, &loss, NULL, 1);
    tape_map_rows(t, before);

    StartedStep *started = &c->steps[c->begun++ % 2];
    tensor_fetch(t, loss, &started->loss);
    tensor_fetch(t, logits, &started->logits);
    memcpy(started->labels, batch->labels, (size_t)batch->rows * sizeof *started->labels);
    started->rows = batch->rows;
    started->mixed = mix.mode != MIX_NONE;
    return true;
}

static void step_result(Task *task, Tape *t, StepResult *result)
{
    ClassificationTask *c = task->own;
    StartedStep *started = &c->steps[c->told++ % 2];
    const float *loss = fetch_values(t, &started->loss), *logits = fetch_values(t, &started->logits);
    int classes = classifier_of(c->job)->classes(c->job->settings->model);
    StepSums sums = {started->rows, (double)*loss, count_right(logits, started->labels, started->rows, classes)};
    comm_sum_doubles(tape_comm(t), &sums.rows, sizeof sums / sizeof(double));
    result->count = (int64_t)sums.rows;
    result->loss = sums.loss;
    result->measure = started->mixed ? NAN : sums.right / sums.rows; /* a mixed image has no single right answer */
}

static void seek(Task *task, int64_t epoch, int64_t step)
{
    ClassificationTask *c = task->own;
    loader_start(c->loader, epoch, step);
}

static double waited(const Task *task)
{
    const ClassificationTask *c = task->own;
    return loader_waited(c->loader);
}

/* ---- Validation */

static bool validate(Task *task, Tape *t, double *figures, Error *e)
{
    ClassificationTask *c = task->own;
    const Classifier *classifier = classifier_of(c->job);
    (void)t;
    const EvalConfig *config = c->job->settings->eval;
    Dataset *data = c->held ? c->held : c->test;
    Tally tally = {0}, augmented = {0};
    if (!classification_evaluate(c->job, data, &c->eval_transform, &tally, e) ||
        (config->augment && !classification_evaluate(c->job, data, &c->train_transform, &augmented, e)))
        return false;
    *figures++ = (double)tally.top1 / (double)tally.count;
    *figures++ = classification_loss(&tally, config->loss);
    for (int p = 0; p < CLASSIFIER_PARTS && classifier->parts[p]; p++)
        *figures++ = classification_part_accuracy(&tally, p);
    if (config->augment) {
        *figures++ = (double)augmented.top1 / (double)augmented.count;
        *figures++ = classification_loss(&augmented, config->loss);
    }
    return true;
}

static void name_figures(ClassificationTask *c)
{
    Task *task = &c->task;
    const Classifier *classifier = classifier_of(c->job);
    task->figures[task->figure_count++] = "val_accuracy";
    task->figures[task->figure_count++] = "val_loss";
    for (int p = 0; p < CLASSIFIER_PARTS && classifier->parts[p]; p++) {
        snprintf(c->part_figures[p], sizeof c->part_figures[p], "val_accuracy_%s", classifier->parts[p]);
        task->figures[task->figure_count++] = c->part_figures[p];
    }
    if (((const EvalConfig *)c->job->settings->eval)->augment) {
        task->figures[task->figure_count++] = "val_accuracy_augmented";
        task->figures[task->figure_count++] = "val_loss_augmented";
    }
}

/* ---- Opening and closing */

static void close_task(Task *task)
{
    ClassificationTask *c = task->own;
    loader_close(c->loader);
    dataset_close(c->train);
    dataset_close(c->held);
    dataset_close(c->test);
    optimizer_free(task->optimizer);
    for (int i = 0; i < COUNT_OF(c->steps); i++) {
        fetch_free(c->job->tape, &c->steps[i].loss);
        fetch_free(c->job->tape, &c->steps[i].logits);
        mem_free(c->steps[i].labels);
    }
    mem_free(c->targets);
    mem_free(c);
}

static Loader *open_train_loader(const ClassificationTask *c, Error *e)
{
    const Settings *s = c->job->settings;
    const DataConfig *d = s->data;
    const TrainConfig *config = s->train;
    return loader_open(&(LoaderOptions){.dataset = c->train,
                                        .transform = c->train_transform,
                                        .batch_size = config->batch_size,
                                        .rank = comm_rank(tape_comm(c->job->tape)),
                                        .ranks = comm_ranks(tape_comm(c->job->tape)),
                                        .shuffle = true,
                                        .drop_last = config->drop_last,
                                        .repeats = d->repeats,
                                        .seed = (uint32_t)s->run.seed,
                                        .threads = d->threads,
                                        .ahead = d->ahead,
                                        .epochs = config->epochs,
                                        .on_corrupt = d->skip_corrupt ? CORRUPT_REPLACE : CORRUPT_STOP},
                       e);
}

static bool load_start(Job *job, Error *e)
{
    const TrainConfig *config = job->settings->train;
    return !config->finetune ||
           weights_read(job, config->finetune, config->new_head ? classifier_of(job)->head : NULL, e);
}

static Task *open_task(Job *job, Error *e)
{
    ClassificationTask *c = mem_new(sizeof *c);
    Settings *s = job->settings;
    const TrainConfig *config = s->train;
    Task *task = &c->task;
    c->job = job;
    *task = (Task){.own = c,
                   .epochs = config->epochs,
                   .unit = "images",
                   .measure = {"accuracy", .percent = true},
                   .params = job->params,
                   .learning_rate = learning_rate,
                   .seek = seek,
                   .train_step = train_step,
                   .step_result = step_result,
                   .validate = validate,
                   .waited = waited};
    c->train_transform = classification_transform(s->data, true);
    c->eval_transform = classification_transform(s->data, false);
    int64_t classes = classifier_of(job)->classes(s->model);
    c->targets = mem_new((size_t)(config->batch_size * classes) * sizeof *c->targets);
    for (int i = 0; i < COUNT_OF(c->steps); i++)
        c->steps[i].labels = mem_new((size_t)config->batch_size * sizeof *c->steps[i].labels);
    bool good = classification_train_data(s, &c->train, &c->held, e) &&
                (c->test = classification_test_data(s, e)) != NULL &&
                classification_fits(s, classifier_of(job), c->train, e) && load_start(job, e) &&
                (c->loader = open_train_loader(c, e)) != NULL;
    if (!good) {
        close_task(task);
        return NULL;
    }
    task->steps = loader_steps(c->loader);
    c->schedule = schedule_of(config, task->steps);
    name_figures(c);
    OptimizerOptions optimizer = optimization_options(&config->optimization);
    task->optimizer = optimizer_new(&optimizer, job->params);
    optimization_of_ranks(&config->optimization, job->tape, job->params, job->log);
    Readable n = readable_count(c->train->count), held = readable_count(c->held ? c->held->count : 0),
             test = readable_count(c->test->count);
    log_line(job->log, "%s: %s training images, %s held out for validation, %s test images, %d classes, side %d",
             ((const DataConfig *)s->data)->set, n.text, held.text, test.text, c->train->classes,
             ((const DataConfig *)s->data)->input_size);
    return task;
}

/* ---- The rest of the workload */

static bool finish(Task *task, Job *job, Result *result, Error *e)
{
    return classification_test(job, ((ClassificationTask *)task->own)->test, result, e);
}

static bool find_data(const Settings *s, Str *description, Error *e)
{
    const DataConfig *d = s->data;
    return dataset_find(d->set, d->path, description, e);
}

static void rehearse(Job *job)
{
    const Classifier *c = classifier_of(job);
    const TrainConfig *train = job->settings->train;
    const DataConfig *d = job->settings->data;
    Tape *t = job->tape;
    Region before = region_open(t, TRAIN, GRAD);
    ImageTransform transform = classification_transform(d, true);
    Batch batch = {.rows = train->batch_size, .channels = c->channels(job->settings->model), .transform = &transform};
    Mix mix = {.mode = train->mixup > 0 || train->cutmix > 0 ? MIX_MIXUP : MIX_NONE, .lambda = 1};
    Tensor *x = mixed_images(t, &batch, &mix);
    Tensor *targets = tensor_from(t, F32, SHAPE(train->batch_size, c->classes(job->settings->model)), NULL);
    Tensor *loss = mean_all(t, soft_cross_entropy(t, c->forward(t, job->network, x, NULL), targets, NULL));
    tape_backward(t, &loss, NULL, 1);
    tape_reset(t);
    region_close(t, before);
}

const Workload classification_workload = {
    .data = &classification_data_table,
    .train = &classification_train_table,
    .eval = &classification_eval_table,
    .find_data = find_data,
    .open = open_task,
    .finish = finish,
    .close = close_task,
    .evaluate = classification_test_alone,
    .features = classification_features,
    .rehearse = rehearse,
};
