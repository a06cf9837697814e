/* A network as tests of models want it: small, on one thread, with a tape of its own; asked, and taught by heart. */
#pragma once
#include "common/nn/optimizer.h"
#include "common/run/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct ModelTest {
    const Model *model;
    Params *params;
    void *network;
    Tape *tape;
} ModelTest;

/* Any tensor that a test computes from its data. */
typedef Tensor *(*ModelTestFunction)(ModelTest *m, const void *data);

/* config: the model's own struct. inner: F32, or BF16 as `precision: bf16` has it. */
static inline ModelTest *model_test_open(const Model *model, const void *config, DType inner)
{
    Error e;
    const Backend *backend = cpu_backend(&e);
    ModelTest *m = mem_new(sizeof *m);
    assert_non_null(backend);
    *m = (ModelTest){.model = model, .params = params_new()};
    m->network = model->create(config, m->params);
    params_allocate(m->params, true, 1, backend);
    m->tape = tape_new(&(TapeOptions){.backend = backend, .threads = 1, .inner = inner});
    return m;
}

static inline void model_test_close(ModelTest *m)
{
    tape_free(m->tape);
    m->model->destroy(m->network);
    params_free(m->params);
    mem_free(m);
}

static inline void model_test_read(ModelTest *m, Phase phase, ModelTestFunction forward, const void *data, float *out)
{
    Region before = region_open(m->tape, phase, NO_GRAD);
    tensor_read(m->tape, forward(m, data), out);
    tape_reset(m->tape);
    region_close(m->tape, before);
}

/* The mean of `losses` after so many steps of Adam. Every parameter has to get a gradient, in each. */
static inline float model_test_learn(ModelTest *m, ModelTestFunction losses, const void *data, int steps, double rate)
{
    OptimizerOptions adam = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    Optimizer *o = optimizer_new(&adam, m->params);
    Region before = region_open(m->tape, TRAIN, GRAD);
    float loss = NAN;
    for (int step = 0; step < steps; step++) {
        tape_set_step(m->tape, (uint32_t)step);
        params_zero_gradients(m->params);
        Tensor *mean = tape_keep(m->tape, mean_all(m->tape, losses(m, data)));
        tape_backward(m->tape, &mean, NULL, 1);
        loss = tensor_scalar(m->tape, mean);
        for (int i = 0; i < params_count(m->params); i++)
            assert_true(params_at(m->params, i)->state.touched);
        optimizer_step(o, m->tape, rate);
        tape_reset(m->tape);
    }
    region_close(m->tape, before);
    optimizer_free(o);
    return loss;
}

/* Normal numbers, always the same ones. */
static inline void fill_noise(float *values, int count)
{
    Random random = random_at(1, STREAM_DATA, 0, 0);
    for (int i = 0; i < count; i++)
        values[i] = (float)random_normal(&random);
}

static inline float furthest(const float *a, const float *b, int count)
{
    float most = 0;
    for (int i = 0; i < count; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

/* What a config of this text is refused with contains `line`. */
static inline void assert_config_refused(const Model *model, const char *text, const char *line)
{
    Error e;
    void *config = mem_new(model->config->size);
    Node *node = node_from_flow_yaml(text, "a config", &e);
    assert_false(config_bind(model->config, node, config, &e));
    if (!strstr(e.text, line))
        fail_msg("expected \"%s\", got: %s", line, e.text);
    node_free(node);
    mem_free(config);
}

/* models/<model>/golden/<name>.safetensors: no mismatch. */
static inline void assert_golden(const Model *model, const char *name)
{
    Error e;
    char *path = str_format("models/%s/golden/%s.safetensors", model->name, name);
    assert_int_equal(golden_run(path, model->name, model->golden, cpu_backend(&e), 1), 0);
    mem_free(path);
}
