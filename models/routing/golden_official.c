/* Entries of golden files of variant A (../shared/papers/routing.md, last section). */
#include "models/routing/golden.h"

#include "common/nn/schedule.h"

#include <stdio.h>
#include <string.h>

/* ---- tf_text, tf_image */

typedef struct GoldenText {
    OfficialConfig model;
} GoldenText;

static const ConfigField text_rows[] = {
    {CONFIG_FIXED("variant", "official")},
    {CONFIG_REST("", GoldenText, model, &official_text_table)},
};
static const ConfigTable text_table = {CONFIG_STRUCT(GoldenText), CONFIG_ROWS(text_rows)};

static const ConfigField image_rows[] = {
    {CONFIG_FIXED("variant", "official")},
    {CONFIG_REST("", GoldenText, model, &official_image_table)},
};
static const ConfigTable image_table = {CONFIG_STRUCT(GoldenText), CONFIG_ROWS(image_rows)};

/* What the model is asked to predict: [B,S], cut to its longest sequence. */
typedef struct Targets {
    Tensor *ids;
    int64_t batch, length;
    float counted; /* how many of them the loss counts */
} Targets;

static bool check_targets(const OfficialConfig *c, const int64_t *ids, Shape shape, Error *e)
{
    const int64_t frame[] = {c->frame_height, c->frame_width, c->num_channels};
    int rank = c->image ? 4 : 2;
    if (shape.rank != rank || (c->image && memcmp(shape.dim + 1, frame, sizeof frame)))
        return error_set(e, "input/targets: not of the shape that the config describes");
    for (int64_t i = 0; i < shape_count(shape); i++)
        if (ids[i] < 0 || ids[i] >= c->vocab_size)
            return error_set(e, "input/targets: %lld is not one of %d tokens", (long long)ids[i], c->vocab_size);
    return true;
}

static bool read_targets(Golden *g, const OfficialConfig *c, Targets *out, Error *e)
{
    Shape shape;
    const int64_t *ids = golden_values(g, "targets", I64, &shape, e);
    if (!ids || !check_targets(c, ids, shape, e))
        return false;
    int64_t batch = shape.dim[0], length = batch ? shape_count(shape) / batch : 0;
    *out = (Targets){.batch = batch, .length = MIN(length, c->max_target_length)};
    if (!out->length || out->length % c->query_shape[0])
        return error_set(e, "input/targets: %lld tokens are not whole blocks of %d", (long long)out->length,
                         c->query_shape[0]);
    int64_t *cut = mem_new((size_t)(batch * out->length) * sizeof *cut);
    for (int64_t i = 0; i < batch * out->length; i++) {
        cut[i] = ids[i / out->length * length + i % out->length];
        out->counted += c->image || cut[i];
    }
    out->ids = tensor_from(golden_tape(g), I64, SHAPE(batch, out->length), cut);
    mem_free(cut);
    return out->counted > 0 || error_set(e, "input/targets: padding alone");
}

/* The mean over all tokens but padding (text), or over all values of the images. */
static Tensor *mean_cross_entropy(Tape *t, const OfficialConfig *c, Tensor *logits, const Targets *targets)
{
    int64_t rows = targets->batch * targets->length;
    Tensor *losses = cross_entropy(t, reshape(t, logits, SHAPE(rows, c->vocab_size)),
                                   reshape(t, targets->ids, SHAPE(rows)), c->image ? -1 : 0);
    return scale(t, sum_all(t, losses), 1 / targets->counted);
}

static bool compare_model(Golden *g, Official *m, const OfficialConfig *c, Params *p, Error *e)
{
    Tape *t = golden_tape(g);
    Targets targets;
    if (!read_targets(g, c, &targets, e))
        return false;
    Tensor *routing, *logits = official_forward(t, m, official_shift(t, targets.ids), targets.length, &routing);
    Tensor *entropy = mean_cross_entropy(t, c, logits, &targets), *total = add(t, entropy, routing);
    Shape frame = SHAPE(targets.batch, c->frame_height, c->frame_width, c->num_channels, c->vocab_size);
    golden_output(g, "logits", c->image ? reshape(t, logits, frame) : logits);
    golden_loss(g, "cross_entropy", tensor_scalar(t, entropy));
    golden_loss(g, "routing", tensor_scalar(t, routing));
    golden_loss(g, "total", tensor_scalar(t, total));
    golden_loss(g, "weight_decay", tensor_scalar(t, official_weight_loss(t, m, p)));
    golden_backward(g, 1, (const char *const[]){"loss/total"}, &total, p);
    official_update_clusters(t, m);
    golden_updated(g, p);
    return true;
}

static bool run_model(Golden *g, const ConfigTable *table, Error *e)
{
    GoldenText c;
    if (!golden_config(g, table, &c))
        return true;
    Params *p = params_new();
    Official *m = official_new(&c.model, p);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && compare_model(g, m, &c.model, p, e);
    official_free(m);
    params_free(p);
    config_free(table, &c);
    return good;
}

bool golden_tf_text(Golden *g, Error *e)
{
    return run_model(g, &text_table, e);
}

bool golden_tf_image(Golden *g, Error *e)
{
    return run_model(g, &image_table, e);
}

/* ---- learning_rate, adafactor */

typedef struct RateConfig {
    double constant;
    int64_t warmup, first_step;
} RateConfig;

static const ConfigField rate_rows[] = {
    {CONFIG_FIXED("variant", "official")},
    {CONFIG_NUMBER("learning_rate_constant", RateConfig, constant, .value = "0.01")},
    {CONFIG_INT("learning_rate_warmup_steps", RateConfig, warmup, .value = "10000", .range = "[1, inf)")},
};
static const ConfigTable rate_table = {CONFIG_STRUCT(RateConfig), CONFIG_ROWS(rate_rows)};

static const ConfigField adafactor_rows[] = {
    {CONFIG_FIXED("variant", "official")},
    {CONFIG_NUMBER("learning_rate_constant", RateConfig, constant, .value = "0.01")},
    {CONFIG_INT("learning_rate_warmup_steps", RateConfig, warmup, .value = "10000", .range = "[1, inf)")},
    {CONFIG_INT("first_step", RateConfig, first_step, .value = "0", .range = "[0, inf)")},
};
static const ConfigTable adafactor_table = {CONFIG_STRUCT(RateConfig), CONFIG_ROWS(adafactor_rows)};

bool golden_learning_rate(Golden *g, Error *e)
{
    RateConfig c;
    Shape shape;
    if (!golden_config(g, &rate_table, &c))
        return true;
    const int64_t *steps = golden_values(g, "step", I64, &shape, e);
    if (!steps)
        return false;
    float *rates = mem_new((size_t)shape_count(shape) * sizeof *rates);
    for (int64_t i = 0; i < shape_count(shape); i++)
        rates[i] = (float)schedule_rsqrt(c.constant, c.warmup, steps[i]);
    golden_output_values(g, "learning_rate", F32, shape, rates);
    mem_free(rates);
    return true;
}

/* A parameter, its gradients [steps,...], and what it was after each step. */
typedef struct Stepped {
    const char *name;
    const float *gradients;
    float *after;
    Shape shape; /* with the steps */
} Stepped;

typedef struct StepsRun {
    Params *params;
    Stepped *list;
    int count;
    int64_t steps;
} StepsRun;

/* Every input is the gradients of a parameter of its name. */
static bool declare_stepped(Golden *g, StepsRun *r, Error *e)
{
    while (golden_input_name(g, r->count))
        r->count++;
    r->list = mem_new((size_t)r->count * sizeof *r->list);
    for (int i = 0; i < r->count; i++) {
        Stepped *s = &r->list[i];
        s->name = golden_input_name(g, i);
        s->gradients = golden_values(g, s->name, F32, &s->shape, e);
        if (!s->gradients)
            return false;
        if (s->shape.rank < 1 || (i > 0 && s->shape.dim[0] != r->steps))
            return error_set(e, "input/%s: expected as many steps as the other gradients have", s->name);
        r->steps = s->shape.dim[0];
        s->after = mem_new((size_t)shape_count(s->shape) * sizeof *s->after);
        Shape one = {.rank = s->shape.rank - 1};
        memcpy(one.dim, s->shape.dim + 1, (size_t)one.rank * sizeof *one.dim);
        params_add(r->params, s->name, one, INIT_ZEROS);
    }
    params_allocate(r->params, true, 0, golden_backend(g));
    return golden_params(g, r->params, e);
}

static void take_steps(Golden *g, StepsRun *r, const RateConfig *c, Optimizer *o)
{
    float *rates = mem_new((size_t)r->steps * sizeof *rates);
    for (int64_t step = 0; step < r->steps; step++) {
        double rate = schedule_rsqrt(c->constant, c->warmup, c->first_step + step);
        rates[step] = (float)rate;
        for (int i = 0; i < r->count; i++) {
            Param *param = params_at(r->params, i);
            int64_t n = tensor_count(&param->value);
            param_write(r->params, &param->gradient, r->list[i].gradients + step * n);
            param->state.touched = true;
        }
        optimizer_step(o, golden_tape(g), rate);
        for (int i = 0; i < r->count; i++) {
            const Param *param = params_at(r->params, i);
            int64_t n = tensor_count(&param->value);
            param_read(r->params, &param->value, r->list[i].after + step * n);
        }
    }
    golden_output_values(g, "learning_rate", F32, SHAPE(r->steps), rates);
    mem_free(rates);
}

static void compare_moments(Golden *g, const char *name, const char *suffix, Shape shape, const float *moments)
{
    char full[512];
    snprintf(full, sizeof full, "%s.%s", name, suffix);
    golden_output_values(g, full, F32, shape, moments);
}

static void compare_stepped(Golden *g, const StepsRun *r, const Optimizer *o)
{
    for (int i = 0; i < r->count; i++) {
        const Stepped *s = &r->list[i];
        Shape shape = params_at(r->params, i)->value.shape, by_row = shape, by_col = shape;
        float *moments =
            mem_new((size_t)(2 * shape_count(shape)) * sizeof *moments); /* by row and by column: no more */
        optimizer_second_moments(o, i, moments);
        golden_output_values(g, s->name, F32, s->shape, s->after);
        if (shape.rank < 2) {
            compare_moments(g, s->name, "v", shape, moments);
        } else {
            by_row.rank = by_col.rank = shape.rank - 1;
            by_col.dim[shape.rank - 2] = shape.dim[shape.rank - 1];
            compare_moments(g, s->name, "vr", by_row, moments);
            compare_moments(g, s->name, "vc", by_col, moments + shape_count(by_row));
        }
        mem_free(moments);
    }
}

bool golden_adafactor(Golden *g, Error *e)
{
    RateConfig c;
    if (!golden_config(g, &adafactor_table, &c))
        return true;
    StepsRun r = {.params = params_new()};
    bool good = declare_stepped(g, &r, e);
    if (good) {
        OptimizerOptions options = ADAFACTOR_T2T;
        options.first_step = c.first_step;
        Optimizer *o = optimizer_new(&options, r.params);
        take_steps(g, &r, &c, o);
        compare_stepped(g, &r, o);
        optimizer_free(o);
    }
    for (int i = 0; i < r.count; i++)
        mem_free(r.list[i].after);
    mem_free(r.list);
    params_free(r.params);
    return good;
}

/* ---- filter_logits */

static const ConfigField filter_rows[] = {
    {CONFIG_INT("sampling_keep_top_k", OfficialConfig, sampling_keep_top_k, .value = "-1", .range = "[-1, inf)")},
    {CONFIG_NUMBER("nucleus_sampling", OfficialConfig, nucleus_sampling, .value = "0.9", .range = "[0, 1]")},
    {CONFIG_NUMBER("sampling_temp", OfficialConfig, sampling_temp, .value = "1", .range = "(0, inf)")},
};
const ConfigTable official_filter_table = {CONFIG_STRUCT(OfficialConfig), CONFIG_ROWS(filter_rows)};

bool golden_filter_official(Golden *g, const OfficialConfig *c, Error *e)
{
    Shape shape;
    const float *logits = golden_values(g, "logits", F32, &shape, e);
    if (!logits || shape.rank != 2)
        return logits && error_set(e, "input/logits: expected [rows, tokens]");
    float *probabilities = mem_copy(logits, (size_t)shape_count(shape) * sizeof *logits);
    official_filter(c, probabilities, shape.dim[0], shape.dim[1]);
    golden_output_values(g, "probabilities", F32, shape, probabilities);
    mem_free(probabilities);
    return true;
}
