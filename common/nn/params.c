#include "common/nn/params.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Params {
    ARRAY(Param *) list;
    Str prefix;
    const char *separator;
    ARRAY(size_t) marks; /* lengths of the prefix to go back to */
    Str name;
    int64_t flat, buffers;                     /* floats of the two flat arrays */
    float *values, *gradients, *buffer_values; /* NULL until params_allocate */
    void *written;                             /* copies that params_to_write made */
    bool real;                                 /* there is memory behind them */
    const Backend *backend;
    States *states;
};

Params *params_new(void)
{
    Params *p = mem_new(sizeof *p);
    p->separator = ".";
    p->states = states_new();
    return p;
}

void params_free(Params *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->list.count; i++) {
        Param *param = p->list.items[i];
        if (param->state.packed && p->backend && p->backend->matmul.packed_free)
            p->backend->matmul.packed_free(&param->state.packed);
        for (size_t a = 0; a < param->aliases.count; a++)
            mem_free(param->aliases.items[a]);
        array_free(&param->aliases);
        mem_free(param->name);
        mem_free(param);
    }
    array_free(&p->list);
    array_free(&p->marks);
    str_free(&p->prefix);
    str_free(&p->name);
    mem_free(p->written);
    states_free(p->states);
    if (p->real) {
        mem_free(p->values);
        mem_free(p->gradients);
        mem_free(p->buffer_values);
    }
    mem_free(p);
}

void params_separator(Params *p, const char *separator)
{
    contract(p->marks.count == 0, "params_separator inside of params_enter");
    p->separator = separator;
}

void params_enter(Params *p, const char *format, ...)
{
    *array_add(&p->marks) = p->prefix.length;
    char part[256];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    str_add(&p->prefix, "%s%s", part, p->separator);
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

static Tensor *declare(Params *p, const char *name, Shape shape, DType type, Init init, bool trainable)
{
    const char *full = params_name(p, name);
    contract(!p->values, "parameter %s is declared after params_allocate", full);
    contract(!params_find(p, full), "two parameters named %s", full);
    Param *param = mem_new(sizeof *param);
    param->name = str_copy(full);
    param->init = init;
    param->state = (ParamState){.name = param->name, .trainable = trainable, .version = 1};
    param->value = (Tensor){.shape = shape, .type = type, .needs_gradient = trainable, .param = &param->state};
    param->value.run = param->value.stride = shape_count(shape);
    int64_t *end = trainable ? &p->flat : &p->buffers, bytes = shape_count(shape) * (int64_t)dtype_bytes(type);
    param->offset = *end;
    *end += params_slice((bytes + (int64_t)sizeof(float) - 1) / (int64_t)sizeof(float));
    *array_add(&p->list) = param;
    return &param->value;
}

Tensor *params_add(Params *p, const char *name, Shape shape, Init init)
{
    return declare(p, name, shape, F32, init, true);
}

Tensor *params_add_buffer(Params *p, const char *name, Shape shape, Init init)
{
    return declare(p, name, shape, F32, init, false);
}

Tensor *params_add_flags(Params *p, const char *name, Shape shape, uint8_t value)
{
    return declare(p, name, shape, U8, (Init){INIT_CONSTANT, value}, false);
}

States *params_states(Params *p)
{
    return p->states;
}

static Param *param_of(Params *p, Tensor *value)
{
    for (size_t i = 0; i < p->list.count; i++)
        if (&p->list.items[i]->value == value)
            return p->list.items[i];
    contract(false, "a tensor that is no parameter of this model");
    return NULL;
}

void params_init_function(Params *p, Tensor *value, InitFunction *function)
{
    param_of(p, value)->init_function = function;
}

void params_init_from(Params *p, Tensor *value, const Tensor *from)
{
    contract(shape_equal(value->shape, from->shape), "params_init_from: another shape");
    param_of(p, value)->init_from = from;
}

void params_store_transposed(Params *p, Tensor *value)
{
    contract(value->shape.rank >= 2, "a parameter without two axes to exchange");
    param_of(p, value)->stored = STORED_TRANSPOSED;
}

void params_alias(Params *p, const char *name, Tensor *value)
{
    const char *full = params_name(p, name);
    contract(!params_find(p, full), "two parameters named %s", full);
    *array_add(&param_of(p, value)->aliases) = str_copy(full);
}

Shape param_stored_shape(const Param *param)
{
    Shape s = param->value.shape;
    if (param->stored == STORED_TRANSPOSED) {
        s.dim[s.rank - 2] = tensor_dim(&param->value, -1);
        s.dim[s.rank - 1] = tensor_dim(&param->value, -2);
    }
    return s;
}

/* [..., rows, cols] -> [..., cols, rows] */
static void exchange_axes(int64_t count, int64_t rows, int64_t cols, size_t bytes, const char *x, char *y)
{
    int64_t matrix = rows * cols;
    for (int64_t m = 0; m < count; m += matrix)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++)
                memcpy(y + (size_t)(m + c * rows + r) * bytes, x + (size_t)(m + r * cols + c) * bytes, bytes);
}

static void convert_form(const Param *param, Shape from, const void *x, void *y)
{
    size_t bytes = dtype_bytes(param->value.type);
    int64_t count = shape_count(from);
    if (param->stored == STORED_AS_IS)
        memcpy(y, x, (size_t)count * bytes);
    else
        exchange_axes(count, from.dim[from.rank - 2], from.dim[from.rank - 1], bytes, x, y);
}

void param_to_stored(const Param *param, const void *values, void *stored)
{
    convert_form(param, param->value.shape, values, stored);
}

void param_from_stored(const Param *param, const void *stored, void *values)
{
    convert_form(param, param_stored_shape(param), stored, values);
}

static void fill_constant(Tensor *x, double value)
{
    int64_t count = tensor_count(x);
    if (x->type == U8)
        memset(x->data, (int)value, (size_t)count);
    else
        for (int64_t i = 0; i < count; i++)
            ((float *)x->data)[i] = (float)value;
}

static void initialise(Param *param, uint32_t seed)
{
    float *x = param->value.data;
    int64_t count = tensor_count(&param->value);
    Random r = random_at(seed, STREAM_INIT, random_site(param->name), 0);
    if (param->init_from) {
        memcpy(x, param->init_from->data, (size_t)count * sizeof *x);
        return;
    }
    if (param->init_function) {
        param->init_function(&r, param->value.shape, x);
        return;
    }
    switch (param->init.kind) {
    case INIT_CONSTANT:
        fill_constant(&param->value, param->init.value);
        break;
    case INIT_NORMAL:
        for (int64_t i = 0; i < count; i++)
            x[i] = (float)(random_normal(&r) * param->init.value);
        break;
    case INIT_UNIFORM:
        for (int64_t i = 0; i < count; i++)
            x[i] = (float)random_between(&r, -param->init.value, param->init.value);
        break;
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
    states_allocate(p->states, real);
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
    for (size_t i = 0; i < p->list.count; i++) {
        Param *param = p->list.items[i];
        if (strcmp(param->name, name) == 0)
            return param;
        for (size_t a = 0; a < param->aliases.count; a++)
            if (strcmp(param->aliases.items[a], name) == 0)
                return param;
    }
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

/* Values in the stored form: where they lie, or in a copy at *free_room. */
static const void *stored_values(const Param *param, char **free_room)
{
    if (param->stored == STORED_AS_IS)
        return param->value.data;
    char *copy = *free_room;
    param_to_stored(param, param->value.data, copy);
    *free_room += (size_t)tensor_count(&param->value) * dtype_bytes(param->value.type);
    return copy;
}

TensorToWrite *params_to_write(Params *p, int *count)
{
    size_t room = 0;
    for (size_t i = 0; i < p->list.count; i++)
        if (p->list.items[i]->stored != STORED_AS_IS)
            room += (size_t)tensor_count(&p->list.items[i]->value) * dtype_bytes(p->list.items[i]->value.type);
    p->written = mem_resize(p->written, room);
    char *free_room = p->written;
    *count = (int)p->list.count;
    TensorToWrite *list = mem_new(p->list.count * sizeof *list);
    for (size_t i = 0; i < p->list.count; i++) {
        const Param *param = p->list.items[i];
        Shape shape = param_stored_shape(param);
        list[i] = (TensorToWrite){.name = param->name,
                                  .type = param->value.type,
                                  .rank = shape.rank,
                                  .data = stored_values(param, &free_room)};
        memcpy(list[i].shape, shape.dim, sizeof list[i].shape);
    }
    return list;
}
