/* torch.save before 1.6 (and later with _use_new_zipfile_serialization=False): five pickles one behind the other (a magic
 * number, the version of the format, the machine, the checkpoint, the keys of the storages), then each storage: its
 * number of elements as int64, and the elements. */
#include "common/tensor/torch_file.h"

#include <string.h>

static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
enum { FORMAT_VERSION = 1001 };

/* The next pickle of the stream; *at moves behind it. */
static Pickle *next_pickle(const TensorFile *file, size_t *at, Error *e)
{
    size_t used = 0;
    Pickle *pickle = torch_pickle_read(file->map.bytes + *at, file->map.size - *at, &used, e);
    if (!pickle)
        error_prefix(e, "in the part that begins at byte %zu", *at);
    *at += used;
    return pickle;
}

static bool is_magic(const PickleValue *value)
{
    return value->kind == PICKLE_BIG_INT && value->text.length == sizeof magic &&
           !memcmp(value->text.bytes, magic, sizeof magic);
}

static bool is_version(const PickleValue *value)
{
    return value->kind == PICKLE_INT && value->integer == FORMAT_VERSION;
}

static bool is_little_endian(const PickleValue *value)
{
    const PickleValue *little = value->kind == PICKLE_DICT ? pickle_get(value, "little_endian") : NULL;
    return little && little->kind == PICKLE_BOOL && little->integer;
}

/* The three pickles before the checkpoint's. */
static bool check_start(const TensorFile *file, size_t *at, Error *e)
{
    static const struct {
        bool (*expected)(const PickleValue *value);
        const char *otherwise;
    } parts[] = {{is_magic, "a Python pickle, but not one of torch"},
                 {is_version, "a torch checkpoint of another version than 1001"},
                 {is_little_endian, "the tensors are not stored little-endian"}};
    for (int i = 0; i < COUNT_OF(parts); i++) {
        Pickle *pickle = next_pickle(file, at, e);
        if (!pickle)
            return false;
        bool good = parts[i].expected(pickle_root(pickle)) || error_set(e, "%s", parts[i].otherwise);
        pickle_free(pickle);
        if (!good)
            return false;
    }
    return true;
}

static bool find_storage(const TensorFile *file, TorchStorages *storages, const PickleValue *key, size_t *at, Error *e)
{
    TorchStorage *storage =
        key->kind == PICKLE_STR ? torch_storage_find(storages, key->text.bytes, key->text.length) : NULL;
    int64_t elements;
    if (!storage || storage->place)
        return error_set(e, "the list of storages does not fit the checkpoint");
    if (file->map.size - *at < sizeof elements)
        return error_set(e, "the file ends before storage '%.*s'", (int)storage->key_bytes, storage->key);
    memcpy(&elements, file->map.bytes + *at, sizeof elements);
    *at += sizeof elements;
    if (elements != storage->elements)
        return error_set(e, "storage '%.*s' has %lld elements instead of %lld", (int)storage->key_bytes, storage->key,
                         (long long)elements, (long long)storage->elements);
    if (file->map.size - *at < (uint64_t)storage->bytes)
        return error_set(e, "the file ends inside storage '%.*s'", (int)storage->key_bytes, storage->key);
    storage->place = *at;
    *at += (size_t)storage->bytes;
    return true;
}

/* Lays out the storages in the order of the keys: all that the checkpoint names, up to the end of the file. */
static bool find_storages(const TensorFile *file, TorchStorages *storages, const PickleValue *keys, size_t at, Error *e)
{
    if (keys->kind != PICKLE_LIST || keys->list.count != storages->count)
        return error_set(e, "the list of storages does not fit the checkpoint");
    for (size_t i = 0; i < keys->list.count; i++)
        if (!find_storage(file, storages, keys->list.items[i], &at, e))
            return false;
    return at == file->map.size || error_set(e, "%zu bytes follow the last storage", file->map.size - at);
}

static const unsigned char *mapped_storage(const TensorFile *file, int64_t storage, Error *e)
{
    (void)e;
    const TorchStorages *storages = file->format;
    return file->map.bytes + storages->items[storage].place;
}

static void close_legacy(void *format)
{
    TorchStorages *storages = format;
    mem_free(storages->items);
    mem_free(storages);
}

bool torch_legacy_open(TensorFile *file, Error *e)
{
    TorchStorages *storages = file->format = mem_new(sizeof *storages);
    file->close = close_legacy;
    file->storage = mapped_storage;
    size_t at = 0;
    if (!check_start(file, &at, e))
        return false;
    Pickle *pickle = next_pickle(file, &at, e), *keys = pickle ? next_pickle(file, &at, e) : NULL;
    bool good = keys && torch_storages_read(storages, pickle, e) &&
                find_storages(file, storages, pickle_root(keys), at, e) &&
                torch_tensors_list(file, pickle, storages, e);
    pickle_free(keys);
    pickle_free(pickle);
    return good;
}
