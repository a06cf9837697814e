/* Entries of golden files (../shared/papers/ninformer.md, last section): what is computed, on which inputs. */
#include "models/ninformer/golden.h"

#include "common/autograd/ops.h"
#include "common/data/transform.h"
#include "common/hosts/classification/classification.h"
#include "models/ninformer/ninformer.h"

#include <stdio.h>
#include <string.h>

/* ---- forward, forward_dropout, loss, optimizer_steps: a model with the file's parameters */

typedef struct Loaded {
    Params *params;
    Ninformer *model;
} Loaded;

static bool load(Golden *g, Loaded *l, const NinformerConfig *config, Error *e)
{
    l->params = params_new();
    l->model = ninformer_new(config, l->params);
    params_allocate(l->params, true, 0, golden_backend(g));
    return golden_params(g, l->params, e);
}

static void loaded_free(Loaded *l)
{
    ninformer_free(l->model);
    params_free(l->params);
}

/* logits of input/x; NULL with a line. */
static Tensor *logits_of(Golden *g, const Loaded *l, const NinformerConfig *c, Error *e)
{
    Tensor *x = golden_input(g, "x", e);
    if (!x)
        return NULL;
    if (x->shape.rank != 4 ||
        !shape_equal(x->shape, SHAPE(x->shape.dim[0], c->in_channels, c->image_size, c->image_size)))
        return error_null(e, "input/x is not [B, in_channels, image_size, image_size]");
    return ninformer_forward(golden_tape(g), l->model, x);
}

static bool compare_logits(Golden *g, const Loaded *l, const NinformerConfig *c, Error *e)
{
    Tensor *logits = logits_of(g, l, c, e);
    if (!logits)
        return false;
    golden_output(g, "logits", logits);
    golden_backward(g, 1, (const char *const[]){"logits"}, &logits, l->params);
    return true;
}

static bool forward(Golden *g, Error *e)
{
    NinformerConfig c;
    if (!golden_config(g, &ninformer_config_table, &c))
        return true;
    Loaded l = {0};
    bool good = load(g, &l, &c, e) && compare_logits(g, &l, &c, e);
    loaded_free(&l);
    return good;
}

/* The masks in the order in which a forward drops: of each block the gate's token mixing, its channel mixing, the FF. */
static bool replay_masks(Golden *g, const NinformerConfig *c, Error *e)
{
    static const char *const places[] = {"token0", "token1", "channel0", "channel1", "ffn0", "ffn1"};
    int count = c->num_layers * COUNT_OF(places);
    const char **names = mem_new((size_t)count * sizeof *names);
    for (int i = 0; i < count; i++)
        names[i] = str_format("mask%d.%s", i / COUNT_OF(places), places[i % COUNT_OF(places)]);
    bool good = golden_replay(g, count, names, e);
    for (int i = 0; i < count; i++)
        mem_free((char *)names[i]);
    mem_free(names);
    return good;
}

static bool forward_dropout(Golden *g, Error *e)
{
    NinformerConfig c;
    if (!golden_config(g, &ninformer_config_table, &c))
        return true;
    Loaded l = {0};
    bool good = load(g, &l, &c, e) && replay_masks(g, &c, e) && compare_logits(g, &l, &c, e);
    golden_replay_end(g);
    loaded_free(&l);
    return good;
}

/* A label for each of the rows; NULL with a line. */
static const int64_t *labels_of(Golden *g, int64_t rows, int64_t classes, Error *e)
{
    Shape shape;
    const int64_t *labels = golden_values(g, "labels", I64, &shape, e);
    if (!labels)
        return NULL;
    if (!shape_equal(shape, SHAPE(rows)))
        return error_null(e, "input/labels does not have a label for each of the %lld rows", (long long)rows);
    for (int64_t i = 0; i < rows; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return error_null(e, "input/labels: %lld is not one of %lld classes", (long long)labels[i],
                              (long long)classes);
    return labels;
}

static bool compare_loss(Golden *g, const Loaded *l, const NinformerConfig *c, Error *e)
{
    Tape *t = golden_tape(g);
    Tensor *logits = logits_of(g, l, c, e);
    const int64_t *labels = logits ? labels_of(g, tensor_dim(logits, 0), c->num_classes, e) : NULL;
    if (!labels)
        return false;
    float *targets = mem_new((size_t)tensor_count(logits) * sizeof *targets);
    mix_targets(&(Mix){.lambda = 1}, labels, (int)tensor_dim(logits, 0), c->num_classes, 0, targets);
    Tensor *ce = mean_all(t, soft_cross_entropy(t, logits, tensor_from(t, F32, logits->shape, targets), NULL));
    mem_free(targets);
    golden_output(g, "logits", logits);
    golden_loss(g, "ce", tensor_scalar(t, ce));
    golden_backward(g, 1, (const char *const[]){"ce"}, &ce, l->params);
    return true;
}

static bool loss(Golden *g, Error *e)
{
    NinformerConfig c;
    if (!golden_config(g, &ninformer_config_table, &c))
        return true;
    Loaded l = {0};
    bool good = load(g, &l, &c, e) && compare_loss(g, &l, &c, e);
    loaded_free(&l);
    return good;
}

typedef struct StepsConfig {
    NinformerConfig model;
    double lr;
} StepsConfig;

static const ConfigField steps_rows[] = {
    {CONFIG_NUMBER("lr", StepsConfig, lr, .range = "(0, inf)")},
    {CONFIG_REST("", StepsConfig, model, &ninformer_config_table)},
};
static const ConfigTable steps_table = {CONFIG_STRUCT(StepsConfig), CONFIG_ROWS(steps_rows)};

static bool optimizer_steps(Golden *g, Error *e)
{
    StepsConfig c;
    if (!golden_config(g, &steps_table, &c))
        return true;
    Loaded l = {0};
    bool good = load(g, &l, &c.model, e);
    if (good) {
        Optimizer *o = optimizer_new(
            &(OptimizerOptions){.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, l.params);
        good = golden_optimizer_steps(g, l.params, o, &c.lr, 1, e) >= 0;
        optimizer_free(o);
    }
    loaded_free(&l);
    return good;
}

/* ---- transform: RandomCrop(32, padding 4), flip, normalisation of uint8 images with given draws */

typedef struct TransformConfig {
    int *top, *left, *flip;
    int tops, lefts, flips;
} TransformConfig;

static const ConfigField transform_rows[] = {
    {CONFIG_INT_LIST("top", TransformConfig, top, tops, .range = "[0, 8]")},
    {CONFIG_INT_LIST("left", TransformConfig, left, lefts, .range = "[0, 8]")},
    {CONFIG_INT_LIST("flip", TransformConfig, flip, flips, .range = "[0, 1]")},
};
static const ConfigTable transform_table = {CONFIG_STRUCT(TransformConfig), CONFIG_ROWS(transform_rows)};

enum { SIDE = 32, PADDING = 4, CHANNELS = 3, PIXELS = SIDE * SIDE * CHANNELS };

static Tensor *transformed(Tape *tape, const TransformConfig *c, const uint8_t *pixels)
{
    const ImageTransform t = {.size = SIDE,
                              .train = true,
                              .crop = CROP_PADDED,
                              .padding = PADDING,
                              .mean = {0.5, 0.5, 0.5},
                              .deviation = {0.5, 0.5, 0.5}};
    TransformScratch scratch = {0};
    Image image = {0};
    uint8_t *out = mem_new((size_t)c->tops * PIXELS);
    image_reshape(&image, SIDE, SIDE, CHANNELS);
    for (int i = 0; i < c->tops; i++) {
        TransformDraws draws = {.flip = c->flip[i] == 1};
        draws.crop = (Box){.top = c->top[i] - PADDING, .left = c->left[i] - PADDING, .height = SIDE, .width = SIDE};
        memcpy(image.pixels, pixels + (size_t)i * PIXELS, PIXELS);
        transform_train(&t, &draws, &image, &scratch, out + (size_t)i * PIXELS);
    }
    Tensor *x = transform_images(tape, &t, c->tops, CHANNELS, out, NULL);
    mem_free(out);
    image_free(&image);
    transform_scratch_free(&scratch);
    return x;
}

static bool compare_transform(Golden *g, const TransformConfig *c, Error *e)
{
    Shape shape;
    const uint8_t *pixels = golden_values(g, "image", U8, &shape, e);
    if (!pixels)
        return false;
    if (!shape_equal(shape, SHAPE(c->tops, SIDE, SIDE, CHANNELS)) || c->lefts != c->tops || c->flips != c->tops)
        return error_set(e, "input/image [n,32,32,3] and the config's top, left and flip do not fit each other");
    golden_output(g, "x", transformed(golden_tape(g), c, pixels));
    return true;
}

static bool transform(Golden *g, Error *e)
{
    TransformConfig c;
    if (!golden_config(g, &transform_table, &c))
        return true;
    bool good = compare_transform(g, &c, e);
    config_free(&transform_table, &c);
    return good;
}

/* ---- epoch_metrics: what the authors log, from logits in the order of the batches */

typedef struct MetricsConfig {
    int batch_size;
} MetricsConfig;

static const ConfigField metrics_rows[] = {
    {CONFIG_INT("batch_size", MetricsConfig, batch_size, .range = "[1, 1000000]")},
};
static const ConfigTable metrics_table = {CONFIG_STRUCT(MetricsConfig), CONFIG_ROWS(metrics_rows)};

static bool epoch_metrics(Golden *g, Error *e)
{
    MetricsConfig c;
    if (!golden_config(g, &metrics_table, &c))
        return true;
    Shape shape;
    const float *logits = golden_values(g, "logits", F32, &shape, e);
    if (!logits || shape.rank != 2 || shape_count(shape) == 0)
        return logits && error_set(e, "input/logits is not [n,C]");
    int64_t rows = shape.dim[0], classes = shape.dim[1];
    const int64_t *labels = labels_of(g, rows, classes, e);
    if (!labels)
        return false;
    Tally tally = {0};
    for (int64_t at = 0; at < rows; at += c.batch_size) {
        Batch batch = {.rows = (int)MIN(c.batch_size, rows - at), .labels = (int64_t *)labels + at};
        classification_count(&tally, &batch, logits + at * classes, (float *const[CLASSIFIER_PARTS]){0}, (int)classes);
    }
    float mean = (float)classification_loss(&tally, MEAN_OF_BATCHES);
    float accuracy = 100.0f * (float)tally.top1 / (float)tally.count;
    golden_output_values(g, "train_loss", F32, SHAPE(1), &mean);
    golden_output_values(g, "test_loss", F32, SHAPE(1), &mean);
    golden_output_values(g, "train_accuracy", F32, SHAPE(1), &accuracy);
    golden_output_values(g, "test_accuracy", F32, SHAPE(1), &accuracy);
    return true;
}

/* ---- */

const GoldenEntry ninformer_golden[] = {
    {"forward", forward},
    {"forward_dropout", forward_dropout},
    {"loss", loss},
    {"optimizer_steps", optimizer_steps},
    {"transform", transform},
    {"epoch_metrics", epoch_metrics},
    {0},
};
