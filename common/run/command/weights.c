/* Finding weights, and the config that belongs to them. */
#include "common/run/command/command.h"

#include "common/base/file.h"
#include "common/run/checkpoint.h"

#include <stdlib.h>
#include <string.h>

static bool in_checkpoint(Weights *w, char *folder, Error *e)
{
    w->path = path_join(folder, "model.safetensors");
    bool good = file_exists(w->path) || error_set(e, "%s: there is no model.safetensors in it", folder);
    free(folder);
    return good;
}

/* The run that a checkpoint's folder lies in, or NULL. */
static char *run_around(const char *checkpoint)
{
    char *run = path_join(checkpoint, "../.."), *config = path_join(run, "config.yaml");
    bool found = file_exists(config);
    free(config);
    if (found)
        return run;
    free(run);
    return NULL;
}

bool weights_find(Weights *w, const char *target, Error *e)
{
    *w = (Weights){0};
    char *checkpoints = path_join(target, "checkpoints"), *config = path_join(target, "config.yaml");
    bool good = true;
    if (folder_exists(checkpoints)) {
        char *folder = checkpoint_named(target, "best", e);
        good = folder && in_checkpoint(w, folder, e);
        w->run = str_copy(target);
        if (good && file_exists(config))
            good = (w->config = node_from_yaml_file(config, e)) != NULL;
    } else if (folder_exists(target)) {
        good = in_checkpoint(w, str_copy(target), e);
        w->run = run_around(target);
    } else if (file_exists(target)) {
        w->path = str_copy(target);
    } else {
        good = error_set(e, "%s: no such run, checkpoint or file of weights", target);
    }
    free(checkpoints);
    free(config);
    if (good && !w->config) {
        TensorFile *file = tensor_file_open(w->path, e);
        if (!file)
            return false;
        const char *text = tensor_file_metadata(file, "config");
        if (text)
            w->config = node_from_yaml_text(text, w->path, e);
        good = !text || w->config;
        tensor_file_close(file);
    }
    return good;
}

void weights_free(Weights *w)
{
    free(w->path);
    free(w->run);
    node_free(w->config);
    *w = (Weights){0};
}

/* ---- Which config */

static Settings *bind_with(const Program *p, Node *tree, const char *name, const Node *overrides, Error *e)
{
    SettingsTables tables = program_tables(p);
    if (!tree)
        return NULL;
    if (overrides)
        tree = node_merge(tree, node_copy(overrides));
    return settings_bind(&tables, tree, name, NULL, -1, e);
}

/* Whether every parameter of the config is in the file with its shape. */
static bool config_fits(const Program *p, Settings *s, const TensorFile *file)
{
    Job job;
    Error e;
    if (!job_open(&job, p, s, JOB_OF_SHAPES, &e))
        return false;
    bool fits = true;
    for (int i = 0; fits && i < params_count(job.params); i++) {
        const Param *param = params_at(job.params, i);
        char renamed[256];
        const FileTensor *x = tensor_file_find(file, param->name);
        if (!x && p->model->rename && p->model->rename(param->name, renamed))
            x = tensor_file_find(file, renamed);
        for (size_t a = 0; !x && a < param->aliases.count; a++)
            x = tensor_file_find(file, param->aliases.items[a]);
        Shape shape = param_stored_shape(param);
        fits = x && x->rank == shape.rank && memcmp(x->shape, shape.dim, (size_t)x->rank * sizeof *x->shape) == 0;
    }
    job_close(&job);
    return fits;
}

static Settings *only_config_that_fits(const Program *p, const Weights *w, const Node *overrides, Error *e)
{
    SettingsTables tables = program_tables(p);
    char **names;
    int count, fitting = 0;
    Str fits = {0};
    Settings *found = NULL;
    TensorFile *file = tensor_file_open(w->path, e);
    if (!file)
        return NULL;
    if (!settings_list(p->configs, &names, &count, e)) {
        tensor_file_close(file);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        Settings *s = bind_with(p, settings_layers(&tables, p->configs, names[i], NULL, e), names[i], overrides, e);
        if (s && config_fits(p, s, file)) {
            str_add(&fits, "%s%s", fitting++ ? ", " : "", names[i]);
            settings_free(found);
            found = s;
        } else {
            settings_free(s);
        }
    }
    tensor_file_close(file);
    names_free(names, count);
    if (fitting != 1) {
        settings_free(found);
        found = NULL;
        if (fitting)
            error_set(e, "%s: several configs fit (%s): say which with config=NAME", w->path, fits.text);
        else
            error_set(e,
                      "%s: none of the named configs of %s fits these weights: say which with config=NAME to see what "
                      "differs",
                      w->path, p->model->name);
    }
    str_free(&fits);
    return found;
}

Settings *weights_settings(const Program *p, Weights *w, const Node *overrides, Error *e)
{
    SettingsTables tables = program_tables(p);
    Node *rest = overrides ? node_copy(overrides) : node_map("command line");
    Node *named = node_take(rest, "config");
    Settings *s;
    if (named && named->kind != NODE_SCALAR)
        s = error_null(e, "config: expected a name or a path");
    else if (named)
        s = bind_with(p, settings_layers(&tables, p->configs, named->text, NULL, e), named->text, rest, e);
    else if (w->config)
        s = bind_with(p, node_copy(w->config), "of the run", rest, e);
    else
        s = only_config_that_fits(p, w, rest, e);
    node_free(named);
    node_free(rest);
    return s;
}

bool weights_load(const Weights *w, Job *job, const char *skip, Error *e)
{
    TensorFile *file = tensor_file_open(w->path, e);
    if (!file)
        return false;
    const char *model = tensor_file_metadata(file, "model");
    LoadReport report = {0};
    bool good = !model || strcmp(model, job->model->name) == 0 ||
                error_set(e, "%s: a checkpoint of %s, not of %s", w->path, model, job->model->name);
    good = good && params_load(job->params, file,
                               &(LoadOptions){.strict = true,
                                              .skip = skip,
                                              .rename = job->model->rename,
                                              .adapt = job->model->adapt,
                                              .adapt_user = job->tape},
                               &report, e);
    load_report_free(&report);
    tensor_file_close(file);
    return good;
}

bool weights_read(Job *job, const char *target, const char *skip, Error *e)
{
    Weights w;
    bool good = weights_find(&w, target, e) && weights_load(&w, job, skip, e);
    weights_free(&w);
    return good;
}
