/* What both fuzzers of tensor files do with a file: list it, look every name up, and read every tensor as every type. */
#pragma once
#include "common/base/memory.h"
#include "common/tensor/tensor_file.h"
#include "tests/tensor/memory_file.h"

#include <string.h>

enum { MOST_READ = 1 << 16 }; /* elements: larger tensors are legal and slow */

static inline void read_tensor(const TensorFile *file, const FileTensor *tensor)
{
    Error e;
    contract(tensor_file_find(file, tensor->name) == tensor, "'%s' is listed and not found", tensor->name);
    if (tensor->count > MOST_READ)
        return;
    for (DType type = 0; type < DTYPE_COUNT; type++) {
        /* The exact size, so that AddressSanitizer sees a byte written beyond it. */
        char *out = mem_new((size_t)tensor->count * dtype_bytes(type));
        tensor_file_read(file, tensor, type, out, &e);
        mem_free(out);
    }
}

static inline void read_tensor_file(const uint8_t *bytes, size_t size)
{
    Error e = {""};
    MemoryFile memory = memory_file_new(bytes, size);
    TensorFile *file = tensor_file_open(memory.path, &e);
    contract(file || (e.text[0] && !strchr(e.text, '\n')), "refused without one line: '%s'", e.text);
    if (file) {
        for (int i = 0; i < tensor_file_count(file); i++)
            read_tensor(file, tensor_file_at(file, i));
        for (int i = 0; tensor_file_metadata_key(file, i); i++)
            contract(tensor_file_metadata(file, tensor_file_metadata_key(file, i)), "a key without a value");
    }
    tensor_file_close(file);
    memory_file_free(&memory);
}
