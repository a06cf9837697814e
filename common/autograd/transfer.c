/* Values on their way from and to the host. */
#include "common/autograd/ops.h"
#include "common/autograd/tape_parts.h"

#include <string.h>

void op_fill(Tape *t, void *memory, uint8_t byte, size_t bytes)
{
    if (t->device != DEVICE_META)
        t->backend->memory.fill(&t->exec, memory, byte, bytes);
}

void op_upload(Tape *t, void *memory, const void *values, size_t bytes)
{
    if (t->device != DEVICE_META)
        t->backend->memory.upload(&t->exec, memory, values, bytes);
}

void *op_host(Tape *t, const Tensor *x)
{
    size_t bytes = (size_t)tensor_count(x) * dtype_bytes(x->type);
    if (t->device == DEVICE_META)
        return NULL;
    if (t->backend->memory.on_host)
        return x->data;
    if (bytes > t->host_bytes)
        t->host = mem_resize(t->host, t->host_bytes = bytes);
    return t->host;
}

void op_from_host(Tape *t, const Tensor *x)
{
    if (t->device != DEVICE_META && !t->backend->memory.on_host)
        op_upload(t, x->data, t->host, (size_t)tensor_count(x) * dtype_bytes(x->type));
}

Tensor *tensor_from(Tape *t, DType type, Shape shape, const void *data)
{
    Tensor *x = tensor_make(t, type, shape);
    if (data)
        op_upload(t, x->data, data, (size_t)tensor_count(x) * dtype_bytes(type));
    return x;
}

/* A window, or a map with channels last, is made contiguous first where each piece would be a way over the bus. To `out`, or,
 * where that is NULL, to a fetch. */
static void read_from_device(Tape *t, const Tensor *x, void *out, Fetch *fetch)
{
    Region before = region_open(t, t->region.phase, NO_GRAD);
    Scope s = scope_open(t);
    const Tensor *whole = contiguous(t, (Tensor *)x);
    size_t bytes = (size_t)tensor_count(x) * dtype_bytes(x->type);
    if (out)
        t->backend->memory.download(&t->exec, out, whole->data, bytes);
    else
        t->backend->memory.fetch(&t->exec, fetch, whole->data, bytes);
    scope_close_n(t, s, NULL, 0);
    region_close(t, before);
}

void tensor_read(Tape *t, const Tensor *x, void *out)
{
    op_begin(t, "tensor_read", 1, &(Tensor *){(Tensor *)x});
    if (t->device == DEVICE_META)
        return;
    if (!t->backend->memory.on_host) {
        read_from_device(t, x, out, NULL);
        return;
    }
    size_t bytes = dtype_bytes(x->type);
    if (x->channels_last) {
        const int64_t shape[] = {x->shape.dim[0], x->shape.dim[2], x->shape.dim[3], x->shape.dim[1]};
        KERNEL(t, elementwise, permute, 4, shape, ((const int[]){0, 3, 1, 2}), bytes, x->data, out);
        return;
    }
    int64_t blocks, run;
    Rows from = tensor_blocks(x, &blocks, &run);
    for (int64_t i = 0; i < blocks; i++)
        memcpy((char *)out + (size_t)(i * run) * bytes, (char *)from.data + (size_t)(i * from.stride) * bytes,
               (size_t)run * bytes);
}

float tensor_scalar(Tape *t, const Tensor *x)
{
    contract(tensor_count(x) == 1 && x->type == F32, "tensor_scalar: not one float");
    float value = 0;
    tensor_read(t, x, &value);
    return value;
}

void tensor_fetch(Tape *t, const Tensor *x, Fetch *fetch)
{
    op_begin(t, "tensor_fetch", 1, &(Tensor *){(Tensor *)x});
    if (t->device != DEVICE_META)
        read_from_device(t, x, NULL, fetch);
}

const void *fetch_values(Tape *t, Fetch *fetch)
{
    if (t->device != DEVICE_META)
        t->backend->memory.fetch_wait(fetch);
    return fetch->host;
}

void fetch_free(Tape *t, Fetch *fetch)
{
    if (t->device != DEVICE_META)
        t->backend->memory.fetch_free(fetch);
}
