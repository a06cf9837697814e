/* The command line of a model's program:
 *
 *     train [CONFIG] [key=value ...] [--resume [RUN]] [--dry-run] [--help]
 *     eval  [RUN_OR_CHECKPOINT] [key=value ...] [--help]
 *           [--table N | --configs | --golden FILE | --features OUT | a view of the model]
 *
 * `--option VALUE` and `--option=VALUE` are the same. A word is key=value if what stands before the first '=' could be
 * a key ("train.lr", but not "./runs/lr"); the values are flow YAML. The functions take the words after the verb, whose
 * text the struct then points into, and fail with one line for the user (exit code 2). */
#pragma once
#include "common/base/error.h"
#include "common/base/str.h"
#include "common/run/config/node.h"

typedef struct TrainOptions {
    const char *config; /* a name, a path or the word "configs"; NULL: the default config */
    Node *overrides;    /* the map of all key=value, origin "command line"; empty if there were none */
    bool resume;
    const char *run; /* with resume; NULL: the newest unfinished run of the model */
    bool dry_run, help;
} TrainOptions;

typedef enum EvalAction {
    EVAL_METRICS,  /* the paper's metric of `target` */
    EVAL_TABLE,    /* `table` of the paper; target may be NULL */
    EVAL_CONFIGS,  /* parameters and GMACs of the named configs */
    EVAL_GOLDEN,   /* against the golden file `path` */
    EVAL_FEATURES, /* of `target`, written to `path` */
    EVAL_VIEW,     /* `view` of the model on `path`; target may be NULL: the newest run of the model */
} EvalAction;

typedef struct EvalOptions {
    EvalAction action;
    const char *target; /* a run or a checkpoint */
    int table;
    const char *path;
    int view; /* index in the model's views */
    Node *overrides;
    bool help;
} EvalOptions;

/* A way of looking at a trained model that only this model has. */
typedef struct ViewOption {
    const char *name;     /* "--attention" */
    const char *argument; /* "IMAGE"; NULL: it takes none */
    const char *help;     /* "draws what the class token attends to" */
} ViewOption;

bool train_options(TrainOptions *options, int count, char *const *words, Error *e);
void train_options_free(TrainOptions *options);

bool eval_options(EvalOptions *options, const ViewOption *views, int view_count, int count, char *const *words,
                  Error *e);
void eval_options_free(EvalOptions *options);

/* The usage and one line an option; the config's keys (config_help) follow it in --help. */
void train_usage(const char *model, Str *out);
void eval_usage(const char *model, const ViewOption *views, int view_count, Str *out);
