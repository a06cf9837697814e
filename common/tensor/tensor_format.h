/* What the readers of file formats share with tensor_file.c, and nobody else needs: a file is a list of storages (runs of
 * bytes) and of tensors that lie in them. */
#pragma once
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/tensor/stored_type.h"
#include "common/tensor/tensor_file.h"

/* Where a tensor lies: element (i, j, ...) is element offset + i * stride[0] + j * stride[1] + ... of its storage. The
 * reader of the format has checked that all of them are inside. */
typedef struct FileTensorPlace {
    StoredType type;
    int64_t storage; /* the format's own number of it */
    int64_t offset, stride[MAX_RANK];
} FileTensorPlace;

typedef struct FileMetadata {
    char *key, *value;
} FileMetadata;

struct TensorFile {
    char *path;
    FileMap map;
    ARRAY(FileTensor) tensors;
    ARRAY(FileTensorPlace) places; /* tensors.items[i].place is set to &places.items[i] once all are there */
    ARRAY(FileMetadata) metadata;
    int *by_name;        /* the tensors' numbers, sorted by name */
    size_t prefix_bytes; /* of each name, stripped: name - prefix_bytes is the name in the file */

    /* Set by the format: the bytes of a storage, valid until the next call; and what frees `format`. */
    const unsigned char *(*storage)(const TensorFile *file, int64_t storage, Error *e);
    void (*close)(void *format);
    void *format;
};

/* Appends a tensor (its name is copied) with the row-major strides of its shape. rank <= MAX_RANK, shape >= 0.
 * False: more elements than an int64 of bytes counts. */
bool tensor_file_add(TensorFile *file, const char *name, size_t name_bytes, StoredType type, int rank,
                     const int64_t *shape, Error *e);

/* Takes the first `bytes` bytes off every name. */
void tensor_file_strip(TensorFile *file, size_t bytes);

/* The readers: each fills a file whose path and map are set, and checks all of it. The lines they write do not name the
 * path; tensor_file_open puts it before them. */
bool safetensors_open(TensorFile *file, Error *e);
bool torch_zip_open(TensorFile *file, Error *e);
bool torch_legacy_open(TensorFile *file, Error *e);
