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

static const OpCase gather_cases[] = {
    {.op = "embedding",
     .in = {{.shape = {2, {6, 5}}}, {.shape = {2, {3, 7}}, .type = I64, .low = 0, .high = 5, .samples = true}},
     .run = run_embedding,
     .reference = embedded},
};
