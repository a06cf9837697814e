/* MNIST's format: what is read, and what is refused with one line. */
#include "datasets/idx.h"
#include "datasets/registry.h"
#include "tests/datasets/scratch_folder.h"

#include <unistd.h>

static const uint8_t three_images[] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2,  0,  0,
                                       0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t three_labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 4};

static void write_bytes(const char *folder, const char *name, const void *bytes, size_t size)
{
    char *path = path_join(folder, name);
    assert_true(file_write(path, bytes, size, NULL));
    mem_free(path);
}

static char *folder_of_three(void)
{
    char *folder = str_copy("/tmp/zoo-idx-XXXXXX");
    assert_non_null(mkdtemp(folder));
    scratch_write_gzip(folder, "train-images-idx3-ubyte.gz", three_images, sizeof three_images);
    write_bytes(folder, "train-labels-idx1-ubyte", three_labels, sizeof three_labels);
    return folder;
}

static void forget(char *folder)
{
    assert_true(folder_remove(folder, NULL));
    mem_free(folder);
}

static void test_reads_gzip_and_plain(void **state)
{
    (void)state;
    char *folder = folder_of_three();
    Error e;
    Dataset *d = dataset_open("mnist", folder, PART_TRAIN, &e);
    assert_non_null(d);
    assert_int_equal(d->count, 3);
    assert_int_equal(d->classes, 10);
    Sample s = {0};
    assert_true(dataset_read(d, 1, &s, &e));
    assert_int_equal(s.label, 0);
    assert_int_equal(s.image.channels, 1);
    assert_memory_equal(s.image.pixels, ((uint8_t[]){5, 6, 7, 8}), 4);
    sample_free(&s);
    dataset_close(d);
    forget(folder);
}

/* gzip lets files be joined; the size that the last one says is then too small. What is no member is ignored. */
static void test_reads_joined_gzip(void **state)
{
    (void)state;
    char *folder = folder_of_three(), *path = path_join(folder, "train-images-idx3-ubyte.gz");
    gzFile f = gzopen(path, "wb");
    assert_int_equal(gzwrite(f, three_images, sizeof three_images - 3), (int)sizeof three_images - 3);
    gzclose(f);
    f = gzopen(path, "ab");
    assert_int_equal(gzwrite(f, three_images + sizeof three_images - 3, 3), 3);
    gzclose(f);
    FILE *behind = fopen(path, "ab");
    assert_int_equal(fwrite("\0\0\0", 1, 3, behind), 3);
    fclose(behind);
    Error e;
    Dataset *d = dataset_open("mnist", folder, PART_TRAIN, &e);
    assert_non_null(d);
    Sample s = {0};
    assert_true(dataset_read(d, 2, &s, &e));
    assert_memory_equal(s.image.pixels, three_images + sizeof three_images - 4, 4);
    sample_free(&s);
    dataset_close(d);
    mem_free(path);
    forget(folder);
}

static void expect_refusal(const char *folder, const char *part_of_line)
{
    Error e = {""};
    assert_null(dataset_open("fashion-mnist", folder, PART_TRAIN, &e));
    if (!strstr(e.text, part_of_line))
        fail_msg("'%s' does not say '%s'", e.text, part_of_line);
}

static void test_refuses_what_is_not_whole(void **state)
{
    (void)state;
    char *folder = folder_of_three();
    uint8_t labels[sizeof three_labels];
    memcpy(labels, three_labels, sizeof labels);
    labels[9] = 10;
    write_bytes(folder, "train-labels-idx1-ubyte", labels, sizeof labels);
    expect_refusal(folder, "train-labels-idx1-ubyte: label 1 is 10, expected 0 to 9");
    write_bytes(folder, "train-labels-idx1-ubyte", three_labels, sizeof three_labels - 1);
    expect_refusal(folder, "2 bytes after the header, its sizes ask for 3");
    write_bytes(folder, "train-labels-idx1-ubyte", three_images, sizeof three_images);
    expect_refusal(folder, "starts with 00 00 08 03, expected 00 00 08 01");
    write_bytes(folder, "train-labels-idx1-ubyte", three_labels, 5);
    expect_refusal(folder, "5 bytes, an idx header of rank 1 has 8");
    memcpy(labels, three_labels, sizeof labels);
    labels[7] = 2;
    write_bytes(folder, "train-labels-idx1-ubyte", labels, sizeof labels - 1);
    expect_refusal(folder, "3 images, but 2 labels");

    char *images = path_join(folder, "train-images-idx3-ubyte.gz");
    size_t size;
    char *packed = file_read(images, &size, NULL);
    write_bytes(folder, "train-images-idx3-ubyte.gz", packed, size - 9);
    expect_refusal(folder, "train-images-idx3-ubyte.gz: the compressed data ends early or is damaged");
    packed[12] ^= 0x55;
    write_bytes(folder, "train-images-idx3-ubyte.gz", packed, size);
    expect_refusal(folder, "train-images-idx3-ubyte.gz: the compressed data ends early or is damaged");
    packed[12] ^= 0x55;
    memset(packed + size - 4, 0xff, 4); /* it says that it unpacks to 4 GB */
    write_bytes(folder, "train-images-idx3-ubyte.gz", packed, size);
    expect_refusal(folder, "train-images-idx3-ubyte.gz: the compressed data ends early or is damaged");
    unlink(images);
    expect_refusal(folder, "train-images-idx3-ubyte: No such file");
    mem_free(images);
    mem_free(packed);
    forget(folder);
}

static void test_sizes_that_overflow(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    int64_t sizes[3];
    const uint8_t *elements;
    Error e;
    assert_false(idx_parse(bytes, sizeof bytes, 3, sizes, &elements, &e));
    assert_non_null(strstr(e.text, "too large"));
}

static void test_unknown_and_missing(void **state)
{
    (void)state;
    Error e;
    assert_null(dataset_open("fashon-mnist", NULL, PART_TRAIN, &e));
    assert_string_equal(e.text, "unknown data set 'fashon-mnist' (did you mean 'fashion-mnist'?)");
    assert_null(dataset_open("mnist", "/nonexistent", PART_TRAIN, &e));
    assert_non_null(strstr(e.text, "data.path=/nonexistent"));
    assert_non_null(strstr(e.text, "licence"));
    assert_null(strchr(e.text, '\n'));
}

static void test_found_in_zoo_data(void **state)
{
    (void)state;
    char *folder = folder_of_three(), *parent = str_copy("/tmp/zoo-data-XXXXXX");
    assert_non_null(mkdtemp(parent));
    char *place = path_join(parent, "mnist");
    assert_int_equal(symlink(folder, place), 0);
    setenv("ZOO_DATA", parent, 1);
    Dataset *d = dataset_open("mnist", NULL, PART_TRAIN, NULL);
    unsetenv("ZOO_DATA");
    assert_non_null(d);
    assert_int_equal(d->count, 3);
    dataset_close(d);
    unlink(place);
    mem_free(place);
    forget(parent);
    forget(folder);
}

static void test_the_debian_package(void **state)
{
    (void)state;
    if (!folder_exists("/usr/share/datasets/fashion-mnist"))
        skip();
    Error e;
    int64_t counts[2] = {60000, 10000};
    for (int part = 0; part < 2; part++) {
        Dataset *d = dataset_open("fashion-mnist", NULL, (DatasetPart)part, &e);
        assert_non_null(d);
        assert_int_equal(d->count, counts[part]);
        assert_int_equal(d->width, 28);
        assert_string_equal(d->class_names[9], "ankle boot");
        Sample s = {0};
        assert_true(dataset_read(d, 0, &s, &e));
        assert_int_equal(s.label, 9);
        sample_free(&s);
        dataset_close(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_gzip_and_plain),      cmocka_unit_test(test_reads_joined_gzip),
        cmocka_unit_test(test_refuses_what_is_not_whole), cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_unknown_and_missing),       cmocka_unit_test(test_found_in_zoo_data),
        cmocka_unit_test(test_the_debian_package),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
