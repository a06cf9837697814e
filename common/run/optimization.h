/* The keys of a config that choose the optimizer, the same for whatever is trained. */
#pragma once
#include "common/nn/optimizer.h"
#include "common/run/config/config.h"

typedef struct OptimizationConfig {
    OptimizerKind kind;
    double lr, weight_decay, momentum, beta1, beta2, eps, clip_norm;
} OptimizationConfig;

extern const ConfigTable optimization_table; /* for a CONFIG_REST("", ...) */

OptimizerOptions optimization_options(const OptimizationConfig *config);
