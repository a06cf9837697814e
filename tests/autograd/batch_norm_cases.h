/* BatchNorm. What it remembers is tested in test_batch_norm.c. */
#pragma once
#include "autograd/shape_cases.h"
#include "support/references.h"

static const float batch_eps = 1e-2f;

/* in: x, gamma, beta (of the plain variant x alone), and, of what does not train, running mean and variance. */
static BatchNorm batch_norm_from(Tensor *const *in)
{
    return (BatchNorm){.weight = in[1], .bias = in[2], .eps = batch_eps, .momentum = 0.1f};
}

static Tensor *run_batch_maps(Tape *t, Tensor *const *in)
{
    BatchNorm norm = batch_norm_from(in);
    return standardize_channels(t, in[0], 1, &norm);
}

static void batch_maps(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, 1, in[0].x, in[1].x, in[2].x, NULL, NULL, (double)batch_eps, y);
}

static Tensor *run_batch_rows(Tape *t, Tensor *const *in)
{
    BatchNorm norm = batch_norm_from(in);
    return standardize_channels(t, in[0], in[0]->shape.rank - 1, &norm);
}

static void batch_rows(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, in[0].shape.rank - 1, in[0].x, in[1].x, in[2].x, NULL, NULL, (double)batch_eps, y);
}

static Tensor *run_batch_relu(Tape *t, Tensor *const *in)
{
    BatchNorm norm = batch_norm_from(in);
    norm.relu = true;
    return standardize_channels(t, in[0], 1, &norm);
}

static void batch_relu(const Values *in, double *y)
{
    batch_maps(in, y);
    for (int64_t i = 0; i < shape_count(in[0].shape); i++)
        y[i] = fmax(y[i], 0);
}

static Tensor *run_batch_plain(Tape *t, Tensor *const *in)
{
    return standardize_channels(t, in[0], 1, &(BatchNorm){.eps = batch_eps});
}

static void batch_plain(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, 1, in[0].x, NULL, NULL, NULL, NULL, (double)batch_eps, y);
}

/* A layer that is evaluated, or frozen within a training. */
static Tensor *run_batch_frozen(Tape *t, Tensor *const *in)
{
    BatchNorm norm = batch_norm_from(in);
    norm.running_mean = in[3];
    norm.running_var = in[4];
    norm.relu = true;
    Region before = region_open(t, EVAL, GRAD);
    Tensor *y = standardize_channels(t, in[0], 1, &norm);
    region_close(t, before);
    return y;
}

static void batch_frozen(const Values *in, double *y)
{
    batch_norm_of(in[0].shape, 1, in[0].x, in[1].x, in[2].x, in[3].x, in[4].x, (double)batch_eps, y);
    for (int64_t i = 0; i < shape_count(in[0].shape); i++)
        y[i] = fmax(y[i], 0);
}

/* Without a memory there is nothing else to go by than the batch. */
static Tensor *run_batch_untracked(Tape *t, Tensor *const *in)
{
    Region before = region_open(t, EVAL, GRAD);
    Tensor *y = run_batch_maps(t, in);
    region_close(t, before);
    return y;
}

#define CHANNEL_WEIGHTS(n)                                                                                             \
    {.shape = {1, {n}}},                                                                                               \
    {                                                                                                                  \
        .shape = { 1, {n} }                                                                                            \
    }
static const OpCase batch_norm_cases[] = {
    {.op = "standardize_channels",
     .variant = "maps",
     .in = {MAP(3, 5, 2, 4), CHANNEL_WEIGHTS(5)},
     .run = run_batch_maps,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "sequences",
     .in = {X, CHANNEL_WEIGHTS(5)},
     .run = run_batch_maps,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "volumes",
     .in = {{.shape = {5, {2, 3, 2, 3, 2}}, .samples = true}, CHANNEL_WEIGHTS(3)},
     .run = run_batch_maps,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "samples",
     .in = {{.shape = {2, {6, 19}}, .samples = true}, CHANNEL_WEIGHTS(19)},
     .run = run_batch_maps,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "maps of one pixel",
     .in = {MAP(6, 5, 1, 1), CHANNEL_WEIGHTS(5)},
     .run = run_batch_maps,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "rows",
     .in = {X, CHANNEL_WEIGHTS(7)},
     .run = run_batch_rows,
     .reference = batch_rows},
    {.op = "standardize_channels",
     .variant = "the last axis of maps",
     .in = {MAP(3, 5, 2, 4), CHANNEL_WEIGHTS(4)},
     .run = run_batch_rows,
     .reference = batch_rows},
    {.op = "standardize_channels",
     .variant = "relu",
     .in = {MAP(3, 5, 2, 4), CHANNEL_WEIGHTS(5)},
     .run = run_batch_relu,
     .reference = batch_relu},
    {.op = "standardize_channels",
     .variant = "plain",
     .in = {MAP(3, 5, 2, 4)},
     .run = run_batch_plain,
     .reference = batch_plain},
    {.op = "standardize_channels",
     .variant = "untracked",
     .in = {X, CHANNEL_WEIGHTS(5)},
     .run = run_batch_untracked,
     .reference = batch_maps},
    {.op = "standardize_channels",
     .variant = "frozen",
     .in = {MAP(3, 5, 2, 4),
            CHANNEL_WEIGHTS(5),
            {.shape = {1, {5}}, .fixed = true},
            {.shape = {1, {5}}, .fixed = true, .low = 0.3, .high = 2}},
     .run = run_batch_frozen,
     .reference = batch_frozen},
};
