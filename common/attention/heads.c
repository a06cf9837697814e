#include "common/attention/heads.h"

HeadRows head_rows(const Tensor *x)
{
    int64_t width = x->shape.dim[2] * x->shape.dim[3], tokens = x->shape.dim[1];
    HeadRows h = {.data = x->data, .token_step = width, .type = x->type};
    int64_t per_batch = tokens * width;
    if (tensor_is_window(x)) {
        /* A run is either one token (a window of a fused projection) or a sample's tokens (a window of the sequence). */
        bool by_token = x->run == width;
        h.token_step = by_token ? x->stride : width;
        per_batch = by_token ? tokens * x->stride : x->stride;
    }
    h.batch_step = x->shape.dim[0] == 1 ? 0 : per_batch;
    return h;
}

Tensor *as_heads(Tape *t, Tensor *x)
{
    contract(x->shape.rank == 4, "attention: rank %d, not [B,N,heads,width]", x->shape.rank);
    int64_t width = x->shape.dim[2] * x->shape.dim[3], sample = x->shape.dim[1] * width;
    bool fits = !tensor_is_window(x) || x->run == width || x->run == sample;
    return fits && !x->channels_last ? x : contiguous(t, x);
}
