/* Text: where the parts of a corpus begin and end, and token streams in their cache. */
#include "common/data/tokens.h"
#include "datasets/registry.h"
#include "tests/datasets/scratch_folder.h"

#include <sys/stat.h>
#include <unistd.h>

/* The whole of a part as bytes. */
static char *part_text(const Corpus *c, CorpusPart part)
{
    Str all = {0};
    str_add(&all, "%s", "");
    for (int64_t i = 0; i < c->documents[part]; i++) {
        Document d;
        Error e;
        assert_true(corpus_read(c, part, i, &d, &e));
        str_add_bytes(&all, d.text, d.size);
        document_free(&d);
    }
    return all.text;
}

static void expect_parts(const char *set, const char *path, const char *train, const char *valid, const char *test)
{
    const char *const expected[CORPUS_PARTS] = {train, valid, test};
    Error e;
    Corpus *c = dataset_corpus(set, path, &e);
    assert_non_null(c);
    for (CorpusPart part = 0; part < CORPUS_PARTS; part++) {
        char *text = part_text(c, part);
        assert_string_equal(text, expected[part]);
        mem_free(text);
    }
    corpus_close(c);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    scratch_write(folder, name, text, strlen(text));
}

static void test_last_tenth_is_held_out(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    write_text(folder, "lines",
               "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"); /* 49 bytes, cut at 45 */
    char *file = path_join(folder, "lines");
    expect_parts("text", file, "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n", "ten\n", "ten\n");
    write_text(folder, "lines", "0123456789\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\xa9\xc3\xa8"); /* no line */
    expect_parts("text", file, "0123456789\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\xa9", "\xc3\xa8", "\xc3\xa8");
    mem_free(file);
    scratch_remove(folder);
}

static void test_folders(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    write_text(folder, "b/2", "c\nbb2\n");
    write_text(folder, "b/1", "bb1\n");
    write_text(folder, "a", "aaaaaaaaaaaaa\nbbbbbbbbbbbbbb\n");
    write_text(folder, ".hidden", "no\n");
    expect_parts("text", folder, "aaaaaaaaaaaaa\nbbbbbbbbbbbbbb\nbb1\nc\n", "bb2\n", "bb2\n");
    write_text(folder, "train/1.txt", "train\n");
    write_text(folder, "valid.txt", "valid\n");
    expect_parts("text", folder, "train\n", "valid\n", "valid\n");
    write_text(folder, "test", "test\n");
    expect_parts("text", folder, "train\n", "valid\n", "test\n");
    scratch_remove(folder);
}

static void write_gzip(const char *folder, const char *name, const char *text)
{
    scratch_write_gzip(folder, name, text, strlen(text));
}

static void test_gcide(void **state)
{
    (void)state;
    char *folder = scratch_folder(), *path = path_join(folder, "gcide.dict.dz");
    write_gzip(folder, "gcide.dict.dz",
               "\n00-database-url\n   ftp:\n\nA \\A\\, adj.\n   one\nB \\B\\, n.\n   second of all\n");
    expect_parts("gcide", folder, "A \\A\\, adj.\n   one\nB \\B\\, n.\n", "   second of all\n", "   second of all\n");
    expect_parts("gcide", path, "A \\A\\, adj.\n   one\nB \\B\\, n.\n", "   second of all\n", "   second of all\n");

    size_t size;
    Error e;
    char *packed = file_read(path, &size, NULL);
    packed[size - 4]--; /* the size that its end says */
    scratch_write(folder, "gcide.dict.dz", packed, size);
    Corpus *c = dataset_corpus("gcide", path, &e);
    Document d;
    assert_false(corpus_read(c, CORPUS_TRAIN, 0, &d, &e));
    assert_non_null(strstr(e.text, "the compressed data ends early or is damaged"));
    document_free(&d);
    corpus_close(c);
    mem_free(packed);

    /* Unpacked by tools/setup, else a line that says so. */
    setenv("XDG_DATA_HOME", folder, 1);
    assert_null(dataset_corpus("gcide", NULL, &e));
    assert_non_null(strstr(e.text, "tools/setup routing"));
    write_gzip(folder, "gcide.dict.dz", "A \\A\\\nB\n0123456789\n");
    char *place = path_join(folder, "attention-zoo/packages/dict-gcide/usr/share/dictd");
    assert_true(folder_make(place, NULL));
    char *target = path_join(place, "gcide.dict.dz");
    assert_int_equal(rename(path, target), 0);
    expect_parts("gcide", NULL, "A \\A\\\nB\n", "0123456789\n", "0123456789\n");
    unsetenv("XDG_DATA_HOME");
    mem_free(target);
    mem_free(place);
    mem_free(path);
    scratch_remove(folder);
}

static void test_refusals(void **state)
{
    (void)state;
    char *folder = scratch_folder(), *file = path_join(folder, "text");
    Error e;
    assert_null(dataset_corpus("text", folder, &e));
    assert_non_null(strstr(e.text, "holds no text"));
    write_text(folder, "text", "");
    assert_null(dataset_corpus("text", file, &e));
    assert_non_null(strstr(e.text, "holds no text"));
    assert_null(dataset_open("text", file, PART_TRAIN, &e));
    assert_string_equal(e.text, "data set text holds no labelled images");
    write_text(folder, "text", "PK\3\4 and so on");
    assert_null(dataset_corpus("text", file, &e));
    assert_non_null(strstr(e.text, "a zip archive, not text: unpack it"));
    write_text(folder, "text", "a\nb\n");
    assert_null(dataset_corpus("text", file, &e));
    assert_non_null(strstr(e.text, "4 bytes of text, too few to hold a tenth out"));
    write_text(folder, "train", "train\n");
    write_text(folder, "valid", "");
    Corpus *c = dataset_corpus("text", folder, &e);
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    assert_null(tokens_open(c, CORPUS_VALID, bytes, &e));
    assert_non_null(strstr(e.text, "part 'valid' has no text"));
    tokenizer_close(bytes);
    corpus_close(c);
    mem_free(file);
    scratch_remove(folder);
}

/* The bytes of `text`, cut as data set text cuts it, through the cache. */
static void expect_tokens(const char *file, const char *text)
{
    Error e;
    Corpus *c = dataset_corpus("text", file, &e);
    Tokenizer *bytes = tokenizer_open("bytes", &e);
    Tokens *t = tokens_open(c, CORPUS_TRAIN, bytes, &e);
    assert_non_null(t);
    int64_t size = (int64_t)strlen(text), *ids = mem_new((size_t)size * sizeof *ids);
    assert_int_equal(t->count, size);
    assert_int_equal(t->bytes, size);
    assert_int_equal(t->documents, 1);
    assert_int_equal(t->starts[0], 0);
    assert_int_equal(t->starts[1], size);
    tokens_read(t, 0, size, ids);
    for (int64_t i = 0; i < size; i++)
        assert_int_equal(ids[i], text[i]);
    mem_free(ids);
    tokens_close(t);
    tokenizer_close(bytes);
    corpus_close(c);
}

/* The one cached file under folder/attention-zoo. */
static char *cached_file(const char *folder)
{
    char *root = path_join(folder, "attention-zoo"), **names;
    int count;
    assert_true(folder_list(root, &names, &count, NULL));
    assert_int_equal(count, 1);
    char *path = str_format("%s/%s/train.tokens", root, names[0]);
    names_free(names, count);
    mem_free(root);
    assert_true(file_exists(path));
    return path;
}

static void test_cache(void **state)
{
    (void)state;
    char *folder = scratch_folder(), *cache = path_join(folder, "cache"), *file = path_join(folder, "text");
    setenv("XDG_CACHE_HOME", cache, 1);
    const char first[] = "first line\nsecond\n", both[] = "first line\nsecond\nlast\n";
    write_text(folder, "text", both);
    expect_tokens(file, first);
    char *path = cached_file(cache);
    struct stat made, again;
    assert_int_equal(stat(path, &made), 0);
    expect_tokens(file, first);
    assert_int_equal(stat(path, &again), 0);
    assert_int_equal(made.st_ino, again.st_ino); /* read, not made anew */

    size_t size;
    char *good = file_read(path, &size, NULL);
    for (size_t at = 0; at < size; at++) { /* a flipped byte anywhere, a file cut anywhere */
        good[at] ^= 0x10;
        assert_true(file_write(path, good, size, NULL));
        good[at] ^= 0x10;
        expect_tokens(file, first);
        assert_true(file_write(path, good, at, NULL));
        expect_tokens(file, first);
    }
    mem_free(good);
    mem_free(path);
    assert_true(folder_remove(cache, NULL));
    write_text(folder, "text", "other text\nwhatever\nlast\n"); /* another source: another file */
    expect_tokens(file, "other text\nwhatever\n");
    unsetenv("XDG_CACHE_HOME");
    mem_free(file);
    mem_free(cache);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_tenth_is_held_out),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_gcide),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
