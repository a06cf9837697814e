/* Variant A as a language model is trained and asked for text (common/hosts/language_model). */
#include "models/routing/routing.h"

Tensor *official_language(Tape *t, Official *m, Tensor *ids, Tensor **aux)
{
    Scope s = scope_open(t);
    Tensor *logits = official_forward(t, m, official_shift(t, ids), ids->shape.dim[1], aux);
    Tensor *kept[] = {logits, aux ? *aux : NULL};
    scope_close_n(t, s, kept, 2);
    return logits;
}

/* The last rows of 0 followed by ids [B,n], as many as fit the window, on whole blocks: behind them is blank. *known: rows
 * that are not. */
static Tensor *blocks_of(Tape *t, const Official *m, Tensor *ids, int64_t *known)
{
    const OfficialConfig *c = official_settings(m);
    int64_t n = ids->shape.dim[1], block = c->query_shape[0];
    *known = MIN(n + 1, c->max_target_length);
    Tensor *rows = *known == n + 1 ? pad(t, ids, 1, 1, 0) : narrow(t, ids, 1, n - *known, *known);
    return pad(t, rows, 1, 0, (block - *known % block) % block);
}

Tensor *official_next(Tape *t, Official *m, Tensor *ids)
{
    Scope s = scope_open(t);
    int64_t known;
    Tensor *shifted = blocks_of(t, m, ids, &known);
    Tensor *logits = narrow(t, official_forward(t, m, shifted, known, NULL), 1, known - 1, 1); /* [B,1,V] */
    logits = reshape(t, contiguous(t, logits), SHAPE(ids->shape.dim[0], tensor_dim(logits, -1)));
    return scope_close(t, s, logits);
}

/* ---- For the program */

static void *create(const RoutingConfig *config, Params *params)
{
    return official_new(official_config(&config->official), params);
}

static void destroy(void *network)
{
    official_free(network);
}

/* Our tokenizers have no token for padding (0 is the first byte, or the end of a line), so that every token counts. */
static LanguageShape shape(const RoutingConfig *config)
{
    const OfficialConfig *c = official_config(&config->official);
    return (LanguageShape){.vocabulary = c->vocab_size,
                           .window = c->max_target_length,
                           .block = c->query_shape[0],
                           .shifts = true,
                           .vocabulary_key = "vocab_size",
                           .window_key = "max_target_length"};
}

static Tensor *forward(Tape *t, void *network, Tensor *ids, Tensor **auxiliary)
{
    return official_language(t, network, ids, auxiliary);
}

static Tensor *next(Tape *t, void *network, Tensor *ids)
{
    return official_next(t, network, ids);
}

static Caches *cache_open(Tape *t, const void *network, int64_t rows)
{
    return official_caches(t, network, rows);
}

static Tensor *cache_extend(Tape *t, const void *network, Caches *past, Tensor *ids)
{
    return official_extend(t, network, past, ids);
}

static void post_step(Tape *t, void *network)
{
    official_update_clusters(t, network);
}

const RoutingModel official_model = {.create = create,
                                     .destroy = destroy,
                                     .shape = shape,
                                     .forward = forward,
                                     .next = next,
                                     .cache_open = cache_open,
                                     .cache_extend = cache_extend,
                                     .post_step = post_step,
                                     .decays = official_decays};
