/* The number types that files store, and their conversion into ours. Files are little-endian, and so are we. */
#pragma once
#include "common/kernels/dtype.h"
#include <stdbool.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files of tensors are read as they lie");

/* In the order in which safetensors sorts them: by growing alignment. */
typedef enum StoredType {
    STORED_BOOL,
    STORED_U8,
    STORED_I8,
    STORED_F8_E5M2,
    STORED_F8_E4M3,
    STORED_I16,
    STORED_U16,
    STORED_F16,
    STORED_BF16,
    STORED_I32,
    STORED_U32,
    STORED_F32,
    STORED_F64,
    STORED_I64,
    STORED_U64,
    STORED_TYPE_COUNT
} StoredType;

const char *stored_type_name(StoredType type); /* "F32" */
size_t stored_type_bytes(StoredType type);
bool stored_type_is_float(StoredType type);
bool stored_type_find(const char *name, StoredType *type);
StoredType stored_type_of(DType type);

/* Converts n elements, which may lie unaligned. False: element *bad cannot be held by `to` (see tensor_file_read), or
 * a float was to become an integer (*bad is 0). */
bool stored_convert(StoredType from, const void *in, int64_t n, DType to, void *out, int64_t *bad);

/* One element in words, for an error line. */
void stored_describe(StoredType type, const void *in, char text[32]);
