/* Checks that the tests of tensor files share. */
#pragma once
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/tensor/tensor_file.h"
#include "tests/tensor/memory_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define DATA "tests/tensor/data/"

static inline TensorFile *open_good(const char *path)
{
    Error e = {""};
    TensorFile *file = tensor_file_open(path, &e);
    if (!file)
        fail_msg("%s", e.text);
    return file;
}

/* The bytes are refused with one line that contains `words`. */
static inline void check_refused(const void *bytes, size_t size, const char *words)
{
    Error e = {""};
    MemoryFile memory = memory_file_new(bytes, size);
    TensorFile *file = tensor_file_open(memory.path, &e);
    memory_file_free(&memory);
    if (file)
        fail_msg("opened, although: %s", words);
    if (!strstr(e.text, words) || strchr(e.text, '\n'))
        fail_msg("'%s' is not one line with '%s'", e.text, words);
}

/* Every shorter version of a file is refused. */
static inline void check_truncations(const char *path)
{
    Error e;
    size_t size;
    char *bytes = file_read(path, &size, &e);
    assert_non_null(bytes);
    for (size_t n = 0; n < size; n++)
        check_refused(bytes, n, "/proc/self/fd/");
    mem_free(bytes);
}

/* A tensor of the file has this stored type, shape ("2x3", "" for a scalar) and these values as doubles. */
static inline void check_floats(const TensorFile *file, const char *name, const char *type, const char *shape,
                                const double *expected, int count)
{
    Error e = {""};
    const FileTensor *tensor = tensor_file_find(file, name);
    assert_non_null(tensor);
    assert_string_equal(tensor->type, type);
    char text[200] = "";
    for (int d = 0; d < tensor->rank; d++)
        sprintf(text + strlen(text), d ? "x%lld" : "%lld", (long long)tensor->shape[d]);
    assert_string_equal(text, shape);
    assert_int_equal(tensor->count, count);
    float *values = mem_new((size_t)count * sizeof *values);
    if (!tensor_file_read(file, tensor, F32, values, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < count; i++)
        if (values[i] != (float)expected[i] && !(values[i] != values[i] && expected[i] != expected[i]))
            fail_msg("%s[%d] is %.9g, not %.9g", name, i, (double)values[i], expected[i]);
    mem_free(values);
}

#define CHECK_FLOATS(file, name, type, shape, ...)                                                                     \
    check_floats(file, name, type, shape, (const double[]){__VA_ARGS__}, COUNT_OF(((const double[]){__VA_ARGS__})))

static inline void check_int64(const TensorFile *file, const char *name, const char *type, int64_t first, int64_t last)
{
    Error e = {""};
    const FileTensor *tensor = tensor_file_find(file, name);
    assert_non_null(tensor);
    assert_string_equal(tensor->type, type);
    int64_t *values = mem_new((size_t)tensor->count * sizeof *values);
    if (!tensor_file_read(file, tensor, I64, values, &e))
        fail_msg("%s", e.text);
    assert_true(values[0] == first && values[tensor->count - 1] == last);
    mem_free(values);
}

/* Reading a tensor as `type` fails with one line that contains `words`. */
static inline void check_unreadable(const TensorFile *file, const char *name, DType type, const char *words)
{
    Error e = {""};
    const FileTensor *tensor = tensor_file_find(file, name);
    assert_non_null(tensor);
    void *out = mem_new((size_t)tensor->count * sizeof(int64_t));
    assert_false(tensor_file_read(file, tensor, type, out, &e));
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    mem_free(out);
}

/* What types.safetensors and types.pth hold alike (data/make.py, all_types). */
static inline void check_all_types(const TensorFile *file)
{
    assert_int_equal(tensor_file_count(file), 17);
    CHECK_FLOATS(file, "f64", "F64", "3", 0.1, 0, (double)INFINITY);
    CHECK_FLOATS(file, "f32", "F32", "2x2", 0.1, -2.5, 3e38, (double)NAN);
    CHECK_FLOATS(file, "f16", "F16", "8", 0, 1, -2.5, 65504, 0x1p-24, (double)INFINITY, (double)-INFINITY, (double)NAN);
    CHECK_FLOATS(file, "bf16", "BF16", "4", 1, -2.5, 0x1.c4p127, (double)NAN);
    CHECK_FLOATS(file, "f8_e5m2", "F8_E5M2", "6", 1, -1.5, 57344, 0x1p-16, (double)INFINITY, (double)NAN);
    CHECK_FLOATS(file, "f8_e4m3", "F8_E4M3", "5", 1, -1.5, 448, 0x1p-9, (double)NAN);
    check_int64(file, "i64", "I64", (INT64_C(1) << 62) + 1, -(INT64_C(1) << 62));
    check_int64(file, "i32", "I32", INT32_MAX, INT32_MIN);
    check_int64(file, "i16", "I16", INT16_MAX, INT16_MIN);
    check_int64(file, "i8", "I8", INT8_MAX, INT8_MIN);
    check_int64(file, "u64", "U64", 1, INT64_C(1) << 40);
    check_int64(file, "u32", "U32", 1, UINT32_MAX);
    check_int64(file, "u16", "U16", 1, UINT16_MAX);
    check_int64(file, "u8", "U8", 1, UINT8_MAX);
    CHECK_FLOATS(file, "bool", "BOOL", "3", 1, 0, 1);
    CHECK_FLOATS(file, "scalar", "F32", "", 7);
    check_floats(file, "empty", "F32", "0x3", NULL, 0);
    check_unreadable(file, "f32", I64, "'f32' is stored as F32 and cannot be read as int64");
    check_unreadable(file, "i64", I32,
                     "element 0 of tensor 'i64' is 4611686018427387905 (I64), which int32 cannot hold");
    check_unreadable(file, "i64", F32, "which float32 cannot hold");
    check_unreadable(file, "i8", U8, "element 1 of tensor 'i8' is -128 (I8), which uint8 cannot hold");
}
