/* Checkpoints written by torch itself (data/make.py), and what must be refused. */
#include "tests/tensor/check_file.h"

#include "common/base/str.h"

#include <zip.h>

static void all_types_of_torch(void **state)
{
    (void)state;
    TensorFile *file = open_good(DATA "types.pth");
    check_all_types(file);
    assert_string_equal(tensor_file_at(file, 0)->name, "f64"); /* in the order of the dict */
    assert_string_equal(tensor_file_at(file, 16)->name, "empty");
    assert_null(tensor_file_metadata_key(file, 0));
    tensor_file_close(file);
}

static void check_views(const TensorFile *file)
{
    double transposed[24], permuted[24];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++)
            transposed[i * 4 + j] = j * 6 + i;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 6; j++)
            permuted[i * 6 + j] = j * 4 + i;
    check_floats(file, "transposed", "F32", "6x4", transposed, 24);
    check_floats(file, "permuted", "I64", "4x2x3", permuted, 24);
    CHECK_FLOATS(file, "window", "F32", "2x3", 8, 9, 10, 14, 15, 16);
    CHECK_FLOATS(file, "every_second", "F32", "12", 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23);
    CHECK_FLOATS(file, "expanded", "F32", "2x3", 1, 1, 1, 2, 2, 2);
}

static void views_share_storages(void **state)
{
    (void)state;
    TensorFile *file = open_good(DATA "views.pth");
    check_views(file);
    tensor_file_close(file);
    file = open_good(DATA "protocol4.pth"); /* under state_dict, each name with model. */
    check_views(file);
    tensor_file_close(file);
}

/* A checkpoint of a whole training run: the model is found under `model`, without `module.`; optimizer, argparse.Namespace
 * and plain values beside it are passed over. */
static void check_training(const char *path)
{
    static const char *const names[] = {
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"};
    TensorFile *file = open_good(path);
    assert_int_equal(tensor_file_count(file), COUNT_OF(names));
    for (int i = 0; i < COUNT_OF(names); i++)
        assert_string_equal(tensor_file_at(file, i)->name, names[i]);
    CHECK_FLOATS(file, "0.weight", "F32", "2x3", 0, 1, 2, 3, 4, 5);
    check_int64(file, "1.num_batches_tracked", "I64", 1, 1);
    assert_ptr_equal(tensor_file_find(file, "module.0.bias"), tensor_file_at(file, 1));
    assert_null(tensor_file_find(file, "module.module.0.bias"));
    assert_null(tensor_file_find(file, "absent"));
    tensor_file_close(file);
}

static void a_training_checkpoint_gives_its_model(void **state)
{
    (void)state;
    check_training(DATA "training.pth");
    check_training(DATA "training_legacy.pth");
    check_training(DATA "deflated.pth");
}

static void what_would_run_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const paths[] = {DATA "malicious2.pth", DATA "malicious4.pth"};
    for (int i = 0; i < COUNT_OF(paths); i++) {
        Error e = {""};
        assert_null(tensor_file_open(paths[i], &e));
        assert_true(str_starts(e.text, paths[i]));
        assert_non_null(strstr(e.text, "global 'posix.system'"));
    }
}

static void a_cut_file_is_refused_at_every_byte(void **state)
{
    (void)state;
    check_truncations(DATA "training_legacy.pth");
    check_truncations(DATA "views.pth");
    check_truncations(DATA "malicious4.pth");
}

/* --- checkpoints made here --- */

/* A zip of entries with these names and texts, in memory; free it. */
typedef struct Entry {
    const char *name, *bytes;
    size_t size;
} Entry;

static char *zip_of(const Entry *entries, int count, size_t *size)
{
    zip_error_t why;
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &why);
    zip_t *zip = zip_open_from_source(source, ZIP_TRUNCATE, &why);
    zip_source_keep(source);
    for (int i = 0; i < count; i++)
        assert_true(
            zip_file_add(zip, entries[i].name, zip_source_buffer(zip, entries[i].bytes, entries[i].size, 0), 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    zip_stat_t st;
    zip_source_stat(source, &st);
    zip_source_open(source);
    char *bytes = mem_new(st.size);
    assert_int_equal(zip_source_read(source, bytes, st.size), st.size);
    zip_source_close(source);
    zip_source_free(source);
    *size = st.size;
    return bytes;
}

static const char four_floats[16];

/* {'x': a tensor} of a storage with four floats: what the tensor is made of is given as opcodes of the pickle. */
static void check_pickle(const char *opcodes, size_t size, const char *words)
{
    Str pickle = {0};
    size_t zip_size;
    str_add_bytes(&pickle, "\x80\x02", 2);
    str_add_bytes(&pickle, opcodes, size);
    str_add(&pickle, ".");
    Entry entries[] = {{"a/data.pkl", pickle.text, pickle.length}, {"a/data/0", four_floats, sizeof four_floats}};
    char *zip = zip_of(entries, COUNT_OF(entries), &zip_size);
    if (words) {
        check_refused(zip, zip_size, words);
    } else {
        MemoryFile memory = memory_file_new(zip, zip_size);
        tensor_file_close(open_good(memory.path));
        memory_file_free(&memory);
    }
    mem_free(zip);
    str_free(&pickle);
}

#define STORAGE(type, key, count) "(X\7\0\0\0storagec" type "\nX\1\0\0\0" key "X\3\0\0\0cpuK" count "tQ"
#define FLOATS STORAGE("torch\nFloatStorage", "0", "\4")
#define V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define TENSOR(storage, place) "}X\1\0\0\0x" V2 "(" storage place "\x89}tRs"
#define CHECK_PICKLE(opcodes, words) check_pickle(opcodes, sizeof(opcodes) - 1, words)

static void tensors_stay_inside_their_storage(void **state)
{
    (void)state;
    CHECK_PICKLE(TENSOR(FLOATS, "K\0K\4\x85K\1\x85"), NULL);
    CHECK_PICKLE(TENSOR(FLOATS, "K\3K\1\x85K\1\x85"), NULL);
    CHECK_PICKLE(TENSOR(FLOATS, "K\1K\4\x85K\1\x85"), "tensor 'x' reaches beyond its storage of 4 elements");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0K\2\x85K\4\x85"), "reaches beyond its storage");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0K\2K\2\x86K\3K\1\x86"), "reaches beyond its storage");
    CHECK_PICKLE(TENSOR(FLOATS, "K\4K\0\x85K\1\x85"), NULL); /* no elements */
    CHECK_PICKLE(TENSOR(FLOATS, "K\0K\3\x85\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), "reaches beyond its storage");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0J\0\0\0\1\x85K\0\x85"), NULL); /* 2^24 times one element */
    CHECK_PICKLE(TENSOR(FLOATS, "K\0J\1\0\0\1\x85K\0\x85"), "reaches beyond its storage");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0\x8a\10\0\0\0\0\0\0\0\x40\x85K\0\x85"), "more elements than can be counted");
}

static void tensors_are_built_as_torch_does(void **state)
{
    (void)state;
    CHECK_PICKLE(TENSOR(FLOATS, "J\xff\xff\xff\xffK\4\x85K\1\x85"), "tensor 'x' is not built as torch does");
    CHECK_PICKLE(TENSOR("N", "K\0K\4\x85K\1\x85"), "not built as torch does");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0K\4\x85K\1K\1\x86"), "its size and stride are no two lists");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0J\xff\xff\xff\xff\x85K\1\x85"), "its size and stride");
    CHECK_PICKLE(TENSOR(FLOATS, "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1tK\1\x85"), "at most 8 numbers");
    CHECK_PICKLE("}X\1\0\0\0x" V2 "(" FLOATS "K\0K\1\x85K\1\x85\x89}}X\3\0\0\0neg\x88stRs", "conjugated or negated");
    CHECK_PICKLE("}X\1\0\0\0x" V2 "(" FLOATS "K\0K\1\x85K\1\x85\x89}NtRs", NULL);
    CHECK_PICKLE("}X\3\0\0\0x\0y" V2 "(" FLOATS "K\0K\1\x85K\1\x85\x89}tRs", "has a zero byte in its name");
    CHECK_PICKLE("}X\1\0\0\0x" V2 ")Rs", "not built as torch does");
    CHECK_PICKLE("}(X\1\0\0\0x" V2 "(" FLOATS "K\0K\1\x85K\1\x85\x89}tRq\0X\1\0\0\0xh\0u", "tensor 'x' is there twice");
}

static void storages_are_what_the_pickle_says(void **state)
{
    (void)state;
#define PLACE "K\0K\1\x85K\1\x85"
    CHECK_PICKLE(TENSOR(STORAGE("torch\nFloatStorage", "1", "\4"), PLACE), "the zip has no entry for storage '1'");
    CHECK_PICKLE(TENSOR(STORAGE("torch\nFloatStorage", "0", "\5"), PLACE), "storage '0' has 16 bytes instead of 20");
    CHECK_PICKLE(TENSOR(STORAGE("torch\nSize", "0", "\4"), PLACE), "storage '0' has no type of torch");
    CHECK_PICKLE(TENSOR(STORAGE("torch.storage\nUntypedStorage", "0", "\20"), PLACE), "a type that does not fit");
    CHECK_PICKLE(TENSOR(STORAGE("torch\nComplexFloatStorage", "0", "\2"), PLACE),
                 "global 'torch.ComplexFloatStorage' (byte 56) is refused");
    CHECK_PICKLE("}X\1\0\0\0xK\1Qs", "a persistent id of the pickle is not that of a storage");
    CHECK_PICKLE("(" FLOATS STORAGE("torch\nLongStorage", "0", "\2") "t", "named with two types or sizes");
    CHECK_PICKLE("}", "holds no named tensors");
    CHECK_PICKLE("]", "holds no dict of named tensors");
    CHECK_PICKLE("}q\0X\5\0\0\0modelh\0s", "holds no named tensors"); /* a dict that holds itself */
}

static void prefixes_go_when_all_names_carry_them(void **state)
{
    (void)state;
#define ENTRY(length, name) "X" length "\0\0\0" name V2 "(" FLOATS "K\0K\4\x85K\1\x85\x89}tR"
    static const char both[] = "\x80\x02}(" ENTRY("\16", "model.module.a") ENTRY("\16", "model.module.b") "u.";
    static const char some[] = "\x80\x02}(" ENTRY("\7", "model.a") ENTRY("\1", "b") "u.";
    size_t size;
    Entry entries[] = {{"a/data.pkl", both, sizeof both - 1}, {"a/data/0", four_floats, sizeof four_floats}};
    char *zip = zip_of(entries, 2, &size);
    MemoryFile memory = memory_file_new(zip, size);
    TensorFile *file = open_good(memory.path);
    assert_string_equal(tensor_file_at(file, 0)->name, "a");
    assert_ptr_equal(tensor_file_find(file, "model.module.b"), tensor_file_find(file, "b"));
    tensor_file_close(file);
    memory_file_free(&memory);
    mem_free(zip);
    entries[0] = (Entry){"a/data.pkl", some, sizeof some - 1};
    zip = zip_of(entries, 2, &size);
    memory = memory_file_new(zip, size);
    file = open_good(memory.path);
    assert_string_equal(tensor_file_at(file, 0)->name, "model.a");
    assert_null(tensor_file_find(file, "a"));
    tensor_file_close(file);
    memory_file_free(&memory);
    mem_free(zip);
}

static void zips_that_are_no_checkpoints_are_refused(void **state)
{
    (void)state;
    static const struct {
        Entry entries[3];
        const char *words;
    } cases[] = {
        {{{"readme.txt", "hello", 5}}, "a zip file, but no torch checkpoint"},
        {{{"a/data.pkl", "\x80\2}.", 4}, {"b/data.pkl", "\x80\2}.", 4}}, "holds two checkpoints"},
        {{{"a/data.pkl", "\x80\2}.", 4}, {"a/constants.pkl", "\x80\2}.", 4}}, "a TorchScript program"},
        {{{"a/data.pkl", "\x80\2}.", 4}, {"a/byteorder", "big", 3}}, "not stored little-endian"},
        {{{"a/data.pkl", "\x80\2}.", 4}, {"a/byteorder", "middle", 6}}, "not stored little-endian"},
        {{{"a/data.pkl", "", 0}}, "no pickle of protocol 2 to 5 begins here"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        size_t size;
        int count = 0;
        while (cases[i].entries[count].name)
            count++;
        char *zip = zip_of(cases[i].entries, count, &size);
        check_refused(zip, size, cases[i].words);
        mem_free(zip);
    }
}

/* Every byte of a storage turned over is noticed by its checksum. */
static void a_damaged_storage_is_noticed(void **state)
{
    (void)state;
    Error e = {""};
    size_t size;
    char *bytes = file_read(DATA "views.pth", &size, &e);
    float base[24], out[24];
    for (int i = 0; i < 24; i++)
        base[i] = (float)i;
    char *at = memmem(bytes, size, base, sizeof base);
    assert_non_null(at);
    at[17] ^= 1;
    MemoryFile memory = memory_file_new(bytes, size);
    TensorFile *file = open_good(memory.path);
    assert_false(tensor_file_read(file, tensor_file_find(file, "transposed"), F32, out, &e));
    assert_non_null(strstr(e.text, "tensor 'transposed': 'views/data/0' is damaged"));
    tensor_file_close(file);
    memory_file_free(&memory);
    mem_free(bytes);
}

static void legacy_parts_must_fit(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\x8a\x0a\x6c\xfc", "\x8a\x0a\x6d\xfc", "a Python pickle, but not one of torch"},
        {"M\xe9\x03.", "M\xea\x03.", "another version than 1001"},
        {"little_endian", "mittle_endian", "not stored little-endian"},
        {"FloatStorage", "FloatSporage",
         "in the part that begins at byte 137: the pickle's global 'torch.FloatSporage'"},
        {"\2\0\0\0\0\0\0\0", "\3\0\0\0\0\0\0\0", "elements instead of"},
    };
    Error e;
    size_t size;
    for (int i = 0; i < COUNT_OF(cases); i++) {
        char *bytes = file_read(DATA "training_legacy.pth", &size, &e);
        size_t length = strlen(cases[i].from) + (i == 4 ? 7 : 0);
        char *at = memmem(bytes, size, cases[i].from, length);
        assert_non_null(at);
        memcpy(at, cases[i].to, length);
        check_refused(bytes, size, cases[i].words);
        mem_free(bytes);
    }
    char *bytes = file_read(DATA "training_legacy.pth", &size, &e);
    check_refused(bytes, size + 1, "1 bytes follow the last storage"); /* file_read appends a NUL */
    mem_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types_of_torch),
        cmocka_unit_test(views_share_storages),
        cmocka_unit_test(a_training_checkpoint_gives_its_model),
        cmocka_unit_test(what_would_run_is_refused_by_name),
        cmocka_unit_test(a_cut_file_is_refused_at_every_byte),
        cmocka_unit_test(tensors_stay_inside_their_storage),
        cmocka_unit_test(tensors_are_built_as_torch_does),
        cmocka_unit_test(storages_are_what_the_pickle_says),
        cmocka_unit_test(prefixes_go_when_all_names_carry_them),
        cmocka_unit_test(zips_that_are_no_checkpoints_are_refused),
        cmocka_unit_test(a_damaged_storage_is_noticed),
        cmocka_unit_test(legacy_parts_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
