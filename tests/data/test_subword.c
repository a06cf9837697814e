/* Tokenizers out of their files, against the ids that the original libraries gave (make_tokenizers.py). */
#include "common/data/subword.h"
#include "tests/datasets/scratch_folder.h"

static json_t *expected_file(void)
{
    size_t size;
    char *text = file_read("tests/data/tokenizers/expected.json", &size, NULL);
    assert_non_null(text);
    json_t *root = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    mem_free(text);
    return root;
}

static Tokenizer *open_fixture(const char *name)
{
    Error e = {""};
    char *path = path_join("tests/data/tokenizers", name);
    Tokenizer *t = tokenizer_open(path, &e);
    if (!t)
        print_error("%s\n", e.text);
    assert_non_null(t);
    mem_free(path);
    return t;
}

/* Whether the ids are those expected; prints the first difference. */
static bool same_ids(const char *name, const json_t *text, const json_t *expected, const TokenIds *ids)
{
    for (size_t i = 0; i < MAX(ids->count, json_array_size(expected)); i++) {
        int64_t ours = i < ids->count ? ids->items[i] : -1;
        const json_t *theirs = json_array_get(expected, i);
        if (!theirs || json_integer_value(theirs) != ours) {
            print_error("%s, \"%s\": token %zu is %lld, expected %lld (%zu and %zu in all)\n", name,
                        json_string_value(text), i, (long long)ours,
                        theirs ? (long long)json_integer_value(theirs) : -1, ids->count, json_array_size(expected));
            return false;
        }
    }
    return true;
}

static void test_ids_of_the_original_libraries(void **state)
{
    (void)state;
    json_t *root = expected_file(), *texts = json_object_get(root, "texts"), *all = json_object_get(root, "ids"),
           *lists, *text;
    const char *name;
    int wrong = 0, files = 0;
    size_t i;
    json_object_foreach(all, name, lists)
    {
        Tokenizer *t = open_fixture(name);
        assert_int_equal(json_array_size(lists), json_array_size(texts));
        json_array_foreach(texts, i, text)
        {
            TokenIds ids = {0};
            Error e;
            assert_true(tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &e));
            wrong += !same_ids(name, text, json_array_get(lists, i), &ids);
            array_free(&ids);
        }
        tokenizer_close(t);
        files++;
    }
    json_decref(root);
    assert_int_equal(files, 12);
    assert_int_equal(wrong, 0);
}

static void encode_text(const Tokenizer *t, const char *text, size_t size, TokenIds *ids)
{
    Error e;
    ids->count = 0;
    assert_true(tokenizer_encode(t, text, size, ids, &e));
}

/* The text of the first `count` ids. */
static Str decode_first(const Tokenizer *t, const TokenIds *ids, size_t count)
{
    Str text = {0};
    int64_t *wide = mem_new(count * sizeof *wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = ids->items[i];
    tokenizer_decode(t, wide, (int64_t)count, &text);
    mem_free(wide);
    return text;
}

/* Byte-level tokenizers that normalise nothing give every text back, and any prefix of the ids a prefix of it. */
static void test_byte_level_gives_the_text_back(void **state)
{
    (void)state;
    static const char *const names[] = {"vocab.json", "llama3.json"};
    json_t *root = expected_file(), *texts = json_object_get(root, "texts"), *text;
    TokenIds ids = {0};
    size_t i;
    for (int n = 0; n < COUNT_OF(names); n++) {
        Tokenizer *t = open_fixture(names[n]);
        json_array_foreach(texts, i, text)
        {
            const char *source = json_string_value(text);
            size_t size = json_string_length(text);
            if (strstr(source, "<mask>")) /* takes the spaces on its left */
                continue;
            encode_text(t, source, size, &ids);
            for (size_t count = 0; count <= ids.count; count++) {
                Str back = decode_first(t, &ids, count);
                assert_true(back.length <= size && (count < ids.count || back.length == size));
                assert_memory_equal(back.text, source, back.length);
                str_free(&back);
            }
        }
        tokenizer_close(t);
    }
    array_free(&ids);
    json_decref(root);
}

static void expect_text_back(const char *name, const char *text, const char *expected)
{
    Tokenizer *t = open_fixture(name);
    TokenIds ids = {0};
    encode_text(t, text, strlen(text), &ids);
    Str back = decode_first(t, &ids, ids.count);
    assert_string_equal(back.text, expected);
    str_free(&back);
    array_free(&ids);
    tokenizer_close(t);
}

static void test_decoding(void **state)
{
    (void)state;
    expect_text_back("llama.json", "the \xe4\xb8\xad  x", "the \xe4\xb8\xad  x");
    expect_text_back("bpe.model", "the \xe4\xb8\xad x", "the \xe4\xb8\xad x");
    expect_text_back("unigram.model", "Hear me speak", "Hear me speak");
    expect_text_back("vocab.txt", "The citizens, [MASK] spoke", "the citizens , [MASK] spoke");
    expect_text_back("clip.json", "The  citizen speaks", "the citizen speaks ");
    expect_text_back("words.json", "The people", "the people");
}

/* A character for each byte and back, all of them different. */
static void test_byte_characters(void **state)
{
    (void)state;
    bool seen[512] = {false};
    for (int byte = 0; byte < 256; byte++) {
        uint32_t c = subword_byte_character((uint8_t)byte);
        assert_true(c < 324 && !seen[c]);
        seen[c] = true;
        assert_int_equal(subword_character_byte(c), byte);
    }
    assert_int_equal(subword_byte_character(' '), 0x120);
    assert_int_equal(subword_byte_character(173), 323);
    assert_int_equal(subword_character_byte(' '), -1);
    assert_int_equal(subword_character_byte(324), -1);
}

/* Few symbols are merged by looking at all pairs, many through a heap: the same word twice, once behind a long one. */
static void test_long_words_merge_alike(void **state)
{
    (void)state;
    Tokenizer *t = open_fixture("vocab.json");
    TokenIds word = {0}, many = {0};
    encode_text(t, "thesethemtherethen", 18, &word);
    Str text = {0};
    for (int i = 0; i < 1000; i++)
        str_add(&text, "thesethemtherethen7"); /* the digit ends a word */
    encode_text(t, text.text, text.length, &many);
    assert_int_equal(many.count, 1000 * (word.count + 1));
    str_clear(&text);
    for (int i = 0; i < 4000; i++)
        str_add(&text, "th");
    encode_text(t, text.text, text.length, &many); /* 8000 symbols, merged alike everywhere */
    for (size_t i = 2; i + 2 < many.count; i++)
        assert_int_equal(many.items[i], many.items[2]);
    str_free(&text);
    array_free(&word);
    array_free(&many);
    tokenizer_close(t);
}

static void test_ids_by_name(void **state)
{
    (void)state;
    Tokenizer *t = open_fixture("modern.json");
    assert_int_equal(tokenizer_vocabulary(t), 351);
    assert_true(tokenizer_id(t, "[CLS]") >= 340);
    assert_int_equal(tokenizer_id(t, "none"), -1);
    Tokenizer *other = open_fixture("llama3.json"), *again = open_fixture("modern.json");
    assert_true(tokenizer_stamp(t) == tokenizer_stamp(again) && tokenizer_stamp(t) != tokenizer_stamp(other));
    tokenizer_close(again);
    tokenizer_close(other);
    tokenizer_close(t);
}

static void test_new_tokens(void **state)
{
    (void)state;
    Tokenizer *t = open_fixture("modern.json");
    TokenIds ids = {0};
    Error e;
    int64_t last = tokenizer_vocabulary(t);
    uint64_t stamp = tokenizer_stamp(t);
    assert_int_equal(tokenizer_add(t, "[CVD]", &e), last);
    assert_int_equal(tokenizer_add(t, "[CVD]", &e), last);
    assert_int_equal(tokenizer_add(t, "[CLS]", &e), tokenizer_id(t, "[CLS]"));
    assert_int_equal(tokenizer_vocabulary(t), last + 1);
    assert_true(tokenizer_stamp(t) != stamp);
    encode_text(t, "a[CVD]a", 7, &ids);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.items[1], last);
    Str back = decode_first(t, &ids, 3);
    assert_string_equal(back.text, "a[CVD]a");
    str_free(&back);
    array_free(&ids);
    tokenizer_close(t);
    t = open_fixture("bpe.model");
    assert_int_equal(tokenizer_add(t, "x", &e), -1);
    assert_string_equal(e.text, "a tokenizer of sentencepiece takes no new tokens");
    tokenizer_close(t);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    scratch_write(folder, name, text, strlen(text));
}

static void expect_refusal(const char *folder, const char *name, const char *text, const char *words)
{
    Error e;
    char *path = path_join(folder, name);
    write_text(folder, name, text);
    assert_null(tokenizer_open(path, &e));
    if (!strstr(e.text, words))
        print_error("%s\n", e.text);
    assert_non_null(strstr(e.text, words));
    assert_non_null(strstr(e.text, folder));
    mem_free(path);
}

static void test_refusals(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"a.json", "{", "not JSON"},
        {"a.json", "[]", "holds no 'model'"},
        {"a.json", "{\"tokenizer\": \"x\"}", "'x' is no tokenizer"},
        {"a.json", "{\"model\": {\"type\": \"BPE\"}}", "no vocabulary"},
        {"a.json", "{\"model\": {\"type\": \"Unigram\", \"vocab\": {\"a\": 0}}}", "model 'Unigram' is not known"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1}}}", "'a' has an id that is none of 1"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}}}", "have the same id 0"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"unk_token\": \"u\"}}", "unk_token 'u'"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a a\"]}}",
         "merge 'a a' is not"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"aa\"]}}",
         "merge 'aa' is no pair"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [3]}}", "merges[0] is no pair"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}, \"normalizer\": {\"type\": \"X\"}}",
         "normalizer 'X'"},
        {"a.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}, \"pre_tokenizer\": {\"type\": \"Y\"}}",
         "pre-tokenizer 'Y'"},
        {"a.json",
         "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}, \"pre_tokenizer\": {\"type\": \"Split\", "
         "\"pattern\": "
         "{\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}}",
         "the regular expression '(' is not valid"},
        {"a.json",
         "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}, \"added_tokens\": [{\"content\": \"b\", \"id\": 7}]}",
         "'b' has an id"},
        {"a.json",
         "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}, \"added_tokens\": [{\"content\": \"\", \"id\": 1}]}",
         "added_tokens[0] is empty"},
        {"vocab.txt", "a\nb\n", "no line is [UNK]"},
        {"vocab.txt", "[UNK]\na\na\n", "line 3: the token 'a' is there twice"},
        {"vocab.json", "{\"a\": 0, \"b\": 1}", "merges.txt: No such file"},
        {"x.model", "not a model", "not a SentencePiece model"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        expect_refusal(folder, cases[i].name, cases[i].text, cases[i].words);
    write_text(folder, "merges.txt", "#version: 0.2\na b\n");
    expect_refusal(folder, "vocab.json", "{\"a\": 0, \"b\": 1}", "merges.txt:2: merge 'a b' is not of the vocabulary");
    scratch_remove(folder);
    Error e;
    folder = scratch_folder();
    assert_null(tokenizer_open(folder, &e));
    assert_non_null(strstr(e.text, "no tokenizer in it"));
    scratch_remove(folder);
}

/* The file that a folder holds; a vocabulary with capitals keeps them. */
static void test_folders(void **state)
{
    (void)state;
    char *folder = scratch_folder();
    Error e;
    TokenIds ids = {0};
    write_text(folder, "vocab.txt", "[PAD]\n[UNK]\nAb\r\n##c\nab\n");
    Tokenizer *t = tokenizer_open(folder, &e);
    encode_text(t, "Abc abc[PAD]", 12, &ids);
    int32_t expected[] = {2, 3, 4, 3, 0};
    assert_int_equal(ids.count, 5);
    assert_memory_equal(ids.items, expected, sizeof expected);
    tokenizer_close(t);
    write_text(folder, "vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2}");
    write_text(folder, "merges.txt", "a b");
    t = tokenizer_open(folder, &e);
    encode_text(t, "abba?", 5, &ids); /* the ? is lost: nothing stands for it */
    int32_t merged[] = {2, 1, 0};
    assert_int_equal(ids.count, 3);
    assert_memory_equal(ids.items, merged, sizeof merged);
    tokenizer_close(t);
    array_free(&ids);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_of_the_original_libraries),
        cmocka_unit_test(test_byte_level_gives_the_text_back),
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_byte_characters),
        cmocka_unit_test(test_long_words_merge_alike),
        cmocka_unit_test(test_ids_by_name),
        cmocka_unit_test(test_new_tokens),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
