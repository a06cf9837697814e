/* Trees of values: what YAML and JSON say, what they are refused for, how layers merge, and that writing reads back. */
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/run/config/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static Node *yaml(const char *text)
{
    Error e = {0};
    Node *node = node_from_yaml_text(text, "a.yaml", &e);
    if (!node)
        fail_msg("%s", e.text);
    return node;
}

static void assert_written(const Node *node, const char *expected)
{
    Str text = {0};
    node_write_yaml(node, &text);
    assert_string_equal(text.text, expected);
    str_free(&text);
}

static void test_yaml_tree(void **state)
{
    (void)state;
    Node *root = yaml("# a comment\n"
                      "name: tiny\n"
                      "\n"
                      "train:\n"
                      "  epochs: 10\n"
                      "  lr: '10'\n"
                      "sizes:\n"
                      "- [1, 2]\n"
                      "- []\n"
                      "empty:\n");
    assert_int_equal(root->kind, NODE_MAP);
    assert_int_equal(root->count, 4);
    assert_string_equal(root->keys[3], "empty");
    assert_string_equal(node_find(root, "name")->text, "tiny");
    assert_string_equal(node_find(root, "name")->origin, "a.yaml:2");
    assert_string_equal(node_find(root, "train")->origin, "a.yaml:5");
    const Node *epochs = node_find_path(root, "train.epochs"), *lr = node_find_path(root, "train.lr");
    int64_t value;
    assert_string_equal(epochs->origin, "a.yaml:5");
    assert_true(node_int(epochs, &value) && value == 10);
    assert_false(epochs->quoted);
    assert_true(lr->quoted);
    assert_false(node_int(lr, &value));
    assert_int_equal(node_find(root, "sizes")->items[0]->count, 2);
    assert_int_equal(node_find(root, "sizes")->items[1]->count, 0);
    assert_true(node_is_null(node_find(root, "empty")));
    assert_null(node_find_path(root, "train.epochs.more"));
    assert_null(node_find_path(root, "model.depth"));
    node_free(root);
}

static void test_text_without_a_value_is_an_empty_map(void **state)
{
    (void)state;
    const char *texts[] = {"", "# nothing\n", "\n\n"};
    for (int i = 0; i < COUNT_OF(texts); i++) {
        Node *root = yaml(texts[i]);
        assert_int_equal(root->kind, NODE_MAP);
        assert_int_equal(root->count, 0);
        node_free(root);
    }
}

static void test_yaml_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "a.yaml:3: key a stands here twice (first at a.yaml:1)"},
        {"a: &x 1\n", "a.yaml:1: anchors (&name) are not allowed in a config"},
        {"a: &x [1]\n", "a.yaml:1: anchors (&name) are not allowed in a config"},
        {"a: &x {b: 1}\n", "a.yaml:1: anchors (&name) are not allowed in a config"},
        {"a: 1\nb: *x\n", "a.yaml:2: aliases (*name) are not allowed in a config"},
        {"a: !!str 1\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"a: ! 1\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"a: !x [1]\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"a: !x {b: 1}\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"!x a: 1\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", "a.yaml:1: tags (!name) are not allowed in a config"},
        {"a: 1\n---\nb: 2\n", "a.yaml:2: a second document begins; a config is one document"},
        {"a: 1\n[b]: 2\n", "a.yaml:2: a key must be a word"},
        {"? {a: 1}\n: 2\n", "a.yaml:1: a key must be a word"},
        {"a: 1\n?\n: 2\n", "a.yaml:2: a key is missing"},
        {"a: \"x\\0y\"\n", "a.yaml:1: a NUL character is not allowed in a config"},
        {"a: [1, 2\nb: 3\n", "a.yaml:2: not valid YAML: did not find expected ',' or ']'"},
        {"a: 1\n b: 2\n", "a.yaml:2: not valid YAML: mapping values are not allowed in this context"},
        {"a: 1\n\tb: 2\n", "a.yaml:2: not valid YAML: found a tab character that violates indentation"},
        {"a: 1\nb: \x01\n", "a.yaml:2: not valid YAML: control characters are not allowed"},
        {"a: 1\n\nb: \xff\n", "a.yaml:3: not valid YAML: invalid leading UTF-8 octet"},
        {"a: 'x\n", "a.yaml:2: not valid YAML: found unexpected end of stream"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Error e = {0};
        assert_null(node_from_yaml_text(cases[i].text, "a.yaml", &e));
        assert_string_equal(e.text, cases[i].line);
    }
}

static void test_nesting_has_a_limit(void **state)
{
    (void)state;
    for (int depth = NODE_DEEPEST; depth <= NODE_DEEPEST + 1; depth++) {
        char text[4 * NODE_DEEPEST] = "", *p = text;
        p = (char *)memset(p, '[', (size_t)depth) + depth;
        memset(p, ']', (size_t)depth);
        for (int json = 0; json < 2; json++) {
            Error e = {0};
            Node *node = json ? node_from_json_text(text, "a.json", &e) : node_from_yaml_text(text, "a.yaml", &e);
            assert_int_equal(node != NULL, depth == NODE_DEEPEST);
            if (!node)
                assert_string_equal(e.text, json ? "a.json: nested too deep" : "a.yaml:1: nested too deep");
            node_free(node);
        }
    }
}

static void test_long_keys(void **state)
{
    (void)state;
    enum { LENGTH = 3000 };
    char key[LENGTH + 1] = "";
    memset(key, 'k', LENGTH);
    Node *root = node_map(""), *inner = node_map("");
    node_set(inner, key, node_scalar("1", false, ""));
    node_set(root, "flow", node_list(""));
    node_append(node_find(root, "flow"), node_copy(inner));
    node_set(root, key, inner);
    Str text = {0};
    node_write_yaml(root, &text);
    Node *back = yaml(text.text);
    assert_true(node_equal(root, back));
    node_free(root);
    node_free(back);
    str_free(&text);
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/zoo-node-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = path_join(folder, "x.yaml"), *missing = path_join(folder, "y.yaml");
    Error e = {0};
    assert_true(file_write(path, "a: 1\nb: \0\n", 11, &e));
    assert_null(node_from_yaml_file(path, &e));
    char *expected = str_format("%s:2: not valid YAML: control characters are not allowed", path);
    assert_string_equal(e.text, expected);
    mem_free(expected);

    assert_true(file_write(path, "{\"a\": 1}", 8, &e));
    Node *from_yaml = node_from_yaml_file(path, &e), *from_json = node_from_json_file(path, &e);
    assert_non_null(from_yaml);
    assert_non_null(from_json);
    assert_true(node_equal(from_yaml, from_json));
    node_free(from_yaml);
    node_free(from_json);

    assert_null(node_from_yaml_file(missing, &e));
    assert_non_null(strstr(e.text, "y.yaml"));
    assert_null(node_from_json_file(missing, &e));
    assert_non_null(strstr(e.text, "y.yaml"));
    mem_free(path);
    mem_free(missing);
    assert_true(folder_remove(folder, &e));
}

static void test_json_tree(void **state)
{
    (void)state;
    Error e = {0};
    Node *root = node_from_json_text("{\"n\": 12, \"x\": 4.0, \"y\": 1e-05, \"s\": \"yes\", \"t\": true, \"f\": false,"
                                     " \"z\": null, \"l\": [[1], []], \"big\": 9223372036854775807}",
                                     "golden", &e);
    assert_non_null(root);
    assert_written(root, "n: 12\nx: 4.0\ny: 1e-05\ns: \"yes\"\nt: true\nf: false\nz: null\nl: [[1], []]\n"
                         "big: 9223372036854775807\n");
    assert_string_equal(node_find(root, "n")->origin, "golden");
    int64_t value;
    bool truth;
    assert_false(node_int(node_find(root, "x"), &value)); /* 4.0 was written as a real */
    assert_false(node_bool(node_find(root, "s"), &truth));
    assert_true(node_bool(node_find(root, "t"), &truth) && truth);
    node_free(root);
}

static void test_json_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"", "g:1: not valid JSON: '[' or '{' expected near end of file"},
        {"3", "g:1: not valid JSON: '[' or '{' expected near '3'"},
        {"{\"a\": 1,\n \"a\": 2}", "g:2: not valid JSON: duplicate object key near '\"a\"'"},
        {"{\"a\": NaN}", "g:1: not valid JSON: invalid token near 'NaN'"},
        {"{\"a\": 9223372036854775808}", "g:1: not valid JSON: too big integer near '9223372036854775808'"},
        {"{} x", "g:1: not valid JSON: end of file expected near 'x'"},
        {"{\"a\": \"\\u0000\"}",
         "g:1: not valid JSON: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"'"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Error e = {0};
        assert_null(node_from_json_text(cases[i].text, "g", &e));
        assert_string_equal(e.text, cases[i].line);
    }
}

static void test_merge(void **state)
{
    (void)state;
    Node *root = node_merge(yaml("a: {x: 1, y: 2}\nb: [1, 2]\nc: 3\n"), yaml("a: {y: 5, z: 6}\nb: [9]\nd: {e: f}\n"));
    assert_written(root, "a:\n  x: 1\n  y: 5\n  z: 6\nb: [9]\nc: 3\nd:\n  e: f\n");
    root = node_merge(root, yaml("a: null\nc: {deep: 1}\n"));
    assert_written(root, "a: null\nb: [9]\nc:\n  deep: 1\nd:\n  e: f\n");
    node_free(root);
}

static void test_set_path(void **state)
{
    (void)state;
    Error e = {0};
    Node *root = yaml("train: {epochs: 10}\nname: x\n");
    assert_true(node_set_path(root, "train.epochs", "30", "command line", &e));
    assert_true(node_set_path(root, "model.depth", "[[1, 2, 0]]", "command line", &e));
    assert_true(node_set_path(root, "name.first", "'7'", "command line", &e));
    assert_true(node_set_path(root, "data", "{path: /tmp/a b}", "command line", &e));
    assert_written(root, "train:\n  epochs: 30\nname:\n  first: \"7\"\nmodel:\n  depth: [[1, 2, 0]]\n"
                         "data:\n  path: \"/tmp/a b\"\n");
    assert_string_equal(node_find_path(root, "train.epochs")->origin, "command line");

    static const struct {
        const char *path, *value, *line;
    } cases[] = {
        {"a", "", "command line: a=: a value is missing (write null, or '' for an empty string)"},
        {"a", "b: 1", "command line: a=b: 1: expected one value, with lists as [a, b] and maps as {key: value}"},
        {"a", "- 1", "command line: a=- 1: expected one value, with lists as [a, b] and maps as {key: value}"},
        {"a", "[1", "command line: a=[1: not valid YAML: did not find expected ',' or ']'"},
        {"a", "*x", "command line: a=*x: aliases (*name) are not allowed in a config"},
        {"", "1", "command line:  is no key: expected words with a dot between them, at most 16"},
        {"a b", "1", "command line: a b is no key: expected words with a dot between them, at most 16"},
        {"\xff", "1", "command line: \xff is no key: expected words with a dot between them, at most 16"},
        {"a..b", "1", "command line: a..b is no key: expected words with a dot between them, at most 16"},
        {"a.", "1", "command line: a. is no key: expected words with a dot between them, at most 16"},
        {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "1",
         "command line: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q is no key: expected words with a dot between them, at most "
         "16"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        assert_false(node_set_path(root, cases[i].path, cases[i].value, "command line", &e));
        assert_string_equal(e.text, cases[i].line);
    }
    assert_null(node_find(root, "a"));
    node_free(root);
}

static void test_scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_null, is_bool, is_int, is_number;
        double value;
    } cases[] = {
        {"null", true, false, false, false, 0},      {"~", true, false, false, false, 0},
        {"Null", false, false, false, false, 0},     {"true", false, true, false, false, 1},
        {"yes", false, true, false, false, 1},       {"no", false, true, false, false, 0},
        {"flase", false, false, false, false, 0},    {"on", false, false, false, false, 0},
        {"True", false, false, false, false, 0},     {"3", false, false, true, true, 3},
        {"-3", false, false, true, true, -3},        {"+3", false, false, true, true, 3},
        {"0", false, false, true, true, 0},          {"007", false, false, false, false, 0},
        {"3.5", false, false, false, true, 3.5},     {"3.", false, false, false, true, 3},
        {".5", false, false, false, true, 0.5},      {"-.5e1", false, false, false, true, -5},
        {"1e-3", false, false, false, true, 1e-3},   {"1E3", false, false, false, true, 1000},
        {"1e", false, false, false, false, 0},       {"1e+", false, false, false, false, 0},
        {".", false, false, false, false, 0},        {"-", false, false, false, false, 0},
        {"3 apples", false, false, false, false, 0}, {"0x10", false, false, false, false, 0},
        {"1,5", false, false, false, false, 0},      {"1_000", false, false, false, false, 0},
        {"nan", false, false, false, false, 0},      {"inf", false, false, false, false, 0},
        {".inf", false, false, false, false, 0},     {"1e999", false, false, false, false, 0},
        {" 3", false, false, false, false, 0},       {"9223372036854775808", false, false, false, true, 0x1p63},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Node *plain = node_scalar(cases[i].text, false, ""), *quoted = node_scalar(cases[i].text, true, "");
        bool truth = false;
        int64_t whole = 0;
        double value = 0;
        assert_int_equal(node_is_null(plain), cases[i].is_null);
        assert_int_equal(node_bool(plain, &truth), cases[i].is_bool);
        assert_int_equal(node_int(plain, &whole), cases[i].is_int);
        assert_int_equal(node_number(plain, &value), cases[i].is_number);
        assert_true(!cases[i].is_bool || truth == (cases[i].value != 0));
        assert_true(!cases[i].is_int || (double)whole == cases[i].value);
        assert_true(!cases[i].is_number || value == cases[i].value);
        assert_false(node_is_null(quoted) || node_bool(quoted, &truth) || node_int(quoted, &whole) ||
                     node_number(quoted, &value));
        node_free(plain);
        node_free(quoted);
    }
}

static void test_written_numbers_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"}, {2e-3, "0.002"}, {1e-6, "1e-06"}, {1.0 / 3, "0.33333333333333331"}, {1e22, "1e+22"}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Node *node = node_from_number(cases[i].value, "");
        double value;
        assert_string_equal(node->text, cases[i].text);
        assert_true(node_number(node, &value) && value == cases[i].value);
        node_free(node);
    }
}

static void test_equal(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"4", "4.0", true},
        {"4", "'4'", false},
        {"yes", "true", true},
        {"yes", "'yes'", false},
        {"null", "~", true},
        {"null", "'null'", false},
        {"abc", "'abc'", true},
        {"[1, 2]", "[1.0, 2]", true},
        {"[1]", "[1, 1]", false},
        {"{a: 1, b: 2}", "{b: 2, a: 1}", true},
        {"{a: 1}", "{b: 1}", false},
        {"[]", "{}", false},
        {"9007199254740993", "9007199254740992", false},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Node *a = yaml(cases[i].a), *b = yaml(cases[i].b);
        assert_int_equal(node_equal(a, b), cases[i].equal);
        assert_int_equal(node_equal(b, a), cases[i].equal);
        node_free(a);
        node_free(b);
    }
}

static void test_writing_reads_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *written;
    } cases[] = {
        {"{}", "{}\n"},
        {"[1, [2, {a: b}]]", "[1, [2, {a: b}]]\n"},
        {"a: {}\nb: []\n", "a: {}\nb: []\n"},
        {"stages:\n- name: x\n  lr: 1\n- {}\n", "stages:\n  - {name: x, lr: 1}\n  - {}\n"},
        {"'': 1\n", "\"\": 1\n"},
        {"a: 'it''s'\n", "a: \"it's\"\n"},
        {"a: \"tab\\t, \\\" and \\\\\"\n", "a: \"tab\\t, \\\" and \\\\\"\n"},
        {"a: |\n  two\n  lines\n", "a: \"two\\nlines\\n\"\n"},
        {"a: two words\n", "a: \"two words\"\n"},
        {"a: Zürich\n", "a: \"Zürich\"\n"},
        {"a: \"\\u2028\\x85\\x7f\\e\"\n", "a: \"\\u2028\\x85\\x7f\\x1b\"\n"},
        {"a: \"\\U0001F600\"\n", "a: \"\xf0\x9f\x98\x80\"\n"},
        {"'a: b': '-'\n", "\"a: b\": \"-\"\n"},
        {"a: /data/x.tar\nb: ~\nc:\n", "a: /data/x.tar\nb: ~\nc: null\n"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Node *node = yaml(cases[i].text), *again = yaml(cases[i].written);
        assert_written(node, cases[i].written);
        assert_written(again, cases[i].written);
        assert_true(node_equal(node, again));
        node_free(node);
        node_free(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_tree),     cmocka_unit_test(test_text_without_a_value_is_an_empty_map),
        cmocka_unit_test(test_yaml_refusals), cmocka_unit_test(test_nesting_has_a_limit),
        cmocka_unit_test(test_long_keys),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_json_tree),     cmocka_unit_test(test_json_refusals),
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_set_path),
        cmocka_unit_test(test_scalars),       cmocka_unit_test(test_written_numbers_read_back),
        cmocka_unit_test(test_equal),         cmocka_unit_test(test_writing_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
