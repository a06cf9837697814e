#include "bench/side/network.h"

#include "common/base/memory.h"
#include "common/base/str.h"

Settings *network_settings(const Model *m, const char *name, const char *const *pairs, Error *e)
{
    const Workload *w = m->workload;
    const SettingsTables tables = {m->config, w->data, w->train, w->eval};
    char *configs = str_format(ZOO_ROOT "/models/%s/configs", m->name);
    Node *overrides = node_map("bench");
    bool good = true;
    for (; good && *pairs; pairs += 2)
        good = node_set_path(overrides, pairs[0], pairs[1], "bench", e);
    Node *tree = good ? settings_layers(&tables, configs, name, overrides, e) : NULL;
    Settings *s = tree ? settings_bind(&tables, tree, name, NULL, -1, e) : NULL;
    node_free(overrides);
    mem_free(configs);
    return s;
}

TensorToWrite *network_list(Params *p, const char *prefix, bool gradients, int extra, int *count)
{
    TensorToWrite *list = mem_new((size_t)(params_count(p) + extra) * sizeof *list);
    *count = 0;
    for (int i = 0; i < params_count(p); i++) {
        const Param *param = params_at(p, i);
        if (gradients && !param->state.trainable)
            continue;
        char *name = str_format("%s/%s", prefix, param->name);
        list[(*count)++] = side_to_write(name, gradients ? &param->gradient : &param->value);
    }
    return list;
}

bool network_write(const char *path, TensorToWrite *list, int count, int named, Error *e)
{
    bool good = safetensors_write(path, list, count, NULL, 0, e);
    for (int i = 0; i < named; i++)
        mem_free((char *)list[i].name);
    mem_free(list);
    return good;
}

bool network_write_step(const char *path, Params *p, Tensor *loss, Error *e)
{
    int count;
    TensorToWrite *list = network_list(p, "grad", true, 1, &count);
    list[count] = side_to_write("loss", loss);
    return network_write(path, list, count + 1, count, e);
}
