/* Files of named tensors, read and written: safetensors, and the checkpoints of torch (.pth, .bin).
 * A file is mapped, checked as a whole and listed by name; each tensor is converted into memory that the caller owns.
 * Nothing in a file is executed, and a hostile file costs bounded memory. One thread at a time reads a TensorFile. */
#pragma once
#include "common/base/error.h"
#include "common/tensor/tensor.h"

typedef struct TensorFile TensorFile;

/* One tensor of a file. `type` names the stored type as safetensors does (F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8
 * BOOL F8_E5M2 F8_E4M3), whatever the file's format. */
typedef struct FileTensor {
    const char *name;
    const char *type;
    int rank;
    int64_t shape[MAX_RANK];
    int64_t count;                       /* elements */
    const struct FileTensorPlace *place; /* the reader's own */
} FileTensor;

/* Opens a file by its content, whatever its name. NULL with one line on anything that is not whole and well formed.
 * - safetensors: the names are the file's.
 * - torch, as a zip (since 1.6) or as a stream of pickles (before): the dict at its root is the state_dict, or holds it
 *   under `model` or, failing that, `state_dict` (entered again while the dict found holds such a dict). Entries that are
 *   no tensor are left out. A pickle may hold tensors, plain containers, and argparse.Namespace (kept closed); any other
 *   global or opcode is refused by its name.
 * - Only torch files lose prefixes: `module.` and `model.`, again and again, as long as every name carries the same one
 *   (data parallel and wrapped models). A prefix that only some names carry is part of the names. */
TensorFile *tensor_file_open(const char *path, Error *e);
void tensor_file_close(TensorFile *file); /* NULL is fine */

/* In the order of the file. */
int tensor_file_count(const TensorFile *file);
const FileTensor *tensor_file_at(const TensorFile *file, int i);

/* By the name listed, or by that name with the prefix that was stripped. NULL: not there. */
const FileTensor *tensor_file_find(const TensorFile *file, const char *name);
const char *tensor_file_path(const TensorFile *file);

/* A value of safetensors' __metadata__, or NULL; keys are listed by index in the order of the file, NULL after the last. */
const char *tensor_file_metadata(const TensorFile *file, const char *key);
const char *tensor_file_metadata_key(const TensorFile *file, int i);

/* Converts all elements to F32, BF16, I64, I32 or U8, contiguous and row-major, in `out` (tensor->count of them).
 * A float is rounded to the float type asked for; NaN and infinities stay. An integer must fit exactly. A float read as
 * an integer, a finite value beyond the target's range, or a BOOL that is neither 0 nor 1, is an error; `out` then holds
 * no particular values. */
bool tensor_file_read(const TensorFile *file, const FileTensor *tensor, DType type, void *out, Error *e);

/* What is written: contiguous elements of a type of ours. */
typedef struct TensorToWrite {
    const char *name;
    DType type;
    int rank;
    int64_t shape[MAX_RANK];
    const void *data;
} TensorToWrite;

typedef struct MetadataEntry {
    const char *key, *value;
} MetadataEntry;

/* Writes a safetensors file (streamed beside `path`, synced, renamed: on failure the older file stays). The order of the
 * tensors in the file is that of the official library: I64, F32, I32, BF16, U8, by name within each. Two tensors of one
 * name, or one called __metadata__, break the contract. */
bool safetensors_write(const char *path, const TensorToWrite *tensors, int count, const MetadataEntry *metadata,
                       int metadata_count, Error *e);
