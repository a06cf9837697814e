/* The entries of golden files (../shared/papers/routing.md, last section): what is computed, on which inputs. */
#include "models/routing/golden.h"

typedef struct FilterConfig {
    int variant;
    OfficialConfig official;
} FilterConfig;

static const ConfigField filter_rows[] = {
    {CONFIG_VARIANT("variant", FilterConfig, variant,
                    CONFIG_CHOICES(CONFIG_CHOICE("official", FilterConfig, official, &official_filter_table)))},
};
static const ConfigTable filter_table = {CONFIG_STRUCT(FilterConfig), CONFIG_ROWS(filter_rows)};

static bool filter_logits(Golden *g, Error *e)
{
    FilterConfig c;
    return !golden_config(g, &filter_table, &c) || golden_filter_official(g, &c.official, e);
}

const GoldenEntry routing_golden[] = {
    {"tf_text", golden_tf_text},     {"tf_image", golden_tf_image},    {"learning_rate", golden_learning_rate},
    {"adafactor", golden_adafactor}, {"filter_logits", filter_logits}, {0},
};
