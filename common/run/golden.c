#include "common/run/golden_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const FileTensor *golden_find(const Golden *g, const char *section, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", section, name);
    return tensor_file_find(g->file, full);
}

void golden_mark(Golden *g, const FileTensor *x)
{
    for (int i = 0; i < tensor_file_count(g->file); i++)
        if (tensor_file_at(g->file, i) == x)
            g->seen[i] = true;
}

Shape golden_shape(const FileTensor *x)
{
    Shape s = {.rank = x->rank};
    memcpy(s.dim, x->shape, sizeof s.dim);
    return s;
}

void golden_mismatch(Golden *g, const char *format, ...)
{
    Error line;
    va_list args;
    va_start(args, format);
    vsnprintf(line.text, sizeof line.text, format, args);
    va_end(args);
    printf("FAIL  %s\n", line.text);
    g->failures++;
}

static const GoldenEntry *find_entry(const GoldenEntry *entries, const char *name, Error *e)
{
    const char *names[64];
    int count = 0;
    for (const GoldenEntry *entry = entries; entry && entry->name; entry++) {
        if (strcmp(entry->name, name) == 0)
            return entry;
        names[count++] = entry->name;
    }
    const char *near = str_nearest(name, names, count);
    return error_null(e, "entry %s is not known%s%s", name, near ? "; did you mean " : "", near ? near : "");
}

static bool open_file(Golden *g, const char *path, const char *model, const GoldenEntry *entries,
                      const GoldenEntry **entry, Error *e)
{
    g->file = tensor_file_open(path, e);
    if (!g->file)
        return false;
    const char *name = tensor_file_metadata(g->file, "entry"), *whose = tensor_file_metadata(g->file, "model");
    const char *config = tensor_file_metadata(g->file, "config"), *mode = tensor_file_metadata(g->file, "mode");
    if (!name || !config || !whose)
        return error_set(e, "%s: not a golden file: metadata `model`, `entry` and `config` are expected", path);
    if (strcmp(whose, model))
        return error_set(e, "%s: a golden file of %s, not of %s", path, whose, model);
    *entry = find_entry(entries, name, e);
    if (!*entry)
        return error_prefix(e, "%s", path);
    Node *node = node_from_json_text(config, "config of the golden file", e);
    if (!node)
        return error_prefix(e, "%s", path);
    g->config = node;
    g->training = mode && strcmp(mode, "train") == 0;
    g->seen = mem_new((size_t)tensor_file_count(g->file));
    return true;
}

static void close_file(Golden *g)
{
    for (size_t i = 0; i < g->values.count; i++)
        mem_free(g->values.items[i]);
    array_free(&g->values);
    for (int i = 0; i < g->input_count; i++)
        mem_free((void *)g->inputs[i].name);
    mem_free(g->seen);
    node_free((Node *)g->config);
    tensor_file_close(g->file);
}

static void check_left_over(Golden *g)
{
    for (int i = 0; i < tensor_file_count(g->file); i++) {
        const char *name = tensor_file_at(g->file, i)->name;
        if (!g->seen[i] && !str_starts(name, "trace/"))
            golden_mismatch(g, "%s: nothing of ours read it or was compared with it", name);
    }
    if (!g->compared)
        golden_mismatch(g, "nothing was compared");
}

int golden_run(const char *path, const char *model, const GoldenEntry *entries, const Backend *backend, int threads)
{
    Golden g = {.backend = backend};
    const GoldenEntry *entry = NULL;
    Error e;
    bool good = open_file(&g, path, model, entries, &entry, &e);
    if (good) {
        g.tape = tape_new(&(TapeOptions){.device = DEVICE_CPU, .backend = backend, .threads = threads});
        tape_watch(g.tape, golden_trace, &g);
        Region before = region_open(g.tape, g.training ? TRAIN : EVAL, GRAD);
        good = entry->run(&g, &e);
        region_close(g.tape, before);
        if (good)
            check_left_over(&g);
        tape_free(g.tape);
    }
    close_file(&g);
    if (!good)
        return user_error(&e);
    printf("%s: entry %s: %d compared, %d mismatches\n", path, entry->name, g.compared, g.failures);
    return g.failures ? 1 : 0;
}
