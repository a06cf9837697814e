/* What an entry reads of its golden file. */
#include "common/run/golden_parts.h"

#include <stdio.h>
#include <string.h>

Tape *golden_tape(Golden *g)
{
    return g->tape;
}

const Backend *golden_backend(Golden *g)
{
    return g->backend;
}

bool golden_training(const Golden *g)
{
    return g->training;
}

bool golden_config(Golden *g, const ConfigTable *table, void *config)
{
    Error e;
    if (config_bind(table, g->config, config, &e))
        return true;
    golden_mismatch(g, "%s", e.text);
    return false;
}

bool golden_params(Golden *g, Params *p, Error *e)
{
    LoadReport r;
    bool good = params_load(p, g->file, &(LoadOptions){.prefix = "param/"}, &r, e);
    if (good && r.missing_count)
        golden_mismatch(g, "%d parameters of the model are not in the file: %s", r.missing_count, r.missing.text);
    if (good && r.misshaped_count)
        golden_mismatch(g, "%d parameters have another shape: %s", r.misshaped_count, r.misshaped.text);
    load_report_free(&r);
    for (int i = 0; good && i < params_count(p); i++) {
        const Param *param = params_at(p, i);
        golden_mark(g, golden_find(g, "param", param->name));
        for (size_t a = 0; a < param->aliases.count; a++)
            golden_mark(g, golden_find(g, "param", param->aliases.items[a]));
    }
    return good;
}

bool golden_has_input(const Golden *g, const char *name)
{
    return golden_find(g, "input", name) != NULL;
}

const char *golden_input_name(const Golden *g, int i)
{
    static const char section[] = "input/";
    for (int j = 0; j < tensor_file_count(g->file); j++) {
        const char *name = tensor_file_at(g->file, j)->name;
        if (str_starts(name, section) && i-- == 0)
            return name + sizeof section - 1;
    }
    return NULL;
}

const void *golden_values(Golden *g, const char *name, DType type, Shape *shape, Error *e)
{
    const FileTensor *x = golden_find(g, "input", name);
    if (!x)
        return error_null(e, "%s: input/%s is missing", tensor_file_path(g->file), name);
    golden_mark(g, x);
    void *values = mem_new((size_t)x->count * dtype_bytes(type));
    *array_add(&g->values) = values;
    if (!tensor_file_read(g->file, x, type, values, e))
        return NULL;
    if (shape)
        *shape = golden_shape(x);
    return values;
}

Tensor *golden_integers(Golden *g, const char *name, DType type, Error *e)
{
    Shape shape;
    const void *values = golden_values(g, name, type, &shape, e);
    return values ? tensor_from(g->tape, type, shape, values) : NULL;
}

Tensor *golden_input(Golden *g, const char *name, Error *e)
{
    Shape shape;
    const void *values = golden_values(g, name, F32, &shape, e);
    if (!values)
        return NULL;
    Tensor *x = tensor_from(g->tape, F32, shape, values);
    if (golden_find(g, "grad_input", name)) {
        contract(g->input_count < COUNT_OF(g->inputs), "golden: more inputs than expected");
        tensor_needs_gradient(x);
        g->inputs[g->input_count].name = mem_copy(name, strlen(name) + 1);
        g->inputs[g->input_count++].tensor = tape_keep(g->tape, x);
    }
    return x;
}

bool golden_replay(Golden *g, int n, const char *const *names, Error *e)
{
    int64_t count = 0;
    Shape shape;
    float *all = NULL;
    for (int i = 0; i < n; i++) {
        const float *values = golden_values(g, names[i], F32, &shape, e);
        if (!values) {
            mem_free(all);
            return false;
        }
        all = mem_resize(all, (size_t)(count + shape_count(shape)) * sizeof *all);
        memcpy(all + count, values, (size_t)shape_count(shape) * sizeof *all);
        count += shape_count(shape);
    }
    *array_add(&g->values) = all;
    g->replay = (RandomReplay){.values = all, .count = count};
    tape_replay(g->tape, &g->replay);
    return true;
}

void golden_replay_end(Golden *g)
{
    const RandomReplay *r = &g->replay;
    tape_replay(g->tape, NULL);
    if (r->overrun || r->used != r->count)
        golden_mismatch(g, "draws: %lld of the %lld that the inputs hold were used%s", (long long)r->used,
                        (long long)r->count, r->overrun ? ", and more were asked for" : "");
}

void golden_unused(Golden *g, const char *name, const char *reason)
{
    const FileTensor *x = golden_find(g, "input", name);
    if (!x)
        return;
    golden_mark(g, x);
    printf("      input/%s is not used: %s\n", name, reason);
}
