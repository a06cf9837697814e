/* The entries of golden files (../shared/papers/routing.md, last section): what is computed, on which inputs. */
#include "models/routing/golden.h"

#include "models/routing/routing.h"

typedef struct FilterConfig {
    RoutingVariant variant;
    OfficialConfig official;
    SpeechConfig lucidrains;
} FilterConfig;

static const ConfigField filter_rows[] = {
    {CONFIG_VARIANT("variant", FilterConfig, variant,
                    CONFIG_CHOICES(CONFIG_CHOICE("official", FilterConfig, official, &official_filter_table),
                                   CONFIG_CHOICE("lucidrains", FilterConfig, lucidrains, &lucidrains_filter_table)))},
};
static const ConfigTable filter_table = {CONFIG_STRUCT(FilterConfig), CONFIG_ROWS(filter_rows)};

static bool filter_logits(Golden *g, Error *e)
{
    FilterConfig c;
    if (!golden_config(g, &filter_table, &c))
        return true;
    return c.variant == ROUTING_OFFICIAL ? golden_filter_official(g, &c.official, e)
                                         : golden_filter_lucidrains(g, &c.lucidrains, e);
}

const GoldenEntry routing_golden[] = {
    {"tf_text", golden_tf_text},
    {"tf_image", golden_tf_image},
    {"learning_rate", golden_learning_rate},
    {"adafactor", golden_adafactor},
    {"filter_logits", filter_logits},
    {"kmeans_attention", golden_kmeans_attention},
    {"kmeans_update", golden_kmeans_update},
    {"kmeans_init", golden_kmeans_init},
    {"local_attention", golden_local_attention},
    {"self_attention", golden_self_attention},
    {"forward", golden_forward},
    {"loss", golden_model_loss},
    {"generate", golden_generate},
    {"encdec_loss", golden_encdec_loss},
    {"encdec_generate", golden_encdec_generate},
    {0},
};
