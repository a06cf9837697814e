/* The data sets of text and of images as bytes, each in small copies of its official layouts. */
#include "common/data/image_file.h"
#include "common/data/tokens.h"
#include "datasets/csv.h"
#include "datasets/npy.h"
#include "datasets/registry.h"
#include "tests/datasets/scratch_folder.h"

#include <unistd.h>
#include <zip.h>

static void write_text(const char *folder, const char *name, const char *text)
{
    scratch_write(folder, name, text, strlen(text));
}

/* Adds a member to folder/archive. */
static void add_to_zip(const char *folder, const char *archive, const char *name, const void *bytes, size_t size)
{
    char *path = path_join(folder, archive);
    int why;
    zip_t *zip = zip_open(path, ZIP_CREATE, &why);
    assert_non_null(zip);
    assert_true(zip_file_add(zip, name, zip_source_buffer(zip, bytes, size, 0), 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    mem_free(path);
}

static void expect_document(const Corpus *c, CorpusPart part, int64_t i, const void *bytes, size_t size)
{
    Document d;
    Error e;
    assert_true(corpus_read(c, part, i, &d, &e));
    assert_int_equal(d.size, size);
    assert_memory_equal(d.text, bytes, size);
    document_free(&d);
}

static void expect_text(const Corpus *c, CorpusPart part, int64_t i, const char *text)
{
    expect_document(c, part, i, text, strlen(text));
}

static void expect_refusal(const char *set, const char *path, const char *words)
{
    Error e;
    assert_null(dataset_corpus(set, path, &e));
    assert_non_null(strstr(e.text, words));
    assert_null(strchr(e.text, '\n'));
}

static void expect_wikitext(const char *set, const char *path)
{
    Error e;
    Corpus *c = dataset_corpus(set, path, &e);
    assert_non_null(c);
    assert_true(c->line_ends_count);
    expect_text(c, CORPUS_TRAIN, 0, " \n = A = \n");
    expect_text(c, CORPUS_VALID, 0, " b <unk> \n c \n");
    expect_text(c, CORPUS_TEST, 0, "d\n");
    Tokenizer *words = tokenizer_open("words", &e);
    assert_true(tokenizer_learn(words, c, &e));
    assert_int_equal(tokenizer_vocabulary(words), 4); /* <eos> = A <unk> */
    Tokens *t = tokens_open(c, CORPUS_VALID, words, &e);
    int64_t ids[5], expected[5] = {3, 3, 0, 3, 0};
    assert_int_equal(t->count, 5);
    assert_int_equal(t->words, 5); /* with the ends of lines */
    tokens_read(t, 0, 5, ids);
    assert_memory_equal(ids, expected, sizeof ids);
    tokens_close(t);
    tokenizer_close(words);
    corpus_close(c);
}

static void test_wikitext(void **state)
{
    char *folder = *state;
    write_text(folder, "a/wiki.train.tokens", " \n = A = \n");
    write_text(folder, "a/wiki.valid.tokens", " b <unk> \n c \n");
    write_text(folder, "a/wiki.test.tokens", "d\n");
    char *path = path_join(folder, "a"), *zip = path_join(folder, "z/wikitext-103-raw-v1.zip");
    expect_wikitext("wikitext2", path);
    expect_wikitext("wikitext103", path);
    expect_refusal("wikitext2-raw", path, "has neither wikitext-2-raw-v1.zip nor wiki.train.raw nor train.txt");
    mem_free(path);
    path = path_join(folder, "z");
    assert_true(folder_make(path, NULL));
    add_to_zip(folder, "z/wikitext-103-raw-v1.zip", "wikitext-103-raw/wiki.train.raw", " \n = A = \n", 10);
    add_to_zip(folder, "z/wikitext-103-raw-v1.zip", "wikitext-103-raw/wiki.valid.raw", " b <unk> \n c \n", 14);
    expect_refusal("wikitext103-raw", zip, "the zip has no 'wikitext-103-raw/wiki.test.raw'");
    add_to_zip(folder, "z/wikitext-103-raw-v1.zip", "wikitext-103-raw/wiki.test.raw", "d\n", 2);
    expect_wikitext("wikitext103-raw", path);
    expect_wikitext("wikitext103-raw", zip);
    size_t size;
    char *bytes = file_read(zip, &size, NULL);
    scratch_write(folder, "z/wikitext-103-raw-v1.zip", bytes, size / 2);
    expect_refusal("wikitext103-raw", zip, "not a whole zip file");
    mem_free(bytes);
    mem_free(zip);
    mem_free(path);
}

static void test_enwik8(void **state)
{
    char *folder = *state, *path = path_join(folder, "text8");
    Error e;
    write_text(folder, "text8", "a");
    assert_int_equal(truncate(path, 100000000), 0);
    Corpus *c = dataset_corpus("text8", folder, &e);
    static const size_t sizes[CORPUS_PARTS] = {90000000, 5000000, 5000000};
    for (CorpusPart part = 0; part < CORPUS_PARTS; part++) {
        Document d;
        assert_int_equal(c->documents[part], 1);
        assert_true(corpus_read(c, part, 0, &d, &e));
        assert_int_equal(d.size, sizes[part]);
        assert_int_equal(d.text[0], part == CORPUS_TRAIN ? 'a' : 0);
        document_free(&d);
    }
    corpus_close(c);
    write_text(folder, "text8", "short");
    expect_refusal("text8", path, "5 bytes of text, text8 has 100000000; data set text takes any");
    expect_refusal("enwik8", folder, "has neither enwik8 nor enwik8.zip nor enwik8.gz");
    add_to_zip(folder, "enwik8.zip", "enwik8", "short", 5);
    expect_refusal("enwik8", folder, "enwik8.zip: 5 bytes of text");
    mem_free(path);
}

static void test_pg19(void **state)
{
    char *folder = *state;
    write_text(
        folder, "metadata.csv",
        "10,\"A \"\"quoted\"\", title\",1900,http://x\r\n7,Plain,1901,http://y\n8,Third,1902\n9,Fourth,1903,z\n");
    write_text(folder, "train/10.txt", "ten\n");
    write_text(folder, "train/7.txt", "seven\n");
    write_text(folder, "validation/8.txt", "eight");
    expect_refusal("pg19", folder, "test: No such file");
    write_text(folder, "test/9.txt", "nine is this");
    Error e;
    Corpus *c = dataset_corpus("pg19", folder, &e);
    assert_int_equal(c->documents[CORPUS_TRAIN], 2);
    expect_text(c, CORPUS_TRAIN, 0, "ten\n");
    expect_text(c, CORPUS_TRAIN, 1, "seven\n");
    expect_text(c, CORPUS_VALID, 0, "eight");
    expect_text(c, CORPUS_TEST, 0, "nine is this");
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    Tokens *t = tokens_open(c, CORPUS_TRAIN, bytes, &e);
    assert_int_equal(t->documents, 2);
    assert_int_equal(t->starts[1], 4);
    assert_int_equal(t->starts[2], 10);
    assert_int_equal(t->words, 2);
    tokens_close(t);
    tokenizer_close(bytes);
    corpus_close(c);
    write_text(folder, "train/11.txt", "eleven");
    expect_refusal("pg19", folder, "train/11.txt: metadata.csv has no book 11");
    write_text(folder, "metadata.csv", "1,a,b\n2,\"open\n");
    expect_refusal("pg19", folder, "metadata.csv: row 2: a quote is not closed");
    write_text(folder, "metadata.csv", "1,a\n");
    expect_refusal("pg19", folder, "metadata.csv: row 1: 2 fields");
}

static void test_csv(void **state)
{
    (void)state;
    static const char text[] = "a,\"b\"\"\n,\",\r\n\n\"x\"y,z\rw";
    static const char *const expected[3][3] = {{"a", "b\"\n,", ""}, {""}, {"xy", "z\rw"}};
    static const int counts[3] = {3, 1, 2};
    CsvReader csv = {.text = text, .size = sizeof text - 1};
    bool damaged;
    for (int row = 0; row < 3; row++) {
        assert_true(csv_next(&csv, &damaged, NULL));
        assert_int_equal(csv_count(&csv), counts[row]);
        for (int i = 0; i < counts[row]; i++)
            assert_string_equal(csv_field(&csv, i), expected[row][i]);
    }
    assert_false(csv_next(&csv, &damaged, NULL));
    assert_false(damaged);
    csv_free(&csv);
}

/* Ids are the bytes; documents all have the size of an image. */
static void test_labelled_images(void **state)
{
    (void)state;
    Error e;
    Corpus *c = dataset_corpus("shapes", NULL, &e);
    assert_int_equal(c->width, 24);
    Tokenizer *characters = tokenizer_open("characters", &e);
    assert_false(tokenizer_learn(characters, c, &e));
    assert_string_equal(e.text, "data set shapes holds images, which only the tokenizer 'bytes' reads");
    tokenizer_close(characters);
    assert_int_equal(c->channels, 3);
    Dataset *d = dataset_open("shapes", NULL, PART_TEST, &e);
    Sample sample = {0};
    assert_true(dataset_read(d, 5, &sample, &e));
    expect_document(c, CORPUS_VALID, 5, sample.image.pixels, 24 * 24 * 3);
    expect_document(c, CORPUS_TEST, 5, sample.image.pixels, 24 * 24 * 3);
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    Tokens *t = tokens_open(c, CORPUS_TEST, bytes, &e);
    assert_int_equal(t->documents, 1500);
    assert_int_equal(t->starts[5], 5 * 24 * 24 * 3);
    int64_t first;
    tokens_read(t, t->starts[5], 1, &first);
    assert_int_equal(first, sample.image.pixels[0]);
    tokens_close(t);
    tokenizer_close(bytes);
    sample_free(&sample);
    dataset_close(d);
    corpus_close(c);
}

enum { SIDE = 32, PIXELS = SIDE * SIDE };

static uint8_t pixel(int image, int place, int channel)
{
    return (uint8_t)(7 * image + 3 * place + 50 * channel);
}

static void fill(uint8_t *pixels, int image)
{
    for (int p = 0; p < PIXELS; p++)
        for (int channel = 0; channel < 3; channel++)
            pixels[3 * p + channel] = pixel(image, p, channel);
}

static void png_of(Str *png, int image)
{
    uint8_t pixels[3 * PIXELS];
    fill(pixels, image);
    Error e;
    assert_true(image_encode_png(&(Image){pixels, SIDE, SIDE, 3, sizeof pixels}, png, &e));
}

static void expect_image(const Corpus *c, CorpusPart part, int64_t i, int image)
{
    uint8_t pixels[3 * PIXELS];
    fill(pixels, image);
    expect_document(c, part, i, pixels, sizeof pixels);
}

/* Images first .. first + count - 1 as a numpy batch, channel after channel. */
static void write_batch(const char *folder, const char *name, int first, int count)
{
    Str npy = {0};
    char header[128];
    int length = snprintf(header, sizeof header, "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d), }", count,
                          3 * PIXELS);
    memset(header + length, ' ', sizeof header - (size_t)length);
    str_add_bytes(&npy, "\x93NUMPY\1\0\x76\0", 10);
    str_add_bytes(&npy, header, 117);
    str_add_bytes(&npy, "\n", 1);
    for (int i = first; i < first + count; i++)
        for (int channel = 0; channel < 3; channel++)
            for (int p = 0; p < PIXELS; p++)
                str_add_bytes(&npy, &(uint8_t){pixel(i, p, channel)}, 1);
    add_to_zip(folder, name, "data.npy", npy.text, npy.length);
    str_free(&npy);
}

static void test_downsampled_batches(void **state)
{
    char *folder = *state;
    Error e;
    expect_refusal("imagenet32", folder, "no images in train_32x32, train_32x32.tar or train_data_batch_1.npz");
    write_batch(folder, "train_data_batch_1.npz", 0, 3);
    write_batch(folder, "train_data_batch_2.npz", 3, 2);
    expect_refusal("imagenet32", folder, "val_data.npz");
    write_batch(folder, "val_data.npz", 9, 1);
    Corpus *c = dataset_corpus("imagenet32", folder, &e);
    assert_non_null(c);
    assert_int_equal(c->documents[CORPUS_TRAIN], 5);
    for (int i = 4; i >= 0; i--)
        expect_image(c, CORPUS_TRAIN, i, i);
    expect_image(c, CORPUS_TEST, 0, 9);
    corpus_close(c);
}

static void test_downsampled_pngs(void **state)
{
    char *folder = *state, *path = path_join(folder, "valid_32x32.tar");
    Error e;
    Str png = {0}, tar = {0};
    for (int i = 0; i < 3; i++) {
        char *name = str_format("train_32x32/%07d.png", i);
        str_clear(&png);
        png_of(&png, i);
        scratch_write(folder, name, png.text, png.length);
        mem_free(name);
    }
    write_text(folder, "train_32x32/readme", "no image");
    tar_add(&tar, "valid_32x32/readme", "none", 4);
    tar_add(&tar, "valid_32x32/0000001.png", png.text, png.length);
    tar_end(&tar);
    assert_true(file_write(path, tar.text, tar.length, &e));
    Corpus *c = dataset_corpus("imagenet32", folder, &e);
    assert_non_null(c);
    assert_int_equal(c->documents[CORPUS_TRAIN], 3);
    assert_int_equal(c->documents[CORPUS_TEST], 1);
    expect_image(c, CORPUS_TRAIN, 1, 1);
    expect_image(c, CORPUS_TEST, 0, 2);
    corpus_close(c);
    str_clear(&png);
    assert_true(image_encode_png(&(Image){(uint8_t[12]){0}, 2, 2, 3, 12}, &png, &e));
    scratch_write(folder, "train_32x32/0000000.png", png.text, png.length);
    c = dataset_corpus("imagenet32", folder, &e);
    Document d;
    assert_false(corpus_read(c, CORPUS_TRAIN, 0, &d, &e));
    assert_non_null(strstr(e.text, "train_32x32/0000000.png: 2 x 2 pixels, expected 32 x 32"));
    corpus_close(c);
    str_free(&png);
    str_free(&tar);
    mem_free(path);
}

static void test_npy_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *header, *words;
    } cases[] = {
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "no unsigned bytes"},
        {"{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", "no unsigned bytes"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", "no matrix"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4), }", "6 bytes of elements"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (900000000000000000, 900000000000000000), }",
         "asks for others"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Str npy = {0};
        Error e;
        int64_t rows, columns;
        const uint8_t *elements;
        size_t length = strlen(cases[i].header);
        str_add_bytes(&npy, "\x93NUMPY\1\0", 8);
        str_add_bytes(&npy, (uint8_t[]){(uint8_t)length, 0}, 2);
        str_add(&npy, "%s123456", cases[i].header);
        bool good = npy_parse_bytes((uint8_t *)npy.text, npy.length, &rows, &columns, &elements, &e);
        assert_int_equal(good, i == 0);
        assert_true(good ? rows == 2 && columns == 3 && elements[0] == '1' : strstr(e.text, cases[i].words) != NULL);
        assert_false(npy_parse_bytes((uint8_t *)npy.text, 9 + (size_t)i, &rows, &columns, &elements, &e));
        str_free(&npy);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_wikitext),
        IN_FOLDER(test_enwik8),
        IN_FOLDER(test_pg19),
        IN_FOLDER(test_labelled_images),
        IN_FOLDER(test_downsampled_batches),
        IN_FOLDER(test_downsampled_pngs),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_npy_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
