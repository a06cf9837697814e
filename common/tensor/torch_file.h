/* What both layouts of a torch checkpoint share: a pickle of containers, and storages that lie beside it. A layout reads
 * the pickle, asks which storages it names, finds their bytes, and has the tensors listed. */
#pragma once
#include "common/tensor/pickle.h"
#include "common/tensor/tensor_format.h"

/* A run of elements that tensors are views of. */
typedef struct TorchStorage {
    const char *key; /* its name, not NUL-terminated; it points into the pickle */
    size_t key_bytes;
    bool untyped; /* bytes: the tensors say of what type */
    StoredType type;
    int64_t elements, bytes;
    uint64_t place; /* the layout's: which entry of the zip, or which byte of the file */
} TorchStorage;

typedef struct TorchStorages {
    TorchStorage *items; /* sorted by key */
    size_t count;
} TorchStorages;

/* Reads a pickle with the globals of torch allowed. */
Pickle *torch_pickle_read(const void *bytes, size_t size, size_t *used, Error *e);

/* All storages that the pickle names; items is yours to free, also after false. */
bool torch_storages_read(TorchStorages *storages, const Pickle *pickle, Error *e);
TorchStorage *torch_storage_find(const TorchStorages *storages, const char *key, size_t key_bytes);

/* Lists the tensors of the state_dict that the pickle holds, each checked to lie inside its storage, and strips the
 * prefixes (the rules stand in tensor_file.h). */
bool torch_tensors_list(TensorFile *file, const Pickle *pickle, const TorchStorages *storages, Error *e);
