#include "common/nn/params.h"

#include "common/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Params {
    ARRAY(Param *) list;
    Str prefix;
    ARRAY(size_t) marks; /* lengths of the prefix to go back to */
    Str name;
    int64_t flat, buffers;                     /* elements of the two flat arrays */
    float *values, *gradients, *buffer_values; /* NULL until params_allocate */
    bool real;                                 /* there is memory behind them */
    const Backend *backend;
};

Params *params_new(void)
{
    return mem_new(sizeof(Params));
}

void params_free(Params *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->list.count; i++) {
        Param *param = p->list.items[i];
        if (param->state.packed && p->backend && p->backend->matmul.packed_free)
            p->backend->matmul.packed_free(&param->state.packed);
        mem_free(param->name);
        mem_free(param);
    }
    array_free(&p->list);
    array_free(&p->marks);
    str_free(&p->prefix);
    str_free(&p->name);
    if (p->real) {
        mem_free(p->values);
        mem_free(p->gradients);
        mem_free(p->buffer_values);
    }
    mem_free(p);
}

void params_enter(Params *p, const char *format, ...)
{
    *array_add(&p->marks) = p->prefix.length;
    char part[256];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    str_add(&p->prefix, "%s.", part);
}

void params_leave(Params *p)
{
    contract(p->marks.count > 0, "params_leave without params_enter");
    p->prefix.length = p->marks.items[--p->marks.count];
    p->prefix.text[p->prefix.length] = '\0';
}

const char *params_name(Params *p, const char *name)
{
    str_clear(&p->name);
    str_add(&p->name, "%s%s", p->prefix.text ? p->prefix.text : "", name);
    return p->name.text;
}

static Tensor *declare(Params *p, const char *name, Shape shape, Init init, bool trainable)
{
    const char *full = params_name(p, name);
    contract(!p->values, "parameter %s is declared after params_allocate", full);
    contract(!params_find(p, full), "two parameters named %s", full);
    Param *param = mem_new(sizeof *param);
    param->name = str_copy(full);
    param->init = init;
    param->state = (ParamState){.name = param->name, .trainable = trainable, .version = 1};
    param->value = (Tensor){.shape = shape, .type = F32, .needs_gradient = trainable, .param = &param->state};
    param->value.run = param->value.stride = shape_count(shape);
    int64_t *end = trainable ? &p->flat : &p->buffers;
    param->offset = *end;
    *end += params_slice(shape_count(shape));
    *array_add(&p->list) = param;
    return &param->value;
}

Tensor *params_add(Params *p, const char *name, Shape shape, Init init)
{
    return declare(p, name, shape, init, true);
}

Tensor *params_add_buffer(Params *p, const char *name, Shape shape, Init init)
{
    return declare(p, name, shape, init, false);
}

static void initialise(Param *param, uint32_t seed)
{
    float *x = param->value.data;
    int64_t count = tensor_count(&param->value);
    Random r = random_at(seed, STREAM_INIT, random_site(param->name), 0);
    for (int64_t i = 0; i < count; i++) {
        switch (param->init.kind) {
        case INIT_CONSTANT:
            x[i] = (float)param->init.value;
            break;
        case INIT_NORMAL:
            x[i] = (float)(random_normal(&r) * param->init.value);
            break;
        case INIT_UNIFORM:
            x[i] = (float)random_between(&r, -param->init.value, param->init.value);
            break;
        }
    }
}

static float *zeroed_floats(int64_t count)
{
    size_t bytes = ((size_t)count * sizeof(float) + 63) / 64 * 64 + 64;
    float *x = aligned_alloc(64, bytes);
    if (!x)
        user_fatal("out of memory: %zu bytes of parameters", bytes);
    memset(x, 0, bytes);
    return x;
}

void params_allocate(Params *p, bool real, uint32_t seed, const Backend *backend)
{
    contract(!p->values, "params_allocate twice");
    float *nowhere = (float *)4096; /* on the meta device tensors have places too, as in a pool that is not real */
    p->backend = backend;
    p->real = real;
    p->values = real ? zeroed_floats(p->flat) : nowhere;
    p->gradients = real ? zeroed_floats(p->flat) : nowhere;
    p->buffer_values = real ? zeroed_floats(p->buffers) : nowhere;
    for (size_t i = 0; i < p->list.count; i++) {
        Param *param = p->list.items[i];
        param->value.data = (param->state.trainable ? p->values : p->buffer_values) + param->offset;
        if (param->state.trainable) {
            param->gradient = param->value;
            param->gradient.param = NULL;
            param->gradient.needs_gradient = false;
            param->gradient.data = p->gradients + param->offset;
            param->value.gradient = &param->gradient;
        }
        if (real)
            initialise(param, seed);
    }
}

int params_count(const Params *p)
{
    return (int)p->list.count;
}

Param *params_at(Params *p, int i)
{
    return p->list.items[i];
}

Param *params_find(Params *p, const char *name)
{
    for (size_t i = 0; i < p->list.count; i++)
        if (strcmp(p->list.items[i]->name, name) == 0)
            return p->list.items[i];
    return NULL;
}

int64_t params_elements(const Params *p)
{
    int64_t count = 0;
    for (size_t i = 0; i < p->list.count; i++)
        if (p->list.items[i]->state.trainable)
            count += tensor_count(&p->list.items[i]->value);
    return count;
}

int64_t params_slice(int64_t elements)
{
    enum { LINE = 16 }; /* floats: 64 bytes */
    return (elements + LINE - 1) / LINE * LINE;
}

int64_t params_flat_count(const Params *p)
{
    return p->flat;
}

float *params_flat_values(Params *p)
{
    return p->values;
}

float *params_flat_gradients(Params *p)
{
    return p->gradients;
}

void params_zero_gradients(Params *p)
{
    for (size_t i = 0; i < p->list.count; i++)
        p->list.items[i]->state.touched = false;
}

void params_written(Params *p)
{
    for (size_t i = 0; i < p->list.count; i++)
        p->list.items[i]->state.version++;
}

TensorToWrite *params_to_write(Params *p, int *count)
{
    *count = (int)p->list.count;
    TensorToWrite *list = mem_new(p->list.count * sizeof *list);
    for (size_t i = 0; i < p->list.count; i++) {
        const Param *param = p->list.items[i];
        list[i] = (TensorToWrite){
            .name = param->name, .type = F32, .rank = param->value.shape.rank, .data = param->value.data};
        memcpy(list[i].shape, param->value.shape.dim, sizeof list[i].shape);
    }
    return list;
}
