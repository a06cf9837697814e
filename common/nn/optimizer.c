#include "common/nn/optimizer.h"

#include "common/autograd/op.h"

#include "common/base/memory.h"

#include <math.h>
#include <string.h>

struct Optimizer {
    OptimizerOptions options;
    Params *params;
    bool *decays;   /* [parameters] */
    int64_t *steps; /* [parameters], as a checkpoint stores them */
    float *m, *v;   /* flat, or NULL */
    int64_t v_count;
    int64_t *v_places; /* [parameters] in v */
};

static bool decays_by_rank(const Param *param)
{
    return param->value.shape.rank >= 2;
}

/* [..., R, C] as batch matrices of R rows and C columns, which Adafactor factors; false: a vector or a scalar. */
static bool as_matrices(const Param *param, int64_t *batch, int64_t *rows, int64_t *cols)
{
    Shape shape = param->value.shape;
    if (shape.rank < 2)
        return false;
    *batch = shape_product(shape, 0, shape.rank - 2);
    *rows = shape.dim[shape.rank - 2];
    *cols = shape.dim[shape.rank - 1];
    return true;
}

/* Where the second moments of each parameter lie: as the parameters do, or fewer of them. */
static void place_moments(Optimizer *o)
{
    bool factors = o->options.kind == OPTIMIZER_ADAFACTOR;
    for (int i = 0; i < params_count(o->params); i++) {
        const Param *param = params_at(o->params, i);
        int64_t batch, rows, cols, count = tensor_count(&param->value);
        o->v_places[i] = factors ? o->v_count : param->offset;
        if (factors && as_matrices(param, &batch, &rows, &cols))
            count = batch * (rows + cols);
        if (factors && param->state.trainable)
            o->v_count += params_slice(count);
    }
    if (!factors && o->options.kind != OPTIMIZER_SGD)
        o->v_count = params_flat_count(o->params);
}

Optimizer *optimizer_new(const OptimizerOptions *options, Params *params)
{
    Optimizer *o = mem_new(sizeof *o);
    size_t count = (size_t)params_count(params);
    *o = (Optimizer){.options = *options, .params = params};
    o->decays = mem_new(count);
    o->steps = mem_new(count * sizeof *o->steps);
    o->v_places = mem_new(count * sizeof *o->v_places);
    place_moments(o);
    if (options->kind != OPTIMIZER_ADAFACTOR)
        o->m = mem_new((size_t)params_flat_count(params) * sizeof(float));
    if (options->kind != OPTIMIZER_SGD)
        o->v = mem_new((size_t)o->v_count * sizeof(float));
    ParamRule *rule = options->decays ? options->decays : decays_by_rank;
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
    mem_free(o->v_places);
    mem_free(o);
}

const float *optimizer_second_moments(const Optimizer *o, int i)
{
    return o->v ? o->v + o->v_places[i] : NULL;
}

/* Neighbours in the flat buffer that take the same step. */
typedef struct Range {
    int64_t offset, count, steps; /* steps: taken before this one */
    bool decays;
} Range;

static void step_range(const Optimizer *o, Tape *t, const Range *r, double lr, float gradient_scale)
{
    const OptimizerOptions *p = &o->options;
    float *x = params_flat_values(o->params) + r->offset, *g = params_flat_gradients(o->params) + r->offset;
    float decay = r->decays ? (float)p->weight_decay : 0.0f;
    double step = (double)(r->steps + 1);
    StepScalars s = {.lr = (float)lr,
                     .gradient_scale = gradient_scale,
                     .bias_correction1 = (float)(1.0 - pow(p->beta1, step)),
                     .bias_correction2 = (float)(1.0 - pow(p->beta2, step))};
    if (p->kind != OPTIMIZER_SGD)
        KERNEL(t, optimizer, adamw, r->count, &s, (float)p->beta1, (float)p->beta2, (float)p->eps, decay,
               p->kind == OPTIMIZER_ADAM, x, g, o->m + r->offset, o->v + r->offset);
    else
        KERNEL(t, optimizer, sgd, r->count, &s, (float)p->momentum, p->momentum > 0, decay, r->steps == 0, x, g,
               o->m + r->offset);
}

static int64_t slice_end(const Param *param)
{
    return param->offset + params_slice(tensor_count(&param->value));
}

static bool steps_now(const Param *param)
{
    return param->state.trainable && param->state.touched;
}

/* All that take a step by one kernel call a range. */
static void step_ranges(Optimizer *o, Tape *t, double lr, float gradient_scale)
{
    Range range = {0};
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (!steps_now(param))
            continue;
        bool joins = range.count && range.offset + range.count == param->offset && range.decays == o->decays[i] &&
                     range.steps == o->steps[i];
        if (!joins) {
            if (range.count)
                step_range(o, t, &range, lr, gradient_scale);
            range = (Range){param->offset, 0, o->steps[i], o->decays[i]};
        }
        range.count = slice_end(param) - range.offset;
    }
    if (range.count)
        step_range(o, t, &range, lr, gradient_scale);
}

/* 0 on the meta device, which has no values. */
static double sum_of_squares(Tape *t, const Tensor *x)
{
    return t->device == DEVICE_META ? 0 : t->backend->optimizer.sum_of_squares(&t->exec, tensor_count(x), x->data);
}

static void adafactor_step(Optimizer *o, Tape *t, int i, double lr, float gradient_scale)
{
    const OptimizerOptions *p = &o->options;
    Param *param = params_at(o->params, i);
    int64_t batch, rows, cols, count = tensor_count(&param->value);
    if (!count)
        return;
    double step = (double)(p->first_step + o->steps[i]);
    double rms = sqrt(sum_of_squares(t, &param->value) / (double)count);
    AdafactorScalars s = {.rate = (float)(lr * fmax(rms, p->scale_floor)),
                          .gradient_scale = gradient_scale,
                          .weight_decay = o->decays[i] ? (float)p->weight_decay : 0,
                          .decay = (float)(1.0 - pow(step + 1, -p->decay_power)),
                          .eps1 = (float)p->eps1,
                          .clip = (float)p->threshold};
    float *x = param->value.data, *g = param->gradient.data, *v = o->v + o->v_places[i];
    if (as_matrices(param, &batch, &rows, &cols))
        KERNEL(t, adafactor, factored, batch, rows, cols, &s, x, g, v, v + batch * rows);
    else
        KERNEL(t, adafactor, whole, count, &s, x, g, v);
}

void optimizer_step(Optimizer *o, Tape *t, double lr)
{
    double clip = o->options.clip_norm;
    float scale = clip > 0 ? (float)fmin(1, clip / (optimizer_gradient_norm(o, t) + 1e-6)) : 1.0f;
    if (o->options.kind != OPTIMIZER_ADAFACTOR)
        step_ranges(o, t, lr, scale);
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (!steps_now(param))
            continue;
        if (o->options.kind == OPTIMIZER_ADAFACTOR)
            adafactor_step(o, t, i, lr, scale);
        o->steps[i]++;
        param->state.version++;
    }
}

double optimizer_gradient_norm(Optimizer *o, Tape *t)
{
    double sum = 0;
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (steps_now(param))
            sum += sum_of_squares(t, &param->gradient);
    }
    return sqrt(sum);
}

int optimizer_to_write(Optimizer *o, TensorToWrite out[static 3])
{
    int64_t flat = params_flat_count(o->params), count = params_count(o->params);
    int n = 0;
    out[n++] = (TensorToWrite){"optimizer.steps", I64, 1, {count}, o->steps};
    if (o->m)
        out[n++] = (TensorToWrite){"optimizer.m", F32, 1, {flat}, o->m};
    if (o->v)
        out[n++] = (TensorToWrite){"optimizer.v", F32, 1, {o->v_count}, o->v};
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
