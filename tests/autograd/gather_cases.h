/* The ops of common/autograd/ops.h that choose rows by an index. */
#pragma once
#include "autograd/shape_cases.h"

static Tensor *run_embedding(Tape *t, Tensor *const *in)
{
    return embedding(t, in[0], in[1]);
}

static void embedded(const Values *in, double *y)
{
    int64_t width = in[0].shape.dim[1];
    for (int64_t i = 0; i < shape_count(in[1].shape); i++)
        memcpy(y + i * width, in[0].x + (int64_t)in[1].x[i] * width, (size_t)width * sizeof *y);
}

/* Row r = b M + m of the index, for head h. */
static int64_t choice_of(const Values *index, int64_t r, int64_t h)
{
    return (int64_t)index->x[r * index->shape.dim[2] + h];
}

static Tensor *run_gather_rows(Tape *t, Tensor *const *in)
{
    return gather_rows(t, in[0], in[1]);
}

static void rows_gathered(const Values *in, double *y)
{
    const int64_t *n = in[0].shape.dim, chosen = in[1].shape.dim[1];
    for (int64_t r = 0; r < n[0] * chosen; r++)
        for (int64_t h = 0; h < n[2]; h++)
            for (int64_t c = 0; c < n[3]; c++)
                *y++ = in[0].x[((r / chosen * n[1] + choice_of(&in[1], r, h)) * n[2] + h) * n[3] + c];
}

/* The same rows for all samples: means of clusters. */
static void shared_gathered(const Values *in, double *y)
{
    const int64_t *n = in[0].shape.dim, count = shape_count(in[1].shape);
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < n[3]; c++)
            *y++ = in[0].x[((int64_t)in[1].x[i] * n[2] + i % n[2]) * n[3] + c];
}

enum { SCATTERED = 6 };

static Tensor *run_scatter_rows(Tape *t, Tensor *const *in)
{
    return scatter_rows(t, in[0], in[1], SCATTERED);
}

static void scattered_of(const Values *in, bool mean, double *y)
{
    const int64_t *n = in[0].shape.dim, count = n[0] * SCATTERED * n[2] * n[3];
    double found[3 * SCATTERED * 2] = {0};
    memset(y, 0, (size_t)count * sizeof *y);
    for (int64_t r = 0; r < n[0] * n[1]; r++)
        for (int64_t h = 0; h < n[2]; h++) {
            int64_t to = (r / n[1] * SCATTERED + choice_of(&in[1], r, h)) * n[2] + h;
            found[to]++;
            for (int64_t c = 0; c < n[3]; c++)
                y[to * n[3] + c] += in[0].x[(r * n[2] + h) * n[3] + c];
        }
    for (int64_t i = 0; mean && i < count; i++)
        y[i] /= found[i / n[3]] + (double)1e-2f;
}

static void rows_scattered(const Values *in, double *y)
{
    scattered_of(in, false, y);
}

static Tensor *run_scatter_mean(Tape *t, Tensor *const *in)
{
    return scatter_mean(t, in[0], in[1], SCATTERED, 1e-2f);
}

static void rows_averaged(const Values *in, double *y)
{
    scattered_of(in, true, y);
}

/* Members of clusters attended to among themselves, then brought back: the shapes of a routed head (Roy et al. 2020). */
static Tensor *run_there_and_back(Tape *t, Tensor *const *in)
{
    return scatter_mean(t, square(t, gather_rows(t, in[0], in[1])), in[1], SCATTERED, 1e-2f);
}

static void there_and_back(const Values *in, double *y)
{
    double members[3 * 4 * 2 * 5];
    rows_gathered(in, members);
    for (int i = 0; i < COUNT_OF(members); i++)
        members[i] *= members[i];
    scattered_of((const Values[]){{members, {4, {3, 4, 2, 5}}}, in[1]}, true, y);
}

#define ROWS_OF(tokens)                                                                                                \
    {                                                                                                                  \
        .shape = {4, {3, tokens, 2, 5}}, .samples = true                                                               \
    }
#define CHOSEN(tokens)                                                                                                 \
    {                                                                                                                  \
        .shape = {3, {3, tokens, 2}}, .type = I32, .low = 0, .high = SCATTERED - 1, .samples = true                    \
    }

static const OpCase gather_cases[] = {
    {.op = "gather_rows", .in = {ROWS_OF(6), CHOSEN(4)}, .run = run_gather_rows, .reference = rows_gathered},
    {.op = "gather_rows",
     .variant = "shared",
     .in = {{.shape = {4, {1, 6, 2, 5}}}, CHOSEN(4)},
     .run = run_gather_rows,
     .reference = shared_gathered},
    {.op = "scatter_rows", .in = {ROWS_OF(9), CHOSEN(9)}, .run = run_scatter_rows, .reference = rows_scattered},
    {.op = "scatter_mean", .in = {ROWS_OF(9), CHOSEN(9)}, .run = run_scatter_mean, .reference = rows_averaged},
    {.op = "scatter_mean",
     .variant = "of gathered rows",
     .in = {ROWS_OF(6), CHOSEN(4)},
     .run = run_there_and_back,
     .reference = there_and_back},
    {.op = "embedding",
     .in = {{.shape = {2, {6, 5}}}, {.shape = {2, {3, 7}}, .type = I64, .low = 0, .high = 5, .samples = true}},
     .run = run_embedding,
     .reference = embedded},
};
