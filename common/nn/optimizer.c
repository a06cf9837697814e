#include "common/nn/optimizer.h"

#include "common/autograd/op.h"

#include "common/base/memory.h"

#include <math.h>
#include <string.h>

struct Optimizer {
    OptimizerOptions options;
    Params *params;
    bool *decays;   /* [parameters] */
    float *m, *v;   /* flat; v only for AdamW */
    int64_t *steps; /* [parameters], as a checkpoint stores them */
};

static bool decays_by_rank(const Param *param)
{
    return param->value.shape.rank >= 2;
}

Optimizer *optimizer_new(const OptimizerOptions *options, Params *params)
{
    Optimizer *o = mem_new(sizeof *o);
    size_t count = (size_t)params_count(params), flat = (size_t)params_flat_count(params);
    *o = (Optimizer){.options = *options, .params = params};
    o->decays = mem_new(count);
    o->steps = mem_new(count * sizeof *o->steps);
    o->m = mem_new(flat * sizeof(float));
    o->v = options->kind == OPTIMIZER_ADAMW ? mem_new(flat * sizeof(float)) : NULL;
    bool (*rule)(const Param *) = options->decays ? options->decays : decays_by_rank;
    for (size_t i = 0; i < count; i++)
        o->decays[i] = rule(params_at(params, (int)i));
    return o;
}

void optimizer_free(Optimizer *o)
{
    if (!o)
        return;
    mem_free(o->decays);
    mem_free(o->steps);
    mem_free(o->m);
    mem_free(o->v);
    mem_free(o);
}

/* Neighbours in the flat buffer that take the same step. */
typedef struct Range {
    int64_t offset, count, steps; /* steps: taken before this one */
    bool decays;
} Range;

static void step_range(const Optimizer *o, Tape *t, const Range *r, double lr)
{
    const OptimizerOptions *p = &o->options;
    float *x = params_flat_values(o->params) + r->offset, *g = params_flat_gradients(o->params) + r->offset;
    float decay = r->decays ? (float)p->weight_decay : 0.0f;
    double step = (double)(r->steps + 1);
    StepScalars s = {.lr = (float)lr,
                     .gradient_scale = 1.0f,
                     .bias_correction1 = (float)(1.0 - pow(p->beta1, step)),
                     .bias_correction2 = (float)(1.0 - pow(p->beta2, step))};
    if (p->kind == OPTIMIZER_ADAMW)
        KERNEL(t, optimizer, adamw, r->count, &s, (float)p->beta1, (float)p->beta2, (float)p->eps, decay, x, g,
               o->m + r->offset, o->v + r->offset);
    else
        KERNEL(t, optimizer, sgd, r->count, &s, (float)p->momentum, p->momentum > 0, decay, r->steps == 0, x, g,
               o->m + r->offset);
}

static int64_t slice_end(const Param *param)
{
    return param->offset + params_slice(tensor_count(&param->value));
}

void optimizer_step(Optimizer *o, Tape *t, double lr)
{
    Range range = {0};
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (!param->state.trainable || !param->state.touched)
            continue;
        bool joins = range.count && range.offset + range.count == param->offset && range.decays == o->decays[i] &&
                     range.steps == o->steps[i];
        if (!joins) {
            if (range.count)
                step_range(o, t, &range, lr);
            range = (Range){param->offset, 0, o->steps[i], o->decays[i]};
        }
        range.count = slice_end(param) - range.offset;
        o->steps[i]++;
        param->state.version++;
    }
    if (range.count)
        step_range(o, t, &range, lr);
}

double optimizer_gradient_norm(Optimizer *o, Tape *t)
{
    double sum = 0;
    if (t->device == DEVICE_META)
        return 0;
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (param->state.trainable && param->state.touched)
            sum += t->backend->optimizer.sum_of_squares(&t->exec, tensor_count(&param->value), param->gradient.data);
    }
    return sqrt(sum);
}

int optimizer_to_write(Optimizer *o, TensorToWrite out[static 3])
{
    int64_t flat = params_flat_count(o->params), count = params_count(o->params);
    int n = 0;
    out[n++] = (TensorToWrite){"optimizer.steps", I64, 1, {count}, o->steps};
    out[n++] = (TensorToWrite){"optimizer.m", F32, 1, {flat}, o->m};
    if (o->v)
        out[n++] = (TensorToWrite){"optimizer.v", F32, 1, {flat}, o->v};
    return n;
}

/* A part of the state as the file has it, or NULL. */
static void *read_part(const TensorFile *file, const TensorToWrite *mine, Error *e)
{
    const FileTensor *stored = tensor_file_find(file, mine->name);
    if (!stored || stored->rank != 1 || stored->shape[0] != mine->shape[0]) {
        error_set(e, "%s: tensor %s is missing or of another size: a checkpoint of another model?",
                  tensor_file_path(file), mine->name);
        return NULL;
    }
    void *part = mem_new((size_t)mine->shape[0] * dtype_bytes(mine->type));
    if (tensor_file_read(file, stored, mine->type, part, e))
        return part;
    mem_free(part);
    return NULL;
}

bool optimizer_load(Optimizer *o, const TensorFile *file, Error *e)
{
    TensorToWrite mine[3];
    void *read[3] = {0};
    int n = optimizer_to_write(o, mine);
    bool good = true;
    for (int i = 0; i < n && good; i++)
        good = (read[i] = read_part(file, &mine[i], e)) != NULL;
    for (int i = 0; i < n; i++) {
        if (good)
            memcpy((void *)mine[i].data, read[i], (size_t)mine[i].shape[0] * dtype_bytes(mine[i].type));
        mem_free(read[i]);
    }
    return good;
}
