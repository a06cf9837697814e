#include "models/routing/lucidrains.h"

/* The keys that stand in a model of its own and, behind enc_ and dec_, in an encoder-decoder, where the window differs. */
#define ROWS(window)                                                                                                   \
    {CONFIG_INT("num_tokens", LucidrainsConfig, num_tokens, .range = "[1, 10000000]",                                  \
                .help = "tokens of the vocabulary")},                                                                  \
        {CONFIG_INT("depth", LucidrainsConfig, depth, .range = "[1, 1000]", .help = "layers")},                        \
        {CONFIG_INT("max_seq_len", LucidrainsConfig, max_seq_len, .range = "[1, 16777216]",                            \
                    .help = "longest input; max_seq_len / window_size is the number of clusters")},                    \
        {CONFIG_INT("heads", LucidrainsConfig, heads, .value = "8", .range = "[1, 4096]",                              \
                    .help = "heads of a layer, local and routing ones together")},                                     \
        {CONFIG_INT("dim_head", LucidrainsConfig, dim_head, .value = "64", .range = "[2, 65536]",                      \
                    .help = "width of a head, even; heads * dim_head need not be dim")},                               \
        {CONFIG_INT("window_size", LucidrainsConfig, window_size, .value = (window), .range = "[1, 16777216]",         \
                    .help = "tokens of a cluster")},                                                                   \
        {CONFIG_INT("local_attn_window_size", LucidrainsConfig, local_attn_window_size,                                \
                    CONFIG_OR_NULL(LucidrainsConfig, has_local_attn_window_size), .value = "null",                     \
                    .range = "[1, 16777216]", .help = "tokens of a local window; null: window_size")},                 \
        {CONFIG_INT("local_attn_radius_blocks", LucidrainsConfig, local_attn_radius_blocks, .value = "1",              \
                    .range = "[0, 65536]", .help = "windows that a local head sees beside its own, on each side")},    \
        {CONFIG_INT_LIST("n_local_attn_heads", LucidrainsConfig, n_local_attn_heads, n_local_attn_heads_count,         \
                         CONFIG_OR_ONE, .value = "0", .range = "[0, 4096]",                                            \
                         .help = "local heads, of all layers or a list of one entry a layer; the others route")},      \
        {CONFIG_BOOL("shared_qk", LucidrainsConfig, shared_qk, CONFIG_OR_NULL(LucidrainsConfig, has_shared_qk),        \
                     .value = "null", .help = "keys are the queries; null: if causal")},                               \
        {CONFIG_INT("emb_dim", LucidrainsConfig, emb_dim, CONFIG_OR_NULL(LucidrainsConfig, has_emb_dim),               \
                    .value = "null", .range = "[1, 1048576]", .help = "width of the embedding; null: dim")},           \
        {CONFIG_INT("num_mem_kv", LucidrainsConfig, num_mem_kv, .value = "0", .range = "[0, 65536]",                   \
                    .help = "learned keys and values of every cluster")},                                              \
        {CONFIG_BOOL("weight_tie", LucidrainsConfig, weight_tie, .value = "false",                                     \
                     .help = "one attention and one feed-forward for all layers")},                                    \
        {CONFIG_BOOL("tie_embedding", LucidrainsConfig, tie_embedding, .value = "false",                               \
                     .help = "the embedding is the output matrix too")},                                               \
        {CONFIG_BOOL("reversible", LucidrainsConfig, reversible, .value = "false", .help = "two residual streams")},   \
        {CONFIG_INT("ff_chunks", LucidrainsConfig, ff_chunks, .value = "1", .range = "[1, 65536]",                     \
                    .help = "the authors' way to save memory in the feed-forward; changes no number")},                \
        {CONFIG_BOOL("ff_glu", LucidrainsConfig, ff_glu, .value = "false", .help = "gated feed-forward")},             \
        {CONFIG_BOOL("use_rezero", LucidrainsConfig, use_rezero, .value = "false",                                     \
                     .help = "a learned factor, at first 0, on each branch instead of its norm")},                     \
        {CONFIG_BOOL("use_scale_norm", LucidrainsConfig, use_scale_norm, .value = "false",                             \
                     .help = "g x / |x| instead of LayerNorm")},                                                       \
        {CONFIG_BOOL("shift_tokens", LucidrainsConfig, shift_tokens, .value = "false",                                 \
                     .help = "a part of each branch's channels comes from the token before (and after)")},             \
        {CONFIG_NUMBER("kmeans_ema_decay", LucidrainsConfig, kmeans_ema_decay, .value = "0.999", .range = "[0, 1]",    \
                       .help = "how much of the means stays in an update")},                                           \
        {CONFIG_BOOL("context_shared_qk", LucidrainsConfig, context_shared_qk, .value = "false",                       \
                     .help = "shared_qk of the attention to the context")},                                            \
        {CONFIG_NUMBER("attn_dropout", LucidrainsConfig, attn_dropout, .value = "0", .range = "[0, 1)",                \
                       .help = "dropout of attention probabilities")},                                                 \
        {CONFIG_NUMBER("ff_dropout", LucidrainsConfig, ff_dropout, .value = "0", .range = "[0, 1)",                    \
                       .help = "dropout inside the feed-forward")},                                                    \
        {CONFIG_NUMBER("attn_layer_dropout", LucidrainsConfig, attn_layer_dropout, .value = "0", .range = "[0, 1)",    \
                       .help = "dropout of attention's result")},                                                      \
        {CONFIG_NUMBER("layer_dropout", LucidrainsConfig, layer_dropout, .value = "0", .range = "[0, 1)",              \
                       .help = "probability that a layer is left out of a step")},                                     \
        {CONFIG_FIXED("pkm_layers", "[]", .help = "product-key memories are another paper's, not built")},             \
        {CONFIG_FIXED("moe_layers", "[]", .help = "mixtures of experts are another paper's, not built")},              \
        {CONFIG_NO_EFFECT("commitment_factor", .help = "the authors do not pass it on: always 1e-4")},                 \
        {CONFIG_NO_EFFECT("ff_mult", .help = "the authors do not pass it on: always 4")},                              \
        {CONFIG_NO_EFFECT("use_absolute_pos_emb", .help = "not read by the authors")},                                 \
        {CONFIG_NO_EFFECT("rel_pos_emb", .help = "local heads always rotate")},                                        \
    {                                                                                                                  \
        CONFIG_NO_EFFECT("context_window_size", .help = "not passed on by the authors: window_size")                   \
    }

static int most_local_heads(const LucidrainsConfig *c, bool *equal)
{
    int most = 0;
    *equal = true;
    for (int i = 0; i < c->n_local_attn_heads_count; i++) {
        most = MAX(most, c->n_local_attn_heads[i]);
        *equal = *equal && c->n_local_attn_heads[i] == c->n_local_attn_heads[0];
    }
    return most;
}

/* What ties the keys of ROWS together. */
static bool check_rows(void *config, const ConfigPlace *place, Error *e)
{
    const LucidrainsConfig *c = config;
    bool equal;
    if (c->max_seq_len % c->window_size)
        return config_refuse(place, "max_seq_len", e, "not divisible by the window of %d", c->window_size);
    if (c->dim_head % 2)
        return config_refuse(place, "dim_head", e, "odd: rotary positions turn pairs of channels");
    if (c->n_local_attn_heads_count != 1 && c->n_local_attn_heads_count != c->depth)
        return config_refuse(place, "n_local_attn_heads", e, "%d entries for %d layers", c->n_local_attn_heads_count,
                             c->depth);
    if (most_local_heads(c, &equal) > c->heads)
        return config_refuse(place, "n_local_attn_heads", e, "more than the %d heads", c->heads);
    if (c->weight_tie && !equal)
        return config_refuse(place, "n_local_attn_heads", e, "tied layers have equally many");
    return true;
}

/* Defaults that depend on other keys, once all are known. */
static bool complete(LucidrainsConfig *c, const ConfigPlace *place, Error *e)
{
    if (!c->has_local_attn_window_size)
        c->local_attn_window_size = c->window_size;
    if (!c->has_shared_qk)
        c->shared_qk = c->causal;
    if (!c->has_emb_dim)
        c->emb_dim = c->dim;
    c->has_local_attn_window_size = c->has_shared_qk = c->has_emb_dim = true;
    if (c->return_embeddings && c->emb_dim != c->dim)
        return config_refuse(place, "dim", e, "a model that returns embeddings has them (emb_dim: %d) as wide",
                             c->emb_dim);
    if (c->shift_tokens && c->dim < (c->causal ? 2 : 3))
        return config_refuse(place, "dim", e, "too few channels to shift");
    return true;
}

static void complete_ignored(int64_t *ignored, bool *given, int64_t pad)
{
    if (!*given)
        *ignored = pad;
    *given = true;
}

static bool resolve(void *config, const ConfigPlace *place, Error *e)
{
    LucidrainsConfig *c = config;
    complete_ignored(&c->ignore_index, &c->has_ignore_index, c->pad_value);
    return check_rows(c, place, e) && complete(c, place, e);
}

/* What a model by itself may be, but not one that is trained to predict the next token. */
static bool resolve_language(void *config, const ConfigPlace *place, Error *e)
{
    const LucidrainsConfig *c = config;
    if (!c->causal)
        return config_refuse(place, "causal", e, "a language model does not see the token that it predicts");
    if (c->receives_context || c->return_embeddings)
        return config_refuse(place, c->receives_context ? "receives_context" : "return_embeddings", e,
                             "this is for one side of an encoder-decoder");
    return resolve(config, place, e);
}

static const ConfigField rows[] = {
    {CONFIG_INT("dim", LucidrainsConfig, dim, .range = "[1, 1048576]", .help = "model width")},
    {CONFIG_BOOL("causal", LucidrainsConfig, causal, .value = "false", .help = "a token sees no later one")},
    ROWS("64"),
    {CONFIG_BOOL("receives_context", LucidrainsConfig, receives_context, .value = "false",
                 .help = "each layer is followed by one that asks another sequence")},
    {CONFIG_BOOL("return_embeddings", LucidrainsConfig, return_embeddings, .value = "false",
                 .help = "no output matrix: the normalised rows are the result")},
    {CONFIG_INT("ignore_index", LucidrainsConfig, ignore_index, CONFIG_OR_NULL(LucidrainsConfig, has_ignore_index),
                .value = "null", .help = "the label that does not count in the loss; null: pad_value")},
    {CONFIG_INT("pad_value", LucidrainsConfig, pad_value, .value = "0", .help = "the token of padding")},
};

const ConfigTable lucidrains_config_table = {CONFIG_STRUCT(LucidrainsConfig), CONFIG_ROWS(rows), .resolve = resolve};
const ConfigTable lucidrains_language_table = {CONFIG_STRUCT(LucidrainsConfig), CONFIG_ROWS(rows),
                                               .resolve = resolve_language};

/* ---- Encoder and decoder */

static const ConfigField side_rows[] = {
    {CONFIG_BOOL("causal", LucidrainsConfig, causal, .value = "false", .help = "a token sees no later one")},
    ROWS("256"),
};
static const ConfigTable side_table = {CONFIG_STRUCT(LucidrainsConfig), CONFIG_ROWS(side_rows), .resolve = check_rows};

static bool resolve_pair(void *config, const ConfigPlace *place, Error *e)
{
    LucidrainsPairConfig *c = config;
    complete_ignored(&c->ignore_index, &c->has_ignore_index, c->pad_value);
    c->encoder.dim = c->decoder.dim = c->dim;
    c->encoder.return_embeddings = true;
    c->decoder.causal = c->decoder.receives_context = true;
    return complete(&c->encoder, place, e) && complete(&c->decoder, place, e);
}

static const ConfigField pair_rows[] = {
    {CONFIG_INT("dim", LucidrainsPairConfig, dim, .range = "[1, 1048576]", .help = "width of both")},
    {CONFIG_INT("ignore_index", LucidrainsPairConfig, ignore_index,
                CONFIG_OR_NULL(LucidrainsPairConfig, has_ignore_index), .value = "null",
                .help = "the label that does not count in the loss; null: pad_value")},
    {CONFIG_INT("pad_value", LucidrainsPairConfig, pad_value, .value = "0", .help = "the token of padding")},
    {CONFIG_FIXED("dec_causal", "true")},
    {CONFIG_REST("enc_", LucidrainsPairConfig, encoder, &side_table)},
    {CONFIG_REST("dec_", LucidrainsPairConfig, decoder, &side_table)},
};

const ConfigTable lucidrains_pair_config_table = {CONFIG_STRUCT(LucidrainsPairConfig), CONFIG_ROWS(pair_rows),
                                                  .resolve = resolve_pair};

static bool resolve_translator(void *config, const ConfigPlace *place, Error *e)
{
    const LucidrainsPairConfig *c = config;
    if (!resolve_pair(config, place, e))
        return false;
    if (c->encoder.num_tokens != c->decoder.num_tokens)
        return config_refuse(place, "enc_num_tokens", e, "expected dec_num_tokens: sequences have one vocabulary");
    if (c->encoder.max_seq_len % lucidrains_block(&c->encoder))
        return config_refuse(place, "enc_max_seq_len", e, "not divisible by the local window of %lld",
                             (long long)lucidrains_block(&c->encoder));
    return true;
}

const ConfigTable lucidrains_translator_table = {CONFIG_STRUCT(LucidrainsPairConfig), CONFIG_ROWS(pair_rows),
                                                 .resolve = resolve_translator};
