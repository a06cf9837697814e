/* The training loop that the models share: steps, validation, checkpoints, metrics, signals. What is trained, and on what,
 * is the Task's. */
#pragma once
#include "common/nn/optimizer.h"
#include "common/run/progress.h"

enum { TASK_FIGURES = 16 };

typedef struct StepResult {
    int64_t count;        /* images, tokens: what rates count */
    double loss, measure; /* means over the step; measure: what the task's measure names, NaN: not known */
} StepResult;

/* One stage of training. `figures` are what a validation gives; the first decides which checkpoint is the best. A run is
 * counted in epochs, or, where `epochs` is 0, in steps: an epoch then is no more than the way from one validation to the
 * next, and the last one may be shorter. */
typedef struct Task Task;
struct Task {
    void *own;
    int epochs;
    int64_t steps;    /* in an epoch */
    int64_t total;    /* of the run, where epochs is 0 */
    int64_t pass;     /* likewise: of a pass over the data, which the column `epoch` of metrics.csv counts */
    const char *unit; /* "images" */
    Measure measure;  /* what a training step tells beside its loss */
    Params *params;
    Optimizer *optimizer;
    const char *figures[TASK_FIGURES]; /* "val_accuracy", "val_loss", ... */
    int figure_count;                  /* 0: there is nothing to validate on, the last checkpoint is the best */
    bool least;                        /* the best is the least of the first figure (a loss), not the greatest */

    /* Why this training cannot be split among ranks, each with a share of every batch; NULL: it can. Then what train_step
     * gives are figures of the whole batch, and what it goes back from are losses whose sum over the ranks is the step's. N ranks are
     * one but for batch norm, whose statistics are each rank's own unless train.sync_batch_norm says otherwise; validations and
     * checkpoints have the buffers of rank 0. */
    const char *rows_local;

    double (*learning_rate)(const Task *task, int64_t epoch, int64_t step); /* step of the epoch */
    /* Puts the data at this step: called once, before the first. */
    void (*seek)(Task *task, int64_t epoch, int64_t step);
    /* Forward and backward; the gradients are zero before, and the optimizer steps after. */
    bool (*train_step)(Task *task, Tape *t, int64_t epoch, StepResult *result, Error *e);
    /* NULL: train_step gives its result. Else train_step only starts its work, and leaves `result` alone, so that a GPU always has
     * a step to do; this then gives the results, in order: of a step when the next one has been started, or when it is needed. */
    void (*step_result)(Task *task, Tape *t, StepResult *result);
    /* What a model does beside its gradients; NULL: nothing. before_training: once, before the first step of a new run (first
     * values that need data). post_step: after the optimizer's step, while what the forward kept on the tape is still there
     * (buffers of k-means, moving averages). */
    bool (*before_training)(Task *task, Tape *t, Error *e);
    void (*post_step)(Task *task, Tape *t);
    bool (*validate)(Task *task, Tape *t, double *figures, Error *e);
    double (*waited)(const Task *task); /* seconds spent waiting for data so far */
};

typedef struct TrainerOptions {
    const char *run; /* its folder */
    Log *log;
    const char *resume;            /* the checkpoint folder to go on from, or NULL */
    double save_seconds;           /* between checkpoints inside an epoch */
    const MetadataEntry *metadata; /* for the checkpoints: model, config, ... */
    int metadata_count;
} TrainerOptions;

typedef enum TrainerEnd { TRAINER_DONE, TRAINER_INTERRUPTED, TRAINER_FAILED } TrainerEnd;

/* Trains to the end, with all ranks of the tape, of which rank 0 alone writes, or until SIGINT or SIGTERM (a checkpoint is saved), or until something fails (a line in e). */
TrainerEnd trainer_run(Task *task, Tape *t, const TrainerOptions *options, Error *e);
