#include "models/routing/official.h"

#include <string.h>

static bool sequence_is(const char *sequence, const char *letters)
{
    return strcmp(sequence, "none") == 0 || strspn(sequence, letters) == strlen(sequence);
}

static bool check_routing(const OfficialConfig *c, const ConfigPlace *place, Error *e)
{
    if (c->sparsity_cluster_size < 1)
        return config_refuse(place, "sparsity_cluster_size", e, "routing heads need clusters");
    if (c->sparsity_cluster_attention_window < 1)
        return config_refuse(place, "sparsity_cluster_attention_window", e, "routing heads need a window");
    if (c->hash_items && c->random_routing)
        return config_refuse(place, "random_routing", e, "tokens are either hashed or drawn");
    if (c->sparsity_cluster_relative && c->max_relative_position < 1)
        return config_refuse(place, "max_relative_position", e, "relative attention needs at least 1");
    return true;
}

static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    OfficialConfig *c = config;
    int heads = c->local_num_heads + c->sparsity_cluster_num_heads;
    if (heads < 1)
        return config_refuse(place, "local_num_heads", e, "no heads at all");
    if (c->hidden_size % heads)
        return config_refuse(place, "hidden_size", e, "not divisible by %d heads", heads);
    if (c->memory_flange[0] % c->query_shape[0])
        return config_refuse(place, "memory_flange", e, "not divisible by the block of %d", c->query_shape[0]);
    if (!sequence_is(c->layer_preprocess_sequence, "dn"))
        return config_refuse(place, "layer_preprocess_sequence", e, "expected none, or d (dropout) and n (norm)");
    if (!sequence_is(c->layer_postprocess_sequence, "adn"))
        return config_refuse(place, "layer_postprocess_sequence", e,
                             "expected none, or a (add), d (dropout) and n (norm)");
    if (c->local_num_heads && c->local_relative && c->max_relative_position < 1)
        return config_refuse(place, "max_relative_position", e, "relative attention needs at least 1");
    return !c->sparsity_cluster_num_heads || check_routing(c, place, e);
}

static bool resolve_text(void *config, const ConfigPlace *place, Error *e)
{
    OfficialConfig *c = config;
    if (c->max_target_length % c->query_shape[0])
        return config_refuse(place, "max_target_length", e, "not divisible by the block of %d", c->query_shape[0]);
    return resolve(config, place, e);
}

static bool resolve_image(void *config, const ConfigPlace *place, Error *e)
{
    OfficialConfig *c = config;
    c->image = true;
    c->max_target_length = c->frame_height * c->frame_width * c->num_channels;
    if (c->max_target_length % c->query_shape[0])
        return config_refuse(place, "query_shape", e, "the %d values of an image are not whole blocks",
                             c->max_target_length);
    return resolve(config, place, e);
}

/* The keys that text and images share, with the defaults that differ. */
#define ROWS(hidden, filter, layers, block, relative, relative_default, post_dropout)                                  \
    {CONFIG_INT("hidden_size", OfficialConfig, hidden_size, .value = (hidden), .range = "[1, 1048576]",                \
                .help = "model width D")},                                                                             \
        {CONFIG_INT("filter_size", OfficialConfig, filter_size, .value = (filter), .range = "[1, 4194304]",            \
                    .help = "width of the feed-forward")},                                                             \
        {CONFIG_INT("num_decoder_layers", OfficialConfig, num_decoder_layers, .value = (layers), .range = "[1, 1000]", \
                    .help = "layers")},                                                                                \
        {CONFIG_INT("sparsity_skip_first", OfficialConfig, sparsity_skip_first, .value = "0", .range = "[0, 1000]",    \
                    .help = "so many layers have local heads alone")},                                                 \
        {CONFIG_INT("local_num_heads", OfficialConfig, local_num_heads, .value = "8", .range = "[0, 4096]",            \
                    .help = "heads that look at the blocks before a token")},                                          \
        {CONFIG_INT("sparsity_cluster_num_heads", OfficialConfig, sparsity_cluster_num_heads, .value = "0",            \
                    .range = "[0, 4096]", .help = "heads that route")},                                                \
        {CONFIG_INT("sparsity_cluster_size", OfficialConfig, sparsity_cluster_size, .value = "0",                      \
                    .range = "[0, 65536]", .help = "clusters of a routing head")},                                     \
        {CONFIG_INT("sparsity_cluster_attention_window", OfficialConfig, sparsity_cluster_attention_window,            \
                    .value = "0", .range = "[0, 16777216]", .help = "tokens of a cluster")},                           \
        {CONFIG_INT_ARRAY("query_shape", OfficialConfig, query_shape, .value = (block), .range = "[1, 16777216]",      \
                          .help = "tokens of a local block")},                                                         \
        {CONFIG_INT_ARRAY("memory_flange", OfficialConfig, memory_flange, .value = (block), .range = "[0, 16777216]",  \
                          .help = "tokens before it that it sees, a multiple of it")},                                 \
        {CONFIG_NO_EFFECT("memory_query_shape", .help = "of an encoder-decoder")},                                     \
        {CONFIG_INT("max_relative_position", OfficialConfig, max_relative_position, .value = (relative),               \
                    .range = "[0, 16777216]", .help = "distances beyond it share a vector")},                          \
        {CONFIG_BOOL("local_relative", OfficialConfig, local_relative, .value = (relative_default),                    \
                     .help = "a vector a distance, in local heads")},                                                  \
        {CONFIG_BOOL("sparsity_cluster_relative", OfficialConfig, sparsity_cluster_relative,                           \
                     .value = (relative_default), .help = "a vector a distance of ranks, in routing heads")},          \
        {CONFIG_BOOL("share_qk", OfficialConfig, share_qk, .value = "true",                                            \
                     .help = "the keys of routing heads are their queries")},                                          \
        {CONFIG_BOOL("ema", OfficialConfig, ema, .value = "true",                                                      \
                     .help = "cluster means are moving averages; false: they are learned by gradient")},               \
        {CONFIG_BOOL("hash_items", OfficialConfig, hash_items, .value = "false",                                       \
                     .help = "fixed random projections instead of clusters")},                                         \
        {CONFIG_BOOL("random_routing", OfficialConfig, random_routing, .value = "false",                               \
                     .help = "the paper's Random Transformer: each window drawn at random (not the authors' code)")},  \
        {CONFIG_NUMBER("beta", OfficialConfig, beta, .value = "1e-4", .range = "[0, inf)",                             \
                       .help = "weight of the routing loss")},                                                         \
        {CONFIG_NUMBER("decay", OfficialConfig, decay, .value = "0.999", .range = "[0, 1]",                            \
                       .help = "of the moving averages")},                                                             \
        {CONFIG_NUMBER("layer_prepostprocess_dropout", OfficialConfig, layer_prepostprocess_dropout,                   \
                       .value = (post_dropout), .range = "[0, 1)",                                                     \
                       .help = "of the input, and of each half of a "                                                  \
                               "layer")},                                                                              \
        {CONFIG_NUMBER("attention_dropout", OfficialConfig, attention_dropout, .value = "0", .range = "[0, 1)",        \
                       .help = "of attention probabilities")},                                                         \
        {CONFIG_NUMBER("relu_dropout", OfficialConfig, relu_dropout, .value = "0", .range = "[0, 1)",                  \
                       .help = "inside the feed-forward")},                                                            \
        {CONFIG_STRING("layer_preprocess_sequence", OfficialConfig, layer_preprocess_sequence, .value = "none",        \
                       .help = "before each half of a layer: none, or letters d (dropout) and n (norm)")},             \
        {CONFIG_STRING("layer_postprocess_sequence", OfficialConfig, layer_postprocess_sequence, .value = "dan",       \
                       .help = "after it: a (add to the input) besides")},                                             \
        {CONFIG_NUMBER("weight_decay", OfficialConfig, weight_decay, .value = "0", .range = "[0, inf)",                \
                       .help = "L2 of all but biases (a run: train.weight_decay)")},                                   \
        {CONFIG_INT("sampling_keep_top_k", OfficialConfig, sampling_keep_top_k, .value = "-1",                         \
                    .range = "[-1, 10000000]", .help = "k - 1 of the logits stay; 0, -1: all (a run: eval.top_k)")},   \
        {CONFIG_NUMBER("nucleus_sampling", OfficialConfig, nucleus_sampling, .value = "0.9", .range = "[0, 1]",        \
                       .help = "probability that may be sampled (a run: eval.top_p)")},                                \
        {CONFIG_NUMBER("sampling_temp", OfficialConfig, sampling_temp, .value = "1", .range = "(0, inf)",              \
                       .help = "temperature of sampling (a run: eval.temperature)")},                                  \
        {CONFIG_NUMBER("learning_rate_constant", OfficialConfig, learning_rate_constant, .value = "0.01",              \
                       .range = "(0, inf)", .help = "learning rate of the first steps (a run: train.lr)")},            \
    {                                                                                                                  \
        CONFIG_INT("learning_rate_warmup_steps", OfficialConfig, learning_rate_warmup_steps, .value = "10000",         \
                   .range = "[1, inf)", .help = "after which it falls with 1/sqrt(step) (a run: train.warmup)")        \
    }

static const ConfigField text_rows[] = {
    {CONFIG_INT("vocab_size", OfficialConfig, vocab_size, .range = "[1, 10000000]",
                .help = "tokens of the vocabulary; 0 is padding")},
    {CONFIG_INT("embedding_dims", OfficialConfig, embedding_dims, .value = "512", .range = "[1, 1048576]",
                .help = "width of the embedding")},
    {CONFIG_INT("max_target_length", OfficialConfig, max_target_length, .value = "4096", .range = "[1, 16777216]",
                .help = "longer texts are cut")},
    {CONFIG_NUMBER("dropout", OfficialConfig, dropout, .value = "0", .range = "[0, 1)", .help = "of the embedding")},
    {CONFIG_NUMBER("target_dropout", OfficialConfig, target_dropout, .value = "0", .range = "[0, 1)",
                   .help = "input tokens that become 0")},
    ROWS("512", "2048", "24", "[512]", "1024", "true", "0.1"),
};

static const ConfigField image_rows[] = {
    {CONFIG_INT("targets_vocab_size", OfficialConfig, vocab_size, .value = "256", .range = "[1, 65536]",
                .help = "values of a channel")},
    {CONFIG_INT("num_channels", OfficialConfig, num_channels, .value = "3", .range = "[1, 16]", .help = "channels")},
    {CONFIG_INT("frame_height", OfficialConfig, frame_height, .value = "32", .range = "[1, 4096]",
                .help = "rows of an image")},
    {CONFIG_INT("frame_width", OfficialConfig, frame_width, .value = "32", .range = "[1, 4096]",
                .help = "columns of an image")},
    {CONFIG_NO_EFFECT("dropout", .help = "of text")},
    {CONFIG_NO_EFFECT("target_dropout", .help = "of text")},
    ROWS("256", "256", "12", "[128]", "0", "false", "0"),
};

const ConfigTable official_text_table = {CONFIG_STRUCT(OfficialConfig), CONFIG_ROWS(text_rows),
                                         .resolve = resolve_text};
const ConfigTable official_image_table = {CONFIG_STRUCT(OfficialConfig), CONFIG_ROWS(image_rows),
                                          .resolve = resolve_image};

static const ConfigField modality_rows[] = {
    {CONFIG_VARIANT("modality", OfficialModality, modality,
                    CONFIG_CHOICES(CONFIG_CHOICE("text", OfficialModality, text, &official_text_table),
                                   CONFIG_CHOICE("image", OfficialModality, image, &official_image_table)),
                    .value = "text", .help = "what a sequence is: text, or the values of an image")},
};
const ConfigTable official_config_table = {CONFIG_STRUCT(OfficialModality), CONFIG_ROWS(modality_rows)};

const OfficialConfig *official_config(const OfficialModality *m)
{
    return m->modality == MODALITY_IMAGE ? &m->image : &m->text;
}
