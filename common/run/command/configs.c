/* The table of a model's named configurations. */
#include "common/run/command/tables.h"

#include "common/base/file.h"
#include "common/run/readable.h"

#include <stdio.h>

static bool print_config(const Program *p, const char *name, bool with_data, Error *e)
{
    Settings *s = table_settings(p, name, NULL, NULL, NULL, e);
    ModelCounts counts;
    if (!s || !table_count(p, s, &counts, e)) {
        settings_free(s);
        return false;
    }
    Readable parameters = readable_count(counts.parameters);
    double giga = counts.macs / 1e9;
    printf("%-16s %14s parameters  %9.*f GMACs  %4d tensors", name, parameters.text, giga < 0.1 ? 6 : 3, giga,
           counts.tensors);
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
