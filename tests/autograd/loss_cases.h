/* The ops of common/autograd/ops.h of classification and noise. */
#pragma once
#include "autograd/shape_cases.h"
#include "support/references.h"

static Tensor *run_softmax(Tape *t, Tensor *const *in)
{
    return softmax(t, in[0]);
}

static void softmaxed(const Values *in, double *y)
{
    int64_t cols = in->shape.dim[in->shape.rank - 1];
    copied(in, y);
    for (int64_t r = 0; r < shape_count(in->shape) / cols; r++)
        softmax_of(cols, y + r * cols);
}

static Tensor *run_soft_cross_entropy(Tape *t, Tensor *const *in)
{
    return soft_cross_entropy(t, in[0], in[1], NULL);
}

static void cross_entropies(const Values *in, double *y)
{
    int64_t cols = in->shape.dim[1];
    double p[16];
    for (int64_t r = 0; r < in->shape.dim[0]; r++) {
        memcpy(p, in->x + r * cols, (size_t)cols * sizeof *p);
        softmax_of(cols, p);
        y[r] = 0;
        for (int64_t c = 0; c < cols; c++)
            y[r] -= in[1].x[r * cols + c] * log(p[c]);
    }
}

/* Labels are -1 .. 6, and -1 is ignored. */
static Tensor *run_cross_entropy(Tape *t, Tensor *const *in)
{
    return cross_entropy(t, in[0], in[1], -1);
}

static void labelled_cross_entropies(const Values *in, double *y)
{
    int64_t cols = in->shape.dim[1];
    double p[16];
    for (int64_t r = 0; r < in->shape.dim[0]; r++) {
        int64_t label = (int64_t)in[1].x[r];
        memcpy(p, in->x + r * cols, (size_t)cols * sizeof *p);
        softmax_of(cols, p);
        y[r] = label < 0 ? 0 : -log(p[label]);
    }
}

static Tensor *run_dropout(Tape *t, Tensor *const *in)
{
    return dropout(t, in[0], 0.4f, 77);
}

/* Draws from outside: every third value goes. */
static Tensor *run_replayed_dropout(Tape *t, Tensor *const *in)
{
    int64_t count = tensor_count(in[0]);
    float *draws = mem_new((size_t)(count + 1) * sizeof *draws);
    for (int64_t i = 0; i < count; i++)
        draws[i] = i % 3 ? 0.4f : 0.39f;
    RandomReplay replay = {.values = draws, .count = count};
    tape_replay(t, &replay);
    Tensor *y = dropout(t, in[0], 0.4f, 77);
    tape_replay(t, NULL);
    mem_free(draws);
    return y;
}

static void every_third_dropped(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        y[i] = i % 3 ? in->x[i] / (1.0 - 0.4) : 0;
}

/* It has no gradient itself. */
static Tensor *run_uniform(Tape *t, Tensor *const *in)
{
    return add(t, in[0], uniform(t, in[0]->shape, 77));
}

static Tensor *run_constant(Tape *t, Tensor *const *in)
{
    return multiply(t, in[0], constant(t, in[0]->shape, -2.5f));
}

static void times_the_constant(const Values *in, double *y)
{
    for (int64_t i = 0; i < shape_count(in->shape); i++)
        y[i] = in->x[i] * -2.5;
}

static Tensor *run_drop_path(Tape *t, Tensor *const *in)
{
    return drop_path(t, in[0], 0.4f, 77);
}

static const OpCase loss_cases[] = {
    {.op = "softmax", .in = {WIDE}, .run = run_softmax, .reference = softmaxed},
    {.op = "soft_cross_entropy",
     .in = {{.shape = {2, {5, 7}}, .low = -3, .high = 3, .samples = true},
            {.shape = {2, {5, 7}}, .low = 0, .high = 1, .fixed = true, .samples = true}},
     .run = run_soft_cross_entropy,
     .reference = cross_entropies},
    {.op = "cross_entropy",
     .in = {{.shape = {2, {11, 7}}, .low = -3, .high = 3, .samples = true},
            {.shape = {1, {11}}, .type = I64, .low = -1, .high = 7, .samples = true}},
     .run = run_cross_entropy,
     .reference = labelled_cross_entropies},
    {.op = "dropout", .in = {X}, .run = run_dropout},
    {.op = "dropout", .variant = "replayed", .in = {X}, .run = run_replayed_dropout, .reference = every_third_dropped},
    {.op = "drop_path", .in = {X}, .run = run_drop_path},
    {.op = "uniform", .in = {X}, .run = run_uniform},
    {.op = "constant", .in = {X}, .run = run_constant, .reference = times_the_constant},
};
