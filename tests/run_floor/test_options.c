/* The command lines of train and eval: what each word becomes, and every line that refuses. */
#include "common/base/memory.h"
#include "common/run/cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const ViewOption views[] = {
    {"--attention", "IMAGE", "draws what the class token attends to"},
    {"--spectrum", NULL, "prints the singular values of each layer"},
};

enum { MOST_WORDS = 16 };

/* Splits a line at its spaces; '_' is a word that is empty. */
static int split(char *line, char **words)
{
    int count = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        words[count++] = strcmp(word, "_") == 0 ? "" : word;
    return count;
}

static char line_kept[256], *words_kept[MOST_WORDS];

static bool train(TrainOptions *o, const char *line, Error *e)
{
    strcpy(line_kept, line);
    return train_options(o, split(line_kept, words_kept), words_kept, e);
}

static bool eval(EvalOptions *o, const char *line, Error *e)
{
    strcpy(line_kept, line);
    return eval_options(o, views, COUNT_OF(views), split(line_kept, words_kept), words_kept, e);
}

static void assert_flow(const Node *node, const char *expected)
{
    Str text = {0};
    node_write_flow(node, &text);
    assert_string_equal(text.text, expected);
    str_free(&text);
}

static void assert_text(const char *text, const char *expected)
{
    if (expected)
        assert_string_equal(text, expected);
    else
        assert_null(text);
}

static void test_train(void **state)
{
    (void)state;
    static const struct {
        const char *line, *config, *overrides;
        bool resume;
        const char *run;
        bool dry_run, help;
    } cases[] = {
        {"", NULL, "{}", false, NULL, false, false},
        {"tiny", "tiny", "{}", false, NULL, false, false},
        {"configs", "configs", "{}", false, NULL, false, false},
        {"train.epochs=3 tiny model.depth=[[1,2,0]]", "tiny", "{train: {epochs: 3}, model: {depth: [[1, 2, 0]]}}",
         false, NULL, false, false},
        {"a=1 a=2", NULL, "{a: 2}", false, NULL, false, false},
        {"./lr=3.yaml", "./lr=3.yaml", "{}", false, NULL, false, false},
        {"data.path=/a=b", NULL, "{data: {path: \"/a=b\"}}", false, NULL, false, false},
        {"--resume", NULL, "{}", true, NULL, false, false},
        {"--resume runs/crossvit/tiny", NULL, "{}", true, "runs/crossvit/tiny", false, false},
        {"--resume=runs/lr=3 --dry-run", NULL, "{}", true, "runs/lr=3", true, false},
        {"--resume threads=1", NULL, "{threads: 1}", true, NULL, false, false},
        {"--resume --dry-run", NULL, "{}", true, NULL, true, false},
        {"--dry-run tiny", "tiny", "{}", false, NULL, true, false},
        {"--help", NULL, "{}", false, NULL, false, true},
        {"-h", NULL, "{}", false, NULL, false, true},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        TrainOptions o;
        Error e;
        if (!train(&o, cases[i].line, &e))
            fail_msg("%s: %s", cases[i].line, e.text);
        assert_text(o.config, cases[i].config);
        assert_flow(o.overrides, cases[i].overrides);
        assert_int_equal(o.resume, cases[i].resume);
        assert_text(o.run, cases[i].run);
        assert_int_equal(o.dry_run, cases[i].dry_run);
        assert_int_equal(o.help, cases[i].help);
        train_options_free(&o);
    }
}

static void test_train_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"--resmue", "train: unknown option --resmue (did you mean --resume?)"},
        {"--dryrun", "train: unknown option --dryrun (did you mean --dry-run?)"},
        {"--resmue=x", "train: unknown option --resmue (did you mean --resume?)"},
        {"--attention x.png", "train: unknown option --attention (--help lists them)"},
        {"-", "train: unknown option - (--help lists them)"},
        {"--dry-run=yes", "train: --dry-run takes no value"},
        {"--dry-run --dry-run", "train: --dry-run stands here twice"},
        {"--resume=", "train: --resume needs a value: [RUN]"},
        {"--resume _", "train: --resume needs a value: [RUN]"},
        {"_", "train: an argument is empty"},
        {"tiny small", "train: one is enough: tiny, and then small"},
        {"tiny --resume", "train: tiny and --resume exclude each other: a run has its config (write --resume RUN)"},
        {"train.epochs=", "command line: train.epochs=: a value is missing (write null, or '' for an empty string)"},
        {"a..b=1", "command line: a..b is no key: expected words with a dot between them, at most 16"},
        {"a=[1", "command line: a=[1: not valid YAML: did not find expected ',' or ']'"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        TrainOptions o;
        Error e = {0};
        assert_false(train(&o, cases[i].line, &e));
        assert_string_equal(e.text, cases[i].error);
        assert_null(o.overrides);
    }
}

static void test_eval(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        EvalAction action;
        const char *target, *path, *overrides;
        int table, view;
        bool help;
    } cases[] = {
        {"runs/x data.path=/d", EVAL_METRICS, "runs/x", NULL, "{data: {path: /d}}", 0, 0, false},
        {"config=tiny a.safetensors", EVAL_METRICS, "a.safetensors", NULL, "{config: tiny}", 0, 0, false},
        {"--table 2", EVAL_TABLE, NULL, NULL, "{}", 2, 0, false},
        {"--table=2 w.pth", EVAL_TABLE, "w.pth", NULL, "{}", 2, 0, false},
        {"--configs", EVAL_CONFIGS, NULL, NULL, "{}", 0, 0, false},
        {"--golden a=b.safetensors", EVAL_GOLDEN, NULL, "a=b.safetensors", "{}", 0, 0, false},
        {"--golden f device=cuda", EVAL_GOLDEN, NULL, "f", "{device: cuda}", 0, 0, false},
        {"runs/x --features out.safetensors", EVAL_FEATURES, "runs/x", "out.safetensors", "{}", 0, 0, false},
        {"runs/x --attention cat.png", EVAL_VIEW, "runs/x", "cat.png", "{}", 0, 0, false},
        {"--spectrum runs/x", EVAL_VIEW, "runs/x", NULL, "{}", 0, 1, false},
        {"--help", EVAL_METRICS, NULL, NULL, "{}", 0, 0, true},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        EvalOptions o;
        Error e;
        if (!eval(&o, cases[i].line, &e))
            fail_msg("%s: %s", cases[i].line, e.text);
        assert_int_equal(o.action, cases[i].action);
        assert_text(o.target, cases[i].target);
        assert_text(o.path, cases[i].path);
        assert_flow(o.overrides, cases[i].overrides);
        assert_int_equal(o.table, cases[i].table);
        assert_int_equal(o.view, cases[i].view);
        assert_int_equal(o.help, cases[i].help);
        eval_options_free(&o);
    }
}

static void test_eval_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"", "eval: which run or checkpoint? (--help lists what else there is)"},
        {"a=1", "eval: which run or checkpoint? (--help lists what else there is)"},
        {"--features x", "eval: which run or checkpoint? (--help lists what else there is)"},
        {"--tabel 2", "eval: unknown option --tabel (did you mean --table?)"},
        {"--atention x.png", "eval: unknown option --atention (did you mean --attention?)"},
        {"--table", "eval: --table needs a value: N"},
        {"--table --configs", "eval: --table needs a value: N"},
        {"--table two", "eval: --table is two, expected the number of a table"},
        {"--table 0", "eval: --table is 0, expected the number of a table"},
        {"--golden", "eval: --golden needs a value: FILE"},
        {"--golden=", "eval: --golden needs a value: FILE"},
        {"--attention", "eval: --attention needs a value: IMAGE"},
        {"--spectrum=1", "eval: --spectrum takes no value"},
        {"--configs --table 2", "eval: --table and --configs exclude each other"},
        {"runs/x --spectrum --attention a.png", "eval: --attention and --spectrum exclude each other"},
        {"runs/x --configs", "eval: --configs needs no run or checkpoint, but there is runs/x"},
        {"runs/x --golden f", "eval: --golden needs no run or checkpoint, but there is runs/x"},
        {"--configs data.path=/d", "eval: --configs takes no key=value, but there is data"},
        {"--configs threads=1", "eval: --configs takes no key=value, but there is threads"},
        {"runs/x runs/y", "eval: one is enough: runs/x, and then runs/y"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        EvalOptions o;
        Error e = {0};
        assert_false(eval(&o, cases[i].line, &e));
        assert_string_equal(e.text, cases[i].error);
        assert_null(o.overrides);
    }
}

static void test_usage(void **state)
{
    (void)state;
    Str text = {0};
    train_usage("crossvit", &text);
    assert_true(str_starts(text.text, "usage: ./train crossvit [CONFIG] [key=value ...] [options]\n"));
    assert_non_null(strstr(text.text, "\n  --resume [RUN]         goes on with a run;"));
    str_clear(&text);
    eval_usage("crossvit", views, COUNT_OF(views), &text);
    assert_true(str_starts(text.text, "usage: ./eval crossvit RUN_OR_CHECKPOINT [key=value ...]\n"));
    assert_non_null(strstr(text.text, "\n  --attention IMAGE      draws what the class token attends to\n"));
    str_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train),         cmocka_unit_test(test_train_refusals), cmocka_unit_test(test_eval),
        cmocka_unit_test(test_eval_refusals), cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
