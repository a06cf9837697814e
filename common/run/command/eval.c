/* ./eval MODEL ... */
#include "common/run/command/command.h"

#include "common/base/memory.h"
#include "common/run/machine.h"
#include "common/run/run_folder.h"

#include <stdio.h>
#include <stdlib.h>

/* Opens a job with the target's weights. */
static bool open_target(Job *job, const Program *p, const char *target, const Node *overrides, Error *e)
{
    Weights w;
    *job = (Job){0};
    bool good = weights_find(&w, target, e);
    Settings *s = good ? weights_settings(p, &w, overrides, e) : NULL;
    good = s && job_open(job, p, s, JOB_ON_DEVICE, e);
    if (good) {
        job->log = log_open(stdout, NULL, e);
        job->from = w.run ? str_copy(w.run) : NULL;
        good = weights_load(&w, job, NULL, e);
    } else {
        settings_free(s);
    }
    weights_free(&w);
    return good;
}

static void close_target(Job *job)
{
    Settings *s = job->settings;
    log_close(job->log);
    free(job->from);
    if (job->model)
        job_close(job);
    settings_free(s);
}

static int with_target(const Program *p, const EvalOptions *o, bool (*run)(Job *, const EvalOptions *, Error *))
{
    Error e;
    Job job;
    char *newest = o->target ? NULL : run_folder_newest("runs", p->model->name, &e);
    const char *target = o->target ? o->target : newest;
    bool good = target && open_target(&job, p, target, o->overrides, &e);
    if (good)
        good = run(&job, o, &e);
    if (target)
        close_target(&job);
    free(newest);
    return good ? 0 : user_error(&e);
}

static bool run_metrics(Job *job, const EvalOptions *o, Error *e)
{
    (void)o;
    return job->model->workload->evaluate(job, e);
}

static bool run_features(Job *job, const EvalOptions *o, Error *e)
{
    return job->model->workload->features(job, o->path, e);
}

const ModelView *model_view(const Model *model, int i)
{
    const ModelView *const lists[] = {model->views, model->workload->views};
    for (int k = 0; k < COUNT_OF(lists); k++)
        for (const ModelView *v = lists[k]; v && v->name; v++)
            if (i-- == 0)
                return v;
    return NULL;
}

static bool run_view(Job *job, const EvalOptions *o, Error *e)
{
    return model_view(job->model, o->view)->show(job, o->path, e);
}

/* A golden file brings its config; where it is computed is the one thing to choose. */
typedef struct GoldenKeys {
    DeviceChoice device;
} GoldenKeys;

static const ConfigField golden_rows[] = {
    {CONFIG_ENUM("device", GoldenKeys, device, CONFIG_WORDS("cpu", "cuda"), .value = "cpu")},
};
static const ConfigTable golden_table = {CONFIG_STRUCT(GoldenKeys), CONFIG_ROWS(golden_rows)};

static int golden(const Program *p, const EvalOptions *o)
{
    Error e;
    GoldenKeys keys;
    if (!config_bind(&golden_table, o->overrides, &keys, &e))
        return user_error(&e);
    const Backend *backend = device_backend(keys.device, &e);
    if (!backend)
        return user_error(&e);
    return golden_run(o->path, p->model->name, p->model->golden, backend, machine_describe("").usable);
}

static int table(const Program *p, const EvalOptions *o)
{
    Error e;
    if (!p->model->table)
        error_set(&e, "--table %d: %s has no tables yet", o->table, p->model->name);
    else if (p->model->table(p, o->table, o->overrides, &e))
        return 0;
    return user_error(&e);
}

int eval_command(const Program *p, const EvalOptions *o)
{
    Error e;
    switch (o->action) {
    case EVAL_CONFIGS:
        return print_configs(p, false, &e) ? 0 : user_error(&e);
    case EVAL_GOLDEN:
        return golden(p, o);
    case EVAL_TABLE:
        return table(p, o);
    case EVAL_VIEW:
        return with_target(p, o, run_view);
    case EVAL_FEATURES:
        return with_target(p, o, run_features);
    case EVAL_METRICS:
        return with_target(p, o, run_metrics);
    }
    return 2;
}
