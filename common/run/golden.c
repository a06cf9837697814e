#include "common/run/golden.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct Golden {
    TensorFile *file;
    Tape *tape;
    const Backend *backend;
    bool *seen; /* [tensors of the file] read or compared */
    bool training;
    int failures, compared;
    ARRAY(void *) values;
    struct {
        const char *name;
        Tensor *tensor;
    } inputs[32];
    int input_count;
    RandomReplay replay;
    const Node *config;
};

static const FileTensor *find(const Golden *g, const char *section, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", section, name);
    return tensor_file_find(g->file, full);
}

static void mark(Golden *g, const FileTensor *x)
{
    for (int i = 0; i < tensor_file_count(g->file); i++)
        if (tensor_file_at(g->file, i) == x)
            g->seen[i] = true;
}

static Shape file_shape(const FileTensor *x)
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

/* ---- Comparing */

typedef struct Difference {
    double largest, size; /* max|a-b|, max|golden| */
    bool comparable;      /* no NaN on one side alone */
} Difference;

static Difference difference(const float *ours, const float *golden, int64_t count)
{
    Difference d = {.comparable = true};
    for (int64_t i = 0; i < count; i++) {
        double apart = fabs((double)ours[i] - (double)golden[i]);
        if (ours[i] == golden[i] || (isnan(ours[i]) && isnan(golden[i])))
            apart = 0; /* equal infinities too */
        if (isnan(apart))
            d.comparable = false;
        d.largest = fmax(d.largest, apart);
        if (isfinite(golden[i]))
            d.size = fmax(d.size, fabs((double)golden[i]));
    }
    return d;
}

static void report(Golden *g, const FileTensor *x, Difference d, double tolerance, bool decides)
{
    char shape[128];
    bool good = d.comparable && d.largest <= tolerance;
    printf("%-5s %-60s %-20s max abs %.3e  rel %.3e\n", decides ? (good ? "ok" : "FAIL") : "trace", x->name,
           shape_text(file_shape(x), shape), d.largest, d.size > 0 ? d.largest / d.size : d.largest);
    if (decides) {
        g->compared++;
        g->failures += !good;
    }
}

static bool is_integer(const FileTensor *x)
{
    return x->type[0] == 'I' || x->type[0] == 'U' || strcmp(x->type, "BOOL") == 0;
}

static void compare_integers(Golden *g, const FileTensor *x, DType type, const void *ours)
{
    int64_t different = 0;
    int64_t *golden = mem_new((size_t)x->count * sizeof *golden);
    Error e;
    if (!tensor_file_read(g->file, x, I64, golden, &e)) {
        golden_mismatch(g, "%s", e.text);
        mem_free(golden);
        return;
    }
    for (int64_t i = 0; i < x->count; i++) {
        int64_t value = type == I64   ? ((const int64_t *)ours)[i]
                        : type == I32 ? ((const int32_t *)ours)[i]
                                      : ((const uint8_t *)ours)[i];
        different += value != golden[i];
    }
    char shape[128];
    printf("%-5s %-60s %-20s %lld of %lld differ\n", different ? "FAIL" : "ok", x->name,
           shape_text(file_shape(x), shape), (long long)different, (long long)x->count);
    g->compared++;
    g->failures += different != 0;
    mem_free(golden);
}

static void compare_floats(Golden *g, const FileTensor *x, const float *ours, double relative, double floor,
                           bool decides)
{
    float *golden = mem_new((size_t)x->count * sizeof *golden);
    Error e;
    if (tensor_file_read(g->file, x, F32, golden, &e)) {
        Difference d = difference(ours, golden, x->count);
        report(g, x, d, relative * fmax(floor, d.size), decides);
    } else {
        golden_mismatch(g, "%s", e.text);
    }
    mem_free(golden);
}

void golden_output_values(Golden *g, const char *name, DType type, Shape shape, const void *values)
{
    const FileTensor *x = find(g, "output", name);
    char ours[128], theirs[128];
    if (!x)
        return; /* the file need not list every output that we could give */
    mark(g, x);
    bool one = shape_count(shape) == 1 && x->count == 1 && shape.rank <= 1 && x->rank <= 1;
    if (!one && !shape_equal(shape, file_shape(x)))
        golden_mismatch(g, "output/%s: shape %s, expected %s", name, shape_text(shape, ours),
                        shape_text(file_shape(x), theirs));
    else if (is_integer(x) != (type != F32))
        golden_mismatch(g, "output/%s: %s, expected %s", name, dtype_name(type), x->type);
    else if (is_integer(x))
        compare_integers(g, x, type, values);
    else
        compare_floats(g, x, values, 1e-4, 1.0, true);
}

/* A tensor's values on the host; free them. */
static void *host_copy(Tape *t, const Tensor *x)
{
    void *copy = mem_new((size_t)tensor_count(x) * dtype_bytes(x->type));
    tensor_read(t, x, copy);
    return copy;
}

void golden_output(Golden *g, const char *name, Tensor *x)
{
    void *values = host_copy(g->tape, x);
    golden_output_values(g, name, x->type, x->shape, values);
    mem_free(values);
}

void golden_loss(Golden *g, const char *name, float value)
{
    const FileTensor *x = find(g, "loss", name);
    if (!x)
        return;
    mark(g, x);
    if (x->count != 1)
        golden_mismatch(g, "loss/%s: not one value", name);
    else
        compare_floats(g, x, &value, 1e-4, 1.0, true);
}

static void show_trace(void *user, Tape *t, const char *name, Tensor *x)
{
    Golden *g = user;
    const FileTensor *stored = find(g, "trace", name);
    if (!stored || tensor_count(x) != stored->count || x->type != F32)
        return;
    mark(g, stored);
    float *values = host_copy(t, x);
    compare_floats(g, stored, values, 1e-4, 1.0, false);
    mem_free(values);
}

/* ---- Reading */

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
        mark(g, find(g, "param", param->name));
        for (size_t a = 0; a < param->aliases.count; a++)
            mark(g, find(g, "param", param->aliases.items[a]));
    }
    return good;
}

bool golden_has_input(const Golden *g, const char *name)
{
    return find(g, "input", name) != NULL;
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
    const FileTensor *x = find(g, "input", name);
    if (!x)
        return error_null(e, "%s: input/%s is missing", tensor_file_path(g->file), name);
    mark(g, x);
    void *values = mem_new((size_t)x->count * dtype_bytes(type));
    *array_add(&g->values) = values;
    if (!tensor_file_read(g->file, x, type, values, e))
        return NULL;
    if (shape)
        *shape = file_shape(x);
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
    if (find(g, "grad_input", name)) {
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
    const FileTensor *x = find(g, "input", name);
    if (!x)
        return;
    mark(g, x);
    printf("      input/%s is not used: %s\n", name, reason);
}

/* ---- Backward */

static void compare_gradient(Golden *g, const char *section, const char *name, const void *gradient, Shape shape)
{
    const FileTensor *x = find(g, section, name);
    char ours[128], theirs[128];
    if (!x)
        return;
    mark(g, x);
    if (shape_equal(shape, file_shape(x)))
        compare_floats(g, x, gradient, 1e-3, 1e-3, true);
    else
        golden_mismatch(g, "%s/%s: shape %s, expected %s", section, name, shape_text(shape, ours),
                        shape_text(file_shape(x), theirs));
}

/* A gradient's values on the host, zeros where none arrived; free them. */
static void *gradient_copy(Golden *g, const Tensor *x)
{
    const Tensor *gradient = tensor_gradient(x);
    return gradient ? host_copy(g->tape, gradient) : mem_new((size_t)tensor_count(x) * sizeof(float));
}

/* A parameter's values, or those of its gradient, in the form that files have; free them. Frees `values`. */
static void *as_stored(const Param *param, void *values)
{
    void *stored = mem_new((size_t)tensor_count(&param->value) * dtype_bytes(param->value.type));
    param_to_stored(param, values, stored);
    mem_free(values);
    return stored;
}

static void compare_param_gradient(Golden *g, const Param *param)
{
    void *stored = as_stored(param, gradient_copy(g, &param->value));
    compare_gradient(g, "grad", param->name, stored, param_stored_shape(param));
    for (size_t a = 0; a < param->aliases.count; a++)
        compare_gradient(g, "grad", param->aliases.items[a], stored, param_stored_shape(param));
    mem_free(stored);
}

void golden_backward(Golden *g, int n, const char *const *names, Tensor *const *outputs, Params *p)
{
    Tensor **cotangents = mem_new((size_t)n * sizeof *cotangents);
    for (int i = 0; i < n; i++) {
        const FileTensor *x = find(g, "cotangent", names[i]);
        if (!x)
            continue;
        mark(g, x);
        float *values = mem_new((size_t)x->count * sizeof *values);
        Error e;
        if (x->count != tensor_count(outputs[i]) || !tensor_file_read(g->file, x, F32, values, &e))
            golden_mismatch(g, "cotangent/%s does not fit its output", names[i]);
        else
            cotangents[i] = tensor_from(g->tape, F32, outputs[i]->shape, values);
        mem_free(values);
    }
    tape_backward(g->tape, outputs, cotangents, n);
    mem_free(cotangents);
    for (int i = 0; p && i < params_count(p); i++)
        if (params_at(p, i)->value.type == F32)
            compare_param_gradient(g, params_at(p, i));
    for (int i = 0; i < g->input_count; i++) {
        void *values = gradient_copy(g, g->inputs[i].tensor);
        compare_gradient(g, "grad_input", g->inputs[i].name, values, g->inputs[i].tensor->shape);
        mem_free(values);
    }
    tape_reset(g->tape);
}

static void compare_updated(Golden *g, const Param *param, const char *name, const void *stored)
{
    char full[512];
    snprintf(full, sizeof full, "updated.%s", name);
    golden_output_values(g, full, param->value.type, param_stored_shape(param), stored);
}

void golden_updated(Golden *g, Params *p)
{
    for (int i = 0; i < params_count(p); i++) {
        const Param *param = params_at(p, i);
        void *stored = as_stored(param, host_copy(g->tape, &param->value));
        compare_updated(g, param, param->name, stored);
        for (size_t a = 0; a < param->aliases.count; a++)
            compare_updated(g, param, param->aliases.items[a], stored);
        mem_free(stored);
    }
}

/* ---- Running */

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
        tape_watch(g.tape, show_trace, &g);
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
