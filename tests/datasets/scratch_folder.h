/* A folder of the test's own under /tmp, and a tar writer that is not ours to trust but to read: plain ustar. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static inline char *scratch_folder(void)
{
    char *folder = str_copy("/tmp/zoo-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static inline void scratch_remove(char *folder)
{
    assert_true(folder_remove(folder, NULL));
    mem_free(folder);
}

/* For cmocka: a test's state is such a folder, and caches are in it. */
static inline int scratch_set_up(void **state)
{
    char *folder = scratch_folder(), *cache = path_join(folder, ".cache");
    setenv("XDG_CACHE_HOME", cache, 1);
    mem_free(cache);
    *state = folder;
    return 0;
}

static inline int scratch_tear_down(void **state)
{
    scratch_remove(*state);
    return 0;
}

/* Writes folder/name, with the folders on the way. */
static inline void scratch_write(const char *folder, const char *name, const void *bytes, size_t size)
{
    char *path = path_join(folder, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_true(folder_make(path, NULL));
    *slash = '/';
    assert_true(file_write(path, bytes, size, NULL));
    mem_free(path);
}

static inline void scratch_write_gzip(const char *folder, const char *name, const void *bytes, size_t size)
{
    char *path = path_join(folder, name);
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
    mem_free(path);
}

static inline void tar_add_typed(Str *tar, const char *name, char type, const void *bytes, size_t size)
{
    char header[512] = {0}, zeros[512] = {0};
    snprintf(header, 100, "%s", name);
    snprintf(header + 100, 8, "0000644");
    snprintf(header + 124, 12, "%011zo", size);
    header[156] = type;
    memcpy(header + 257, "ustar\00000", 8);
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    str_add_bytes(tar, header, sizeof header);
    str_add_bytes(tar, bytes, size);
    str_add_bytes(tar, zeros, (512 - size % 512) % 512);
}

static inline void tar_add(Str *tar, const char *name, const void *bytes, size_t size)
{
    tar_add_typed(tar, name, '0', bytes, size);
}

static inline void tar_end(Str *tar)
{
    char zeros[1024] = {0};
    str_add_bytes(tar, zeros, sizeof zeros);
}
