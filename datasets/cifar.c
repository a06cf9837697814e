#include "datasets/cifar.h"

#include "common/base/memory.h"
#include "common/tensor/pickle.h"

#include <string.h>

enum { PLANE = CIFAR_SIDE * CIFAR_SIDE };

void cifar_samples_free(CifarSamples *samples)
{
    mem_free(samples->pixels);
    mem_free(samples->labels);
    *samples = (CifarSamples){0};
}

/* Room for `more` samples; the caller fills them. */
static void samples_room(CifarSamples *samples, int64_t more)
{
    size_t total = (size_t)(samples->count + more);
    samples->pixels = mem_resize(samples->pixels, total * CIFAR_PIXELS);
    samples->labels = mem_resize(samples->labels, total);
}

/* Planes to interleaved pixels. */
static void add_sample(CifarSamples *samples, const uint8_t *planes, int label)
{
    uint8_t *out = samples->pixels + (size_t)samples->count * CIFAR_PIXELS;
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = planes[c * PLANE + i];
    samples->labels[samples->count++] = (uint8_t)label;
}

static bool label_fits(int64_t i, int64_t label, int classes, Error *e)
{
    return (label >= 0 && label < classes) ||
           error_set(e, "label %lld is %lld, expected 0 to %d", (long long)i, (long long)label, classes - 1);
}

bool cifar_add_bin(CifarSamples *samples, const uint8_t *bytes, size_t size, int label_bytes, int classes, Error *e)
{
    size_t record = (size_t)label_bytes + CIFAR_PIXELS;
    if (size == 0 || size % record)
        return error_set(e, "%zu bytes, expected a multiple of %zu (%d of labels, 3072 of pixels)", size, record,
                         label_bytes);
    int64_t count = (int64_t)(size / record);
    samples_room(samples, count);
    for (int64_t i = 0; i < count; i++, bytes += record) {
        int label = bytes[label_bytes - 1];
        if (!label_fits(i, label, classes, e))
            return false;
        add_sample(samples, bytes + label_bytes, label);
    }
    return true;
}

enum { NUMPY_RECONSTRUCT, NUMPY_ARRAY, NUMPY_DTYPE };
static const PickleGlobal numpy_globals[] = {
    {"numpy.core.multiarray", "_reconstruct", PICKLE_OBJECT, NUMPY_RECONSTRUCT},
    {"numpy._core.multiarray", "_reconstruct", PICKLE_OBJECT, NUMPY_RECONSTRUCT},
    {"numpy", "ndarray", PICKLE_GLOBAL, NUMPY_ARRAY},
    {"numpy", "dtype", PICKLE_OBJECT, NUMPY_DTYPE},
};

static bool is_object(const PickleValue *value, int tag)
{
    return value && value->kind == PICKLE_OBJECT && value->object.global->tag == tag;
}

/* Item i of a tuple, if it is of this kind. */
static const PickleValue *item_of(const PickleValue *tuple, size_t i, PickleKind kind)
{
    if (!tuple || tuple->kind != PICKLE_TUPLE || i >= tuple->list.count || tuple->list.items[i]->kind != kind)
        return NULL;
    return tuple->list.items[i];
}

/* The bytes of a uint8 array [n, 3072] in row order; NULL if it is anything else. Numpy's state of an array is (version,
 * shape, dtype, is Fortran order, bytes); a dtype is called with its name first. */
static const char *array_bytes(const PickleValue *array, int64_t *rows)
{
    if (!is_object(array, NUMPY_RECONSTRUCT))
        return NULL;
    const PickleValue *state = array->object.state, *shape = item_of(state, 1, PICKLE_TUPLE);
    const PickleValue *n = item_of(shape, 0, PICKLE_INT), *width = item_of(shape, 1, PICKLE_INT);
    const PickleValue *dtype = item_of(state, 2, PICKLE_OBJECT), *fortran = item_of(state, 3, PICKLE_BOOL);
    const PickleValue *bytes =
        item_of(state, 4, PICKLE_BYTES) ? item_of(state, 4, PICKLE_BYTES) : item_of(state, 4, PICKLE_STR);
    if (!n || !width || shape->list.count != 2 || width->integer != CIFAR_PIXELS || !is_object(dtype, NUMPY_DTYPE))
        return NULL;
    const PickleValue *type = item_of(dtype->object.arguments, 0, PICKLE_STR);
    if (!type || !pickle_is_str(type, "u1") || !fortran || fortran->integer || !bytes)
        return NULL;
    if (n->integer < 1 || n->integer > INT32_MAX || bytes->text.length != (size_t)n->integer * CIFAR_PIXELS)
        return NULL;
    *rows = n->integer;
    return bytes->text.bytes;
}

static bool add_batch(CifarSamples *samples, const PickleValue *batch, const char *label_key, int classes, Error *e)
{
    if (batch->kind != PICKLE_DICT)
        return error_set(e, "the pickle holds no dictionary");
    int64_t rows;
    const char *planes = array_bytes(pickle_get(batch, "data"), &rows);
    const PickleValue *labels = pickle_get(batch, label_key);
    if (!planes)
        return error_set(e, "the pickle's 'data' is no uint8 array [n, 3072]");
    if (!labels || labels->kind != PICKLE_LIST || labels->list.count != (size_t)rows)
        return error_set(e, "the pickle's '%s' is no list of %lld labels", label_key, (long long)rows);
    samples_room(samples, rows);
    for (int64_t i = 0; i < rows; i++) {
        const PickleValue *label = labels->list.items[i];
        if (label->kind != PICKLE_INT)
            return error_set(e, "label %lld is no integer", (long long)i);
        if (!label_fits(i, label->integer, classes, e))
            return false;
        add_sample(samples, (const uint8_t *)planes + i * CIFAR_PIXELS, (int)label->integer);
    }
    return true;
}

bool cifar_add_pickle(CifarSamples *samples, const uint8_t *bytes, size_t size, const char *label_key, int classes,
                      Error *e)
{
    size_t used;
    Pickle *pickle = pickle_read(bytes, size, numpy_globals, COUNT_OF(numpy_globals), &used, e);
    bool good = pickle && add_batch(samples, pickle_root(pickle), label_key, classes, e);
    pickle_free(pickle);
    return good;
}
