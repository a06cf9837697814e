/* Zip archives read out of memory, with what their directory claims held against what deflate can do. */
#pragma once
#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ZipArchive {
    struct zip *zip;
    size_t size; /* of the whole archive */
} ZipArchive;

/* The bytes stay the caller's, and stay until zip_archive_close. */
bool zip_archive_open(ZipArchive *archive, const void *bytes, size_t size, Error *e);
void zip_archive_close(ZipArchive *archive); /* of one that was not opened, too */

int64_t zip_archive_count(const ZipArchive *archive);
const char *zip_archive_name(const ZipArchive *archive, int64_t entry); /* NULL: it cannot be read */
int64_t zip_archive_find(const ZipArchive *archive, const char *name);  /* -1: no such entry */

/* The unpacked size of an entry, once what the directory says of it is believable. */
bool zip_archive_size(const ZipArchive *archive, int64_t entry, uint64_t *size, Error *e);

/* A whole entry of that size, its checksum verified, with a NUL behind it; free with mem_free. */
unsigned char *zip_archive_read(const ZipArchive *archive, int64_t entry, uint64_t size, Error *e);
