#include "common/tensor/tensor_format.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Aligned types first, so that each tensor lies on a multiple of its element size; by name within a type. */
static int by_type_and_name(const void *a, const void *b)
{
    const TensorToWrite *x = *(const TensorToWrite *const *)a, *y = *(const TensorToWrite *const *)b;
    int order = (int)stored_type_of(y->type) - (int)stored_type_of(x->type);
    return order ? order : strcmp(x->name, y->name);
}

static size_t tensor_bytes(const TensorToWrite *tensor)
{
    size_t bytes = dtype_bytes(tensor->type);
    for (int d = 0; d < tensor->rank; d++)
        bytes *= (size_t)tensor->shape[d];
    return bytes;
}

static bool add_metadata(json_t *header, const MetadataEntry *metadata, int count, Error *e)
{
    json_t *entries = json_object();
    bool good = true;
    for (int i = 0; good && i < count; i++)
        if (json_object_set_new(entries, metadata[i].key, json_string(metadata[i].value)) < 0)
            good = error_set(e, "metadata '%s' is not UTF-8", metadata[i].key);
    json_object_set_new(header, "__metadata__", entries);
    return good;
}

/* {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} */
static bool add_tensor(json_t *header, const TensorToWrite *tensor, size_t *offset, Error *e)
{
    contract(!json_object_get(header, tensor->name) && strcmp(tensor->name, "__metadata__"),
             "safetensors_write: tensor '%s' is there twice, or has a reserved name", tensor->name);
    json_t *shape = json_array(), *offsets = json_array(), *entry = json_object();
    for (int d = 0; d < tensor->rank; d++)
        json_array_append_new(shape, json_integer(tensor->shape[d]));
    json_array_append_new(offsets, json_integer((json_int_t)*offset));
    *offset += tensor_bytes(tensor);
    json_array_append_new(offsets, json_integer((json_int_t)*offset));
    json_object_set_new(entry, "dtype", json_string(stored_type_name(stored_type_of(tensor->type))));
    json_object_set_new(entry, "shape", shape);
    json_object_set_new(entry, "data_offsets", offsets);
    if (json_object_set_new(header, tensor->name, entry) < 0)
        return error_set(e, "the tensor name '%s' is not UTF-8", tensor->name);
    return true;
}

/* The header as text, padded with spaces so that the buffer starts on a multiple of 8 bytes; free() it. */
static char *header_text(const TensorToWrite *const *sorted, int count, const MetadataEntry *metadata,
                         int metadata_count, Error *e)
{
    json_t *header = json_object();
    size_t offset = 0;
    bool good = !metadata_count || add_metadata(header, metadata, metadata_count, e);
    for (int i = 0; good && i < count; i++)
        good = add_tensor(header, sorted[i], &offset, e);
    char *json = good ? json_dumps(header, JSON_COMPACT) : NULL, *text = NULL;
    json_decref(header);
    if (json) {
        size_t length = strlen(json), padded = (length + 7) / 8 * 8;
        text = mem_new(padded + 1);
        memset(text, ' ', padded);
        memcpy(text, json, length);
    }
    free(json);
    return text;
}

bool safetensors_write(const char *path, const TensorToWrite *tensors, int count, const MetadataEntry *metadata,
                       int metadata_count, Error *e)
{
    const TensorToWrite **sorted = mem_new((size_t)count * sizeof *sorted);
    for (int i = 0; i < count; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_type_and_name);
    char *header = header_text(sorted, count, metadata, metadata_count, e);
    bool good = header || error_prefix(e, "%s", path);
    if (good) {
        uint64_t length = strlen(header);
        FileWriter w;
        file_writer_open(&w, path);
        file_writer_add(&w, &length, sizeof length);
        file_writer_add(&w, header, length);
        for (int i = 0; i < count; i++)
            file_writer_add(&w, sorted[i]->data, tensor_bytes(sorted[i]));
        good = file_writer_close(&w, e);
    }
    mem_free(header);
    mem_free(sorted);
    return good;
}
