/* What the model is trained for: classifying images, by the workload of common/hosts/classification (data, augmentation,
 * loss, schedule, metrics, report). A paper about something else brings a Workload of its own (common/run/model.h). */
#include "models/ninformer/task.h"

#include "common/hosts/classification/classification.h"
#include "models/ninformer/golden.h"

static void *create(const void *config, Params *params)
{
    return ninformer_new(config, params);
}

static void destroy(void *network)
{
    ninformer_free(network);
}

/* One image without values: counts parameters and multiply-adds. */
static void trace(Tape *t, const void *network, const void *config)
{
    const NinformerConfig *c = config;
    Tensor *x = tensor_from(t, F32, SHAPE(1, c->in_channels, c->image_size, c->image_size), NULL);
    ninformer_forward(t, network, x);
    tape_reset(t);
}

static Tensor *forward(Tape *t, const void *network, Tensor *x, Tensor **parts)
{
    (void)parts; /* logits of parts of the network, for metrics of their own: it has none */
    return ninformer_forward(t, network, x);
}

static int classes(const void *config)
{
    return ((const NinformerConfig *)config)->num_classes;
}

static int channels(const void *config)
{
    return ((const NinformerConfig *)config)->in_channels;
}

static int side(const void *config)
{
    return ((const NinformerConfig *)config)->image_size;
}

static const Classifier classifier = {
    .forward = forward,
    .head = "classifier.",
    .classes = classes,
    .channels = channels,
    .side = side,
    .classes_key = "num_classes",
    .channels_key = "in_channels",
    .side_key = "image_size",
};

const Model ninformer_model = {
    .name = "ninformer",
    .title = "Ninformer",
    .config = &ninformer_config_table,
    .create = create,
    .destroy = destroy,
    .trace = trace,
    .workload = &classification_workload,
    .workload_hooks = &classifier,
    .golden = ninformer_golden,
    .table = ninformer_table,
};
