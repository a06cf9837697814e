/* safetensors: files of the official library, our own round trips byte for byte, and all that must be refused. */
#include "tests/tensor/check_file.h"

#include "common/base/str.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void all_types_of_the_official_library(void **state)
{
    (void)state;
    TensorFile *file = open_good(DATA "types.safetensors");
    check_all_types(file);
    assert_string_equal(tensor_file_metadata(file, "format"), "pt");
    assert_null(tensor_file_metadata(file, "absent"));
    assert_string_equal(tensor_file_metadata_key(file, 0), "format");
    assert_null(tensor_file_metadata_key(file, 1));
    assert_null(tensor_file_find(file, "absent"));
    assert_string_equal(tensor_file_path(file), DATA "types.safetensors");
    tensor_file_close(file);
}

static const float floats[] = {0, 1, 2, 3, 4, 5};
static const uint8_t bytes3[] = {1, 2, 3};
static const int64_t minus_one[] = {-1};
static const int32_t five_six[] = {5, 6};
static const uint16_t halves[] = {0x3f80, 0x4000, 0x4040};
static const MetadataEntry note = {"note", "one \"line\"\n\u00e9"};
static const TensorToWrite tensors[] = {
    {"b.f32", F32, 2, {2, 3}, floats}, {"a.u8", U8, 1, {3}, bytes3},     {"c.i64", I64, 1, {1}, minus_one},
    {"e.i32", I32, 1, {2}, five_six},  {"d.bf16", BF16, 1, {3}, halves}, {"\u00e9\"\\", F32, 2, {0, 4}, NULL},
};

/* A folder of its own for each test program. */
static char folder[] = "/tmp/test_safetensors.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return folder_remove(folder, NULL) ? 0 : -1;
}

static void we_write_what_the_official_library_writes(void **state)
{
    (void)state;
    Error e = {""};
    size_t ours_size, theirs_size;
    char *path = path_join(folder, "written.safetensors");
    assert_true(safetensors_write(path, tensors, COUNT_OF(tensors), &note, 1, &e));
    char *ours = file_read(path, &ours_size, &e), *theirs = file_read(DATA "written.safetensors", &theirs_size, &e);
    assert_int_equal(ours_size, theirs_size);
    assert_memory_equal(ours, theirs, ours_size);
    mem_free(ours);
    mem_free(theirs);
    mem_free(path);
}

static void a_round_trip_keeps_everything(void **state)
{
    (void)state;
    Error e = {""};
    char *path = path_join(folder, "round.safetensors");
    assert_true(safetensors_write(path, tensors, COUNT_OF(tensors), &note, 1, &e));
    TensorFile *file = open_good(path);
    assert_string_equal(tensor_file_metadata(file, "note"), note.value);
    assert_int_equal(tensor_file_count(file), COUNT_OF(tensors));
    assert_string_equal(tensor_file_at(file, 0)->name, "c.i64"); /* in the order of the file */
    for (int i = 0; i < COUNT_OF(tensors); i++) {
        const FileTensor *found = tensor_file_find(file, tensors[i].name);
        char read[64] = {0};
        assert_non_null(found);
        assert_int_equal(found->rank, tensors[i].rank);
        assert_memory_equal(found->shape, tensors[i].shape, sizeof found->shape);
        assert_true(tensor_file_read(file, found, tensors[i].type, read, &e));
        if (found->count)
            assert_memory_equal(read, tensors[i].data, (size_t)found->count * dtype_bytes(tensors[i].type));
    }
    tensor_file_close(file);
    assert_true(safetensors_write(path, NULL, 0, NULL, 0, &e));
    file = open_good(path);
    assert_int_equal(tensor_file_count(file), 0);
    tensor_file_close(file);
    mem_free(path);
}

static void names_that_are_not_utf8_are_not_written(void **state)
{
    (void)state;
    Error e = {""};
    char *path = path_join(folder, "name.safetensors");
    TensorToWrite wrong = {"a\xff", U8, 1, {3}, bytes3};
    assert_false(safetensors_write(path, &wrong, 1, NULL, 0, &e));
    assert_non_null(strstr(e.text, "not UTF-8"));
    assert_false(file_exists(path));
    assert_false(safetensors_write(path, tensors, 1, &(MetadataEntry){"key", "\xff"}, 1, &e));
    assert_string_equal(strrchr(e.text, ':'), ": metadata 'key' is not UTF-8");
    mem_free(path);
}

/* A limit on the size of files stands in for a full disk: write() fails half way. */
static void a_full_disk_keeps_the_older_file(void **state)
{
    (void)state;
    Error e = {""};
    char *path = path_join(folder, "full.safetensors"), *part = str_format("%s.part", path);
    float *large = mem_new(100000 * sizeof *large);
    TensorToWrite tensor = {"large", F32, 1, {100000}, large};
    struct rlimit old, small;
    assert_true(safetensors_write(path, tensors, 1, NULL, 0, &e));
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    bool written = safetensors_write(path, &tensor, 1, NULL, 0, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_false(written);
    assert_true(str_starts(e.text, path));
    assert_non_null(strstr(e.text, "cannot be written: File too large"));
    assert_false(file_exists(part));
    TensorFile *file = open_good(path);
    assert_non_null(tensor_file_find(file, "b.f32"));
    tensor_file_close(file);
    assert_false(safetensors_write("/nowhere/x.safetensors", tensors, 1, NULL, 0, &e));
    assert_string_equal(e.text, "/nowhere/x.safetensors: cannot be written: No such file or directory");
    mem_free(large);
    mem_free(part);
    mem_free(path);
}

/* A file of this header and as many zero bytes as given. */
static void check_header(const char *header, size_t data, const char *words)
{
    Str file = {0};
    uint64_t length = strlen(header);
    char zeros[64] = {0};
    str_add_bytes(&file, &length, sizeof length);
    str_add_bytes(&file, header, length);
    str_add_bytes(&file, zeros, data);
    check_refused(file.text, file.length, words);
    str_free(&file);
}

#define TENSOR(dtype, shape, offsets)                                                                                  \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void wrong_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *words;
        size_t data;
    } cases[] = {
        {"{\"x\":", "not well-formed at byte 5", 0},
        {"{}   junk", "not well-formed", 0},
        {"{\"x\":1,\"x\":1}", "duplicate object key", 0},
        {"{\"x\":[]}", "tensor 'x' has no dtype", 0},
        {TENSOR("F33", "[1]", "[0,4]"), "tensor 'x' has the dtype 'F33', which is not read", 4},
        {TENSOR("F32", "1", "[0,4]"), "its shape is no list", 4},
        {TENSOR("F32", "[-1]", "[0,4]"), "its shape is no list", 4},
        {TENSOR("F32", "[1.0]", "[0,4]"), "its shape is no list", 4},
        {TENSOR("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "its shape is no list of at most 8 sizes", 1},
        {TENSOR("F32", "[1]", "[0,4,4]"), "its data_offsets are no two offsets", 4},
        {TENSOR("F32", "[1]", "[0]"), "its data_offsets are no two offsets", 4},
        {TENSOR("F32", "[1]", "[0,-4]"), "its data_offsets are no two offsets", 4},
        {TENSOR("F32", "[1]", "[0,99999999999999999999]"), "too big integer", 4},
        {TENSOR("F32", "[2]", "[0,4]"), "data_offsets 0 to 4 do not hold the 8 bytes of its shape and dtype", 4},
        {TENSOR("F32", "[1]", "[4,0]"), "data_offsets 4 to 0", 4},
        {TENSOR("F32", "[4611686018427387904,4]", "[0,0]"), "more elements than can be counted", 0},
        {TENSOR("F32", "[0]", "[9223372036854775807,-9223372036854775808]"), "no two offsets", 0},
        {TENSOR("F32", "[1]", "[4,8]"), "begins at byte 4 of the buffer, but the tensors before it end at 0", 8},
        {TENSOR("F32", "[1]", "[0,4]"), "the tensors take 4 bytes, but 5 follow the header", 5},
        {TENSOR("F32", "[1]", "[0,4]"), "the tensors take 4 bytes, but 3 follow the header", 3},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         "tensor 'b' begins at byte 1 of the buffer, but the tensors before it end at 2", 3},
        {TENSOR("F\\n32", "[1]", "[0,4]"), "tensor 'x' has the dtype 'F?32'",
         4}, /* one line, whatever is in the file */
        {"{\"__metadata__\":[]}", "__metadata__ is no object", 0},
        {"{\"__metadata__\":{\"k\":1}}", "__metadata__ 'k' is no string", 0},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        check_header(cases[i].header, cases[i].data, cases[i].words);
}

static void what_is_no_such_file_is_refused(void **state)
{
    (void)state;
    Error e = {""};
    char long_header[16] = {0, 0, 0, 0, 1, 0, 0, 0, '{'}, cut_header[16] = {64, 0, 0, 0, 0, 0, 0, 0, '{'};
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    check_refused("", 0, "0 bytes are too few");
    check_refused("hello, world", 12, "neither a safetensors file nor a torch checkpoint");
    check_refused(long_header, sizeof long_header,
                  "the header would take 4294967296 bytes, over the limit of 100000000");
    check_refused(cut_header, sizeof cut_header, "the header would take 64 bytes, but 8 follow its length");
    check_refused(pointer, sizeof pointer - 1, "git lfs pull");
    assert_null(tensor_file_open("/nowhere/x", &e));
    assert_string_equal(e.text, "/nowhere/x: No such file or directory");
    assert_null(tensor_file_open("/tmp", &e));
    assert_string_equal(e.text, "/tmp: not a regular file");
}

static void a_cut_file_is_refused_at_every_byte(void **state)
{
    (void)state;
    check_truncations(DATA "types.safetensors");
    check_truncations(DATA "written.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types_of_the_official_library),
        cmocka_unit_test(we_write_what_the_official_library_writes),
        cmocka_unit_test(a_round_trip_keeps_everything),
        cmocka_unit_test(names_that_are_not_utf8_are_not_written),
        cmocka_unit_test(a_full_disk_keeps_the_older_file),
        cmocka_unit_test(wrong_headers_are_refused),
        cmocka_unit_test(what_is_no_such_file_is_refused),
        cmocka_unit_test(a_cut_file_is_refused_at_every_byte),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
