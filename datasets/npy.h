/* Arrays of bytes as numpy stores them (.npy): a header that is a Python dictionary, then the elements. */
#pragma once
#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Of a matrix of unsigned bytes in C order: its sizes, and where its elements lie in `bytes`. */
bool npy_parse_bytes(const uint8_t *bytes, size_t size, int64_t *rows, int64_t *columns, const uint8_t **elements,
                     Error *e);
