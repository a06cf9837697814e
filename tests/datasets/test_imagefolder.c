/* The ImageNet layout, as a folder and as a tar of one. */
#include "datasets/scratch_folder.h"

#include "data/fixtures.h"
#include "datasets/registry.h"
#include "datasets/tar.h"

static const struct {
    const char *name, *fixture;
} files[] = {
    {"train/dog/b.jpg", "rgb444.jpg"},      {"train/dog/a.JPEG", "gray.jpg"}, {"train/cat/1.png", "rgb.png"},
    {"train/cat/notes.txt", "rgb.png"},     {"train/cat/0.jpg", "cmyk.jpg"},  {"val/dog/7.jpg", "rgb420.jpg"},
    {"train/zebra/stripes.jpg", "411.jpg"},
};

static char *make_folder(void)
{
    char *folder = scratch_folder();
    for (int i = 0; i < COUNT_OF(files); i++) {
        size_t size;
        uint8_t *bytes = fixture(files[i].fixture, &size);
        scratch_write(folder, files[i].name, bytes, size);
        mem_free(bytes);
    }
    return folder;
}

static void make_tar(const char *folder, const char *name, const char *prefix)
{
    Str tar = {0};
    for (int i = 0; i < COUNT_OF(files); i++) {
        size_t size;
        uint8_t *bytes = fixture(files[i].fixture, &size);
        char *full = str_format("%s%s", prefix, files[i].name);
        tar_add(&tar, full, bytes, size);
        mem_free(full);
        mem_free(bytes);
    }
    tar_end(&tar);
    scratch_write(folder, name, tar.text, tar.length);
    str_free(&tar);
}

static void check_samples(const char *path)
{
    static const char *const expected[] = {"cmyk.jpg", "rgb.png", "gray.jpg", "rgb444.jpg", "411.jpg"};
    static const int labels[] = {0, 0, 1, 1, 2};
    Error e = {""};
    Dataset *d = dataset_open("imagenet", path, PART_TRAIN, &e);
    if (!d)
        fail_msg("%s", e.text);
    assert_int_equal(d->count, 5);
    assert_int_equal(d->classes, 3);
    assert_string_equal(d->class_names[0], "cat");
    assert_string_equal(d->class_names[2], "zebra");
    size_t size;
    uint8_t *pixels = fixture("decoded.rgb", &size);
    static const int at[] = {4, 7, 3, 1, 6}; /* of the expected files in decoded.rgb */
    Sample s = {0};
    for (int i = 0; i < 5; i++) {
        assert_true(dataset_read(d, i, &s, &e));
        assert_int_equal(s.label, labels[i]);
        const uint8_t *from = pixels + (size_t)at[i] * FIXTURE_WIDTH * FIXTURE_HEIGHT * 3;
        assert_next(&s.image, &from, expected[i]);
    }
    mem_free(pixels);
    dataset_close(d);
    d = dataset_open("imagenet", path, PART_TEST, &e);
    assert_non_null(d);
    assert_int_equal(d->count, 1);
    assert_int_equal(d->classes, 3);
    assert_true(dataset_read(d, 0, &s, &e));
    assert_int_equal(s.label, 1);
    sample_free(&s);
    dataset_close(d);
}

static void test_folder_and_tar_are_the_same(void **state)
{
    (void)state;
    char *folder = make_folder();
    check_samples(folder);
    static const char *const prefixes[] = {"", "./", "imagenet/"};
    for (int i = 0; i < COUNT_OF(prefixes); i++) {
        make_tar(folder, "images.tar", prefixes[i]);
        char *path = path_join(folder, "images.tar");
        check_samples(path);
        mem_free(path);
    }
    scratch_remove(folder);
}

static void expect_refusal(const char *path, DatasetPart part, const char *line)
{
    Error e = {""};
    assert_null(dataset_open("imagefolder", path, part, &e));
    if (!strstr(e.text, line))
        fail_msg("'%s' does not say '%s'", e.text, line);
}

static void test_a_corrupt_image_is_named(void **state)
{
    (void)state;
    char *folder = make_folder();
    scratch_write(folder, "train/cat/0.jpg", "\xff\xd8\xff\xe0junk", 8);
    Error e = {""};
    Dataset *d = dataset_open("imagefolder", folder, PART_TRAIN, &e);
    assert_non_null(d);
    Sample s = {0};
    assert_false(dataset_read(d, 0, &s, &e));
    assert_true(str_starts(e.text, folder));
    assert_non_null(strstr(e.text, "/train/cat/0.jpg: JPEG: "));
    assert_true(dataset_read(d, 1, &s, &e));
    sample_free(&s);
    dataset_close(d);
    scratch_remove(folder);
}

static void test_layouts_that_are_refused(void **state)
{
    (void)state;
    char *folder = make_folder();
    scratch_write(folder, "val/wolf/1.jpg", "x", 1);
    expect_refusal(folder, PART_TEST, "val/wolf: train has no class of that name");
    scratch_write(folder, "empty/train/cat/readme", "x", 1);
    char *empty = path_join(folder, "empty");
    expect_refusal(empty, PART_TRAIN, "no images of the form train/CLASS/FILE.jpg");
    expect_refusal(empty, PART_TEST, "empty: neither val nor test is in it");
    mem_free(empty);
    make_tar(folder, "images.tar", "");
    char *path = path_join(folder, "images.tar");
    size_t size;
    char *tar = file_read(path, &size, NULL);
    scratch_write(folder, "images.tar", tar, size - 2000);
    expect_refusal(path, PART_TRAIN, "images.tar: the archive ends inside the member");
    tar[3] ^= 1;
    scratch_write(folder, "images.tar", tar, size);
    expect_refusal(path, PART_TRAIN, "images.tar: not a tar archive: the header at byte 0 is damaged");
    scratch_write(folder, "images.tar", tar, 100);
    expect_refusal(path, PART_TRAIN, "not a tar archive: 100 bytes");
    mem_free(tar);
    mem_free(path);
    scratch_remove(folder);
}

static void test_long_names_of_tar(void **state)
{
    (void)state;
    char name[181];
    memset(name, 'n', 180);
    memcpy(name, "train/cat/", 10);
    name[180] = '\0';
    Str tar = {0}, pax = {0};
    tar_add_typed(&tar, "././@LongLink", 'L', name, 181);
    tar_add(&tar, "train/cat/cut", "gnu", 3);
    str_add(&pax, "190 path=%s\n13 comment=x\n", name);
    tar_add_typed(&tar, "pax", 'x', pax.text, pax.length);
    tar_add(&tar, "train/cat/cut", "pax!", 4);
    tar_add_typed(&tar, "train/cat/folder", '5', "", 0);
    tar_add(&tar, "short", "plain", 5);
    TarIndex index;
    Error e = {""};
    if (!tar_index((const uint8_t *)tar.text, tar.length, &index, &e))
        fail_msg("%s", e.text);
    assert_int_equal(index.members.count, 3);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(tar_name(&index, &index.members.items[i]), name);
    const TarMember *member = tar_find(&index, "short");
    assert_memory_equal(tar.text + member->offset, "plain", 5);
    assert_int_equal(index.members.items[1].size, 4);
    assert_null(tar_find(&index, "absent"));
    tar_index_free(&index);
    str_free(&tar);
    str_free(&pax);
}

static void test_cifar_as_jpeg(void **state)
{
    (void)state;
    static const char path[] = "../shared/data/cifar10-images.tar";
    if (!file_exists(path))
        skip();
    Error e;
    Dataset *d = dataset_open("imagefolder", path, PART_TEST, &e);
    assert_non_null(d);
    assert_int_equal(d->count, 10000);
    assert_int_equal(d->classes, 10);
    Sample s = {0};
    for (int64_t i = 0; i < d->count; i += 997) {
        assert_true(dataset_read(d, i, &s, &e));
        assert_int_equal(s.image.width, 32);
        assert_int_equal(s.label, i / 1000);
    }
    sample_free(&s);
    dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_and_tar_are_the_same),
        cmocka_unit_test(test_a_corrupt_image_is_named),
        cmocka_unit_test(test_layouts_that_are_refused),
        cmocka_unit_test(test_long_names_of_tar),
        cmocka_unit_test(test_cifar_as_jpeg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
