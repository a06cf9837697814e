/* CIFAR's two forms, out of archives and folders; what is damaged is named. */
#include "datasets/scratch_folder.h"

#include "datasets/cifar.h"
#include "datasets/registry.h"

#include <zlib.h>

static uint8_t pixel(int sample, int plane, int i)
{
    return (uint8_t)(sample * 31 + plane * 77 + i);
}

static void add_planes(Str *out, int sample)
{
    for (int i = 0; i < CIFAR_PIXELS; i++)
        str_add_bytes(out, &(uint8_t){pixel(sample, i / 1024, i % 1024)}, 1);
}

/* Two records with these labels. */
static void add_bin(Str *out, const uint8_t *labels, size_t label_bytes)
{
    for (int sample = 0; sample < 2; sample++) {
        str_add_bytes(out, labels + (size_t)sample * label_bytes, label_bytes);
        add_planes(out, sample);
    }
}

#define ADD(out, literal) str_add_bytes(out, literal, sizeof(literal) - 1)

/* The opcodes that Python 2's cPickle wrote into the official files, with two samples. */
static void add_pickle(Str *out, const char *label_key, uint8_t label0, uint8_t label1)
{
    ADD(out, "\x80\x02}q\x01(U\x0b"
             "batch_labelq\x02U\x15training batch 1 of 5q\x03U");
    str_add_bytes(out, &(uint8_t){(uint8_t)strlen(label_key)}, 1);
    str_add(out, "%s", label_key);
    ADD(out, "q\x04]q\x05(K");
    str_add_bytes(out, &label0, 1);
    ADD(out, "K");
    str_add_bytes(out, &label1, 1);
    ADD(out, "eU\x04"
             "dataq\x06"
             "cnumpy.core.multiarray\n_reconstruct\nq\x07"
             "cnumpy\nndarray\nq\x08K\x00\x85U\x01"
             "b\x87Rq\x09");
    ADD(out, "(K\x01K\x02M\x00\x0c\x86"
             "cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNN");
    ADD(out, "J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x18\x00\x00");
    add_planes(out, 0);
    add_planes(out, 1);
    ADD(out, "tbU\x09"
             "filenamesq\x0c]q\x0d(U\x05"
             "a.pngU\x05"
             "b.pngeu.");
}

static const char *const cifar10_files[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                            "data_batch_4", "data_batch_5", "test_batch"};

static void write_gzip(const char *folder, const char *name, const Str *bytes)
{
    char *path = path_join(folder, name);
    gzFile f = gzopen(path, "wb1");
    assert_int_equal(gzwrite(f, bytes->text, (unsigned)bytes->length), (int)bytes->length);
    gzclose(f);
    mem_free(path);
}

/* CIFAR-10 in `folder`: as .bin or pickles, as files or as the official archive. */
static void write_cifar10(const char *folder, bool bin, bool archive)
{
    Str tar = {0};
    const char *inside = bin ? "cifar-10-batches-bin" : "cifar-10-batches-py";
    for (int i = 0; i < COUNT_OF(cifar10_files); i++) {
        Str file = {0};
        uint8_t labels[2] = {(uint8_t)i, 9};
        if (bin)
            add_bin(&file, labels, 1);
        else
            add_pickle(&file, "labels", labels[0], labels[1]);
        char *name = str_format("%s/%s%s", inside, cifar10_files[i], bin ? ".bin" : "");
        if (archive)
            tar_add(&tar, name, file.text, file.length);
        else
            scratch_write(folder, name, file.text, file.length);
        mem_free(name);
        str_free(&file);
    }
    if (archive) {
        tar_end(&tar);
        write_gzip(folder, bin ? "cifar-10-binary.tar.gz" : "cifar-10-python.tar.gz", &tar);
        str_free(&tar);
    }
}

static void check_cifar10(const char *path)
{
    Error e = {""};
    for (int part = 0; part < 2; part++) {
        Dataset *d = dataset_open("cifar10", path, (DatasetPart)part, &e);
        if (!d)
            fail_msg("%s", e.text);
        assert_int_equal(d->count, part == PART_TRAIN ? 10 : 2);
        assert_string_equal(d->class_names[9], "truck");
        Sample s = {0};
        for (int i = 0; i < d->count; i++) {
            assert_true(dataset_read(d, i, &s, &e));
            assert_int_equal(s.label, i % 2 ? 9 : part == PART_TRAIN ? i / 2 : 5);
            for (int p = 0; p < 1024; p += 97)
                for (int c = 0; c < 3; c++)
                    assert_int_equal(s.image.pixels[3 * p + c], pixel(i % 2, c, p));
        }
        sample_free(&s);
        dataset_close(d);
    }
}

static void test_cifar10_in_all_forms(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        bool bin = form & 1, archive = form & 2;
        char *folder = scratch_folder();
        write_cifar10(folder, bin, archive);
        check_cifar10(folder);
        char *direct = path_join(folder, archive ? (bin ? "cifar-10-binary.tar.gz" : "cifar-10-python.tar.gz")
                                                 : (bin ? "cifar-10-batches-bin" : "cifar-10-batches-py"));
        check_cifar10(direct);
        mem_free(direct);
        scratch_remove(folder);
    }
}

static void test_cifar100_takes_the_fine_label(void **state)
{
    (void)state;
    for (int bin = 0; bin < 2; bin++) {
        char *folder = scratch_folder();
        Str file = {0};
        if (bin)
            add_bin(&file, (uint8_t[]){11, 98, 3, 0}, 2);
        else
            add_pickle(&file, "fine_labels", 98, 0);
        scratch_write(folder, bin ? "train.bin" : "train", file.text, file.length);
        Error e = {""};
        Dataset *d = dataset_open("cifar100", folder, PART_TRAIN, &e);
        if (!d)
            fail_msg("%s", e.text);
        Sample s = {0};
        assert_true(dataset_read(d, 0, &s, &e));
        assert_int_equal(s.label, 98);
        assert_string_equal(d->class_names[98], "woman");
        assert_int_equal(d->classes, 100);
        assert_true(dataset_read(d, 1, &s, &e));
        assert_int_equal(s.label, 0);
        sample_free(&s);
        dataset_close(d);
        str_free(&file);
        scratch_remove(folder);
    }
}

static void expect_bad(const char *folder, const char *name, const Str *file, size_t size, const char *line)
{
    scratch_write(folder, name, file->text, size);
    Error e = {""};
    assert_null(dataset_open("cifar100", folder, PART_TRAIN, &e));
    if (!strstr(e.text, line) || !str_starts(e.text, folder))
        fail_msg("'%s' does not say '%s'", e.text, line);
}

static void test_damage_is_named(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    Str file = {0}, other = {0};
    Error e;
    assert_null(dataset_open("cifar100", folder, PART_TRAIN, &e));
    assert_non_null(strstr(e.text, "neither train.bin nor train in it"));
    add_pickle(&file, "fine_labels", 98, 100);
    expect_bad(folder, "train", &file, file.length, "train: label 1 is 100, expected 0 to 99");
    expect_bad(folder, "train", &file, file.length - 30, "train: ");
    add_pickle(&other, "labels", 1, 2);
    expect_bad(folder, "train", &other, other.length, "'fine_labels' is no list of 2 labels");
    char *shape = memmem(other.text, other.length, "M\x00\x0c\x86", 4);
    shape[2] = 11;
    expect_bad(folder, "train", &other, other.length, "'data' is no uint8 array [n, 3072]");
    str_clear(&file);
    add_bin(&file, (uint8_t[]){11, 98, 3, 100}, 2);
    expect_bad(folder, "train.bin", &file, file.length, "train.bin: label 1 is 100");
    expect_bad(folder, "train.bin", &file, file.length - 1, "6147 bytes, expected a multiple of 3074");
    str_free(&file);
    str_free(&other);
    scratch_remove(folder);
}

static void test_a_missing_batch(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    write_cifar10(folder, true, false);
    char *batch = path_join(folder, "cifar-10-batches-bin/data_batch_4.bin");
    assert_int_equal(remove(batch), 0);
    Error e;
    assert_null(dataset_open("cifar10", folder, PART_TRAIN, &e));
    assert_non_null(strstr(e.text, "cifar-10-batches-bin: no data_batch_4.bin in it"));
    mem_free(batch);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cifar10_in_all_forms),
        cmocka_unit_test(test_cifar100_takes_the_fine_label),
        cmocka_unit_test(test_damage_is_named),
        cmocka_unit_test(test_a_missing_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
