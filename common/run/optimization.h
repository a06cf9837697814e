/* The keys of a config that choose the optimizer, and how ranks train together: the same for whatever is trained. */
#pragma once
#include "common/nn/optimizer.h"
#include "common/run/config/config.h"
#include "common/run/log.h"

typedef struct OptimizationConfig {
    OptimizerKind kind;
    double lr, weight_decay, momentum, beta1, beta2, eps, clip_norm;
    bool sync_batch_norm;
} OptimizationConfig;

extern const ConfigTable optimization_table; /* for a CONFIG_REST("", ...) */

OptimizerOptions optimization_options(const OptimizationConfig *config);

/* Tells the tape what ranks share of a batch beside their gradients, and the log where that makes this run another one, or where
 * the key changes nothing. Once, before the first step. */
void optimization_of_ranks(const OptimizationConfig *config, Tape *t, Params *p, Log *log);
