/* What a model folder exports, and what every program is made of: `const Model <folder>_model`. */
#pragma once
#include "common/run/golden.h"
#include "common/run/settings.h"
#include "common/run/trainer.h"

/* Everything that one training or evaluation works with. */
typedef struct Job {
    const struct Model *model;
    Settings *settings;
    Params *params;
    void *network; /* the model's own struct */
    Tape *tape;
    Log *log;
    const char *run; /* folder that is trained into, or NULL */
    char *from;      /* the run that weights which are evaluated come from, or NULL */
    double started;  /* seconds, monotonic: when the program began */
} Job;

struct Program; /* common/run/command/command.h */

/* ./eval MODEL TARGET --<name> ARGUMENT */
typedef struct ModelView {
    const char *name, *argument, *help;
    bool (*show)(Job *job, const char *argument, Error *e);
} ModelView;

/* What a finished run ends with: the figures of the test set, for tables of experiments. */
typedef struct Result {
    char names[TASK_FIGURES][48];
    double values[TASK_FIGURES]; /* NaN: does not exist in this arm */
    int count;
} Result;

__attribute__((format(printf, 3, 4))) void result_add(Result *r, double value, const char *name, ...);

/* What a model is trained for: classification, language modelling, ... A model brings its own or takes one of common/run. */
typedef struct Workload {
    const ConfigTable *data, *train, *eval; /* tables of the config's sections */

    /* Which data, where it lies; false with a line if it is not there. */
    bool (*find_data)(const Settings *settings, Str *description, Error *e);

    Task *(*open)(Job *job, Error *e); /* opens the data and readies the training */
    /* After the last step: the test set, once, and the report. */
    bool (*finish)(Task *task, Job *job, Result *result, Error *e);
    void (*close)(Task *task);
    bool (*evaluate)(Job *job, Error *e);                   /* ./eval MODEL CHECKPOINT */
    bool (*features)(Job *job, const char *path, Error *e); /* ./eval MODEL CHECKPOINT --features OUT.safetensors */
    void (*rehearse)(Job *job); /* the shapes of one training step on the meta device: what memory it takes */
    const ModelView *views;     /* of every model that is trained so; ends with a NULL name. NULL: none */
} Workload;

typedef struct Model {
    const char *name;          /* of the folder */
    const char *title;         /* as the paper writes it */
    const ConfigTable *config; /* the `model:` section: the authors' hyperparameters */
    void *(*create)(const void *config, Params *params);
    void (*destroy)(void *network);
    /* One forward of one sample on the meta device, for counting. */
    void (*trace)(Tape *t, const void *network, const void *config);
    const Workload *workload;
    const void *workload_hooks; /* what the workload asks of the model: a Classifier, ... */
    const GoldenEntry *golden;
    bool (*rename)(const char *name, char renamed[static 256]); /* other names in checkpoints, or NULL */
    /* A LoadOptions.adapt with a Tape as its user: weights for another resolution. NULL: none. */
    bool (*adapt)(void *tape, const Param *param, Shape stored, const float *values, float *out);
    const ModelView *views; /* of its own; ends with a NULL name */
    /* --table N: the paper's rows beside what the weights that are here give. NULL: none yet. */
    bool (*table)(const struct Program *program, int number, const Node *overrides, Error *e);
} Model;

/* The whole program: `train ...` and `eval ...`; root is the project's folder. Returns the exit code. */
int model_main(const Model *model, const char *root, int argc, char **argv);
