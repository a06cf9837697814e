/* The sections of a classifier's config. */
#include "common/hosts/classification/classification.h"

#include "datasets/registry.h"

#include <string.h>

static bool resolve_data(void *config, const ConfigPlace *place, Error *e)
{
    DataConfig *d = config;
    RandAugment parsed;
    if (!randaugment_parse(d->auto_augment, &parsed, e)) {
        Error why = *e;
        return config_refuse(place, "auto_augment", e, "%s", why.text);
    }
    if (d->scale[0] > d->scale[1] || d->ratio[0] > d->ratio[1])
        return config_refuse(place, d->scale[0] > d->scale[1] ? "scale" : "ratio", e, "expected [lowest, highest]");
    return true;
}

static const ConfigField data_rows[] = {
    {CONFIG_STRING("set", DataConfig, set, .value = "fashion-mnist",
                   .help = "name of the data set; datasets/README.md lists them")},
    {CONFIG_STRING("path", DataConfig, path, CONFIG_NULLABLE, .value = "null",
                   .help = "where it lies; null: $ZOO_DATA/<set>, or where its Debian package puts it")},
    {CONFIG_NUMBER("hold_out", DataConfig, hold_out, .value = "0", .range = "[0, inf)",
                   .help = "training images kept for validation: a share below 1, or a number; 0: validation uses the "
                           "test set, as the papers of ImageNet do")},
    {CONFIG_INT("limit_train", DataConfig, limit_train, .value = "0", .range = "[0, inf)",
                .help = "use so many training images, drawn by seed 0; 0: all")},
    {CONFIG_INT("limit_test", DataConfig, limit_test, .value = "0", .range = "[0, inf)",
                .help = "likewise of the test set")},
    {CONFIG_INT("input_size", DataConfig, input_size, .value = "224", .range = "[1, 4096]",
                .help = "side of the square that the network gets")},
    {CONFIG_ENUM("crop", DataConfig, crop, CONFIG_WORDS("none", "padded", "resized"), .value = "resized",
                 .help =
                     "none: images have that side; padded: zeros around, then a random window; resized: a random box, "
                     "resized")},
    {CONFIG_INT("padding", DataConfig, padding, .value = "4", .range = "[0, 1024]", .help = "for crop: padded")},
    {CONFIG_NUMBER_ARRAY("scale", DataConfig, scale, .value = "[0.08, 1]", .range = "(0, 1]",
                         .help = "share of the area that a random box has")},
    {CONFIG_NUMBER_ARRAY("ratio", DataConfig, ratio, .value = "[0.75, 1.3333333333333333]", .range = "(0, 100]",
                         .help = "its width / height")},
    {CONFIG_NUMBER("crop_ratio", DataConfig, crop_ratio, .value = "1.1428571428571428", .range = "[1, 16]",
                   .help = "evaluation: the shorter side becomes this times input_size before the centre is cut out")},
    {CONFIG_NUMBER("flip", DataConfig, flip, .value = "0.5", .range = "[0, 1]", .help = "probability of mirroring")},
    {CONFIG_STRING("auto_augment", DataConfig, auto_augment, .value = "none",
                   .help = "RandAugment in timm's notation, rand-m9-mstd0.5-inc1, or none")},
    {CONFIG_NUMBER("erase_probability", DataConfig, erase_probability, .value = "0", .range = "[0, 1]",
                   .help = "of random erasing")},
    {CONFIG_NUMBER_ARRAY("mean", DataConfig, mean, CONFIG_OR_ONE, .value = "[0.485, 0.456, 0.406]",
                         .help = "of the channels, in 0 to 1")},
    {CONFIG_NUMBER_ARRAY("deviation", DataConfig, deviation, CONFIG_OR_ONE, .value = "[0.229, 0.224, 0.225]",
                         .range = "(0, inf)", .help = "of the channels")},
    {CONFIG_INT("threads", DataConfig, threads, .value = "1", .range = "[0, 256]",
                .help = "threads that make batches; 0: the training thread does. Results do not depend on it")},
    {CONFIG_INT("ahead", DataConfig, ahead, .value = "4", .range = "[1, 1024]", .help = "batches made ahead")},
    {CONFIG_INT("repeats", DataConfig, repeats, .value = "1", .range = "[1, 16]",
                .help = "repeated augmentation: an image so many times in a row, of a share of the images an epoch")},
    {CONFIG_BOOL("skip_corrupt", DataConfig, skip_corrupt, .value = "no",
                 .help = "yes: an image that cannot be read is replaced (training) or left out (evaluation)")},
};

static const ConfigField train_rows[] = {
    {CONFIG_INT("epochs", TrainConfig, epochs, .value = "300", .range = "[1, 1000000]",
                .help = "passes over the data")},
    {CONFIG_INT("batch_size", TrainConfig, batch_size, .value = "64", .range = "[1, 1000000]",
                .help = "images in a step, of all ranks together")},
    {CONFIG_BOOL("drop_last", TrainConfig, drop_last, .value = "yes",
                 .help = "no: an epoch ends with what is left of the images, a smaller batch")},
    {CONFIG_REST("", TrainConfig, optimization, &optimization_table)},
    {CONFIG_NUMBER("lr_batch", TrainConfig, lr_batch, .value = "0", .range = "[0, inf)",
                   .help = "lr is meant for a batch of this size and grows with batch_size; 0: lr is taken as it is")},
    {CONFIG_NUMBER("min_lr", TrainConfig, min_lr, .value = "1e-5", .range = "[0, inf)", .help = "the last rate")},
    {CONFIG_NUMBER("warmup_lr", TrainConfig, warmup_lr, .value = "1e-6", .range = "[0, inf)",
                   .help = "where the warm-up begins")},
    {CONFIG_NUMBER("warmup", TrainConfig, warmup, .value = "5", .range = "[0, inf)",
                   .help = "epochs of linear warm-up; a fraction below 1 is a share of all steps")},
    {CONFIG_ENUM("schedule", TrainConfig, schedule, CONFIG_WORDS("step", "timm", "constant"), .value = "step",
                 .help = "cosine by step; timm: by epoch, one epoch late, as timm 0.4.12 does it; constant: lr, after "
                         "the warm-up")},
    {CONFIG_NUMBER("smoothing", TrainConfig, smoothing, .value = "0", .range = "[0, 1)", .help = "of the labels")},
    {CONFIG_NUMBER("mixup", TrainConfig, mixup, .value = "0", .range = "[0, inf)",
                   .help = "alpha of its Beta distribution; 0: off")},
    {CONFIG_NUMBER("cutmix", TrainConfig, cutmix, .value = "0", .range = "[0, inf)", .help = "likewise")},
    {CONFIG_NUMBER("mix_probability", TrainConfig, mix_probability, .value = "1", .range = "[0, 1]",
                   .help = "that a batch is mixed")},
    {CONFIG_NUMBER("mix_switch", TrainConfig, mix_switch, .value = "0.5", .range = "[0, 1]",
                   .help = "that it is cutmix where both are on")},
    {CONFIG_STRING("finetune", TrainConfig, finetune, CONFIG_NULLABLE, .value = "null",
                   .help = "weights to begin with: a run, a checkpoint, .safetensors, .pth")},
    {CONFIG_BOOL("new_head", TrainConfig, new_head, .value = "no",
                 .help = "with finetune: the classifier begins anew (another class count)")},
};

static bool resolve_train(void *config, const ConfigPlace *place, Error *e)
{
    TrainConfig *c = config;
    bool pairs = c->mixup > 0 || c->cutmix > 0;
    if (pairs && c->batch_size % 2)
        return config_refuse(place, "batch_size", e, "mixup and cutmix pair images: expected an even number");
    if (pairs && !c->drop_last)
        return config_refuse(place, "drop_last", e, "mixup and cutmix pair images: expected yes");
    return true;
}

static const ConfigField eval_rows[] = {
    {CONFIG_INT("batch_size", EvalConfig, batch_size, .value = "100", .range = "[1, 1000000]",
                .help = "images at a time; results do not depend on it, but for loss: batches")},
    {CONFIG_ENUM("loss", EvalConfig, loss, CONFIG_WORDS("images", "batches"), .value = "images",
                 .help = "what the loss is a mean of; batches: of their means, a smaller last one as much as another, "
                         "which is what many authors log")},
    {CONFIG_BOOL("augment", EvalConfig, augment, .value = "no",
                 .help = "yes: images that went through the training's random transform are evaluated, too")},
};

const ConfigTable classification_data_table = {CONFIG_STRUCT(DataConfig), CONFIG_ROWS(data_rows),
                                               .resolve = resolve_data};
const ConfigTable classification_train_table = {CONFIG_STRUCT(TrainConfig), CONFIG_ROWS(train_rows),
                                                .resolve = resolve_train};
const ConfigTable classification_eval_table = {CONFIG_STRUCT(EvalConfig), CONFIG_ROWS(eval_rows)};

ImageTransform classification_transform(const DataConfig *d, bool train)
{
    ImageTransform t = {.size = d->input_size,
                        .train = train,
                        .crop = d->crop,
                        .padding = d->padding,
                        .crop_ratio = d->crop_ratio,
                        .flip = d->flip,
                        .erasing = {d->erase_probability, 0.02, 1.0 / 3.0, 0.3}};
    Error e;
    randaugment_parse(d->auto_augment, &t.randaugment, &e); /* resolve_data has read it before */
    memcpy(t.scale, d->scale, sizeof t.scale);
    memcpy(t.ratio, d->ratio, sizeof t.ratio);
    memcpy(t.mean, d->mean, sizeof t.mean);
    memcpy(t.deviation, d->deviation, sizeof t.deviation);
    return t;
}

/* At most `limit` samples (0: all). The data set given is closed or returned. */
static Dataset *limited(Dataset *whole, int64_t limit, Error *e)
{
    Dataset *rest = NULL, *some = NULL;
    if (!whole || limit == 0 || limit >= whole->count)
        return whole;
    if (!dataset_hold_out(whole, (double)limit, 0, &rest, &some, e))
        some = NULL;
    dataset_close(rest);
    dataset_close(whole);
    return some;
}

bool classification_train_data(const Settings *s, Dataset **train, Dataset **held, Error *e)
{
    const DataConfig *d = s->data;
    *held = NULL;
    Dataset *whole = limited(dataset_open(d->set, d->path, PART_TRAIN, e), d->limit_train, e);
    if (!whole || d->hold_out == 0) {
        *train = whole;
        return whole != NULL;
    }
    bool good = dataset_hold_out(whole, d->hold_out, 0, train, held, e);
    dataset_close(whole);
    return good;
}

Dataset *classification_test_data(const Settings *s, Error *e)
{
    const DataConfig *d = s->data;
    return limited(dataset_open(d->set, d->path, PART_TEST, e), d->limit_test, e);
}

bool classification_fits(const Settings *s, const Classifier *c, const Dataset *data, Error *e)
{
    const DataConfig *d = s->data;
    int classes = c->classes(s->model), channels = c->channels(s->model);
    if (data->classes > classes)
        return error_set(e, "model.%s is %d, but data.set %s has %d classes", c->classes_key, classes, d->set,
                         data->classes);
    if (data->channels != channels)
        return error_set(e, "model.%s is %d, but the images of data.set %s have %d channels", c->channels_key, channels,
                         d->set, data->channels);
    if (c->side && c->side(s->model) != d->input_size)
        return error_set(e, "model.%s is %d, but data.input_size is %d", c->side_key, c->side(s->model), d->input_size);
    return true;
}
