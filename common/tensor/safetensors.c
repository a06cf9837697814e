/* safetensors (github.com/huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header, then one buffer.
 * The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the buffer, and
 * "__metadata__" to strings. The checks are those of the reference implementation. */
#include "common/tensor/tensor_format.h"

#include "common/base/str.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u /* the reference implementation's */

typedef struct Range {
    int64_t begin, end;
    const char *name;
} Range;

typedef struct RangeList {
    ARRAY(Range) ranges;
} RangeList;

static bool read_metadata(TensorFile *file, json_t *metadata, Error *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(e, "__metadata__ is no object of strings");
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set(e, "__metadata__ '%s' is no string", key);
        *array_add(&file->metadata) = (FileMetadata){str_copy(key), str_copy(json_string_value(value))};
    }
    return true;
}

/* A list of at most `most` integers >= 0; -1: it is not. */
static int read_sizes(const json_t *list, int most, int64_t *sizes)
{
    size_t count = json_array_size(list); /* 0 if it is no array */
    if (!json_is_array(list) || count > (size_t)most)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const json_t *size = json_array_get(list, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return -1;
        sizes[i] = json_integer_value(size);
    }
    return (int)count;
}

static bool read_tensor(TensorFile *file, const char *name, const json_t *entry, RangeList *list, Error *e)
{
    int64_t shape[MAX_RANK], offsets[2];
    StoredType type;
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return error_set(e, "tensor '%s' has no dtype", name);
    if (!stored_type_find(dtype, &type))
        return error_set(e, "tensor '%s' has the dtype '%.40s', which is not read", name, dtype);
    int rank = read_sizes(json_object_get(entry, "shape"), MAX_RANK, shape);
    if (rank < 0)
        return error_set(e, "tensor '%s': its shape is no list of at most %d sizes", name, MAX_RANK);
    if (read_sizes(json_object_get(entry, "data_offsets"), 2, offsets) != 2)
        return error_set(e, "tensor '%s': its data_offsets are no two offsets", name);
    if (!tensor_file_add(file, name, strlen(name), type, rank, shape, e))
        return false;
    int64_t bytes = file->tensors.items[file->tensors.count - 1].count * (int64_t)stored_type_bytes(type);
    if (offsets[1] < offsets[0] || offsets[1] - offsets[0] != bytes)
        return error_set(e, "tensor '%s': data_offsets %lld to %lld do not hold the %lld bytes of its shape and dtype",
                         name, (long long)offsets[0], (long long)offsets[1], (long long)bytes);
    file->places.items[file->places.count - 1].storage = offsets[0];
    *array_add(&list->ranges) = (Range){offsets[0], offsets[1], name};
    return true;
}

static int by_begin(const void *a, const void *b)
{
    const Range *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin) : (x->end > y->end) - (x->end < y->end);
}

/* The tensors tile the buffer: no hole, no overlap, nothing left. */
static bool check_ranges(RangeList *list, int64_t buffer_bytes, Error *e)
{
    size_t count = list->ranges.count;
    Range *ranges = list->ranges.items;
    int64_t end = 0;
    if (count)
        qsort(ranges, count, sizeof *ranges, by_begin);
    for (size_t i = 0; i < count; end = ranges[i++].end)
        if (ranges[i].begin != end)
            return error_set(e, "tensor '%s' begins at byte %lld of the buffer, but the tensors before it end at %lld",
                             ranges[i].name, (long long)ranges[i].begin, (long long)end);
    if (end != buffer_bytes)
        return error_set(e, "the tensors take %lld bytes, but %lld follow the header", (long long)end,
                         (long long)buffer_bytes);
    return true;
}

static bool read_header(TensorFile *file, json_t *header, RangeList *list, int64_t buffer_bytes, Error *e)
{
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry)
    {
        bool good =
            strcmp(name, "__metadata__") ? read_tensor(file, name, entry, list, e) : read_metadata(file, entry, e);
        if (!good)
            return false;
    }
    return check_ranges(list, buffer_bytes, e);
}

/* A tensor's storage is its own bytes; storages are numbered by where they begin in the buffer. */
static const unsigned char *mapped_storage(const TensorFile *file, int64_t storage, Error *e)
{
    (void)e;
    uint64_t header_bytes;
    memcpy(&header_bytes, file->map.bytes, sizeof header_bytes);
    return file->map.bytes + sizeof header_bytes + header_bytes + storage;
}

bool safetensors_open(TensorFile *file, Error *e)
{
    uint64_t header_bytes;
    memcpy(&header_bytes, file->map.bytes, sizeof header_bytes);
    size_t rest = file->map.size - sizeof header_bytes;
    if (header_bytes > MAX_HEADER_BYTES)
        return error_set(e, "the header would take %llu bytes, over the limit of %u", (unsigned long long)header_bytes,
                         MAX_HEADER_BYTES);
    if (header_bytes > rest)
        return error_set(e, "the header would take %llu bytes, but %zu follow its length",
                         (unsigned long long)header_bytes, rest);
    json_error_t why;
    const char *text = (const char *)file->map.bytes + sizeof header_bytes;
    json_t *header = json_loadb(text, header_bytes, JSON_REJECT_DUPLICATES, &why);
    if (!header)
        return error_set(e, "the header is not well-formed at byte %d: %s", why.position, why.text);
    RangeList list = {0};
    bool good = read_header(file, header, &list, (int64_t)(rest - header_bytes), e);
    array_free(&list.ranges);
    json_decref(header);
    file->storage = mapped_storage;
    return good;
}
