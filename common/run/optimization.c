#include "common/run/optimization.h"

#include "common/nn/layers.h"

static const ConfigField rows[] = {
    {CONFIG_ENUM("optimizer", OptimizationConfig, kind, CONFIG_WORDS("adamw", "adam", "sgd", "adafactor"),
                 .value = "adamw", .help = "sgd: with Nesterov's momentum; adafactor: as Tensor2Tensor sets it up")},
    {CONFIG_NUMBER("lr", OptimizationConfig, lr, .value = "5e-4", .range = "(0, inf)",
                   .help = "highest learning rate")},
    {CONFIG_NUMBER("weight_decay", OptimizationConfig, weight_decay, .value = "0.05", .range = "[0, inf)",
                   .help = "of parameters with two or more axes; adam, sgd and adafactor add it to the gradient")},
    {CONFIG_NUMBER("momentum", OptimizationConfig, momentum, .value = "0.9", .range = "[0, 1)", .help = "of sgd")},
    {CONFIG_NUMBER("beta1", OptimizationConfig, beta1, .value = "0.9", .range = "[0, 1)", .help = "of adam, adamw")},
    {CONFIG_NUMBER("beta2", OptimizationConfig, beta2, .value = "0.999", .range = "[0, 1)", .help = "of adam, adamw")},
    {CONFIG_NUMBER("eps", OptimizationConfig, eps, .value = "1e-8", .range = "[0, 1)", .help = "of adam, adamw")},
    {CONFIG_NUMBER("clip_norm", OptimizationConfig, clip_norm, .value = "0", .range = "[0, inf)",
                   .help = "gradients are scaled down to this norm of them all; 0: never")},
    {CONFIG_BOOL("sync_batch_norm", OptimizationConfig, sync_batch_norm, .value = "no",
                 .help =
                     "of several ranks: yes: batch norm takes its statistics from all of them; no: each from its own "
                     "share, and N ranks are not one. No effect without batch norm")},
};

const ConfigTable optimization_table = {CONFIG_STRUCT(OptimizationConfig), CONFIG_ROWS(rows)};

void optimization_of_ranks(const OptimizationConfig *c, Tape *t, Params *p, Log *log)
{
    bool normalises = batch_norm_is_in(p);
    tape_sync_batch_norm(t, c->sync_batch_norm);
    if (c->sync_batch_norm && !normalises)
        log_line(log, "train.sync_batch_norm has no effect: this model has no batch norm");
    if (normalises && !c->sync_batch_norm && comm_ranks(tape_comm(t)) > 1)
        log_line(log, "batch norm: each rank has the statistics of its own share, so this is not the run of one rank; "
                      "train.sync_batch_norm=yes makes it that");
}

OptimizerOptions optimization_options(const OptimizationConfig *c)
{
    OptimizerOptions o = c->kind == OPTIMIZER_ADAFACTOR ? ADAFACTOR_T2T : (OptimizerOptions){.kind = c->kind};
    o.beta1 = c->beta1;
    o.beta2 = c->beta2;
    o.eps = c->eps;
    o.momentum = c->momentum;
    o.weight_decay = c->weight_decay;
    o.clip_norm = c->clip_norm;
    return o;
}
