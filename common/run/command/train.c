/* ./train MODEL ... */
#include "common/run/command/command.h"

#include "common/base/file.h"
#include "common/run/checkpoint.h"
#include "common/run/readable.h"
#include "common/run/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char RUNS[] = "runs";

/* ---- --dry-run */

static bool dry_run(const Program *p, Settings *s, Error *e)
{
    Str yaml = {0}, where = {0};
    Job job;
    if (!job_open(&job, p, s, JOB_OF_SHAPES, e))
        return false;
    Node *resolved = settings_resolved(s);
    node_write_yaml(resolved, &yaml);
    node_free(resolved);
    fputs(yaml.text, stdout);
    str_free(&yaml);
    p->model->trace(job.tape, job.network, s->model);
    double macs = tape_macs(job.tape);
    pool_peak_reset(tape_pool(job.tape));
    p->model->workload->rehearse(&job);
    Readable parameters = readable_count(params_elements(job.params)),
             activations = readable_bytes((double)pool_peak(tape_pool(job.tape))),
             state = readable_bytes(16.0 * (double)params_flat_count(job.params));
    printf(
        "\n%s parameters, %.3f GMACs a sample forward; a training step needs %s beside %s of parameters, gradients and "
        "optimizer\n",
        parameters.text, macs / 1e9, activations.text, state.text);
    bool here = p->model->workload->find_data(s, &where, e);
    if (here)
        printf("data: %s\n", where.text);
    str_free(&where);
    job_close(&job);
    return here;
}

/* ---- Runs */

static int ended(TrainerEnd end, const char *run, Log *log, const Error *e, const Program *p)
{
    int code = 0;
    if (end == TRAINER_FAILED) {
        code = program_error(e);
    } else if (end == TRAINER_INTERRUPTED) {
        log_line(log, "interrupted; all is saved. Go on with: ./train %s --resume %s", p->model->name, run);
        code = 130;
    }
    log_close(log);
    return code;
}

static Log *open_log(const Program *p, const char *run, Error *e)
{
    char *path = path_join(run, "log.txt");
    Log *log = log_open(stdout, comm_rank(p->comm) ? NULL : path, e);
    free(path);
    return log;
}

static int run_settings(const Program *p, Settings *s, const char *run, const char *resume)
{
    Error e;
    Log *log = open_log(p, run, &e);
    if (!log)
        return program_error(&e);
    TrainerEnd end = s->run.arms ? run_experiment(p, s, run, log, &e) : run_training(p, s, run, resume, log, &e);
    return ended(end, run, log, &e, p);
}

/* Rank 0 makes the folder, and all get its name. */
static char *make_run(const Program *p, const char *name, Error *e)
{
    char *made = comm_rank(p->comm) ? NULL : run_folder_make(RUNS, p->model->name, name, e);
    if (made && !run_folder_lock(made, e)) {
        free(made);
        made = NULL;
    }
    char *run = comm_share_text(p->comm, made);
    free(made);
    if (!run && comm_rank(p->comm))
        error_set(e, "rank 0 could not begin the run");
    return run;
}

/* An experiment is resumed from its unresolved tree; a single run writes it resolved. */
static bool write_tree(const Settings *s, const char *run, Error *e)
{
    char *path = path_join(run, "config.yaml");
    Str text = {0};
    node_write_yaml(s->tree, &text);
    bool good = file_write(path, text.text, text.length, e);
    str_free(&text);
    free(path);
    return good;
}

static int begin_run(const Program *p, Settings *s)
{
    Error e;
    Str where = {0};
    bool writes = comm_rank(p->comm) == 0;
    bool found = p->model->workload->find_data(s, &where, &e); /* before a folder is made */
    str_free(&where);
    if (!found)
        return program_error(&e);
    const char *name = s->run.name ? s->run.name : s->config_name;
    char *run = make_run(p, name, &e);
    if (!run)
        return program_error(&e);
    int code = !writes || write_tree(s, run, &e) ? run_settings(p, s, run, NULL) : program_error(&e);
    if (code == 2 && writes && !run_folder_begun(run)) /* nothing is lost, so nothing is left */
        folder_remove(run, &e);
    free(run);
    return code;
}

/* The run that rank 0 finds and locks, before its checkpoints are looked at: another process may be writing them. */
static char *find_run(const Program *p, const TrainOptions *o, Error *e)
{
    char *found = NULL;
    if (comm_rank(p->comm) == 0)
        found = o->run ? str_copy(o->run) : run_folder_newest_unfinished(RUNS, p->model->name, e);
    if (found && !run_folder_lock(found, e)) {
        free(found);
        found = NULL;
    }
    char *run = comm_share_text(p->comm, found);
    free(found);
    if (!run && comm_rank(p->comm))
        error_set(e, "rank 0 could not resume the run");
    return run;
}

static int resume_run(const Program *p, const TrainOptions *o)
{
    Error e;
    SettingsTables tables = program_tables(p);
    char *run = find_run(p, o, &e);
    if (!run)
        return program_error(&e);
    int code = 2;
    char *path = path_join(run, "config.yaml");
    Node *tree = node_from_yaml_file(path, &e);
    if (tree)
        tree = node_merge(tree, node_copy(o->overrides));
    Settings *s = tree ? settings_bind(&tables, tree, path_base(run), NULL, -1, &e) : NULL;
    char *checkpoint = NULL; /* none: the run was killed before it saved, and begins again */
    bool good = s && (s->run.arms || latest_checkpoint(p, run, &checkpoint, &e)) && experiment_check(p, s, &e);
    if (s && run_folder_finished(run))
        good = error_set(&e, "%s: this run has finished; there is nothing to resume", run);
    if (!good)
        code = program_error(&e);
    else
        code = run_settings(p, s, run, checkpoint);
    free(checkpoint);
    settings_free(s);
    free(path);
    free(run);
    return code;
}

int train_command(const Program *p, const TrainOptions *o)
{
    Error e;
    SettingsTables tables = program_tables(p);
    if (o->resume)
        return resume_run(p, o);
    const char *config = o->config;
    if (config && strcmp(config, "configs") == 0) {
        if (!print_configs(p, true, &e))
            return program_error(&e);
        config = NULL;
    }
    char *name = str_copy(config ? path_base(config) : "default");
    if (str_ends(name, ".yaml"))
        name[strlen(name) - 5] = '\0';
    Node *tree = settings_layers(&tables, p->configs, config, o->overrides, &e);
    Settings *s = tree ? settings_bind(&tables, tree, name, NULL, -1, &e) : NULL;
    int code;
    if (!s || !experiment_check(p, s, &e))
        code = program_error(&e);
    else if (o->dry_run)
        code = dry_run(p, s, &e) ? 0 : program_error(&e);
    else
        code = begin_run(p, s);
    settings_free(s);
    free(name);
    return code;
}
