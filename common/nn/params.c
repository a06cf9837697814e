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
    if (p->values) {
        params_give(p, p->values);
        params_give(p, p->gradients);
        params_give(p, p->buffer_values);
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

static Param *param_of(Params *p, Tensor *value);

Tensor *params_add_count(Params *p, const char *name)
{
    Tensor *count = declare(p, name, (Shape){0}, I64, INIT_ZEROS, false);
    param_of(p, count)->may_lack = true;
    return count;
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

static void fill_constant(const Param *param, void *x)
{
    int64_t count = tensor_count(&param->value);
    if (param->value.type == U8)
        memset(x, (int)param->init.value, (size_t)count);
    else if (param->value.type == I64)
        for (int64_t i = 0; i < count; i++)
            ((int64_t *)x)[i] = (int64_t)param->init.value;
    else
        for (int64_t i = 0; i < count; i++)
            ((float *)x)[i] = (float)param->init.value;
}

/* The first values, at x on the host; `of` has those of the parameter that they are taken from. */
static void initialise(const Param *param, uint32_t seed, float *x, const float *of)
{
    int64_t count = tensor_count(&param->value);
    Random r = random_at(seed, STREAM_INIT, random_site(param->name), 0);
    if (of) {
        memcpy(x, of, (size_t)count * sizeof *x);
        return;
    }
    if (param->init_function) {
        param->init_function(&r, param->value.shape, x);
        return;
    }
    switch (param->init.kind) {
    case INIT_CONSTANT:
        fill_constant(param, x);
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

static Exec exec_of(const Params *p)
{
    return (Exec){.threads = 1, .stream = p->backend->stream};
}

void *params_take(const Params *p, size_t bytes)
{
    enum { LINE = 64 };
    if (!p->real)
        return (void *)4096; /* on the meta device tensors have places too, as in a pool that is not real */
    Exec exec = exec_of(p);
    bytes = (bytes + LINE) / LINE * LINE;
    void *memory = p->backend->memory.take(bytes);
    if (!memory)
        user_fatal(
            "out of memory: %.1f MB for parameters, their gradients or their optimizer, beside those before; take a "
            "smaller config of the model",
            (double)bytes / 1e6);
    p->backend->memory.fill(&exec, memory, 0, bytes);
    return memory;
}

void params_give(const Params *p, void *memory)
{
    if (p->real)
        p->backend->memory.give(memory);
}

void params_download(const Params *p, void *out, const void *memory, size_t bytes)
{
    if (!p->real)
        return;
    Exec exec = exec_of(p);
    p->backend->memory.download(&exec, out, memory, bytes);
}

void params_upload(const Params *p, void *memory, const void *values, size_t bytes)
{
    if (!p->real)
        return;
    Exec exec = exec_of(p);
    p->backend->memory.upload(&exec, memory, values, bytes);
}

void params_share_buffers(Params *p, Comm *comm)
{
    size_t bytes = (size_t)p->buffers * sizeof(float);
    if (comm_ranks(comm) == 1 || !p->real || !bytes)
        return;
    float *values = mem_new(bytes);
    params_download(p, values, p->buffer_values, bytes);
    comm_share(comm, values, bytes);
    params_upload(p, p->buffer_values, values, bytes);
    mem_free(values);
    for (size_t i = 0; i < p->list.count; i++)
        if (!p->list.items[i]->state.trainable)
            p->list.items[i]->state.version++;
}

static size_t bytes_of(const Tensor *x)
{
    return (size_t)tensor_count(x) * dtype_bytes(x->type);
}

void param_read(const Params *p, const Tensor *value, void *out)
{
    params_download(p, out, value->data, bytes_of(value));
}

void param_write(const Params *p, Tensor *value, const void *values)
{
    params_upload(p, value->data, values, bytes_of(value));
}

/* First values are made on the host: where they will lie, or in a copy that goes to the device. */
static void initialise_all(Params *p, uint32_t seed)
{
    bool here = p->backend->memory.on_host;
    size_t sizes[2] = {(size_t)p->flat * sizeof(float), (size_t)p->buffers * sizeof(float)};
    float *device[2] = {p->values, p->buffer_values}, *host[2];
    for (int i = 0; i < 2; i++)
        host[i] = here ? device[i] : mem_new(sizes[i]);
    for (size_t i = 0; i < p->list.count; i++) {
        const Param *param = p->list.items[i];
        const Param *from = param->init_from ? param_of(p, (Tensor *)param->init_from) : NULL;
        initialise(param, seed, host[!param->state.trainable] + param->offset,
                   from ? host[!from->state.trainable] + from->offset : NULL);
    }
    for (int i = 0; i < 2 && !here; i++) {
        params_upload(p, device[i], host[i], sizes[i]);
        mem_free(host[i]);
    }
}

void params_allocate(Params *p, bool real, uint32_t seed, const Backend *backend)
{
    contract(!p->values, "params_allocate twice");
    p->backend = backend;
    p->real = real;
    p->values = params_take(p, (size_t)p->flat * sizeof(float));
    p->gradients = params_take(p, (size_t)p->flat * sizeof(float));
    p->buffer_values = params_take(p, (size_t)p->buffers * sizeof(float));
    states_allocate(p->states, real ? backend : NULL);
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
    }
    if (real)
        initialise_all(p, seed);
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
        p->list.items[i]->state.touched = p->list.items[i]->state.summed = false;
}

void params_written(Params *p)
{
    for (size_t i = 0; i < p->list.count; i++)
        p->list.items[i]->state.version++;
}

static bool can_stay(const Params *p, const Param *param)
{
    return param->stored == STORED_AS_IS && (!p->real || p->backend->memory.on_host);
}

/* Values in the stored form: where they lie, or in a copy at *free_room, which a turned one takes twice. */
static const void *stored_values(const Params *p, const Param *param, char **free_room)
{
    if (can_stay(p, param))
        return param->value.data;
    char *values = *free_room, *stored = values + bytes_of(&param->value);
    param_read(p, &param->value, values);
    *free_room = stored;
    if (param->stored == STORED_AS_IS)
        return values;
    param_to_stored(param, values, stored);
    *free_room = stored + bytes_of(&param->value);
    return stored;
}

TensorToWrite *params_to_write(Params *p, int *count)
{
    size_t room = 0;
    for (size_t i = 0; i < p->list.count; i++)
        if (!can_stay(p, p->list.items[i]))
            room += bytes_of(&p->list.items[i]->value) * (p->list.items[i]->stored == STORED_AS_IS ? 1 : 2);
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
                                  .data = stored_values(p, param, &free_room)};
        memcpy(list[i].shape, shape.dim, sizeof list[i].shape);
    }
    return list;
}
