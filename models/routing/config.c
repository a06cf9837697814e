#include "models/routing/routing.h"

static const ConfigField rows[] = {
    {CONFIG_VARIANT(
        "variant", RoutingConfig, variant,
        CONFIG_CHOICES(CONFIG_CHOICE("official", RoutingConfig, official, &official_config_table),
                       CONFIG_CHOICE("lucidrains", RoutingConfig, lucidrains, &lucidrains_language_table),
                       CONFIG_CHOICE("lucidrains_encdec", RoutingConfig, pair, &lucidrains_translator_table)),
        .value = "official", .help = "whose Routing Transformer; the other keys are its own")},
};

const ConfigTable routing_config_table = {CONFIG_STRUCT(RoutingConfig), CONFIG_ROWS(rows)};
