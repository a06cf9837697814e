/* The entry that many papers have: given gradients through an optimizer, and the parameters after each step. */
#include "common/run/golden.h"

#include <stdio.h>

enum { LONGEST = 512 };

static bool set_gradient(Golden *g, Params *p, Param *param, int step, Error *e)
{
    char name[LONGEST];
    snprintf(name, sizeof name, "grad%d.%s", step, param->name);
    if (!golden_has_input(g, name))
        return true;
    Shape shape;
    const float *values = golden_values(g, name, F32, &shape, e);
    if (!values)
        return false;
    if (!shape_equal(shape, param_stored_shape(param)))
        return error_set(e, "input/%s has another shape than its parameter", name);
    float *gradient = mem_new((size_t)tensor_count(&param->value) * sizeof *gradient);
    param_from_stored(param, values, gradient);
    param_write(p, &param->gradient, gradient);
    mem_free(gradient);
    param->state.touched = true;
    return true;
}

static void compare_values(Golden *g, const Params *p, const Param *param, int step)
{
    char name[LONGEST];
    snprintf(name, sizeof name, "after%d.%s", step, param->name);
    size_t bytes = (size_t)tensor_count(&param->value) * sizeof(float);
    float *values = mem_new(bytes), *stored = mem_new(bytes);
    param_read(p, &param->value, values);
    param_to_stored(param, values, stored);
    golden_output_values(g, name, F32, param_stored_shape(param), stored);
    mem_free(values);
    mem_free(stored);
}

static bool has_step(const Golden *g, Params *p, int step)
{
    char name[LONGEST];
    for (int i = 0; i < params_count(p); i++) {
        snprintf(name, sizeof name, "grad%d.%s", step, params_at(p, i)->name);
        if (golden_has_input(g, name))
            return true;
    }
    return false;
}

int golden_optimizer_steps(Golden *g, Params *p, Optimizer *o, const double *rates, int count, Error *e)
{
    int step = 1;
    if (count < 1 && !error_set(e, "config: no learning rate"))
        return -1;
    for (; has_step(g, p, step); step++) {
        params_zero_gradients(p);
        for (int i = 0; i < params_count(p); i++)
            if (params_at(p, i)->state.trainable && !set_gradient(g, p, params_at(p, i), step, e))
                return -1;
        optimizer_step(o, golden_tape(g), rates[step <= count ? step - 1 : count - 1]);
        for (int i = 0; i < params_count(p); i++)
            if (params_at(p, i)->state.trainable)
                compare_values(g, p, params_at(p, i), step);
    }
    return step - 1;
}
