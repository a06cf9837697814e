/* What an entry computed beside what its golden file holds. */
#include "common/run/golden_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
           shape_text(golden_shape(x), shape), d.largest, d.size > 0 ? d.largest / d.size : d.largest);
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
           shape_text(golden_shape(x), shape), (long long)different, (long long)x->count);
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
    const FileTensor *x = golden_find(g, "output", name);
    char ours[128], theirs[128];
    if (!x)
        return; /* the file need not list every output that we could give */
    golden_mark(g, x);
    bool one = shape_count(shape) == 1 && x->count == 1 && shape.rank <= 1 && x->rank <= 1;
    if (!one && !shape_equal(shape, golden_shape(x)))
        golden_mismatch(g, "output/%s: shape %s, expected %s", name, shape_text(shape, ours),
                        shape_text(golden_shape(x), theirs));
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
    const FileTensor *x = golden_find(g, "loss", name);
    if (!x)
        return;
    golden_mark(g, x);
    if (x->count != 1)
        golden_mismatch(g, "loss/%s: not one value", name);
    else
        compare_floats(g, x, &value, 1e-4, 1.0, true);
}

void golden_trace(void *user, Tape *t, const char *name, Tensor *x)
{
    Golden *g = user;
    const FileTensor *stored = golden_find(g, "trace", name);
    if (!stored || tensor_count(x) != stored->count || x->type != F32)
        return;
    golden_mark(g, stored);
    float *values = host_copy(t, x);
    compare_floats(g, stored, values, 1e-4, 1.0, false);
    mem_free(values);
}

/* ---- Gradients, and what follows them */

static void compare_gradient(Golden *g, const char *section, const char *name, const void *gradient, Shape shape)
{
    const FileTensor *x = golden_find(g, section, name);
    char ours[128], theirs[128];
    if (!x)
        return;
    golden_mark(g, x);
    if (shape_equal(shape, golden_shape(x)))
        compare_floats(g, x, gradient, 1e-3, 1e-3, true);
    else
        golden_mismatch(g, "%s/%s: shape %s, expected %s", section, name, shape_text(shape, ours),
                        shape_text(golden_shape(x), theirs));
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
        const FileTensor *x = golden_find(g, "cotangent", names[i]);
        if (!x)
            continue;
        golden_mark(g, x);
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

static void compare_now(Golden *g, const Param *param, const char *what, const char *name, const void *stored)
{
    char full[512];
    snprintf(full, sizeof full, "%s.%s", what, name);
    golden_output_values(g, full, param->value.type, param_stored_shape(param), stored);
}

static void compare_all_now(Golden *g, Params *p, const char *what)
{
    for (int i = 0; i < params_count(p); i++) {
        const Param *param = params_at(p, i);
        void *stored = as_stored(param, host_copy(g->tape, &param->value));
        compare_now(g, param, what, param->name, stored);
        for (size_t a = 0; a < param->aliases.count; a++)
            compare_now(g, param, what, param->aliases.items[a], stored);
        mem_free(stored);
    }
}

void golden_updated(Golden *g, Params *p)
{
    compare_all_now(g, p, "updated");
}

void golden_running(Golden *g, Params *p)
{
    compare_all_now(g, p, "running");
}
