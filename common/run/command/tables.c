/* What tables of papers are made of: counts of named configurations, and what runs of them here ended with. */
#include "common/run/command/tables.h"

#include "common/base/file.h"
#include "common/run/run_folder.h"

#include <math.h>
#include <stdlib.h>

Settings *table_settings(const Program *p, const char *config, const char *arm, const char *changes,
                         const Node *overrides, Error *e)
{
    SettingsTables tables = program_tables(p);
    Node *tree = settings_layers(&tables, p->configs, config, overrides, e);
    if (tree && changes) {
        Node *over = node_from_flow_yaml(changes, config, e);
        node_set(tree, "model", node_merge(node_take(tree, "model"), over));
    }
    return tree ? settings_bind(&tables, tree, config, arm, -1, e) : NULL;
}

bool table_count(const Program *p, Settings *s, ModelCounts *counts, Error *e)
{
    Job job;
    if (!job_open(&job, p, s, JOB_OF_SHAPES, e))
        return false;
    tape_macs_reset(job.tape);
    p->model->trace(job.tape, job.network, s->model);
    *counts = (ModelCounts){params_elements(job.params), params_count(job.params), tape_macs(job.tape)};
    job_close(&job);
    return true;
}

/* ---- Spread of a figure */

void spread_add(Spread *s, double value)
{
    s->sum += value;
    s->squares += value * value;
    s->count++;
}

double spread_mean(const Spread *s)
{
    return s->sum / s->count;
}

double spread_deviation(const Spread *s)
{
    if (s->count < 2)
        return 0;
    double mean = spread_mean(s);
    return sqrt(fmax(0, (s->squares - s->count * mean * mean) / (s->count - 1)));
}

/* ---- Finished runs */

/* The finished run of that config or name with the highest number (free it), or NULL. */
static char *finished_run(const char *model, const char *name)
{
    char *found = NULL, *run = str_format("runs/%s/%s", model, name);
    for (int n = 2; folder_exists(run); n++) {
        if (run_folder_finished(run)) {
            free(found);
            found = str_copy(run);
        }
        free(run);
        run = str_format("runs/%s/%s-%d", model, name, n);
    }
    free(run);
    return found;
}

static void add_figure(Spread *s, const char *folder, const char *figure)
{
    Error e;
    char *path = path_join(folder, "result.yaml");
    Node *result = file_exists(path) ? node_from_yaml_file(path, &e) : NULL;
    double value;
    if (result && node_find(result, figure) && node_number(node_find(result, figure), &value))
        spread_add(s, value);
    node_free(result);
    free(path);
}

Spread table_result(const char *model, const char *name, const char *arm, const char *figure)
{
    Spread s = {0};
    char *run = finished_run(model, name), **seeds = NULL;
    int count = 0;
    char *folder = run && arm ? path_join(run, arm) : NULL;
    if (run && !arm)
        add_figure(&s, run, figure);
    else if (folder && folder_exists(folder))
        folder_list(folder, &seeds, &count, NULL);
    for (int i = 0; i < count; i++) {
        char *seed = path_join(folder, seeds[i]);
        add_figure(&s, seed, figure);
        free(seed);
    }
    names_free(seeds, count);
    free(folder);
    free(run);
    return s;
}
