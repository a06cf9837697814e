/* Experiments: every arm with every seed, then a table of means and spreads beside the paper's claim. */
#include "common/run/command/tables.h"

#include "common/base/file.h"
#include "common/run/checkpoint.h"
#include "common/run/run_folder.h"

#include <stdlib.h>

static bool arm_check(const Program *p, const Settings *experiment, const char *arm, Error *e)
{
    SettingsTables tables = program_tables(p);
    Str where = {0};
    Job job;
    Settings *s = settings_bind(&tables, node_copy(experiment->tree), experiment->config_name, arm, -1, e);
    bool good = s && run_folder_name("arm", arm, e) && p->model->workload->find_data(s, &where, e) &&
                job_open(&job, p, s, JOB_OF_SHAPES, e);
    if (good)
        job_close(&job);
    str_free(&where);
    settings_free(s);
    return good || error_prefix(e, "arm %s", arm);
}

bool experiment_check(const Program *p, const Settings *s, Error *e)
{
    const RunKeys *run = &s->run;
    if (!run->arms)
        return run->seed_count == 0 || error_set(e, "seeds: there are no arms to train with them (one run has a seed)");
    if (run->arms->count == 0 || run->seed_count == 0)
        return error_set(e, "arms: an experiment needs at least one arm, and one of seeds");
    for (int i = 0; i < run->seed_count; i++)
        for (int j = 0; j < i; j++)
            if (run->seeds[i] == run->seeds[j])
                return error_set(e, "seeds: %lld stands there twice", (long long)run->seeds[i]);
    for (int a = 0; a < run->arms->count; a++)
        if (!arm_check(p, s, run->arms->keys[a], e))
            return false;
    return true;
}

/* One arm with one seed: trained, resumed, or finished before. */
static TrainerEnd run_arm(const Program *p, const Settings *experiment, const char *folder, const char *arm,
                          int64_t seed, Log *log, Error *e)
{
    SettingsTables tables = program_tables(p);
    bool writes = comm_rank(p->comm) == 0;
    if (comm_any(p->comm, writes && run_folder_finished(folder)))
        return TRAINER_DONE;
    if (writes && !run_folder_lock(folder, e))
        return TRAINER_FAILED;
    Settings *s = settings_bind(&tables, node_copy(experiment->tree), experiment->config_name, arm, seed, e);
    if (!s)
        return TRAINER_FAILED;
    char *resume;
    TrainerEnd end = TRAINER_FAILED;
    if (latest_checkpoint(p, folder, &resume, e))
        end = run_training(p, s, folder, resume, log, e);
    free(resume);
    settings_free(s);
    return end;
}

static bool add_result(const char *folder, Spread *cells, const char **names, int *count, Error *e)
{
    char *path = path_join(folder, "result.yaml");
    Node *node = node_from_yaml_file(path, e);
    free(path);
    for (int i = 0; node && i < node->count && i < TASK_FIGURES; i++) {
        double value;
        if (i >= *count) {
            names[i] = str_copy(node->keys[i]);
            *count = i + 1;
        }
        if (node_number(node->items[i], &value)) /* null: this arm has no such figure */
            spread_add(&cells[i], value);
    }
    bool good = node != NULL;
    node_free(node);
    return good;
}

static void print_table(Log *log, const Settings *s, Spread (*cells)[TASK_FIGURES], const char *const *names,
                        int figures)
{
    Str line = {0};
    const Node *arms = s->run.arms;
    str_add(&line, "| arm |");
    for (int i = 0; i < figures; i++)
        str_add(&line, " %s |", names[i]);
    log_line(log, "%s", line.text);
    str_clear(&line);
    str_add(&line, "|---|");
    for (int i = 0; i < figures; i++)
        str_add(&line, "---|");
    log_line(log, "%s", line.text);
    for (int a = 0; a < arms->count; a++) {
        str_clear(&line);
        str_add(&line, "| %s |", arms->keys[a]);
        for (int i = 0; i < figures; i++) {
            const Spread *cell = &cells[a][i];
            int places = cell->count && fabs(spread_mean(cell)) < 10 ? 4 : 2; /* bits a byte; percents */
            if (cell->count)
                str_add(&line, " %.*f +- %.*f |", places, spread_mean(cell), places, spread_deviation(cell));
            else
                str_add(&line, " |");
        }
        log_line(log, "%s", line.text);
    }
    str_free(&line);
    log_line(log, "mean and standard deviation of %d seed%s", s->run.seed_count, s->run.seed_count == 1 ? "" : "s");
    if (s->run.claim)
        log_line(log, "The claim: %s", s->run.claim);
}

TrainerEnd run_experiment(const Program *p, const Settings *s, const char *run, Log *log, Error *e)
{
    const Node *arms = s->run.arms;
    Spread(*cells)[TASK_FIGURES] = mem_new((size_t)arms->count * sizeof *cells);
    const char *names[TASK_FIGURES];
    int figures = 0;
    TrainerEnd end = TRAINER_DONE;
    for (int a = 0; end == TRAINER_DONE && a < arms->count; a++)
        for (int k = 0; end == TRAINER_DONE && k < s->run.seed_count; k++) {
            char *folder = run_folder_arm(run, arms->keys[a], s->run.seeds[k], e);
            end = folder ? run_arm(p, s, folder, arms->keys[a], s->run.seeds[k], log, e) : TRAINER_FAILED;
            if (end == TRAINER_DONE && !add_result(folder, cells[a], names, &figures, e))
                end = TRAINER_FAILED;
            free(folder);
        }
    if (end == TRAINER_DONE)
        print_table(log, s, cells, names, figures);
    if (end == TRAINER_DONE && comm_rank(p->comm) == 0 && !run_folder_finish(run, e))
        end = TRAINER_FAILED;
    for (int i = 0; i < figures; i++)
        free((char *)names[i]);
    mem_free(cells);
    return end;
}
