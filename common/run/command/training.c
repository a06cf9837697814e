/* One run: its folder filled from the first step to the report. */
#include "common/run/command/command.h"

#include "common/base/file.h"
#include "common/run/checkpoint.h"
#include "common/run/readable.h"
#include "common/run/run_folder.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The config as the run reads it again, and as its checkpoints carry it. */
static char *resolved_text(const Settings *s)
{
    Str text = {0};
    Node *node = settings_resolved(s);
    node_write_yaml(node, &text);
    node_free(node);
    return text.text;
}

/* A resumed run must be the one that its checkpoint carries the config of, whatever became of config.yaml: threads and the
 * like may change, what decides its numbers may not. */
static bool same_run(const char *checkpoint, const Settings *s, Error *e)
{
    static const char *const decisive[] = {"seed", "model", "data", "train", "precision"};
    Weights w;
    bool same = weights_find(&w, checkpoint, e);
    const Node *before = w.config;
    Node *now = settings_resolved(s);
    for (int i = 0; same && i < COUNT_OF(decisive); i++) {
        const Node *a = node_find(before, decisive[i]), *b = node_find(now, decisive[i]);
        for (int k = 0; same && b && b->kind == NODE_MAP && k < b->count; k++) {
            const Node *old = node_find(a, b->keys[k]);
            bool free_to_change = strcmp(b->keys[k], "threads") == 0 || strcmp(b->keys[k], "ahead") == 0 ||
                                  strcmp(b->keys[k], "path") == 0;
            if (!free_to_change && (!old || !node_equal(old, b->items[k])))
                same = error_set(e, "%s: %s.%s differs from the run that is to be resumed; begin a new run instead",
                                 checkpoint, decisive[i], b->keys[k]);
        }
        if (same && b && b->kind != NODE_MAP && (!a || !node_equal(a, b)))
            same = error_set(e, "%s: %s differs from the run that is to be resumed; begin a new run instead",
                             checkpoint, decisive[i]);
    }
    weights_free(&w);
    node_free(now);
    return same;
}

bool latest_checkpoint(const Program *p, const char *run, char **path, Error *e)
{
    char *found = NULL;
    bool failed = comm_rank(p->comm) == 0 && !checkpoint_latest(run, &found, e);
    if (comm_any(p->comm, failed))
        return failed ? false : error_set(e, "rank 0 cannot read the checkpoints of %s", run);
    *path = comm_share_text(p->comm, found);
    free(found);
    return true;
}

static bool write_result(const char *run, const Result *r, Error *e)
{
    Str text = {0};
    for (int i = 0; i < r->count; i++) {
        if (isfinite(r->values[i]))
            str_add(&text, "%s: %.9g\n", r->names[i], r->values[i]);
        else
            str_add(&text, "%s: null\n", r->names[i]);
    }
    char *path = path_join(run, "result.yaml");
    bool good = file_write(path, text.text ? text.text : "", text.length, e);
    str_free(&text);
    free(path);
    return good;
}

static void introduce(const Job *job, const char *run)
{
    Readable parameters = readable_count(params_elements(job->params));
    log_line(job->log, "%s: config %s%s%s, seed %lld, %s parameters, into %s", job->model->name,
             job->settings->config_name, job->settings->arm ? ", arm " : "",
             job->settings->arm ? job->settings->arm : "", (long long)job->settings->run.seed, parameters.text, run);
    Comm *comm = tape_comm(job->tape);
    if (comm)
        log_line(job->log, "%d ranks, sums over %s", comm_ranks(comm), comm_name(comm));
}

/* The test set meets the checkpoint that the validation chose, which is also what ./eval takes from a run. */
static bool load_best(Job *job, Error *e)
{
    char *folder = checkpoint_named(job->run, "best", e);
    bool good = folder && weights_read(job, folder, NULL, e);
    free(folder);
    return good;
}

/* Rank 0 alone tests and writes, while the others wait. */
static bool finish(Task *task, Job *job, Comm *comm, Error *e)
{
    Result result = {0};
    bool failed = false;
    if (comm_rank(comm) == 0) {
        tape_use_comm(job->tape, NULL);
        failed = !(load_best(job, e) && job->model->workload->finish(task, job, &result, e) &&
                   write_result(job->run, &result, e) && run_folder_finish(job->run, e));
        tape_use_comm(job->tape, comm);
    }
    return !comm_any(comm, failed) || (!failed && error_set(e, "rank 0 could not finish %s", job->run));
}

static TrainerEnd train_job(const Program *p, Job *job, const char *resume, const char *config_text, Error *e)
{
    const Workload *w = job->model->workload;
    Task *task = w->open(job, e);
    if (!task)
        return TRAINER_FAILED;
    if (!job_rehearse(p, job->settings, e)) {
        w->close(task);
        return TRAINER_FAILED;
    }
    const MetadataEntry metadata[] = {{"model", job->model->name}, {"config", config_text}};
    TrainerEnd end = trainer_run(task, job->tape,
                                 &(TrainerOptions){.run = job->run,
                                                   .log = job->log,
                                                   .resume = resume,
                                                   .save_seconds = job->settings->run.save_seconds,
                                                   .metadata = metadata,
                                                   .metadata_count = COUNT_OF(metadata)},
                                 e);
    if (end == TRAINER_DONE && !finish(task, job, tape_comm(job->tape), e))
        end = TRAINER_FAILED;
    if (end == TRAINER_DONE)
        log_line(job->log, "waited %.1f s for data", task->waited(task));
    w->close(task);
    return end;
}

/* A run from its first step: its figures, should it have been killed before it saved anything, are made again. */
static bool begin(const char *run, const char *config, const char *text, Error *e)
{
    char *metrics = path_join(run, "metrics.csv");
    bool good = (remove(metrics) == 0 || errno == ENOENT) ||
                error_set(e, "%s: cannot be removed: %s", metrics, strerror(errno));
    free(metrics);
    return good && file_write(config, text, strlen(text), e);
}

/* Ranks that rounded otherwise would drift apart. */
static bool same_kernels(Comm *comm, Error *e)
{
    enum { LEVEL = 32 };
    char mine[LEVEL] = {0}, *all = mem_new((size_t)comm_ranks(comm) * LEVEL);
    snprintf(mine, sizeof mine, "%s", cpu_backend_level());
    comm_gather(comm, mine, LEVEL, all);
    bool same = true;
    for (int r = 1; same && r < comm_ranks(comm); r++)
        same = strcmp(all, all + r * LEVEL) == 0 ||
               error_set(e, "rank 0 computes with %s, rank %d with %s: set ZOO_CPU to what all of them have", all, r,
                         all + r * LEVEL);
    mem_free(all);
    return same;
}

TrainerEnd run_training(const Program *p, Settings *settings, const char *run, const char *resume, Log *log, Error *e)
{
    char *path = path_join(run, "config.yaml"), *text = resolved_text(settings);
    Job job = {0};
    bool good = same_kernels(p->comm, e) &&
                (resume ? same_run(resume, settings, e) : comm_rank(p->comm) || begin(run, path, text, e));
    TrainerEnd end = TRAINER_FAILED;
    if (good && job_open(&job, p, settings, JOB_ON_DEVICE, e)) {
        job.log = log;
        job.run = run;
        introduce(&job, run);
        end = train_job(p, &job, resume, text, e);
        job_close(&job);
    }
    free(path);
    free(text);
    return end;
}
