/* Files of named tensors, read and written: safetensors, and the checkpoints of torch (.pth, .bin).
 * A file is mapped or opened, listed by name, and each tensor is converted into memory that the caller owns. */
#pragma once
#include "common/base/error.h"
#include "common/kernels/dtype.h"

enum { TENSOR_MAX_RANK = 8 };

typedef struct TensorFile TensorFile;

/* One tensor of a file. `type` names the stored type as safetensors does (F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8
 * BOOL F8_E5M2 F8_E4M3). */
typedef struct FileTensor {
    const char *name;
    const char *type;
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    int64_t count; /* elements */
    const struct FileTensorPlace *place; /* the reader's own */
} FileTensor;

/* Opens a file by its content: safetensors, or torch's zip (checkpoint['model'] and ['state_dict'] are entered, prefixes
 * `module.` and `model.` are stripped). NULL with a line on anything that is not whole and well formed. */
TensorFile *tensor_file_open(const char *path, Error *e);
void tensor_file_close(TensorFile *file);

int tensor_file_count(const TensorFile *file);
const FileTensor *tensor_file_at(const TensorFile *file, int i);
const FileTensor *tensor_file_find(const TensorFile *file, const char *name); /* NULL: not there */
const char *tensor_file_path(const TensorFile *file);

/* A value of safetensors' __metadata__, or NULL; keys are listed by index, NULL after the last. */
const char *tensor_file_metadata(const TensorFile *file, const char *key);
const char *tensor_file_metadata_key(const TensorFile *file, int i);

/* Converts all elements to F32, BF16, I64, I32 or U8 in `out`. Integers widen; floats become floats; a value that the
 * target cannot hold (or a float read as an integer) is an error. */
bool tensor_file_read(const TensorFile *file, const FileTensor *tensor, DType type, void *out, Error *e);

/* What is written: contiguous elements of a type of ours. */
typedef struct TensorToWrite {
    const char *name;
    DType type;
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    const void *data;
} TensorToWrite;

typedef struct MetadataEntry {
    const char *key, *value;
} MetadataEntry;

/* Writes a safetensors file (streamed beside `path`, synced, renamed). */
bool safetensors_write(const char *path, const TensorToWrite *tensors, int count, const MetadataEntry *metadata,
                       int metadata_count, Error *e);
