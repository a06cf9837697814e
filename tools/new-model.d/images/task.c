/* What the model is trained for: classifying images, by the workload of common/hosts/classification (data, augmentation,
 * loss, schedule, metrics, report). A paper about something else brings a Workload of its own (common/run/model.h). */
#include "models/skeleton/task.h"

#include "common/hosts/classification/classification.h"
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

/* One image without values: counts parameters and multiply-adds. */
static void trace(Tape *t, const void *network, const void *config)
{
    const SkeletonConfig *c = config;
    Tensor *x = tensor_from(t, F32, SHAPE(1, c->in_chans, c->img_size, c->img_size), NULL);
    skeleton_forward(t, network, x);
    tape_reset(t);
}

static Tensor *forward(Tape *t, const void *network, Tensor *x, Tensor **parts)
{
    (void)parts; /* logits of parts of the network, for metrics of their own: it has none */
    return skeleton_forward(t, network, x);
}

static int classes(const void *config)
{
    return ((const SkeletonConfig *)config)->num_classes;
}

static int channels(const void *config)
{
    return ((const SkeletonConfig *)config)->in_chans;
}

static int side(const void *config)
{
    return ((const SkeletonConfig *)config)->img_size;
}

static const Classifier classifier = {
    .forward = forward,
    .classes = classes,
    .channels = channels,
    .side = side,
    .classes_key = "num_classes", /* as the config table has them */
    .channels_key = "in_chans",
    .side_key = "img_size",
};

const Model skeleton_model = {
    .name = "skeleton",
    .title = "Skeleton",
    .config = &skeleton_config_table,
    .create = create,
    .destroy = destroy,
    .trace = trace,
    .workload = &classification_workload,
    .workload_hooks = &classifier,
    .golden = skeleton_golden,
};
