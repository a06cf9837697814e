/* The workload: what the shared loop and the commands ask for. */
#include "common/hosts/language_model/result.h"

#include "common/autograd/ops.h"
#include "common/hosts/language_model/feed.h"
#include "common/hosts/language_model/generate.h"
#include "common/nn/schedule.h"
#include "common/run/command/command.h"
#include "common/run/readable.h"
#include "datasets/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Sums of a batch, over all ranks in the end. */
typedef struct StepSums {
    double tokens, nats, answers, right;
} StepSums;

/* A step whose loss is still on the device. */
typedef struct StartedStep {
    Fetch *nats;   /* [parts] */
    StepSums sums; /* the rest of them; the tokens are those of all ranks */
    int64_t count;
} StartedStep;

typedef struct LanguageTask {
    Task task; /* first: a Task is one of these */
    Job *job;
    LanguageData data;
    SequenceLoader *loader;
    int64_t at; /* steps done */
    StartedStep steps[2];
    int64_t begun, told; /* steps: of the one with number n, steps[n % 2] */
    LanguageFeed *feed;
    char figure_names[LANGUAGE_FIGURES][48];
} LanguageTask;

static const LanguageTrainConfig *train_config(const LanguageTask *l)
{
    return l->job->settings->train;
}

/* ---- Learning rate */

static double learning_rate(const Task *task, int64_t epoch, int64_t step)
{
    const LanguageTrainConfig *c = train_config(task->own);
    int64_t warmup = (int64_t)(c->warmup < 1 ? c->warmup * (double)task->total : c->warmup);
    int64_t at = epoch * task->steps + step;
    if (c->schedule == LANGUAGE_RSQRT)
        return schedule_rsqrt(c->optimization.lr, warmup, at);
    CosineSchedule s = {.peak = c->optimization.lr,
                        .floor = c->schedule == LANGUAGE_CONSTANT ? c->optimization.lr : c->min_lr,
                        .start = c->warmup_lr,
                        .warmup = warmup,
                        .total = task->total};
    return schedule_cosine(&s, at);
}

/* ---- One step */

/* One part of a batch, forward and backward: its share of the batch's mean loss, whose sum is fetched. (Answers are counted at
 * once, which waits for the logits: they are too many to keep.) */
static void train_part(LanguageTask *l, Tape *t, BatchPart part, bool last, StepSums *sums, Fetch *nats_sum)
{
    const LanguageModel *model = language_model_of(l->job);
    Tensor *ids, *labels, *auxiliary = NULL;
    Scope s = scope_open(t);
    RowMap before = language_feed_rows(t, part);
    language_feed_put(l->feed, t, part, &ids, &labels);
    Tensor *logits = model->forward(t, l->job->network, ids, &auxiliary);
    if (l->data.train->answers) {
        int64_t answers;
        sums->right += (double)language_feed_right(l->feed, t, part, logits, &answers);
        sums->answers += (double)answers;
    }
    Tensor *nats = sum_all(t, language_losses(t, logits, labels));
    Tensor *loss = scale(t, nats, 1.0f / (float)MAX(sums->tokens, 1));
    int shares = train_config(l)->accumulate * comm_ranks(tape_comm(t));
    if (auxiliary) /* a mean over the rows that are here */
        loss = add(t, loss, scale(t, auxiliary, 1.0f / (float)shares));
    tensor_fetch(t, nats, nats_sum);
    loss = scope_close(t, s, loss); /* backward lets go of the logits, then */
    if (last)
        tape_backward(t, &loss, NULL, 1);
    else
        tape_backward_part(t, &loss, NULL, 1);
    tape_map_rows(t, before);
}

/* What a step tells beside its loss, as validation's figures do. */
static double measure_of(const LanguageTask *l, const StepSums *sums)
{
    LanguageTally tally = {.tokens = (int64_t)sums->tokens,
                           .nats = sums->nats,
                           .answers = (int64_t)sums->answers,
                           .right = (int64_t)sums->right};
    LanguageFigure figures[LANGUAGE_FIGURES];
    int count = language_figures(&tally, l->data.kind, l->data.train_ratio, figures);
    return figures[MIN(1, count - 1)].value;
}

/* The parts follow each other on one tape, without a reset between them, so that each draws numbers of its own. Leaves `result`
 * to step_result. */
static bool train_step(Task *task, Tape *t, int64_t epoch, StepResult *result, Error *e)
{
    LanguageTask *l = task->own;
    const SequenceBatch *batch = sequence_loader_next(l->loader);
    int parts = train_config(l)->accumulate, rows = batch->rows / parts;
    StartedStep *started = &l->steps[l->begun++ % 2];
    Comm *comm = tape_comm(t);
    (void)epoch;
    (void)result;
    (void)e;
    started->sums = (StepSums){.tokens = (double)language_feed_counted(l->feed, (BatchPart){batch, 0, batch->rows})};
    started->count = batch->rows * comm_ranks(comm) * l->data.length;
    comm_sum_doubles(comm, &started->sums.tokens, 1);
    for (int i = 0; i < parts; i++) {
        Scope s = scope_open(t);
        train_part(l, t, (BatchPart){batch, i * rows, rows}, i + 1 == parts, &started->sums, &started->nats[i]);
        scope_close_n(t, s, NULL, 0);
    }
    l->at++;
    return true;
}

static void step_result(Task *task, Tape *t, StepResult *result)
{
    LanguageTask *l = task->own;
    StartedStep *started = &l->steps[l->told++ % 2];
    StepSums *sums = &started->sums;
    for (int i = 0; i < train_config(l)->accumulate; i++)
        sums->nats += (double)*(const float *)fetch_values(t, &started->nats[i]);
    comm_sum_doubles(tape_comm(t), &sums->nats, 3);
    result->count = started->count;
    result->loss = sums->nats / MAX(sums->tokens, 1);
    result->measure = measure_of(l, sums);
}

static void post_step(Task *task, Tape *t)
{
    LanguageTask *l = task->own;
    if (language_model_of(l->job)->post_step)
        language_model_of(l->job)->post_step(t, l->job->network);
}

static void seek(Task *task, int64_t epoch, int64_t step)
{
    LanguageTask *l = task->own;
    l->at = epoch * task->steps + step;
    sequence_loader_start(l->loader, l->at / task->pass, l->at % task->pass);
}

static double waited(const Task *task)
{
    const LanguageTask *l = task->own;
    return sequence_loader_waited(l->loader);
}

/* The first part of the first batch, which the training meets again. */
static bool before_training(Task *task, Tape *t, Error *e)
{
    LanguageTask *l = task->own;
    const LanguageModel *model = language_model_of(l->job);
    (void)e;
    if (!model->before_training)
        return true;
    sequence_loader_start(l->loader, 0, 0);
    const SequenceBatch *batch = sequence_loader_next(l->loader);
    Tensor *ids, *labels;
    BatchPart part = {batch, 0, batch->rows / train_config(l)->accumulate};
    Region before = region_open(t, TRAIN, NO_GRAD);
    RowMap rows = language_feed_rows(t, part);
    language_feed_put(l->feed, t, part, &ids, &labels);
    model->before_training(t, l->job->network, ids);
    tape_map_rows(t, rows);
    tape_reset(t);
    region_close(t, before);
    return true;
}

/* ---- Validation */

static bool validate(Task *task, Tape *t, double *figures, Error *e)
{
    LanguageTask *l = task->own;
    LanguageTally tally = {0};
    LanguageFigure found[LANGUAGE_FIGURES];
    if (!language_measure(l->job, l->data.valid, &tally, e))
        return false;
    int count = language_figures(&tally, l->data.kind, l->data.valid_ratio, found);
    for (int i = 0; i < count; i++)
        figures[i] = found[i].value;
    return comm_rank(tape_comm(t)) > 0 || language_sample(l->job, &l->data, l->at, e);
}

/* The figures that this data has: those of a pass in which everything was met once. */
static void name_figures(LanguageTask *l)
{
    LanguageTally one = {.tokens = 1, .answers = l->data.valid->answers};
    LanguageFigure figures[LANGUAGE_FIGURES];
    Task *task = &l->task;
    task->figure_count = language_figures(&one, l->data.kind, l->data.valid_ratio, figures);
    for (int i = 0; i < task->figure_count; i++) {
        snprintf(l->figure_names[i], sizeof l->figure_names[i], "val_%s", figures[i].name);
        task->figures[i] = l->figure_names[i];
    }
    bool more = task->figure_count > 1;
    task->measure = (Measure){figures[more].name, .percent = figures[more].share};
}

/* ---- Opening and closing */

static void close_task(Task *task)
{
    LanguageTask *l = task->own;
    sequence_loader_close(l->loader);
    language_feed_free(l->feed);
    for (int i = 0; i < COUNT_OF(l->steps); i++) {
        for (int part = 0; part < train_config(l)->accumulate; part++)
            fetch_free(l->job->tape, &l->steps[i].nats[part]);
        mem_free(l->steps[i].nats);
    }
    language_data_close(&l->data);
    optimizer_free(task->optimizer);
    mem_free(l);
}

static SequenceLoader *open_loader(const LanguageTask *l, Error *e)
{
    const Settings *s = l->job->settings;
    const LanguageDataConfig *d = s->data;
    return sequence_loader_open(&(SequenceLoaderOptions){.sequences = l->data.train,
                                                         .batch_size = train_config(l)->batch_size,
                                                         .rank = comm_rank(tape_comm(l->job->tape)),
                                                         .ranks = comm_ranks(tape_comm(l->job->tape)),
                                                         .parts = train_config(l)->accumulate,
                                                         .shuffle = true,
                                                         .drop_last = true,
                                                         .seed = (uint32_t)s->run.seed,
                                                         .threads = d->threads,
                                                         .ahead = d->ahead},
                                e);
}

/* How long, and from where to where the loop calls it an epoch. */
static void set_length(LanguageTask *l)
{
    const LanguageTrainConfig *c = train_config(l);
    Task *task = &l->task;
    task->pass = sequence_loader_steps(l->loader);
    task->total = c->steps ? c->steps : c->epochs * task->pass;
    task->steps = c->validate_every ? c->validate_every : c->steps ? MAX(c->steps / 10, (int64_t)1) : task->pass;
    task->steps = MIN(task->steps, task->total);
}

static void introduce(const LanguageTask *l)
{
    const LanguageDataConfig *d = l->job->settings->data;
    const LanguageTrainConfig *c = train_config(l);
    Readable steps = readable_count(l->task.total), epoch = readable_count(l->task.pass);
    Readable tokens = readable_count(c->batch_size * l->data.length);
    log_line(l->job->log, "%s: sequences of %lld tokens, %s tokens a step, %s steps, %s of them a pass over the data",
             d->set, (long long)l->data.length, tokens.text, steps.text, epoch.text);
}

static bool load_start(Job *job, Error *e)
{
    const LanguageTrainConfig *c = job->settings->train;
    return !c->finetune || weights_read(job, c->finetune, NULL, e);
}

/* A prompt that the model cannot go on with is better known now than at the first validation. */
static bool check_prompt(const LanguageTask *l, Error *e)
{
    const LanguageTrainConfig *c = train_config(l);
    TokenIds ids = {0};
    bool good = l->data.kind != DATA_OF_TEXT || !c->sample_length ||
                language_prompt(l->job, l->data.tokenizer, c->sample_prompt, &ids, e) ||
                error_prefix(e, "train.sample_prompt");
    array_free(&ids);
    return good;
}

static Task *open_task(Job *job, Error *e)
{
    LanguageTask *l = mem_new(sizeof *l);
    Task *task = &l->task;
    l->job = job;
    *task = (Task){.own = l,
                   .unit = "tokens",
                   .params = job->params,
                   .least = true,
                   .learning_rate = learning_rate,
                   .seek = seek,
                   .train_step = train_step,
                   .step_result = step_result,
                   .before_training = before_training,
                   .post_step = post_step,
                   .validate = validate,
                   .waited = waited};
    for (int i = 0; i < COUNT_OF(l->steps); i++)
        l->steps[i].nats = mem_new((size_t)train_config(l)->accumulate * sizeof(Fetch));
    bool good = language_data_open(&l->data, job, true, e) && check_prompt(l, e) && load_start(job, e) &&
                (l->loader = open_loader(l, e)) != NULL;
    if (!good) {
        close_task(task);
        return NULL;
    }
    const LanguageTrainConfig *c = train_config(l);
    l->feed = language_feed_new(job, l->data.length, c->batch_size / c->accumulate / comm_ranks(tape_comm(job->tape)));
    set_length(l);
    name_figures(l);
    OptimizerOptions optimizer = optimization_options(&c->optimization);
    const LanguageModel *model = language_model_of(job);
    optimizer.decays = model->decays ? model->decays(job->settings->model) : NULL;
    task->optimizer = optimizer_new(&optimizer, job->params);
    optimization_of_ranks(&c->optimization, job->tape, job->params, job->log);
    introduce(l);
    return task;
}

/* ---- The rest of the workload */

static bool finish(Task *task, Job *job, Result *result, Error *e)
{
    const LanguageTask *l = task->own;
    return language_finish(job, &l->data, task->total, result, e);
}

static bool find_data(const Settings *s, Str *description, Error *e)
{
    const LanguageDataConfig *d = s->data;
    return dataset_find(d->set, d->path, description, e);
}

static void rehearse(Job *job)
{
    const LanguageTrainConfig *c = job->settings->train;
    const LanguageDataConfig *d = job->settings->data;
    Error later; /* a length that does not fit is told where the data is opened */
    bool given = d->length && language_length_fits(job, d->length, &later);
    int64_t rows = c->batch_size / c->accumulate, length = given ? d->length : language_shape_of(job).window;
    Tape *t = job->tape;
    Tensor *auxiliary = NULL, *ids = tensor_from(t, I64, SHAPE(rows, length), NULL);
    Region before = region_open(t, TRAIN, GRAD);
    Scope s = scope_open(t);
    Tensor *logits = language_model_of(job)->forward(t, job->network, ids, &auxiliary);
    Tensor *labels = tensor_from(t, I64, SHAPE(rows * length), NULL);
    Tensor *loss = sum_all(t, language_losses(t, logits, labels));
    if (auxiliary)
        loss = add(t, loss, auxiliary);
    loss = scope_close(t, s, loss);
    tape_backward(t, &loss, NULL, 1);
    tape_reset(t);
    region_close(t, before);
}

static const ModelView views[] = {
    {"--generate", "TEXT", "goes on with TEXT (eval.length tokens; eval.temperature, top_k, top_p, seed)",
     language_generate_view},
    {0},
};

const Workload language_model_workload = {
    .data = &language_data_table,
    .train = &language_train_table,
    .eval = &language_eval_table,
    .find_data = find_data,
    .open = open_task,
    .finish = finish,
    .close = close_task,
    .evaluate = language_evaluate,
    .features = language_features,
    .rehearse = rehearse,
    .views = views,
};
