/* The idx format of MNIST: two zero bytes, a type byte (8: unsigned byte), the rank, one big-endian 32-bit size a
 * dimension, then the elements. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

/* Checks the header of an idx array of unsigned bytes of this rank and that exactly its elements follow. Gives the sizes
 * and where the elements begin. False with a line without the file's name. */
bool idx_parse(const uint8_t *bytes, size_t size, int rank, int64_t sizes[], const uint8_t **elements, Error *e);
