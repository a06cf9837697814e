/* Tokenizers whose vocabulary is counted: bytes, characters, words. */
#include "common/data/tokenizer.h"
#include "common/data/utf8.h"
#include "datasets/registry.h"
#include "tests/datasets/scratch_folder.h"

/* A corpus of one text without a tenth held out: train is the text, valid and test a copy of it. */
static Corpus *corpus_of(const char *folder, const char *text)
{
    Error e;
    scratch_write(folder, "train", text, strlen(text));
    scratch_write(folder, "valid", text, strlen(text));
    Corpus *c = dataset_corpus("text", folder, &e);
    assert_non_null(c);
    return c;
}

static Tokenizer *learned(const char *name, const char *folder, const char *text)
{
    Error e;
    Corpus *c = corpus_of(folder, text);
    Tokenizer *t = tokenizer_open(name, &e);
    assert_non_null(t);
    assert_true(tokenizer_learn(t, c, &e));
    corpus_close(c);
    return t;
}

static void expect_ids(const Tokenizer *t, const char *text, int count, const int64_t *expected)
{
    TokenIds ids = {0};
    Error e;
    assert_true(tokenizer_encode(t, text, strlen(text), &ids, &e));
    assert_int_equal(ids.count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(ids.items[i], expected[i]);
    array_free(&ids);
}

static void expect_round_trip(const Tokenizer *t, const char *text, size_t size, const char *expected)
{
    TokenIds ids = {0};
    Str back = {0};
    Error e;
    assert_true(tokenizer_encode(t, text, size, &ids, &e));
    int64_t *wide = mem_new(ids.count * sizeof *wide);
    for (size_t i = 0; i < ids.count; i++)
        wide[i] = ids.items[i];
    for (int64_t n = 0, length = 0; n <= (int64_t)ids.count; n++) { /* the text only grows */
        Str shown = {0};
        tokenizer_decode(t, wide, n, &shown);
        assert_memory_equal(shown.text, back.text ? back.text : "", (size_t)length);
        str_free(&back);
        back = shown;
        length = (int64_t)shown.length;
    }
    assert_string_equal(back.text, expected);
    str_free(&back);
    mem_free(wide);
    array_free(&ids);
}

static void test_bytes(void **state)
{
    (void)state;
    Tokenizer *t = tokenizer_open("bytes", NULL);
    assert_int_equal(tokenizer_vocabulary(t), 256);
    expect_ids(t, "aZ\xff\n", 4, (int64_t[]){97, 90, 255, 10});
    expect_ids(t, "", 0, NULL);
    expect_round_trip(t, "any \x80 bytes\xc3", 12, "any \x80 bytes\xc3");
    assert_int_equal(tokenizer_id(t, "a"), 97);
    assert_int_equal(tokenizer_id(t, "ab"), -1);
    tokenizer_close(t);
}

static void test_characters(void **state)
{
    char *folder = *state;
    static const char text[] = "b\xc3\xa4 a\xf0\x9f\x8e\x89\n"; /* U+E4, U+1F389 */
    Tokenizer *t = learned("characters", folder, text);
    assert_int_equal(tokenizer_vocabulary(t), 6);
    expect_ids(t, text, 6, (int64_t[]){3, 4, 1, 2, 5, 0});
    expect_round_trip(t, text, strlen(text), text);
    Error e;
    TokenIds ids = {0};
    assert_false(tokenizer_encode(t, "ab\xc3\xa9", 4, &ids, &e));
    assert_string_equal(e.text, "the character '\xc3\xa9' is not in the vocabulary");
    array_free(&ids);
    tokenizer_close(t);

    t = learned("characters", folder, "a\xffz"); /* no UTF-8 */
    assert_int_equal(tokenizer_vocabulary(t), 3);
    expect_ids(t, "\xffz\xfe", 3, (int64_t[]){2, 1, 2});
    tokenizer_close(t);
}

static void test_words(void **state)
{
    char *folder = *state;
    static const char text[] = " a b  c\tb\n\n b d\xc2\xa0"
                               "a \n";
    Tokenizer *t = learned("words", folder, text);
    assert_int_equal(tokenizer_vocabulary(t), 6); /* <eos> b a c d <unk> */
    assert_int_equal(tokenizer_id(t, "<eos>"), 0);
    assert_int_equal(tokenizer_id(t, "<unk>"), 5);
    expect_ids(t, text, 10, (int64_t[]){2, 1, 3, 1, 0, 0, 1, 4, 2, 0});
    expect_ids(t, "a new b", 3, (int64_t[]){2, 5, 1});
    expect_round_trip(t, text, strlen(text), "a b c b\n\nb d a\n");
    tokenizer_close(t);
    t = learned("words:4", folder, text);
    assert_int_equal(tokenizer_vocabulary(t), 4); /* <eos> b a <unk> */
    expect_ids(t, "a b c d\n", 5, (int64_t[]){2, 1, 3, 3, 0});
    tokenizer_close(t);
    t = learned("words:4", folder, "x <unk> <unk> y y y z\n");
    assert_int_equal(tokenizer_vocabulary(t), 4); /* <eos> y <unk> x */
    expect_ids(t, "x y z", 3, (int64_t[]){3, 1, 2});
    tokenizer_close(t);
}

static void test_files(void **state)
{
    char *folder = *state, *path = path_join(folder, "vocabulary.json");
    Error e;
    Tokenizer *t = learned("words", folder, "the \"quoted\" \x01 \xe2\x98\x83\n");
    assert_true(tokenizer_write(t, path, &e));
    Tokenizer *again = tokenizer_open(path, &e);
    assert_non_null(again);
    assert_true(tokenizer_stamp(again) == tokenizer_stamp(t));
    expect_ids(again, "\xe2\x98\x83 the", 2, (int64_t[]){4, 1});
    tokenizer_close(again);
    tokenizer_close(t);
    size_t size;
    char *text = file_read(path, &size, NULL);
    for (size_t cut = 0; cut < size; cut++) {
        assert_true(file_write(path, text, cut, NULL));
        assert_null(tokenizer_open(path, &e));
        assert_non_null(strstr(e.text, path));
    }
    *strstr(text, "the") = 'T';
    assert_true(file_write(path, text, size, NULL));
    assert_null(tokenizer_open(path, &e));
    assert_non_null(strstr(e.text, "not those of the stamp"));
    mem_free(text);
    mem_free(path);
    assert_null(tokenizer_open("wrods", &e));
    assert_string_equal(e.text, "no tokenizer 'wrods': expected bytes, characters, words, words:N, a file or a folder");
    assert_null(tokenizer_open("words:1", &e));
    assert_null(tokenizer_open("words:12x", &e));
}

static void test_learned_once(void **state)
{
    char *folder = *state;
    tokenizer_close(learned("words", folder, "one two\n"));
    Error e;
    Corpus *c = dataset_corpus("text", folder, &e);
    Tokenizer *t = tokenizer_open("words", &e);
    c->read = NULL; /* what is cached needs no text */
    assert_true(tokenizer_learn(t, c, &e));
    assert_int_equal(tokenizer_vocabulary(t), 4);
    tokenizer_close(t);
    corpus_close(c);
    c = corpus_of(folder, "");
    t = tokenizer_open("characters", &e);
    assert_false(tokenizer_learn(t, c, &e));
    assert_string_equal(e.text, "data set text has no text");
    tokenizer_close(t);
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test_setup_teardown(test_characters, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(test_words, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(test_files, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(test_learned_once, scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
