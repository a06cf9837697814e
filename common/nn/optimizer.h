/* Optimizers over the flat buffer of a model's parameters: one kernel call a range of neighbours that are treated alike. */
#pragma once
#include "common/nn/params.h"

typedef enum OptimizerKind { OPTIMIZER_ADAMW, OPTIMIZER_ADAM, OPTIMIZER_SGD, OPTIMIZER_ADAFACTOR } OptimizerKind;

typedef bool ParamRule(const Param *param);

typedef struct OptimizerOptions {
    OptimizerKind kind;
    double beta1, beta2, eps; /* Adam, AdamW */
    double momentum;          /* SGD, Nesterov's */
    double weight_decay;      /* AdamW: decoupled, before the step; the others: added to the gradient */
    double clip_norm;         /* all gradients times min(1, clip_norm / (norm + 1e-6)), as torch; 0: never */
    /* Adafactor (common/kernels/adafactor.h): decay 1 - (t + 1)^-decay_power, t counted from first_step; the update's rms is
     * clipped to `threshold`; the rate is lr * max(rms of the parameter, scale_floor). Moments are factored over the last two
     * axes. */
    double decay_power, eps1, scale_floor, threshold;
    int64_t first_step;
    /* Which parameters decay; NULL: those of two or more dimensions. */
    ParamRule *decays;
} OptimizerOptions;

/* Adafactor as Tensor2Tensor sets it up for its language models. */
#define ADAFACTOR_T2T                                                                                                  \
    ((OptimizerOptions){                                                                                               \
        .kind = OPTIMIZER_ADAFACTOR, .decay_power = 0.8, .eps1 = 1e-30, .scale_floor = 1e-3, .threshold = 1})

typedef struct Optimizer Optimizer;

Optimizer *optimizer_new(const OptimizerOptions *options, Params *params);
void optimizer_free(Optimizer *o);

/* One step with the gradients that arrived since params_zero_gradients; parameters that none reached are skipped. Raises the
 * parameters' versions. Does not wait for the device. */
void optimizer_step(Optimizer *o, Tape *t, double lr);

/* sqrt of the sum of squares of all gradients that arrived; waits for it. */
double optimizer_gradient_norm(Optimizer *o, Tape *t);

/* Reads the second moments of parameter i. Adafactor, two or more axes [..., R, C]: the means over the last axis [..., R], then
 * those over the last but one [..., C]; else one a value. Not for SGD, which has none. */
void optimizer_second_moments(const Optimizer *o, int i, float *out);

/* The state as named tensors for a checkpoint (`optimizer.m`, `optimizer.v`, `optimizer.steps`, those that it has), pointing into the
 * optimizer: as they are at the call, until the next one. Returns how many. */
int optimizer_to_write(Optimizer *o, TensorToWrite out[static 3]);
/* All of it, or nothing and a line. */
bool optimizer_load(Optimizer *o, const TensorFile *file, Error *e);
