#include "common/tensor/tensor_file.h"

#include "common/base/str.h"
#include "common/tensor/tensor_format.h"

#include <stdlib.h>
#include <string.h>

enum { GATHER_BLOCK = 512 }; /* elements of a strided tensor that are made contiguous at a time */

bool tensor_file_add(TensorFile *file, const char *name, size_t name_bytes, StoredType type, int rank,
                     const int64_t *shape, Error *e)
{
    FileTensor tensor = {.type = stored_type_name(type), .rank = rank, .count = 1};
    FileTensorPlace place = {.type = type};
    int64_t bytes = (int64_t)stored_type_bytes(type);
    for (int d = rank - 1; d >= 0; d--) {
        if (__builtin_mul_overflow(bytes, shape[d], &bytes))
            return error_set(e, "tensor '%.*s' has more elements than can be counted", (int)name_bytes, name);
        place.stride[d] = tensor.count;
        tensor.shape[d] = shape[d];
        tensor.count *= shape[d];
    }
    if (memchr(name, '\0', name_bytes))
        return error_set(e, "tensor '%s...' has a zero byte in its name", name);
    char *copy = mem_new(name_bytes + 1);
    memcpy(copy, name, name_bytes);
    tensor.name = copy;
    *array_add(&file->tensors) = tensor;
    *array_add(&file->places) = place;
    return true;
}

void tensor_file_strip(TensorFile *file, size_t bytes)
{
    for (size_t i = 0; i < file->tensors.count; i++)
        file->tensors.items[i].name += bytes;
    file->prefix_bytes += bytes;
}

static int by_name(const void *a, const void *b, void *file)
{
    const FileTensor *tensors = ((TensorFile *)file)->tensors.items;
    return strcmp(tensors[*(const int *)a].name, tensors[*(const int *)b].name);
}

static bool sort_names(TensorFile *file, Error *e)
{
    size_t count = file->tensors.count;
    file->by_name = mem_new(count * sizeof *file->by_name);
    for (size_t i = 0; i < count; i++) {
        file->by_name[i] = (int)i;
        file->tensors.items[i].place = &file->places.items[i];
    }
    qsort_r(file->by_name, count, sizeof *file->by_name, by_name, file);
    for (size_t i = 1; i < count; i++) {
        const char *name = file->tensors.items[file->by_name[i]].name;
        if (!strcmp(name, file->tensors.items[file->by_name[i - 1]].name))
            return error_set(e, "tensor '%s' is there twice", name);
    }
    return true;
}

static bool open_by_content(TensorFile *file, Error *e)
{
    const unsigned char *bytes = file->map.bytes;
    size_t size = file->map.size;
    if (size < 10)
        return error_set(e, "%zu bytes are too few for a safetensors file or a torch checkpoint", size);
    if (!memcmp(bytes, "PK\003\004", 4))
        return torch_zip_open(file, e);
    if (bytes[8] == '{') /* after the 8 bytes of its length, safetensors' header starts so */
        return safetensors_open(file, e);
    if (bytes[0] == 0x80) /* the first opcode of every pickle */
        return torch_legacy_open(file, e);
    if (size > 40 && !memcmp(bytes, "version https://git-lfs.github.com/spec", 39))
        return error_set(e, "this is Git LFS's pointer to the file, not the file: run git lfs pull");
    return error_set(e, "neither a safetensors file nor a torch checkpoint");
}

TensorFile *tensor_file_open(const char *path, Error *e)
{
    TensorFile *file = mem_new(sizeof *file);
    file->path = str_copy(path);
    if (!file_map(&file->map, path, e)) {
        tensor_file_close(file);
        return NULL;
    }
    if (!open_by_content(file, e) || !sort_names(file, e)) {
        error_prefix(e, "%s", path);
        tensor_file_close(file);
        return NULL;
    }
    return file;
}

void tensor_file_close(TensorFile *file)
{
    if (!file)
        return;
    if (file->close)
        file->close(file->format);
    for (size_t i = 0; i < file->tensors.count; i++)
        mem_free((char *)file->tensors.items[i].name - file->prefix_bytes);
    for (size_t i = 0; i < file->metadata.count; i++) {
        mem_free(file->metadata.items[i].key);
        mem_free(file->metadata.items[i].value);
    }
    array_free(&file->tensors);
    array_free(&file->places);
    array_free(&file->metadata);
    mem_free(file->by_name);
    file_unmap(&file->map);
    mem_free(file->path);
    mem_free(file);
}

int tensor_file_count(const TensorFile *file)
{
    return (int)file->tensors.count;
}

const FileTensor *tensor_file_at(const TensorFile *file, int i)
{
    contract(i >= 0 && (size_t)i < file->tensors.count, "%s has no tensor %d", file->path, i);
    return &file->tensors.items[i];
}

static const FileTensor *find_listed(const TensorFile *file, const char *name)
{
    size_t low = 0, high = file->tensors.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const FileTensor *tensor = &file->tensors.items[file->by_name[middle]];
        int order = strcmp(name, tensor->name);
        if (!order)
            return tensor;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const FileTensor *tensor_file_find(const TensorFile *file, const char *name)
{
    const FileTensor *tensor = find_listed(file, name);
    if (tensor || !file->prefix_bytes)
        return tensor;
    const char *full = file->tensors.items[0].name - file->prefix_bytes; /* all names share the prefix */
    return strncmp(name, full, file->prefix_bytes) ? NULL : find_listed(file, name + file->prefix_bytes);
}

const char *tensor_file_path(const TensorFile *file)
{
    return file->path;
}

const char *tensor_file_metadata(const TensorFile *file, const char *key)
{
    for (size_t i = 0; i < file->metadata.count; i++)
        if (!strcmp(file->metadata.items[i].key, key))
            return file->metadata.items[i].value;
    return NULL;
}

const char *tensor_file_metadata_key(const TensorFile *file, int i)
{
    return i >= 0 && (size_t)i < file->metadata.count ? file->metadata.items[i].key : NULL;
}

static bool is_contiguous(const FileTensor *tensor)
{
    int64_t expected = 1;
    for (int d = tensor->rank - 1; d >= 0; d--) {
        if (tensor->shape[d] != 1 && tensor->place->stride[d] != expected)
            return false;
        expected *= tensor->shape[d];
    }
    return true;
}

/* Copies the next n elements in row-major order. index: where in the shape, *at: which element of the storage that is;
 * both move on. */
static void gather(const FileTensor *tensor, const unsigned char *storage, int64_t *index, int64_t *at, int64_t n,
                   unsigned char *out)
{
    size_t bytes = stored_type_bytes(tensor->place->type);
    for (int64_t i = 0; i < n; i++) {
        memcpy(out + (size_t)i * bytes, storage + (size_t)*at * bytes, bytes);
        for (int d = tensor->rank - 1; d >= 0; d--) {
            *at += tensor->place->stride[d];
            if (++index[d] < tensor->shape[d])
                break;
            *at -= tensor->place->stride[d] * tensor->shape[d];
            index[d] = 0;
        }
    }
}

static bool convert_failed(const TensorFile *file, const FileTensor *tensor, DType type, int64_t element,
                           const unsigned char *value, Error *e)
{
    char text[32];
    if (stored_type_is_float(tensor->place->type) && type != F32 && type != BF16)
        return error_set(e, "%s: tensor '%s' is stored as %s and cannot be read as %s", file->path, tensor->name,
                         tensor->type, dtype_name(type));
    stored_describe(tensor->place->type, value, text);
    return error_set(e, "%s: element %lld of tensor '%s' is %s (%s), which %s cannot hold", file->path,
                     (long long)element, tensor->name, text, tensor->type, dtype_name(type));
}

static bool read_strided(const TensorFile *file, const FileTensor *tensor, const unsigned char *storage, DType type,
                         void *out, Error *e)
{
    size_t bytes = stored_type_bytes(tensor->place->type);
    unsigned char block[GATHER_BLOCK * sizeof(double)];
    int64_t index[MAX_RANK] = {0}, at = tensor->place->offset, bad;
    for (int64_t done = 0; done < tensor->count; done += GATHER_BLOCK) {
        int64_t n = MIN(tensor->count - done, GATHER_BLOCK);
        gather(tensor, storage, index, &at, n, block);
        if (!stored_convert(tensor->place->type, block, n, type, (char *)out + (size_t)done * dtype_bytes(type), &bad))
            return convert_failed(file, tensor, type, done + bad, block + (size_t)bad * bytes, e);
    }
    return true;
}

bool tensor_file_read(const TensorFile *file, const FileTensor *tensor, DType type, void *out, Error *e)
{
    if (!tensor->count)
        return true;
    const unsigned char *storage = file->storage(file, tensor->place->storage, e);
    if (!storage)
        return error_prefix(e, "%s: tensor '%s'", file->path, tensor->name);
    if (!is_contiguous(tensor))
        return read_strided(file, tensor, storage, type, out, e);
    size_t bytes = stored_type_bytes(tensor->place->type);
    const unsigned char *first = storage + (size_t)tensor->place->offset * bytes;
    int64_t bad;
    if (!stored_convert(tensor->place->type, first, tensor->count, type, out, &bad))
        return convert_failed(file, tensor, type, bad, first + (size_t)bad * bytes, e);
    return true;
}
