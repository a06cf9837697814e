/* The table of a model's named configurations. */
#include "common/run/command/command.h"

#include "common/base/file.h"
#include "common/run/readable.h"

#include <stdio.h>

static bool print_config(const Program *p, const char *name, bool with_data, Error *e)
{
    SettingsTables tables = program_tables(p);
    Node *tree = settings_layers(&tables, p->configs, name, NULL, e);
    Settings *s = tree ? settings_bind(&tables, tree, name, NULL, -1, e) : NULL;
    Job job;
    if (!s || !job_open(&job, p, s, DEVICE_META, e)) {
        settings_free(s);
        return false;
    }
    tape_macs_reset(job.tape);
    p->model->trace(job.tape, job.network, s->model);
    Readable parameters = readable_count(params_elements(job.params));
    double giga = tape_macs(job.tape) / 1e9;
    printf("%-16s %14s parameters  %9.*f GMACs  %4d tensors", name, parameters.text, giga < 0.1 ? 6 : 3, giga,
           params_count(job.params));
    if (with_data) {
        Str where = {0};
        Error missing;
        if (p->model->workload->find_data(s, &where, &missing))
            printf("  %s", where.text);
        else
            printf("  (not here) %s", missing.text);
        str_free(&where);
    }
    printf("\n");
    job_close(&job);
    settings_free(s);
    return true;
}

bool print_configs(const Program *p, bool with_data, Error *e)
{
    char **names;
    int count;
    if (!settings_list(p->configs, &names, &count, e))
        return false;
    bool good = true;
    for (int i = 0; good && i < count; i++)
        good = print_config(p, names[i], with_data, e);
    names_free(names, count);
    return good;
}
