/* Tables: one struct with every kind of row, what each takes, every line that refuses, help, the way back. */
#include "config_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the model section of crossvit, as its spec writes it --- */

typedef struct Vit {
    int img_size[2];
    int (*depth)[3];
    int stages;
    double mlp_ratio[3];
    bool qkv_bias;
    double qk_scale;
    bool has_qk_scale;
    double drop_rate;
} Vit;

static bool resolve_vit(void *config, const ConfigPlace *place, Error *e)
{
    Vit *vit = config;
    for (int i = 0; i < vit->stages; i++) {
        if (vit->depth[i][0] > vit->depth[i][1])
            return config_refuse(place, "depth", e, "but the small branch must not be the deeper one (stage %d)", i);
    }
    if (vit->img_size[0] < vit->img_size[1])
        return config_refuse(place, "img_size", e, "but the small branch must not see the smaller image");
    if (!config_given(place, "qk_scale"))
        vit->qk_scale = 0.5;
    return true;
}

static const ConfigField vit_rows[] = {
    {CONFIG_INT_ARRAY("img_size", Vit, img_size, .value = "[240, 224]", .range = "[1, 4096]", .help = "image sides")},
    {CONFIG_INT_ARRAY_LIST("depth", Vit, depth, stages, .value = "[[1, 4, 0], [1, 4, 0], [1, 4, 0]]",
                           .range = "[0, 100]", .help = "blocks of each stage")},
    {CONFIG_NUMBER_ARRAY("mlp_ratio", Vit, mlp_ratio, .value = "[4, 4, 1]", .range = "(0, inf)")},
    {CONFIG_BOOL("qkv_bias", Vit, qkv_bias, .value = "true")},
    {CONFIG_NUMBER("qk_scale", Vit, qk_scale, CONFIG_OR_NULL(Vit, has_qk_scale), .value = "null",
                   .help = "score scale; null: by the head's width")},
    {CONFIG_NUMBER("drop_rate", Vit, drop_rate, .value = "0", .range = "[0, 1)")},
};
static const ConfigTable vit_table = {CONFIG_STRUCT(Vit), CONFIG_ROWS(vit_rows), .resolve = resolve_vit};

static void test_crossvit_model_section(void **state)
{
    (void)state;
    Error e;
    Vit vit;
    assert_true(config_bind(&vit_table, NULL, &vit, &e));
    assert_int_equal(vit.img_size[0], 240);
    assert_int_equal(vit.stages, 3);
    assert_int_equal(vit.depth[2][1], 4);
    assert_false(vit.has_qk_scale);
    assert_true(vit.qk_scale == 0.5);
    config_free(&vit_table, &vit);

    bind(&vit_table, "img_size: [28, 28]\ndepth: [[1, 2, 0]]\nqk_scale: 0.125\nqkv_bias: no\n", &vit);
    assert_int_equal(vit.img_size[1], 28);
    assert_int_equal(vit.stages, 1);
    assert_int_equal(vit.depth[0][1], 2);
    assert_true(vit.has_qk_scale);
    assert_true(vit.qk_scale == 0.125);
    assert_false(vit.qkv_bias);
    assert_resolved(&vit_table, &vit,
                    "img_size: [28, 28]\ndepth: [[1, 2, 0]]\nmlp_ratio: [4, 4, 1]\nqkv_bias: false\n"
                    "qk_scale: 0.125\ndrop_rate: 0\n");
    config_free(&vit_table, &vit);
}

static void test_lines_of_the_model_section(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"img_size: [240]\n", "a.yaml:1: img_size is [240], expected a list of 2 integers in [1, 4096]"},
        {"img_size: 240\n", "a.yaml:1: img_size is 240, expected a list of 2 integers in [1, 4096]"},
        {"img_size:\n- 240\n- 0\n", "a.yaml:3: img_size[1] is 0, expected an integer in [1, 4096]"},
        {"depth: [[1, 4, 0],\n        [1, 4]]\n",
         "a.yaml:2: depth[1] is [1, 4], expected a list of 3 integers in [0, 100]"},
        {"depth: [[1, 4, -1]]\n", "a.yaml:1: depth[0][2] is -1, expected an integer in [0, 100]"},
        {"depth: {a: 1}\n", "a.yaml:1: depth is {a: 1}, expected a list of lists of 3 integers in [0, 100]"},
        {"drop_rate: 1\n", "a.yaml:1: drop_rate is 1, expected a number in [0, 1)"},
        {"mlp_ratio: [4, 4, 0]\n", "a.yaml:1: mlp_ratio[2] is 0, expected a number in (0, inf)"},
        {"qk_scale: yes\n", "a.yaml:1: qk_scale is yes, expected a number or null"},
        {"qkv_bias: flase\n", "a.yaml:1: qkv_bias is flase, expected true, false, yes or no"},
        {"qkv_bias: 'true'\n", "a.yaml:1: qkv_bias is \"true\", expected true, false, yes or no"},
        {"qkv_bias: 1\n", "a.yaml:1: qkv_bias is 1, expected true, false, yes or no"},
        {"\nimgsize: [1, 1]\n", "a.yaml:2: unknown key imgsize (did you mean img_size?)"},
        {"temperature: 1\n", "a.yaml:1: unknown key temperature"},
        {"\"new\\nline\": 1\n", "a.yaml:1: unknown key \"new\\nline\""},
        {"[1]\n", "a.yaml:1: [1], expected a section of keys"},
        {"depth: [[5, 4, 0]]\n",
         "a.yaml:1: depth is [[5, 4, 0]], but the small branch must not be the deeper one (stage 0)"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        assert_refused(&vit_table, cases[i].text, cases[i].line);
}

/* --- every other kind of row --- */

enum Optimizer { ADAMW, SGD };

typedef struct HeadList {
    int *heads;
    int count;
} HeadList;

typedef struct Scaling {
    double factor;
} Scaling;

typedef struct Kinds {
    int64_t large;
    int small;
    float rate;
    char *path;
    char *note;
    enum Optimizer optimizer;
    char **words;
    int word_count;
    double *rates;
    int rate_count;
    bool *flags;
    int flag_count;
    bool pair[2];
    char *names[2];
    int *mixers;
    int mixer_count;
    int *heads_per_level;
    int level_count;
    int window[2];
    int *layers;
    int layer_count;
    bool has_layers;
    HeadList *head_lists;
    int head_list_count;
    Stage first;
    Stage *stages;
    int stage_count;
    Scaling scaling;
    bool has_scaling;
    Node *arms;
    Node *thresholds;
    Node *ops;
    Node **steps;
    int step_count;
} Kinds;

static const ConfigField scaling_rows[] = {
    {CONFIG_NUMBER("factor", Scaling, factor, .range = "[1, inf)", .help = "of the longest input")},
};
static const ConfigTable scaling_table = {CONFIG_STRUCT(Scaling), CONFIG_ROWS(scaling_rows)};

static const ConfigField kind_rows[] = {
    {CONFIG_INT("large", Kinds, large, .value = "9007199254740993")},
    {CONFIG_INT("small", Kinds, small, .value = "0")},
    {CONFIG_NUMBER("rate", Kinds, rate, .value = "0.1")},
    {CONFIG_STRING("path", Kinds, path, .value = "''")},
    {CONFIG_STRING("note", Kinds, note, CONFIG_NULLABLE, .value = "null")},
    {CONFIG_ENUM("optimizer", Kinds, optimizer, CONFIG_WORDS("adamw", "sgd"), .value = "adamw")},
    {CONFIG_STRING_LIST("words", Kinds, words, word_count, .value = "[]")},
    {CONFIG_NUMBER_LIST("rates", Kinds, rates, rate_count, .value = "[0.5, 1e-3]", .range = "[0, 1]")},
    {CONFIG_BOOL_LIST("flags", Kinds, flags, flag_count, .value = "[yes]")},
    {CONFIG_BOOL_ARRAY("pair", Kinds, pair, .value = "[yes, no]")},
    {CONFIG_STRING_ARRAY("names", Kinds, names, .value = "[a, b]")},
    {CONFIG_ENUM_LIST("mixers", Kinds, mixers, mixer_count, CONFIG_WORDS("softmax", "linear", "none"), .value = "[]")},
    {CONFIG_INT_LIST("heads_per_level", Kinds, heads_per_level, level_count, CONFIG_OR_ONE, .value = "8",
                     .range = "[1, 64]")},
    {CONFIG_INT_ARRAY("window", Kinds, window, CONFIG_OR_ONE, .value = "7", .range = "[1, 64]")},
    {CONFIG_INT_LIST("layers", Kinds, layers, layer_count, CONFIG_OR_NULL(Kinds, has_layers), .value = "null")},
    {CONFIG_LIST_OF("head_lists", Kinds, head_lists, head_list_count,
                    CONFIG_ITEM_LIST(HeadList, heads, count, CONFIG_ITEM_INT(((HeadList *)0)->heads[0])), .value = "[]",
                    .range = "[0, 31]")},
    {CONFIG_TABLE("first", Kinds, first, &stage_table, .help = "what is trained first")},
    {CONFIG_TABLE_LIST("stages", Kinds, stages, stage_count, &stage_table, .value = "[{}]")},
    {CONFIG_TABLE("scaling", Kinds, scaling, &scaling_table, CONFIG_OR_NULL(Kinds, has_scaling), .value = "null")},
    {CONFIG_MAP("arms", Kinds, arms, .value = "{}")},
    {CONFIG_MAP("thresholds", Kinds, thresholds, CONFIG_NULLABLE, .value = "null")},
    {CONFIG_ANY("ops", Kinds, ops, .value = "null")},
    {CONFIG_LIST_OF("steps", Kinds, steps, step_count, CONFIG_ITEM_ANY(((Kinds *)0)->steps[0]), .value = "[]")},
    {CONFIG_FIXED("nheads", "4", .help = "of the cell")},
    {CONFIG_FIXED("betas", "[0.9, 0.999]")},
    {CONFIG_NO_EFFECT("ff_mult", .help = "of the unused layer")},
};
static const ConfigTable kind_table = {CONFIG_STRUCT(Kinds), CONFIG_ROWS(kind_rows)};

static const char kind_defaults[] = "large: 9007199254740993\n"
                                    "small: 0\n"
                                    "rate: 0.100000001\n"
                                    "path: \"\"\n"
                                    "note: null\n"
                                    "optimizer: adamw\n"
                                    "words: []\n"
                                    "rates: [0.5, 0.001]\n"
                                    "flags: [true]\n"
                                    "pair: [true, false]\n"
                                    "names: [a, b]\n"
                                    "mixers: []\n"
                                    "heads_per_level: [8]\n"
                                    "window: [7, 7]\n"
                                    "layers: null\n"
                                    "head_lists: []\n"
                                    "first:\n"
                                    "  name: main\n"
                                    "  epochs: 1\n"
                                    "stages:\n"
                                    "  - {name: main, epochs: 1}\n"
                                    "scaling: null\n"
                                    "arms: {}\n"
                                    "thresholds: null\n"
                                    "ops: null\n"
                                    "steps: []\n"
                                    "nheads: 4\n"
                                    "betas: [0.9, 0.999]\n";

static const char kind_values[] = "large: -9223372036854775808\n"
                                  "small: -2147483648\n"
                                  "rate: 0.333333343\n"
                                  "path: \"12\"\n"
                                  "note: \"null\"\n"
                                  "optimizer: sgd\n"
                                  "words: [x, \"a, b\", \"yes\"]\n"
                                  "rates: []\n"
                                  "flags: [false, true]\n"
                                  "pair: [false, false]\n"
                                  "names: [\"\", \"1\"]\n"
                                  "mixers: [none, linear]\n"
                                  "heads_per_level: [1, 2, 3]\n"
                                  "window: [1, 2]\n"
                                  "layers: []\n"
                                  "head_lists: [[1, 2], [], [31]]\n"
                                  "first:\n"
                                  "  name: warm\n"
                                  "  epochs: 0\n"
                                  "stages:\n"
                                  "  - {name: a, epochs: 1}\n"
                                  "  - {name: b, epochs: 3}\n"
                                  "scaling:\n"
                                  "  factor: 2.5\n"
                                  "arms:\n"
                                  "  dense:\n"
                                  "    train:\n"
                                  "      lr: 1\n"
                                  "thresholds:\n"
                                  "  10: 0.5\n"
                                  "ops: [[Rotate, 30], [Invert, null]]\n"
                                  "steps: [1, [a]]\n"
                                  "nheads: 4\n"
                                  "betas: [0.9, 0.999]\n";

static void test_every_kind_of_row(void **state)
{
    (void)state;
    Kinds k;
    bind(&kind_table, "", &k);
    assert_true(k.large == 9007199254740993); /* more than a double holds */
    assert_true(k.rate == 0.1f);
    assert_string_equal(k.path, "");
    assert_null(k.note);
    assert_int_equal(k.level_count, 1);
    assert_int_equal(k.heads_per_level[0], 8);
    assert_int_equal(k.window[1], 7);
    assert_false(k.has_layers);
    assert_int_equal(k.stage_count, 1);
    assert_string_equal(k.stages[0].name, "main");
    assert_false(k.has_scaling);
    assert_int_equal(k.arms->count, 0);
    assert_null(k.thresholds);
    assert_resolved(&kind_table, &k, kind_defaults);
    config_free(&kind_table, &k);
    assert_null(k.path);

    bind(&kind_table, kind_values, &k);
    assert_true(k.large == INT64_MIN);
    assert_string_equal(k.note, "null");
    assert_int_equal(k.optimizer, SGD);
    assert_int_equal(k.word_count, 3);
    assert_string_equal(k.words[1], "a, b");
    assert_int_equal(k.mixers[0], 2);
    assert_int_equal(k.heads_per_level[2], 3);
    assert_true(k.has_layers);
    assert_int_equal(k.head_lists[0].heads[1], 2);
    assert_int_equal(k.head_lists[1].count, 0);
    assert_int_equal(k.stages[1].epochs, 3);
    assert_true(k.has_scaling);
    assert_string_equal(node_find_path(k.arms, "dense.train.lr")->text, "1");
    assert_string_equal(k.ops->items[0]->items[1]->text, "30");
    assert_int_equal(k.step_count, 2);
    assert_resolved(&kind_table, &k, kind_values);
    config_free(&kind_table, &k);
}

static void test_lines_of_every_kind(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"small: 3.5\n", "a.yaml:1: small is 3.5, expected an integer"},
        {"small: 3 apples\n", "a.yaml:1: small is \"3 apples\", expected an integer"},
        {"small: '3'\n", "a.yaml:1: small is \"3\", expected an integer"},
        {"small: 2147483648\n", "a.yaml:1: small is 2147483648, expected an integer"},
        {"small: -2147483649\n", "a.yaml:1: small is -2147483649, expected an integer"},
        {"small: null\n", "a.yaml:1: small is null, expected an integer"},
        {"small: [1]\n", "a.yaml:1: small is [1], expected an integer"},
        {"large: 9223372036854775808\n", "a.yaml:1: large is 9223372036854775808, expected an integer"},
        {"rate: 1e39\n", "a.yaml:1: rate is 1e39, expected a number"},
        {"rate: nan\n", "a.yaml:1: rate is nan, expected a number"},
        {"path: null\n", "a.yaml:1: path is null, expected a string"},
        {"path: [a]\n", "a.yaml:1: path is [a], expected a string"},
        {"note: {}\n", "a.yaml:1: note is {}, expected a string or null"},
        {"optimizer: adam\n", "a.yaml:1: optimizer is adam, expected adamw or sgd"},
        {"optimizer: [sgd]\n", "a.yaml:1: optimizer is [sgd], expected adamw or sgd"},
        {"words: a\n", "a.yaml:1: words is a, expected a list of strings"},
        {"words: [a, []]\n", "a.yaml:1: words[1] is [], expected a string"},
        {"rates: [0.5, 2]\n", "a.yaml:1: rates[1] is 2, expected a number in [0, 1]"},
        {"rates: 1\n", "a.yaml:1: rates is 1, expected a list of numbers in [0, 1]"},
        {"flags: yes\n", "a.yaml:1: flags is yes, expected a list of booleans (true, false, yes or no)"},
        {"pair: [yes]\n", "a.yaml:1: pair is [yes], expected a list of 2 booleans (true, false, yes or no)"},
        {"names: []\n", "a.yaml:1: names is [], expected a list of 2 strings"},
        {"mixers: [softmx]\n", "a.yaml:1: mixers[0] is softmx, expected softmax, linear or none"},
        {"mixers: softmax\n", "a.yaml:1: mixers is softmax, expected a list of words out of softmax, linear or none"},
        {"heads_per_level: 0\n", "a.yaml:1: heads_per_level is 0, expected an integer in [1, 64]"},
        {"heads_per_level: [8, 0]\n", "a.yaml:1: heads_per_level[1] is 0, expected an integer in [1, 64]"},
        {"window: [1, 2, 3]\n",
         "a.yaml:1: window is [1, 2, 3], expected an integer in [1, 64] or a list of 2 integers in [1, 64]"},
        {"window: 65\n", "a.yaml:1: window is 65, expected an integer in [1, 64]"},
        {"layers: 1\n", "a.yaml:1: layers is 1, expected a list of integers or null"},
        {"head_lists: [[1], 2]\n", "a.yaml:1: head_lists[1] is 2, expected a list of integers in [0, 31]"},
        {"head_lists: [[1], [2, 32]]\n", "a.yaml:1: head_lists[1][1] is 32, expected an integer in [0, 31]"},
        {"first: 3\n", "a.yaml:1: first is 3, expected a section of keys"},
        {"first:\nsmall: 1\n", "a.yaml:1: first is null, expected a section of keys"},
        {"first:\n  epoch: 3\n", "a.yaml:2: unknown key first.epoch (did you mean epochs?)"},
        {"first:\n  epochs: -1\n", "a.yaml:2: first.epochs is -1, expected an integer in [0, 1000]"},
        {"stages:\n- {}\n- {epochs: x}\n", "a.yaml:3: stages[1].epochs is x, expected an integer in [0, 1000]"},
        {"stages:\n- {}\n- {nmae: x}\n", "a.yaml:3: unknown key stages[1].nmae (did you mean name?)"},
        {"stages:\n- a\n", "a.yaml:2: stages[0] is a, expected a section of keys"},
        {"stages: {}\n", "a.yaml:1: stages is {}, expected a list of sections of keys"},
        {"scaling:\n  {}\n", "a.yaml:2: scaling.factor is missing, expected a number in [1, inf)"},
        {"scaling: 2\n", "a.yaml:1: scaling is 2, expected a section of keys or null"},
        {"arms: [a]\n", "a.yaml:1: arms is [a], expected a section of keys"},
        {"thresholds: 3\n", "a.yaml:1: thresholds is 3, expected a section of keys or null"},
        {"steps: 3\n", "a.yaml:1: steps is 3, expected a list of values"},
        {"nheads: 8\n", "a.yaml:1: nheads is 8, expected 4, the only value it can have here"},
        {"betas: [0.9]\n", "a.yaml:1: betas is [0.9], expected [0.9, 0.999], the only value it can have here"},
        {"path: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaüü]\n",
         "a.yaml:1: path is [\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..., expected a string"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        assert_refused(&kind_table, cases[i].text, cases[i].line);
}

static void test_values_without_effect(void **state)
{
    (void)state;
    Kinds k;
    bind(&kind_table, "ff_mult: [anything]\nnheads: 4.0\nbetas: [0.90, 999e-3]\npath: 12\n", &k);
    assert_string_equal(k.path, "12");
    config_free(&kind_table, &k);
}

static void test_json_gives_lines_without_numbers(void **state)
{
    (void)state;
    Error e;
    Vit vit;
    Node *node = node_from_json_text("{\"img_size\": [28, 28], \"depth\": [[1, 2.0, 0]]}", "case.safetensors", &e);
    assert_non_null(node);
    assert_false(config_bind(&vit_table, node, &vit, &e));
    assert_string_equal(e.text, "case.safetensors: depth[0][1] is 2.0, expected an integer in [0, 100]");
    node_free(node);
}

static void test_command_line_is_an_origin(void **state)
{
    (void)state;
    Error e;
    Kinds k;
    Node *node = yaml("first: {epochs: 3}\n");
    assert_true(node_set_path(node, "first.epochs", "x", "command line", &e));
    assert_false(config_bind(&kind_table, node, &k, &e));
    assert_string_equal(e.text, "command line: first.epochs is x, expected an integer in [0, 1000]");
    node_free(node);
}

static const ConfigField upside_down_rows[] = {
    {CONFIG_INT_ARRAY("img_size", Vit, img_size, .value = "[1, 2]")},
    {CONFIG_NUMBER("qk_scale", Vit, qk_scale, .value = "1")},
};
static const ConfigTable upside_down_table = {CONFIG_STRUCT(Vit), CONFIG_ROWS(upside_down_rows),
                                              .resolve = resolve_vit};

static void test_refusing_a_default(void **state)
{
    (void)state;
    assert_refused(&vit_table, "depth: []\nimg_size: [1, 2]\n",
                   "a.yaml:2: img_size is [1, 2], but the small branch must not see the smaller image");
    assert_refused(&upside_down_table, "\nqk_scale: 2\n",
                   "a.yaml:2: img_size is [1, 2] by default, but the small branch must not see the smaller image");
    Vit vit;
    Error e;
    assert_false(config_bind_at(&upside_down_table, NULL, "model", "", &vit, &e));
    assert_string_equal(
        e.text, "config: model.img_size is [1, 2] by default, but the small branch must not see the smaller image");
}

static void test_help(void **state)
{
    (void)state;
    Str text = {0};
    config_help(&kind_table, &text);
    static const char *const lines[] = {
        "  nheads                           4                of the cell (4, the only value it can have here)\n",
        "  ff_mult                                           of the unused layer; accepted, no effect\n",
        "first: what is trained first\n  first.name                       main             of the stage (a string)\n",
        "  stages                           [{}]             a list of sections of keys\n"
        "  stages[].name                    main             of the stage (a string)\n",
        "  scaling                          null             a section of keys or null\n"
        "  scaling.factor                   (required)       of the longest input (a number in [1, inf))\n",
    };
    for (int i = 0; i < COUNT_OF(lines); i++)
        assert_non_null(strstr(text.text, lines[i]));
    str_free(&text);
}

/* A wrong table is a bug of ours: one line with file and line, exit 1. */
static void assert_contract(const ConfigTable *table)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Vit vit;
        Error e;
        unsetenv("ZOO_ABORT");
        assert_non_null(freopen("/dev/null", "w", stderr));
        config_bind(table, NULL, &vit, &e);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static const ConfigField wrong_rows[] = {
    {CONFIG_INT("stages", Vit, stages, .value = "x")},
    {CONFIG_INT("stages", Vit, stages, .value = "[")},
    {CONFIG_INT("stages", Vit, stages, .value = "3", .range = "[4, 5]")},
    {CONFIG_INT("stages", Vit, stages, .value = "3", .range = "1 to 5")},
    {CONFIG_INT("stages", Vit, stages, .value = "3", .range = "[1, five]")},
    {CONFIG_INT("stages", Vit, stages, .value = "3", .range = "[1, 5")},
    {CONFIG_ENUM("qkv_bias", Vit, qkv_bias, CONFIG_WORDS("a"), .value = "a")},
};

static void test_mistakes_in_a_table(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(wrong_rows); i++)
        assert_contract(&(ConfigTable){CONFIG_STRUCT(Vit), .rows = &wrong_rows[i], .count = 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crossvit_model_section),
        cmocka_unit_test(test_lines_of_the_model_section),
        cmocka_unit_test(test_every_kind_of_row),
        cmocka_unit_test(test_lines_of_every_kind),
        cmocka_unit_test(test_values_without_effect),
        cmocka_unit_test(test_json_gives_lines_without_numbers),
        cmocka_unit_test(test_command_line_is_an_origin),
        cmocka_unit_test(test_refusing_a_default),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_mistakes_in_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
