/* The Python side of these pickles: torch/serialization.py (persistent ids) and torch/_utils.py (_rebuild_*). */
#include "common/tensor/torch_file.h"

#include "common/base/str.h"

#include <stdlib.h>
#include <string.h>

/* A view may be larger than what it views (expand gives it strides of 0), but not without limit: a file of a few bytes
 * must not ask for terabytes. */
#define MAX_EXPANDED (1 << 24) /* elements */

enum { MAX_NESTING = 4 }; /* dicts entered, one in another */

/* A StoredType is added to the first two. */
enum { TAG_STORAGE = 100, TAG_DTYPE = 200, TAG_UNTYPED = 1, TAG_TENSOR, TAG_TENSOR_V3, TAG_PARAMETER, TAG_CLOSED };

static const PickleGlobal torch_globals[] = {
    {"torch._utils", "_rebuild_tensor", PICKLE_OBJECT, TAG_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", PICKLE_OBJECT, TAG_TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", PICKLE_OBJECT, TAG_TENSOR_V3},
    {"torch._utils", "_rebuild_parameter", PICKLE_OBJECT, TAG_PARAMETER},
    {"torch", "Size", PICKLE_TUPLE, 0},
    {"argparse", "Namespace", PICKLE_OBJECT, TAG_CLOSED},
    {"torch.storage", "UntypedStorage", PICKLE_GLOBAL, TAG_UNTYPED},
    {"torch", "DoubleStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_F64},
    {"torch", "FloatStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_F32},
    {"torch", "HalfStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_F16},
    {"torch", "BFloat16Storage", PICKLE_GLOBAL, TAG_STORAGE + STORED_BF16},
    {"torch", "LongStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_I64},
    {"torch", "IntStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_I32},
    {"torch", "ShortStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_I16},
    {"torch", "CharStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_I8},
    {"torch", "ByteStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_U8},
    {"torch", "BoolStorage", PICKLE_GLOBAL, TAG_STORAGE + STORED_BOOL},
    {"torch", "float64", PICKLE_GLOBAL, TAG_DTYPE + STORED_F64},
    {"torch", "float32", PICKLE_GLOBAL, TAG_DTYPE + STORED_F32},
    {"torch", "float16", PICKLE_GLOBAL, TAG_DTYPE + STORED_F16},
    {"torch", "bfloat16", PICKLE_GLOBAL, TAG_DTYPE + STORED_BF16},
    {"torch", "float8_e5m2", PICKLE_GLOBAL, TAG_DTYPE + STORED_F8_E5M2},
    {"torch", "float8_e4m3fn", PICKLE_GLOBAL, TAG_DTYPE + STORED_F8_E4M3},
    {"torch", "int64", PICKLE_GLOBAL, TAG_DTYPE + STORED_I64},
    {"torch", "int32", PICKLE_GLOBAL, TAG_DTYPE + STORED_I32},
    {"torch", "int16", PICKLE_GLOBAL, TAG_DTYPE + STORED_I16},
    {"torch", "int8", PICKLE_GLOBAL, TAG_DTYPE + STORED_I8},
    {"torch", "uint64", PICKLE_GLOBAL, TAG_DTYPE + STORED_U64},
    {"torch", "uint32", PICKLE_GLOBAL, TAG_DTYPE + STORED_U32},
    {"torch", "uint16", PICKLE_GLOBAL, TAG_DTYPE + STORED_U16},
    {"torch", "uint8", PICKLE_GLOBAL, TAG_DTYPE + STORED_U8},
    {"torch", "bool", PICKLE_GLOBAL, TAG_DTYPE + STORED_BOOL},
};

Pickle *torch_pickle_read(const void *bytes, size_t size, size_t *used, Error *e)
{
    return pickle_read(bytes, size, torch_globals, COUNT_OF(torch_globals), used, e);
}

/* The type that a global of this kind stands for. */
static bool type_of_global(const PickleValue *value, int kind, StoredType *type)
{
    if (value->kind != PICKLE_GLOBAL || value->global->tag < kind || value->global->tag >= kind + STORED_TYPE_COUNT)
        return false;
    *type = (StoredType)(value->global->tag - kind);
    return true;
}

/* --- storages --- */

/* ('storage', type, key, location, elements), and in the legacy layout a view, always None since torch 0.4 */
static bool read_storage(TorchStorage *storage, const PickleValue *id, Error *e)
{
    PickleValue *const *part = id->list.items;
    if (id->kind != PICKLE_TUPLE || id->list.count < 5 || id->list.count > 6 || !pickle_is_str(part[0], "storage") ||
        part[2]->kind != PICKLE_STR || part[4]->kind != PICKLE_INT || part[4]->integer < 0)
        return error_set(e, "a persistent id of the pickle is not that of a storage");
    *storage = (TorchStorage){.key = part[2]->text.bytes, .key_bytes = part[2]->text.length, .type = STORED_U8};
    int length = (int)MIN(storage->key_bytes, 100);
    storage->untyped = part[1]->kind == PICKLE_GLOBAL && part[1]->global->tag == TAG_UNTYPED;
    if (!storage->untyped && !type_of_global(part[1], TAG_STORAGE, &storage->type))
        return error_set(e, "storage '%.*s' has no type of torch", length, storage->key);
    if (id->list.count == 6 && part[5]->kind != PICKLE_NONE)
        return error_set(e, "storage '%.*s' is a view of another (written by torch before 0.4), which is not read",
                         length, storage->key);
    storage->elements = part[4]->integer;
    if (__builtin_mul_overflow(storage->elements, (int64_t)stored_type_bytes(storage->type), &storage->bytes))
        return error_set(e, "storage '%.*s' has more elements than can be counted", length, storage->key);
    return true;
}

static int by_key(const void *a, const void *b)
{
    const TorchStorage *x = a, *y = b;
    int order = memcmp(x->key, y->key, MIN(x->key_bytes, y->key_bytes));
    return order ? order : (x->key_bytes > y->key_bytes) - (x->key_bytes < y->key_bytes);
}

bool torch_storages_read(TorchStorages *storages, const Pickle *pickle, Error *e)
{
    size_t count = pickle_persistent_count(pickle);
    TorchStorage *items = mem_new(count * sizeof *items);
    *storages = (TorchStorages){.items = items};
    for (size_t i = 0; i < count; i++)
        if (!read_storage(&items[i], pickle_persistent(pickle, i)->persistent.id, e))
            return false;
    qsort(items, count, sizeof *items, by_key);
    for (size_t i = 0; i < count; i++) {
        TorchStorage *last = storages->count ? &items[storages->count - 1] : NULL;
        if (!last || by_key(last, &items[i]))
            items[storages->count++] = items[i];
        else if (last->type != items[i].type || last->elements != items[i].elements)
            return error_set(e, "storage '%.*s' is named with two types or sizes", (int)last->key_bytes, last->key);
    }
    for (size_t i = 0; i < count; i++) {
        PickleValue *value = pickle_persistent(pickle, i);
        const PickleValue *key = value->persistent.id->list.items[2];
        value->persistent.slot = torch_storage_find(storages, key->text.bytes, key->text.length) - items;
    }
    return true;
}

TorchStorage *torch_storage_find(const TorchStorages *storages, const char *key, size_t key_bytes)
{
    TorchStorage wanted = {.key = key, .key_bytes = key_bytes};
    return storages->count ? bsearch(&wanted, storages->items, storages->count, sizeof wanted, by_key) : NULL;
}

/* --- tensors --- */

/* A pickled tensor: _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks[, metadata]), v3 with
 * the dtype before the metadata, and the oldest with the first four; or _rebuild_parameter(tensor, ...) of one. */
static const PickleValue *as_tensor(const PickleValue *value)
{
    if (value->kind == PICKLE_OBJECT && value->object.global->tag == TAG_PARAMETER &&
        value->object.arguments->list.count == 3)
        value = value->object.arguments->list.items[0];
    if (value->kind != PICKLE_OBJECT)
        return NULL;
    int tag = value->object.global->tag;
    return tag == TAG_TENSOR || tag == TAG_TENSOR_V3 ? value : NULL;
}

/* A tuple of at most MAX_RANK integers >= 0; -1: it is not. */
static int read_sizes(const PickleValue *tuple, int64_t *sizes)
{
    if (tuple->kind != PICKLE_TUPLE || tuple->list.count > MAX_RANK)
        return -1;
    for (size_t i = 0; i < tuple->list.count; i++) {
        const PickleValue *size = tuple->list.items[i];
        if (size->kind != PICKLE_INT || size->integer < 0)
            return -1;
        sizes[i] = size->integer;
    }
    return (int)tuple->list.count;
}

/* The tensor's type is its storage's, or for bytes the dtype that follows. */
static bool read_type(const TorchStorage *storage, const PickleValue *dtype, StoredType *type)
{
    *type = storage->type;
    if (!dtype)
        return !storage->untyped;
    return type_of_global(dtype, TAG_DTYPE, type) && (storage->untyped || *type == storage->type);
}

/* The farthest element lies inside the storage, and the view is not larger than it may be. */
static bool check_place(const FileTensor *tensor, const FileTensorPlace *place, const TorchStorage *storage)
{
    int64_t elements = storage->bytes / (int64_t)stored_type_bytes(place->type), last = place->offset;
    if (!tensor->count)
        return true;
    for (int d = 0; d < tensor->rank; d++) {
        int64_t step;
        if (__builtin_mul_overflow(place->stride[d], tensor->shape[d] - 1, &step) ||
            __builtin_add_overflow(last, step, &last))
            return false;
    }
    return last < elements && tensor->count <= MAX(elements, MAX_EXPANDED);
}

static bool read_tensor(TensorFile *file, const PickleValue *name, const PickleValue *tensor,
                        const TorchStorages *storages, Error *e)
{
    bool v3 = tensor->object.global->tag == TAG_TENSOR_V3;
    PickleValue *const *argument = tensor->object.arguments->list.items;
    size_t count = tensor->object.arguments->list.count, metadata = v3 ? 7 : 6;
    const char *text = name->text.bytes;
    int length = (int)MIN(name->text.length, 400);
    int64_t shape[MAX_RANK], stride[MAX_RANK] = {0};
    StoredType type;
    if (count < (v3 ? 7 : 4) || count > metadata + 1 || argument[0]->kind != PICKLE_PERSISTENT ||
        argument[1]->kind != PICKLE_INT || argument[1]->integer < 0)
        return error_set(e, "tensor '%.*s' is not built as torch does", length, text);
    if (count > metadata && argument[metadata]->kind != PICKLE_NONE &&
        (argument[metadata]->kind != PICKLE_DICT || argument[metadata]->list.count))
        return error_set(e, "tensor '%.*s' is conjugated or negated, which is not read", length, text);
    int rank = read_sizes(argument[2], shape);
    if (rank < 0 || read_sizes(argument[3], stride) != rank)
        return error_set(e, "tensor '%.*s': its size and stride are no two lists of at most %d numbers", length, text,
                         MAX_RANK);
    const TorchStorage *storage = &storages->items[argument[0]->persistent.slot];
    if (!read_type(storage, v3 ? argument[6] : NULL, &type))
        return error_set(e, "tensor '%.*s' has a type that does not fit its storage", length, text);
    if (!tensor_file_add(file, text, name->text.length, type, rank, shape, e))
        return false;
    FileTensorPlace *place = &file->places.items[file->places.count - 1];
    place->storage = argument[0]->persistent.slot;
    place->offset = argument[1]->integer;
    memcpy(place->stride, stride, sizeof stride);
    return check_place(&file->tensors.items[file->tensors.count - 1], place, storage) ||
           error_set(e, "tensor '%.*s' reaches beyond its storage of %lld elements", length, text,
                     (long long)storage->elements);
}

/* The state_dict: the root, or what `model` or `state_dict` in it holds, again and again. */
static const PickleValue *enter(const PickleValue *dict)
{
    for (int depth = 0; depth < MAX_NESTING && dict->kind == PICKLE_DICT; depth++) {
        const PickleValue *inner = pickle_get(dict, "model");
        if (!inner || inner->kind != PICKLE_DICT)
            inner = pickle_get(dict, "state_dict");
        if (!inner || inner->kind != PICKLE_DICT)
            return dict;
        dict = inner;
    }
    return dict;
}

static bool all_start_with(const TensorFile *file, const char *prefix)
{
    for (size_t i = 0; i < file->tensors.count; i++)
        if (!str_starts(file->tensors.items[i].name, prefix))
            return false;
    return true;
}

bool torch_tensors_list(TensorFile *file, const Pickle *pickle, const TorchStorages *storages, Error *e)
{
    static const char *const prefixes[] = {"module.", "model."};
    const PickleValue *dict = enter(pickle_root(pickle));
    if (dict->kind != PICKLE_DICT)
        return error_set(e, "the checkpoint holds no dict of named tensors");
    for (size_t i = 0; i < dict->list.count; i += 2) {
        const PickleValue *name = dict->list.items[i], *tensor = as_tensor(dict->list.items[i + 1]);
        if (tensor && name->kind == PICKLE_STR && !read_tensor(file, name, tensor, storages, e))
            return false;
    }
    if (!file->tensors.count)
        return error_set(e, "the checkpoint holds no named tensors, neither at its root nor under model or state_dict");
    for (int i = 0; i < COUNT_OF(prefixes); i++) {
        if (all_start_with(file, prefixes[i])) {
            tensor_file_strip(file, strlen(prefixes[i]));
            i = -1; /* what is left may carry either again */
        }
    }
    return true;
}
