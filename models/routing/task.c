/* What the Routing Transformer is trained for: predicting the next token of a text, or the next value of an image, by the
 * workload of common/hosts/language_model. */
#include "models/routing/clusters.h"
#include "models/routing/golden.h"
#include "models/routing/routing.h"

extern const Model routing_model;

typedef struct Network {
    const RoutingModel *model;
    void *own;
} Network;

static const RoutingModel *model_of(const RoutingConfig *config)
{
    static const RoutingModel *const models[] = {[ROUTING_OFFICIAL] = &official_model,
                                                 [ROUTING_LUCIDRAINS] = &lucidrains_model,
                                                 [ROUTING_PAIR] = &lucidrains_pair_model};
    return models[config->variant];
}

static void *create(const void *config, Params *params)
{
    Network *n = mem_new(sizeof *n);
    n->model = model_of(config);
    n->own = n->model->create(config, params);
    return n;
}

static void destroy(void *network)
{
    Network *n = network;
    if (n)
        n->model->destroy(n->own);
    mem_free(n);
}

static LanguageShape shape(const void *config)
{
    return model_of(config)->shape(config);
}

static Tensor *forward(Tape *t, const void *network, Tensor *ids, Tensor **auxiliary)
{
    const Network *n = network;
    return n->model->forward(t, n->own, ids, auxiliary);
}

/* Without a way of its own (NULL), a variant takes texts of any length. */
static Tensor *next(Tape *t, const void *network, Tensor *ids)
{
    const Network *n = network;
    return n->model->next ? n->model->next(t, n->own, ids) : NULL;
}

static Caches *cache_open(Tape *t, const void *network, int64_t rows)
{
    const Network *n = network;
    return n->model->cache_open ? n->model->cache_open(t, n->own, rows) : NULL;
}

static Tensor *cache_extend(Tape *t, const void *network, Caches *past, Tensor *ids)
{
    const Network *n = network;
    return n->model->cache_extend(t, n->own, past, ids);
}

static void before_training(Tape *t, void *network, Tensor *ids)
{
    Network *n = network;
    if (n->model->before_training)
        n->model->before_training(t, n->own, ids);
}

static void post_step(Tape *t, void *network)
{
    Network *n = network;
    if (n->model->post_step)
        n->model->post_step(t, n->own);
}

static ParamRule *decays(const void *config)
{
    return model_of(config)->decays;
}

/* One sequence without values: counts parameters and multiply-adds. */
static void trace(Tape *t, const void *network, const void *config)
{
    Tensor *auxiliary = NULL;
    forward(t, network, tensor_from(t, I64, SHAPE(1, shape(config).window), NULL), &auxiliary);
    tape_reset(t);
}

static const LanguageModel language_model = {
    .shape = shape,
    .forward = forward,
    .next = next,
    .cache_open = cache_open,
    .cache_extend = cache_extend,
    .before_training = before_training,
    .post_step = post_step,
    .decays = decays,
};

static const ModelView views[] = {
    {"--clusters", "[TEXT]",
     "draws which token attends in which cluster into clusters.html: of TEXT, or of the test text", clusters_view},
    {0},
};

const Model routing_model = {
    .name = "routing",
    .title = "Routing Transformer",
    .config = &routing_config_table,
    .create = create,
    .destroy = destroy,
    .trace = trace,
    .workload = &language_model_workload,
    .workload_hooks = &language_model,
    .golden = routing_golden,
    .views = views,
    .table = routing_table,
};
