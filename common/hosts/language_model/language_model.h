/* Training, evaluating and sampling from language models: the workload of every such paper. The model says what its forward
 * is; data, loss, schedule, metrics, generation and report are here. B sequences, S tokens, V ids of the vocabulary. */
#pragma once
#include "common/attention/cache.h"
#include "common/data/sequence_loader.h"
#include "common/run/model.h"
#include "common/run/optimization.h"

/* What follows from a model's config. */
typedef struct LanguageShape {
    int64_t vocabulary; /* V */
    int64_t window;     /* the longest S */
    int64_t block;      /* S is a multiple of it in training and evaluation; 0: any */
    bool shifts; /* logits[b,s] predict ids[b,s] from the ids before it (the model shifts its input); else ids[b,s+1] */
    bool pads;   /* id 0 is padding and is never counted */
    const char *vocabulary_key, *window_key; /* what the config calls the two */
    int64_t
        given; /* so many ids at the start are read and never predicted (an encoder's; the model does not shift); 0: none */
} LanguageShape;

/* What the workload asks of a model. */
typedef struct LanguageModel {
    LanguageShape (*shape)(const void *config);

    /* ids I64 [B,S] -> logits [B,S,V]. *auxiliary is NULL before; while training it may become a scalar that is added to the
     * loss as it is. */
    Tensor *(*forward)(Tape *t, const void *network, Tensor *ids, Tensor **auxiliary);

    /* logits [B,V] of the token that follows ids [B,n], for any n >= 1 (>= 0 where the model shifts) up to the window. NULL,
     * or if it returns NULL: the last row of forward, which then takes any S. */
    Tensor *(*next)(Tape *t, const void *network, Tensor *ids);

    /* Generation that does not compute the past again; both or none. open: for rows of at most the window, NULL where this
     * network has to; extend: the next n ids [B,n] of each row (n = 0 at first, where the model shifts and nothing is there
     * yet) -> logits [B,V] of the token that follows them. */
    Caches *(*cache_open)(Tape *t, const void *network, int64_t rows);
    Tensor *(*cache_extend)(Tape *t, const void *network, Caches *past, Tensor *ids);

    /* NULL: nothing. Once, before a new run's first step, with its first batch (of train.accumulate, the first part): first
     * values that need data. No gradients are recorded. */
    void (*before_training)(Tape *t, void *network, Tensor *ids);
    /* Which parameters train.weight_decay is for. NULL, or NULL given: those of two or more axes. */
    ParamRule *(*decays)(const void *config);
    /* NULL: nothing. After the optimizer's step, while what the last forward kept on the tape is there: buffers. */
    void (*post_step)(Tape *t, void *network);
} LanguageModel;

extern const Workload language_model_workload;

/* ---- Config */

typedef struct LanguageDataConfig {
    char *set, *path, *tokenizer;
    int64_t length; /* S; 0: the model's window */
    double hold_out;
    int64_t limit_train, limit_valid, limit_test;
    int64_t pairs;
    int threads, ahead;
} LanguageDataConfig;

typedef enum LanguageSchedule { LANGUAGE_COSINE, LANGUAGE_CONSTANT, LANGUAGE_RSQRT } LanguageSchedule;
typedef enum LossOver { LOSS_OF_ALL, LOSS_OF_ANSWERS } LossOver;

typedef struct LanguageTrainConfig {
    int64_t steps, epochs, validate_every;
    int batch_size, accumulate;
    OptimizationConfig optimization;
    LanguageSchedule schedule;
    double min_lr, warmup_lr, warmup;
    LossOver loss;
    int64_t sample_length;
    char *sample_prompt;
    char *finetune;
} LanguageTrainConfig;

typedef struct LanguageEvalConfig {
    int batch_size;
    int64_t stride; /* 0: windows do not overlap */
    int ngram;
    double temperature, top_p;
    int64_t top_k, length, seed;
    bool cache;
} LanguageEvalConfig;

extern const ConfigTable language_data_table, language_train_table, language_eval_table;

static inline const LanguageModel *language_model_of(const Job *job)
{
    return job->model->workload_hooks;
}

static inline LanguageShape language_shape_of(const Job *job)
{
    return language_model_of(job)->shape(job->settings->model);
}
