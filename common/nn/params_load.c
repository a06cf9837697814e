/* Parameters out of files, by name. */
#include "common/nn/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void list_name(Str *names, int *count, const char *name)
{
    enum { SHOWN = 12 };
    if (*count < SHOWN)
        str_add(names, "%s%s", *count ? ", " : "", name);
    else if (*count == SHOWN)
        str_add(names, ", ...");
    ++*count;
}

static const FileTensor *find_name(const TensorFile *file, const LoadOptions *o, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", o->prefix ? o->prefix : "", name);
    return tensor_file_find(file, full);
}

static const FileTensor *find_in_file(const TensorFile *file, const LoadOptions *o, const Param *param)
{
    char renamed[256];
    const FileTensor *found = find_name(file, o, param->name);
    if (!found && o->rename && o->rename(param->name, renamed))
        found = find_name(file, o, renamed);
    for (size_t a = 0; !found && a < param->aliases.count; a++)
        found = find_name(file, o, param->aliases.items[a]);
    return found;
}

static Shape stored_shape(const FileTensor *stored)
{
    Shape shape = {.rank = stored->rank};
    memcpy(shape.dim, stored->shape, sizeof shape.dim);
    return shape;
}

static bool shapes_agree(const FileTensor *stored, const Param *param)
{
    return shape_equal(stored_shape(stored), param_stored_shape(param));
}

/* A stored tensor as the parameter takes it: mem_free it. NULL with a line if it cannot be read, without one (an empty text) if
 * it does not fit. */
static void *read_as(const LoadOptions *o, const Param *param, const TensorFile *file, const FileTensor *stored,
                     Error *e)
{
    DType type = param->value.type;
    void *values = mem_new((size_t)stored->count * dtype_bytes(type));
    void *out = mem_new((size_t)tensor_count(&param->value) * dtype_bytes(type));
    e->text[0] = '\0';
    bool good = tensor_file_read(file, stored, type, values, e);
    if (good && shapes_agree(stored, param))
        param_from_stored(param, values, out);
    else
        good = good && o->adapt && type == F32 && param->stored == STORED_AS_IS &&
               o->adapt(o->adapt_user, param, stored_shape(stored), values, out);
    mem_free(values);
    return good ? out : (mem_free(out), NULL);
}

static bool adapts(const LoadOptions *o, const Param *param, const FileTensor *stored, const TensorFile *file)
{
    Error e;
    void *out = o->adapt ? read_as(o, param, file, stored, &e) : NULL;
    mem_free(out);
    return out != NULL;
}

static void mark_used(const TensorFile *file, const FileTensor *stored, bool *used)
{
    for (int j = 0; stored && j < tensor_file_count(file); j++)
        used[j] |= tensor_file_at(file, j) == stored;
}

/* Pairs every parameter with its tensor in the file; entries that stay NULL keep their values. */
static void match(Params *p, const TensorFile *file, const LoadOptions *o, const FileTensor **found, bool *used,
                  LoadReport *r)
{
    for (int i = 0; i < params_count(p); i++) {
        Param *param = params_at(p, i);
        const FileTensor *stored = find_in_file(file, o, param);
        mark_used(file, stored, used);
        for (size_t a = 0; a < param->aliases.count; a++)
            mark_used(file, find_name(file, o, param->aliases.items[a]), used);
        if (o->skip && str_starts(param->name, o->skip))
            continue;
        if (!stored) {
            if (!param->may_lack)
                list_name(&r->missing, &r->missing_count, param->name);
        } else if (!shapes_agree(stored, param) && !adapts(o, param, stored, file)) {
            char line[640], ours[128], theirs[128];
            snprintf(line, sizeof line, "%s (%s in the file, %s in the model)", param->name,
                     shape_text(stored_shape(stored), theirs), shape_text(param_stored_shape(param), ours));
            list_name(&r->misshaped, &r->misshaped_count, line);
        } else {
            found[i] = stored;
        }
    }
    for (int j = 0; j < tensor_file_count(file); j++)
        if (!used[j] && str_starts(tensor_file_at(file, j)->name, o->prefix ? o->prefix : ""))
            list_name(&r->unused, &r->unused_count, tensor_file_at(file, j)->name);
}

static bool strict_check(const TensorFile *file, const LoadReport *r, Error *e)
{
    Str line = {0};
    if (r->missing_count)
        str_add(&line, "%d missing (%s); ", r->missing_count, r->missing.text);
    if (r->misshaped_count)
        str_add(&line, "%d of another shape (%s); ", r->misshaped_count, r->misshaped.text);
    if (r->unused_count)
        str_add(&line, "%d that the model does not have (%s); ", r->unused_count, r->unused.text);
    if (!line.length)
        return true;
    line.text[line.length - 2] = '\0';
    error_set(e, "%s: does not fit this model: %s", tensor_file_path(file), line.text);
    str_free(&line);
    return false;
}

/* What a file repeats under other names of a parameter must be the same. */
static bool aliases_agree(const LoadOptions *o, const Param *param, const TensorFile *file, const FileTensor *found,
                          const void *values, Error *e)
{
    bool good = true;
    for (size_t a = 0; good && a < param->aliases.count; a++) {
        const FileTensor *other = find_name(file, o, param->aliases.items[a]);
        if (!other || other == found)
            continue;
        void *copy = read_as(o, param, file, other, e);
        good = copy && memcmp(copy, values, (size_t)tensor_count(&param->value) * dtype_bytes(param->value.type)) == 0;
        if (!good && (copy || !e->text[0]))
            error_set(e, "%s: %s and %s are one tensor in this model, and differ there", tensor_file_path(file),
                      found->name, other->name);
        mem_free(copy);
    }
    return good;
}

/* Everything is read into a copy first, so that a broken file changes nothing. */
static bool read_all(Params *p, const TensorFile *file, const LoadOptions *o, const FileTensor *const *found,
                     LoadReport *r, Error *e)
{
    void **copies = mem_new((size_t)params_count(p) * sizeof *copies);
    bool good = true;
    for (int i = 0; good && i < params_count(p); i++)
        if (found[i]) {
            copies[i] = read_as(o, params_at(p, i), file, found[i], e);
            good = copies[i] && aliases_agree(o, params_at(p, i), file, found[i], copies[i], e);
        }
    for (int i = 0; i < params_count(p); i++) {
        if (good && copies[i]) {
            Tensor *value = &params_at(p, i)->value;
            param_write(p, value, copies[i]);
            r->loaded++;
        }
        mem_free(copies[i]);
    }
    mem_free(copies);
    params_written(p);
    return good;
}

bool params_load(Params *p, const TensorFile *file, const LoadOptions *options, LoadReport *report, Error *e)
{
    Error unread;
    e = e ? e : &unread;
    *report = (LoadReport){0};
    const FileTensor **found = mem_new((size_t)params_count(p) * sizeof *found);
    bool *used = mem_new((size_t)tensor_file_count(file));
    match(p, file, options, found, used, report);
    bool good = (!options->strict || strict_check(file, report, e)) && read_all(p, file, options, found, report, e);
    mem_free(found);
    mem_free(used);
    return good;
}

void load_report_free(LoadReport *r)
{
    str_free(&r->missing);
    str_free(&r->unused);
    str_free(&r->misshaped);
}
