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
    if (!job_open(&job, p, s, DEVICE_META, e))
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
        code = user_error(e);
    } else if (end == TRAINER_INTERRUPTED) {
        log_line(log, "interrupted; all is saved. Go on with: ./train %s --resume %s", p->model->name, run);
        code = 130;
    }
    log_close(log);
    return code;
}

static Log *open_log(const char *run, Error *e)
{
    char *path = path_join(run, "log.txt");
    Log *log = log_open(stdout, path, e);
    free(path);
    return log;
}

static int run_settings(const Program *p, Settings *s, const char *run, const char *resume)
{
    Error e;
    Log *log = open_log(run, &e);
    if (!log)
        return user_error(&e);
    TrainerEnd end = s->run.arms ? run_experiment(p, s, run, log, &e) : run_training(p, s, run, resume, log, &e);
    return ended(end, run, log, &e, p);
}

static int begin_run(const Program *p, Settings *s)
{
    Error e;
    Str where = {0};
    bool found = p->model->workload->find_data(s, &where, &e); /* before a folder is made */
    str_free(&where);
    if (!found)
        return user_error(&e);
    const char *name = s->run.name ? s->run.name : s->config_name;
    char *run = run_folder_make(RUNS, p->model->name, name, &e);
    if (!run || !run_folder_lock(run, &e)) {
        free(run);
        return user_error(&e);
    }
    char *path = path_join(run, "config.yaml");
    Str text = {0};
    node_write_yaml(s->tree,
                    &text); /* an experiment is resumed from its unresolved tree; a single run writes it resolved */
    bool good = file_write(path, text.text, text.length, &e);
    str_free(&text);
    free(path);
    int code = good ? run_settings(p, s, run, NULL) : user_error(&e);
    if (code == 2 && !run_folder_begun(run)) /* nothing is lost, so nothing is left */
        folder_remove(run, &e);
    free(run);
    return code;
}

static int resume_run(const Program *p, const TrainOptions *o)
{
    Error e;
    SettingsTables tables = program_tables(p);
    char *run = o->run ? str_copy(o->run) : run_folder_newest_unfinished(RUNS, p->model->name, &e);
    if (!run ||
        !run_folder_lock(run, &e)) { /* before its checkpoints are looked at: another process may be writing them */
        free(run);
        return user_error(&e);
    }
    int code = 2;
    char *path = path_join(run, "config.yaml");
    Node *tree = node_from_yaml_file(path, &e);
    if (tree)
        tree = node_merge(tree, node_copy(o->overrides));
    Settings *s = tree ? settings_bind(&tables, tree, path_base(run), NULL, -1, &e) : NULL;
    char *checkpoint = NULL; /* none: the run was killed before it saved, and begins again */
    bool good = s && (s->run.arms || checkpoint_latest(run, &checkpoint, &e)) && experiment_check(p, s, &e);
    if (s && run_folder_finished(run))
        good = error_set(&e, "%s: this run has finished; there is nothing to resume", run);
    if (!good)
        code = user_error(&e);
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
            return user_error(&e);
        config = NULL;
    }
    char *name = str_copy(config ? path_base(config) : "default");
    if (str_ends(name, ".yaml"))
        name[strlen(name) - 5] = '\0';
    Node *tree = settings_layers(&tables, p->configs, config, o->overrides, &e);
    Settings *s = tree ? settings_bind(&tables, tree, name, NULL, -1, &e) : NULL;
    int code;
    if (!s || !experiment_check(p, s, &e))
        code = user_error(&e);
    else if (o->dry_run)
        code = dry_run(p, s, &e) ? 0 : user_error(&e);
    else
        code = begin_run(p, s);
    settings_free(s);
    free(name);
    return code;
}
