/* Whole files that may be gzipped. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

/* All bytes of `path`, unpacked if it is gzip; at most `limit` of them. Free with mem_free; NULL with a line. */
uint8_t *gzip_read(const char *path, size_t limit, size_t *size, Error *e);
