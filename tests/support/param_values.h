/* What parameters hold, wherever they lie. */
#pragma once
#include "common/nn/params.h"

/* A copy of the elements of a parameter, buffer or gradient; the fourth call after this one takes its place. */
static inline const void *param_values(const Params *p, const Tensor *x)
{
    static void *copies[4];
    static int calls;
    void **copy = &copies[calls++ % COUNT_OF(copies)];
    *copy = mem_resize(*copy, (size_t)tensor_count(x) * dtype_bytes(x->type));
    param_read(p, x, *copy);
    return *copy;
}
