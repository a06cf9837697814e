/* What the model is trained for: the next token of a text, by the workload of common/hosts/language_model (data, loss,
 * schedule, metrics, generated text, report). A paper about something else brings a Workload of its own (common/run/model.h). */
#include "models/skeleton/task.h"

#include "common/hosts/language_model/language_model.h"
#include "models/skeleton/golden.h"
#include "models/skeleton/skeleton.h"

static void *create(const void *config, Params *params)
{
    return skeleton_new(config, params);
}

static void destroy(void *network)
{
    skeleton_free(network);
}

/* One sequence without values: counts parameters and multiply-adds. */
static void trace(Tape *t, const void *network, const void *config)
{
    const SkeletonConfig *c = config;
    skeleton_forward(t, network, tensor_from(t, I64, SHAPE(1, c->n_ctx), NULL));
    tape_reset(t);
}

static LanguageShape shape(const void *config)
{
    const SkeletonConfig *c = config;
    return (LanguageShape){.vocabulary = c->n_vocab,
                           .window = c->n_ctx,
                           .vocabulary_key = "n_vocab", /* as the config table has them */
                           .window_key = "n_ctx"};
}

static Tensor *forward(Tape *t, const void *network, Tensor *ids, Tensor **auxiliary)
{
    (void)auxiliary; /* a loss beside that of the tokens: it has none */
    return skeleton_forward(t, network, ids);
}

static const LanguageModel language_model = {.shape = shape, .forward = forward};

const Model skeleton_model = {
    .name = "skeleton",
    .title = "Skeleton",
    .config = &skeleton_config_table,
    .create = create,
    .destroy = destroy,
    .trace = trace,
    .workload = &language_model_workload,
    .workload_hooks = &language_model,
    .golden = skeleton_golden,
};
