#include "common/nn/optimizer.h"

#include "common/autograd/op.h"

#include "common/base/memory.h"

#include <math.h>
#include <string.h>

/* Neighbours in the flat buffer that take the same step. */
typedef struct Range {
    int64_t offset, count, steps; /* steps: taken before this one */
    bool decays;
} Range;

/* What a step computes for itself, on the device. */
typedef struct Sums {
    double gradients, values; /* squares of all gradients, of one parameter */
    float gradient_scale;
} Sums;

typedef union Scalars {
    StepScalars range;
    AdafactorScalars param;
} Scalars;

struct Optimizer {
    OptimizerOptions options;
    Params *params;
    bool *decays;   /* [parameters] */
    int64_t *steps; /* [parameters], as a checkpoint stores them */
    float *m, *v;   /* on the device, flat, or NULL */
    int64_t v_count;
    int64_t *v_places; /* [parameters] in v */
    void *written;     /* copies of m and v that optimizer_to_write made */
    Range *ranges;     /* [range_count] of the step that is taken */
    int range_count;
    Scalars *scalars;        /* [parameters] of a range or a parameter, on the host */
    Scalars *device_scalars; /* and on the device */
    Sums *sums;              /* on the device */
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
    o->ranges = mem_new(count * sizeof *o->ranges);
    o->scalars = mem_new(count * sizeof *o->scalars);
    o->device_scalars = params_take(params, count * sizeof *o->scalars);
    o->sums = params_take(params, sizeof *o->sums);
    params_upload(params, o->sums, &(Sums){.gradient_scale = 1}, sizeof *o->sums);
    if (options->kind != OPTIMIZER_ADAFACTOR)
        o->m = params_take(params, (size_t)params_flat_count(params) * sizeof(float));
    if (options->kind != OPTIMIZER_SGD)
        o->v = params_take(params, (size_t)o->v_count * sizeof(float));
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
    mem_free(o->v_places);
    mem_free(o->ranges);
    mem_free(o->scalars);
    mem_free(o->written);
    params_give(o->params, o->device_scalars);
    params_give(o->params, o->sums);
    params_give(o->params, o->m);
    params_give(o->params, o->v);
    mem_free(o);
}

static int64_t moments_of(const Optimizer *o, int i)
{
    const Param *param = params_at(o->params, i);
    int64_t batch, rows, cols;
    bool factors = o->options.kind == OPTIMIZER_ADAFACTOR && as_matrices(param, &batch, &rows, &cols);
    return factors ? batch * (rows + cols) : tensor_count(&param->value);
}

void optimizer_second_moments(const Optimizer *o, int i, float *out)
{
    contract(o->v, "optimizer_second_moments: there are none");
    params_download(o->params, out, o->v + o->v_places[i], (size_t)moments_of(o, i) * sizeof *out);
}

/* ---- A step */

static int64_t slice_end(const Param *param)
{
    return param->offset + params_slice(tensor_count(&param->value));
}

static bool steps_now(const Param *param)
{
    return param->state.trainable && param->state.touched;
}

/* What takes a step: `alike` joins neighbours only where they take the same. */
static void find_ranges(Optimizer *o, bool alike)
{
    Range *last = NULL;
    o->range_count = 0;
    for (int i = 0; i < params_count(o->params); i++) {
        const Param *param = params_at(o->params, i);
        if (!steps_now(param))
            continue;
        bool joins = last && last->offset + last->count == param->offset &&
                     (!alike || (last->decays == o->decays[i] && last->steps == o->steps[i]));
        if (!joins) {
            last = &o->ranges[o->range_count++];
            *last = (Range){param->offset, 0, o->steps[i], o->decays[i]};
        }
        last->count = slice_end(param) - last->offset;
    }
}

static void sum_gradients(Optimizer *o, Tape *t)
{
    find_ranges(o, false);
    if (!o->range_count)
        op_fill(t, &o->sums->gradients, 0, sizeof o->sums->gradients);
    for (int i = 0; i < o->range_count; i++)
        KERNEL(t, optimizer, sum_of_squares, o->ranges[i].count, params_flat_gradients(o->params) + o->ranges[i].offset,
               i > 0, &o->sums->gradients);
}

static void upload_scalars(Optimizer *o, int count)
{
    params_upload(o->params, o->device_scalars, o->scalars, (size_t)count * sizeof *o->scalars);
}

static void step_ranges(Optimizer *o, Tape *t, double lr)
{
    const OptimizerOptions *p = &o->options;
    float beta1 = (float)p->beta1, beta2 = (float)p->beta2;
    find_ranges(o, true);
    for (int i = 0; i < o->range_count; i++) {
        double step = (double)(o->ranges[i].steps + 1);
        o->scalars[i].range = (StepScalars){.lr = (float)lr,
                                            .bias_correction1 = (float)(1.0 - pow(p->beta1, step)),
                                            .bias_correction2 = (float)(1.0 - pow(p->beta2, step))};
    }
    upload_scalars(o, o->range_count);
    for (int i = 0; i < o->range_count; i++) {
        const Range *r = &o->ranges[i];
        const StepScalars *s = &o->device_scalars[i].range;
        float *x = params_flat_values(o->params) + r->offset, *g = params_flat_gradients(o->params) + r->offset;
        float decay = r->decays ? (float)p->weight_decay : 0.0f, *scale = &o->sums->gradient_scale;
        if (p->kind != OPTIMIZER_SGD)
            KERNEL(t, optimizer, adamw, r->count, s, scale, beta1, beta2, (float)p->eps, decay,
                   p->kind == OPTIMIZER_ADAM, x, g, o->m + r->offset, o->v + r->offset);
        else
            KERNEL(t, optimizer, sgd, r->count, s, scale, (float)p->momentum, p->momentum > 0, decay, r->steps == 0, x,
                   g, o->m + r->offset);
    }
}

static void step_by_adafactor(Optimizer *o, Tape *t, int i)
{
    Param *param = params_at(o->params, i);
    int64_t batch, rows, cols, count = tensor_count(&param->value);
    const AdafactorScalars *s = &o->device_scalars[i].param;
    const float *scale = &o->sums->gradient_scale;
    float *x = param->value.data, *g = param->gradient.data, *v = o->v + o->v_places[i];
    if (!count)
        return;
    KERNEL(t, optimizer, sum_of_squares, count, x, false, &o->sums->values);
    if (as_matrices(param, &batch, &rows, &cols))
        KERNEL(t, adafactor, factored, batch, rows, cols, s, scale, &o->sums->values, x, g, v, v + batch * rows);
    else
        KERNEL(t, adafactor, whole, count, s, scale, &o->sums->values, x, g, v);
}

static void step_each(Optimizer *o, Tape *t, double lr)
{
    const OptimizerOptions *p = &o->options;
    int count = params_count(o->params);
    for (int i = 0; i < count; i++) {
        double step = (double)(p->first_step + o->steps[i]);
        o->scalars[i].param = (AdafactorScalars){.lr = (float)lr,
                                                 .scale_floor = (float)p->scale_floor,
                                                 .weight_decay = o->decays[i] ? (float)p->weight_decay : 0,
                                                 .decay = (float)(1.0 - pow(step + 1, -p->decay_power)),
                                                 .eps1 = (float)p->eps1,
                                                 .clip = (float)p->threshold};
    }
    upload_scalars(o, count);
    for (int i = 0; i < count; i++)
        if (steps_now(params_at(o->params, i)))
            step_by_adafactor(o, t, i);
}

void optimizer_step(Optimizer *o, Tape *t, double lr)
{
    if (o->options.clip_norm > 0) {
        sum_gradients(o, t);
        KERNEL(t, optimizer, clip_scale, o->options.clip_norm, &o->sums->gradients, &o->sums->gradient_scale);
    }
    if (o->options.kind == OPTIMIZER_ADAFACTOR)
        step_each(o, t, lr);
    else
        step_ranges(o, t, lr);
    for (int i = 0; i < params_count(o->params); i++) {
        Param *param = params_at(o->params, i);
        if (steps_now(param)) {
            o->steps[i]++;
            param->state.version++;
        }
    }
}

double optimizer_gradient_norm(Optimizer *o, Tape *t)
{
    double sum = 0; /* on the meta device there are no values */
    sum_gradients(o, t);
    params_download(o->params, &sum, &o->sums->gradients, sizeof sum);
    return sqrt(sum);
}

/* ---- The state in a checkpoint */

/* Its parts, with their data where they lie. */
static int parts_of(const Optimizer *o, TensorToWrite out[static 3])
{
    int n = 0;
    out[n++] = (TensorToWrite){"optimizer.steps", I64, 1, {params_count(o->params)}, o->steps};
    if (o->m)
        out[n++] = (TensorToWrite){"optimizer.m", F32, 1, {params_flat_count(o->params)}, o->m};
    if (o->v)
        out[n++] = (TensorToWrite){"optimizer.v", F32, 1, {o->v_count}, o->v};
    return n;
}

int optimizer_to_write(Optimizer *o, TensorToWrite out[static 3])
{
    int n = parts_of(o, out);
    int64_t m_count = o->m ? params_flat_count(o->params) : 0;
    o->written = mem_resize(o->written, (size_t)(m_count + o->v_count) * sizeof(float));
    char *place = (char *)o->written;
    for (int i = 1; i < n; i++) {
        size_t bytes = (size_t)out[i].shape[0] * sizeof(float);
        params_download(o->params, place, out[i].data, bytes);
        out[i].data = place;
        place += bytes;
    }
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

static void set_part(Optimizer *o, const char *name, const void *values, size_t bytes)
{
    if (strcmp(name, "optimizer.steps") == 0)
        memcpy(o->steps, values, bytes);
    else
        params_upload(o->params, strcmp(name, "optimizer.m") == 0 ? o->m : o->v, values, bytes);
}

bool optimizer_load(Optimizer *o, const TensorFile *file, Error *e)
{
    TensorToWrite mine[3];
    void *read[3] = {0};
    int n = parts_of(o, mine);
    bool good = true;
    for (int i = 0; i < n && good; i++)
        good = (read[i] = read_part(file, &mine[i], e)) != NULL;
    for (int i = 0; i < n; i++) {
        if (good)
            set_part(o, mine[i].name, read[i], (size_t)mine[i].shape[0] * dtype_bytes(mine[i].type));
        mem_free(read[i]);
    }
    return good;
}
