/* Optimizers over the flat buffer of a model's parameters: one kernel call a range of neighbours that are treated alike. */
#pragma once
#include "common/nn/params.h"

typedef enum OptimizerKind { OPTIMIZER_ADAMW, OPTIMIZER_SGD } OptimizerKind;

typedef struct OptimizerOptions {
    OptimizerKind kind;
    double beta1, beta2, eps; /* AdamW */
    double momentum;          /* SGD, Nesterov's */
    double weight_decay;      /* AdamW: decoupled, before the step; SGD: added to the gradient */
    /* Which parameters decay; NULL: those of two or more dimensions. */
    bool (*decays)(const Param *param);
} OptimizerOptions;

typedef struct Optimizer Optimizer;

Optimizer *optimizer_new(const OptimizerOptions *options, Params *params);
void optimizer_free(Optimizer *o);

/* One step with the gradients that arrived since params_zero_gradients; parameters that none reached are skipped. Raises the
 * parameters' versions. */
void optimizer_step(Optimizer *o, Tape *t, double lr);

/* sqrt of the sum of squares of all gradients that arrived. */
double optimizer_gradient_norm(Optimizer *o, Tape *t);

/* The state as named tensors for a checkpoint (`optimizer.m`, `optimizer.v`, `optimizer.steps`), pointing into the
 * optimizer. Returns how many. */
int optimizer_to_write(Optimizer *o, TensorToWrite out[static 3]);
/* All of it, or nothing and a line. */
bool optimizer_load(Optimizer *o, const TensorFile *file, Error *e);
