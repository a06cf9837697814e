/* Variant B as the program trains it (common/hosts/language_model). */
#include "models/routing/routing.h"

static void *create(const RoutingConfig *config, Params *params)
{
    Lucidrains *m = lucidrains_new(&config->lucidrains, params);
    lucidrains_repeat_names(params, 0, 0, 2, (const char *const[]){"net.net", "base_net"}); /* AutoregressiveWrapper */
    return m;
}

static void destroy(void *network)
{
    lucidrains_free(network);
}

/* The window is the longest text that padding does not make longer than max_seq_len. */
static LanguageShape shape(const RoutingConfig *config)
{
    const LucidrainsConfig *c = &config->lucidrains;
    int64_t block = lucidrains_block(c);
    return (LanguageShape){.vocabulary = c->num_tokens,
                           .window = c->max_seq_len / block * block,
                           .block = block,
                           .pads = c->ignore_index == 0,
                           .vocabulary_key = "num_tokens",
                           .window_key = "max_seq_len"};
}

/* The authors move the means after every backward pass: that of the forward before this one is over. */
static Tensor *forward(Tape *t, void *network, Tensor *ids, Tensor **auxiliary)
{
    if (tape_training(t))
        lucidrains_update_means(t, network);
    return lucidrains_padded(t, network, &(LucidrainsInput){.tokens = ids}, auxiliary);
}

static Caches *cache_open(Tape *t, const void *network, int64_t rows)
{
    return lucidrains_caches(t, network, rows);
}

static Tensor *cache_extend(Tape *t, const void *network, Caches *past, Tensor *ids)
{
    Tensor *aux;
    Scope s = scope_open(t);
    Tensor *logits = lucidrains_forward(t, network, &(LucidrainsInput){.tokens = ids, .past = past}, &aux);
    int64_t rows = ids->shape.dim[0], last = ids->shape.dim[1] - 1;
    logits = reshape(t, narrow(t, logits, 1, last, 1), SHAPE(rows, tensor_dim(logits, -1)));
    return scope_close(t, s, logits);
}

static void post_step(Tape *t, void *network)
{
    lucidrains_update_means(t, network);
}

const RoutingModel lucidrains_model = {
    .create = create,
    .destroy = destroy,
    .shape = shape,
    .forward = forward,
    .cache_open = cache_open,
    .cache_extend = cache_extend,
    .post_step = post_step,
};

/* ---- The encoder-decoder */

static void *create_pair(const RoutingConfig *config, Params *params)
{
    return lucidrains_pair_new(&config->pair, params);
}

static void destroy_pair(void *network)
{
    lucidrains_pair_free(network);
}

static LanguageShape pair_shape(const RoutingConfig *config)
{
    const LucidrainsPairConfig *c = &config->pair;
    int64_t block = lucidrains_block(&c->decoder);
    return (LanguageShape){.vocabulary = c->decoder.num_tokens,
                           .window = c->encoder.max_seq_len + c->decoder.max_seq_len / block * block,
                           .given = c->encoder.max_seq_len,
                           .pads = c->ignore_index == 0,
                           .vocabulary_key = "dec_num_tokens",
                           .window_key = "enc_max_seq_len + dec_max_seq_len"};
}

static Tensor *forward_pair(Tape *t, void *network, Tensor *ids, Tensor **auxiliary)
{
    if (tape_training(t))
        lucidrains_pair_update_means(t, network);
    return lucidrains_pair_language(t, network, ids, auxiliary);
}

static void post_step_pair(Tape *t, void *network)
{
    lucidrains_pair_update_means(t, network);
}

const RoutingModel lucidrains_pair_model = {
    .create = create_pair,
    .destroy = destroy_pair,
    .shape = pair_shape,
    .forward = forward_pair,
    .post_step = post_step_pair,
};
