#include "common/run/cli/options.h"

#include "common/base/memory.h"

#include <limits.h>
#include <string.h>

enum { MOST_OPTIONS = 32 };

typedef struct Option {
    const char *name;
    const char *argument; /* NULL: none; "[RUN]": may be left out */
    const char *help;
} Option;

/* The words of one command line, sorted into what they are. */
typedef struct Words {
    const char *verb;
    const Option *options;
    int option_count;
    bool given[MOST_OPTIONS];
    const char *value[MOST_OPTIONS]; /* of an option that was given; NULL: it has none */
    const char *target;              /* the word that is neither option nor key=value */
    Node *overrides;
} Words;

enum { TRAIN_RESUME, TRAIN_DRY_RUN, TRAIN_HELP };
static const Option train_list[] = {
    {"--resume", "[RUN]", "goes on with a run; without RUN, with the newest unfinished one of the model"},
    {"--dry-run", NULL, "prints the resolved config, parameters, GMACs, memory and data; writes nothing"},
    {"--help", NULL, "prints this and every config key"},
};

enum { EVAL_OPTION_TABLE, EVAL_OPTION_CONFIGS, EVAL_OPTION_GOLDEN, EVAL_OPTION_FEATURES, EVAL_OPTION_HELP, EVAL_OWN };
static const Option eval_list[EVAL_OWN] = {
    {"--table", "N", "the paper's table N, its figures beside ours"},
    {"--configs", NULL, "name, parameters and GMACs of every named config"},
    {"--golden", "FILE", "compares with what the authors' code computed (of keys it takes device alone)"},
    {"--features", "OUT", "writes the features of RUN_OR_CHECKPOINT to a safetensors file"},
    {"--help", NULL, "prints this and every config key"},
};

/* "train.lr=1": letters, digits, '_', '-' and '.' before the first '='. */
static bool is_override(const char *word)
{
    size_t key = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return key > 0 && word[key] == '=' && word[0] != '-';
}

static bool add_override(Words *w, const char *word, Error *e)
{
    char *key = str_copy(word), *equals = strchr(key, '=');
    *equals = '\0';
    bool ok = node_set_path(w->overrides, key, equals + 1, "command line", e);
    mem_free(key);
    return ok;
}

static bool refuse_option(const Words *w, const char *name, Error *e)
{
    const char *names[MOST_OPTIONS];
    for (int i = 0; i < w->option_count; i++)
        names[i] = w->options[i].name;
    const char *nearest = str_nearest(name, names, w->option_count);
    if (nearest)
        return error_set(e, "%s: unknown option %s (did you mean %s?)", w->verb, name, nearest);
    return error_set(e, "%s: unknown option %s (--help lists them)", w->verb, name);
}

/* The option that a word such as "--table" or "--table=2" names; -1: none. */
static int find_option(const Words *w, const char *name)
{
    if (strcmp(name, "-h") == 0)
        name = "--help";
    for (int i = 0; i < w->option_count; i++) {
        if (strcmp(w->options[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* Reads the option at words[*at] and its value, and leaves *at on the last word it took. */
static bool read_option(Words *w, int count, char *const *words, int *at, Error *e)
{
    char *name = str_copy(words[*at]), *equals = strchr(name, '=');
    const char *value = equals ? strchr(words[*at], '=') + 1 : NULL;
    if (equals)
        *equals = '\0';
    int i = find_option(w, name);
    bool known = i >= 0 || refuse_option(w, name, e);
    mem_free(name);
    if (!known)
        return false;
    const Option *option = &w->options[i];
    bool optional = option->argument && option->argument[0] == '[';
    if (w->given[i])
        return error_set(e, "%s: %s stands here twice", w->verb, option->name);
    if (!option->argument && value)
        return error_set(e, "%s: %s takes no value", w->verb, option->name);
    const char *following = *at + 1 < count ? words[*at + 1] : "-";
    if (option->argument && !value && following[0] != '-' && !(optional && is_override(following))) {
        value = following;
        ++*at;
    }
    if (option->argument && !(value ? *value : optional))
        return error_set(e, "%s: %s needs a value: %s", w->verb, option->name, option->argument);
    w->given[i] = true;
    w->value[i] = value;
    return true;
}

static bool read_words(Words *w, int count, char *const *words, Error *e)
{
    for (int i = 0; i < count; i++) {
        const char *word = words[i];
        bool ok = true;
        if (word[0] == '-')
            ok = read_option(w, count, words, &i, e);
        else if (is_override(word))
            ok = add_override(w, word, e);
        else if (!*word)
            ok = error_set(e, "%s: an argument is empty", w->verb);
        else if (w->target)
            ok = error_set(e, "%s: one is enough: %s, and then %s", w->verb, w->target, word);
        else
            w->target = word;
        if (!ok)
            return false;
    }
    return true;
}

bool train_options(TrainOptions *options, int count, char *const *words, Error *e)
{
    Words w = {"train", train_list, COUNT_OF(train_list), .overrides = node_map("command line")};
    *options = (TrainOptions){.overrides = w.overrides};
    bool ok = read_words(&w, count, words, e);
    if (ok && w.given[TRAIN_RESUME] && w.target)
        ok = error_set(e, "train: %s and --resume exclude each other: a run has its config (write --resume RUN)",
                       w.target);
    if (!ok) {
        train_options_free(options);
        return false;
    }
    options->config = w.target;
    options->resume = w.given[TRAIN_RESUME];
    options->run = w.value[TRAIN_RESUME];
    options->dry_run = w.given[TRAIN_DRY_RUN];
    options->help = w.given[TRAIN_HELP];
    return true;
}

void train_options_free(TrainOptions *options)
{
    node_free(options->overrides);
    *options = (TrainOptions){0};
}

/* The options of eval, the model's own behind the common ones; returns how many there are. */
static int list_eval_options(Option *list, const ViewOption *views, int view_count)
{
    contract(EVAL_OWN + view_count <= MOST_OPTIONS, "a model has %d views, too many", view_count);
    memcpy(list, eval_list, sizeof eval_list);
    for (int i = 0; i < view_count; i++)
        list[EVAL_OWN + i] = (Option){views[i].name, views[i].argument, views[i].help};
    return EVAL_OWN + view_count;
}

/* Which of the options that exclude each other was given; -1: none, -2: several, and then the error is set. */
static int find_action(const Words *w, Error *e)
{
    int found = -1;
    for (int i = 0; i < w->option_count; i++) {
        if (!w->given[i] || i == EVAL_OPTION_HELP)
            continue;
        if (found >= 0) {
            error_set(e, "eval: %s and %s exclude each other", w->options[found].name, w->options[i].name);
            return -2;
        }
        found = i;
    }
    return found;
}

static bool read_table(EvalOptions *options, const char *text, Error *e)
{
    Node *node = node_scalar(text, false, "");
    int64_t number;
    bool ok = node_int(node, &number) && number >= 1 && number <= INT_MAX;
    node_free(node);
    if (!ok)
        return error_set(e, "eval: --table is %s, expected the number of a table", text);
    options->table = (int)number;
    return true;
}

static bool fill_eval(EvalOptions *options, const Words *w, Error *e)
{
    static const EvalAction actions[] = {
        [EVAL_OPTION_TABLE] = EVAL_TABLE,
        [EVAL_OPTION_CONFIGS] = EVAL_CONFIGS,
        [EVAL_OPTION_GOLDEN] = EVAL_GOLDEN,
        [EVAL_OPTION_FEATURES] = EVAL_FEATURES,
    };
    int found = find_action(w, e);
    if (found == -2)
        return false;
    options->target = w->target;
    options->help = w->given[EVAL_OPTION_HELP];
    options->action = found < 0 ? EVAL_METRICS : found < EVAL_OWN ? actions[found] : EVAL_VIEW;
    options->view = MAX(found - EVAL_OWN, 0);
    options->path = found < 0 || options->action == EVAL_TABLE ? NULL : w->value[found];
    bool needs = options->action == EVAL_METRICS || options->action == EVAL_FEATURES;
    bool configs = options->action == EVAL_CONFIGS, forbids = configs || options->action == EVAL_GOLDEN;
    if (needs && !options->target && !options->help)
        return error_set(e, "eval: which run or checkpoint? (--help lists what else there is)");
    if (forbids && options->target)
        return error_set(e, "eval: %s needs no run or checkpoint, but there is %s", w->options[found].name, w->target);
    if (configs && w->overrides->count)
        return error_set(e, "eval: %s takes no key=value, but there is %s", w->options[found].name,
                         w->overrides->keys[0]);
    return options->action != EVAL_TABLE || read_table(options, w->value[found], e);
}

bool eval_options(EvalOptions *options, const ViewOption *views, int view_count, int count, char *const *words,
                  Error *e)
{
    Option list[MOST_OPTIONS];
    Words w = {"eval", list, list_eval_options(list, views, view_count), .overrides = node_map("command line")};
    *options = (EvalOptions){.overrides = w.overrides};
    if (read_words(&w, count, words, e) && fill_eval(options, &w, e))
        return true;
    eval_options_free(options);
    return false;
}

void eval_options_free(EvalOptions *options)
{
    node_free(options->overrides);
    *options = (EvalOptions){0};
}

static void list_options(const Option *options, int count, Str *out)
{
    for (int i = 0; i < count; i++) {
        const char *argument = options[i].argument ? options[i].argument : "";
        char *left = str_format("%s %s", options[i].name, argument);
        str_add(out, "  %-22s %s\n", left, options[i].help);
        mem_free(left);
    }
}

void train_usage(const char *model, Str *out)
{
    str_add(out, "usage: ./train %s [CONFIG] [key=value ...] [options]\n\n", model);
    str_add(out, "  %-22s %s\n", "CONFIG",
            "a name (models/MODEL/configs/NAME.yaml), a path, or `configs` for the list");
    str_add(out, "  %-22s %s\n", "key=value",
            "lays a value over the config, such as train.epochs=3 or model.depth=[[1,2,0]]");
    list_options(train_list, COUNT_OF(train_list), out);
}

void eval_usage(const char *model, const ViewOption *views, int view_count, Str *out)
{
    Option list[MOST_OPTIONS];
    int count = list_eval_options(list, views, view_count);
    str_add(out, "usage: ./eval %s RUN_OR_CHECKPOINT [key=value ...]\n", model);
    str_add(out, "       ./eval %s [RUN_OR_CHECKPOINT] [key=value ...] OPTION\n\n", model);
    list_options(list, count, out);
}
