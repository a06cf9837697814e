/* A folder of its own for each test, and files as text. */
#pragma once
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* cmocka setup and teardown: *state is the path of a fresh folder. */
static inline int scratch_make(void **state)
{
    const char *base = getenv("TMPDIR");
    char *path = str_format("%s/zoo-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path))
        return -1;
    *state = path;
    return 0;
}

static inline int scratch_remove(void **state)
{
    bool good = folder_remove(*state, NULL);
    mem_free(*state);
    return good ? 0 : -1;
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

static inline void write_text(const char *path, const char *text)
{
    Error e;
    if (!file_write(path, text, strlen(text), &e))
        fail_msg("%s", e.text);
}

/* The file at `path` is exactly `text`. */
static inline void assert_file(const char *path, const char *text)
{
    Error e;
    char *found = file_read(path, NULL, &e);
    if (!found)
        fail_msg("%s", e.text);
    assert_string_equal(found, text);
    mem_free(found);
}
