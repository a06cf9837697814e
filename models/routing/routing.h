/* The Routing Transformer: attention whose sparsity is learned by online k-means (Roy, Saffar, Vaswani and Grangier 2021,
 * TACL, arXiv 2003.05997). Two variants that differ in normalisation, masks, positions and the rule of the means, and share
 * nothing but the mechanisms of common/attention:
 *
 *     official     official.h, the authors' TensorFlow models
 *     lucidrains   lucidrains.h, the PyTorch package routing_transformer; lucidrains_encdec its encoder-decoder */
#pragma once
#include "common/hosts/language_model/language_model.h"
#include "models/routing/lucidrains.h"
#include "models/routing/official.h"

typedef enum RoutingVariant { ROUTING_OFFICIAL, ROUTING_LUCIDRAINS, ROUTING_PAIR } RoutingVariant;

typedef struct RoutingConfig {
    RoutingVariant variant;
    OfficialModality official;
    LucidrainsConfig lucidrains;
    LucidrainsPairConfig pair;
} RoutingConfig;

extern const ConfigTable routing_config_table;

/* What the program asks of a variant; config is a RoutingConfig. All but the first four may be NULL, as in LanguageModel. */
typedef struct RoutingModel {
    void *(*create)(const RoutingConfig *config, Params *params);
    void (*destroy)(void *network);
    LanguageShape (*shape)(const RoutingConfig *config);
    Tensor *(*forward)(Tape *t, void *network, Tensor *ids, Tensor **auxiliary);
    Tensor *(*next)(Tape *t, void *network, Tensor *ids);
    Caches *(*cache_open)(Tape *t, const void *network, int64_t rows);
    Tensor *(*cache_extend)(Tape *t, const void *network, Caches *past, Tensor *ids);
    void (*before_training)(Tape *t, void *network, Tensor *ids);
    void (*post_step)(Tape *t, void *network);
    ParamRule *decays;
} RoutingModel;

/* ./eval routing --table N (tables.c) */
bool routing_table(const struct Program *program, int number, const Node *overrides, Error *e);

extern const RoutingModel official_model, lucidrains_model, lucidrains_pair_model;
