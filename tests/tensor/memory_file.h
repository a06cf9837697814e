/* A file that exists only in memory, for tests and fuzzers that have bytes and need a path. */
#pragma once
#include "common/base/error.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct MemoryFile {
    int fd;
    char path[40];
} MemoryFile;

static inline MemoryFile memory_file_new(const void *bytes, size_t size)
{
    MemoryFile file = {.fd = memfd_create("test", MFD_CLOEXEC)};
    contract(file.fd >= 0 && (!size || write(file.fd, bytes, size) == (ssize_t)size), "no file in memory");
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

static inline void memory_file_free(MemoryFile *file)
{
    close(file->fd);
}
