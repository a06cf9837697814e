/* Golden entries of the data recipe: transforms, augmentations, the sampler. */
#include "models/crossvit/golden.h"

#include "common/autograd/ops.h"
#include "common/data/order.h"
#include "common/data/transform.h"

#include <stdio.h>
#include <string.h>

/* The normalisation of the recipe (ImageNet's). */
static const double MEAN[] = {0.485, 0.456, 0.406}, DEVIATION[] = {0.229, 0.224, 0.225};

static ImageTransform transform_for(int size, bool train)
{
    ImageTransform t = {.size = size, .train = train, .crop = CROP_RESIZED, .crop_ratio = 256.0 / 224.0};
    if (size <= 32) { /* images of CIFAR's size: a random window of the padded image, and none in evaluation */
        t.crop = CROP_PADDED;
        t.padding = 4;
    }
    memcpy(t.mean, MEAN, sizeof t.mean);
    memcpy(t.deviation, DEVIATION, sizeof t.deviation);
    return t;
}

static bool read_image(Golden *g, Image *image, Error *e)
{
    Shape shape;
    const uint8_t *pixels = golden_values(g, "image", U8, &shape, e);
    if (!pixels)
        return false;
    if (shape.rank != 3 || shape.dim[2] != 3)
        return error_set(e, "input/image is not [H, W, 3]");
    image_reshape(image, (int)shape.dim[1], (int)shape.dim[0], 3);
    memcpy(image->pixels, pixels, image_bytes(image));
    return true;
}

/* What the network gets of the pixels [S,S,3]. */
static void compare_image(Golden *g, const ImageTransform *t, const uint8_t *pixels, const Erasure *erasure)
{
    Tape *tape = golden_tape(g);
    Tensor *x = transform_images(tape, t, 1, 3, pixels, erasure);
    golden_output(g, "x", reshape(tape, x, SHAPE(3, t->size, t->size)));
}

/* ---- eval_transform */

typedef struct EvalTransformConfig {
    int input_size;
    double crop_ratio;
} EvalTransformConfig;

static const ConfigField eval_rows[] = {
    {CONFIG_INT("input_size", EvalTransformConfig, input_size, .range = "[1, 4096]")},
    {CONFIG_NUMBER("crop_ratio", EvalTransformConfig, crop_ratio, .value = "1.1428571428571428", .range = "(0, 16]")},
};
static const ConfigTable eval_table = {CONFIG_STRUCT(EvalTransformConfig), CONFIG_ROWS(eval_rows)};

bool golden_eval_transform(Golden *g, Error *e)
{
    EvalTransformConfig c;
    if (!golden_config(g, &eval_table, &c))
        return true;
    Image image = {0};
    TransformScratch scratch = {0};
    ImageTransform t = transform_for(c.input_size, false);
    t.crop_ratio = c.crop_ratio;
    bool good = read_image(g, &image, e) && transform_fits(&t, image.width, image.height, e);
    if (good) {
        uint8_t *out = mem_new((size_t)(t.size * t.size) * 3);
        transform_eval(&t, &image, &scratch, out);
        compare_image(g, &t, out, NULL);
        mem_free(out);
    }
    image_free(&image);
    transform_scratch_free(&scratch);
    return good;
}

/* ---- Lists of [name, argument] */

static bool read_step(const Node *item, AugmentStep *step, Error *e)
{
    if (item->kind != NODE_LIST || item->count != 2 || item->items[0]->kind != NODE_SCALAR)
        return error_set(e, "config: ops is not a list of [name, argument]");
    int op = augment_named(item->items[0]->text);
    if (op < 0)
        return error_set(e, "config: ops: %s is not known", item->items[0]->text);
    step->op = (AugmentOp)op;
    step->argument = 0;
    if (augment_has_argument(step->op) && !node_number(item->items[1], &step->argument))
        return error_set(e, "config: ops: %s needs a number", item->items[0]->text);
    return true;
}

/* ---- train_transform */

typedef struct TrainTransformConfig {
    int input_size;
    int *crop, crop_count, *erase, erase_count;
    bool flip;
    Node *ops;
} TrainTransformConfig;

static const ConfigField train_rows[] = {
    {CONFIG_INT("input_size", TrainTransformConfig, input_size, .range = "[1, 4096]")},
    {CONFIG_INT_LIST("crop", TrainTransformConfig, crop, crop_count)},
    {CONFIG_BOOL("flip", TrainTransformConfig, flip)},
    {CONFIG_ANY("ops", TrainTransformConfig, ops)},
    {CONFIG_INT_LIST("erase", TrainTransformConfig, erase, erase_count, CONFIG_NULLABLE, .value = "null")},
};
static const ConfigTable train_table = {CONFIG_STRUCT(TrainTransformConfig), CONFIG_ROWS(train_rows)};

static bool read_draws(const TrainTransformConfig *c, const ImageTransform *t, TransformDraws *d, Error *e)
{
    *d = (TransformDraws){.flip = c->flip};
    if (c->crop_count != (t->crop == CROP_PADDED ? 2 : 4) || (c->erase && c->erase_count != 4))
        return error_set(e, "config: crop or erase does not have the expected count of numbers");
    if (t->crop == CROP_PADDED) /* given in the padded image */
        d->crop =
            (Box){.top = c->crop[0] - t->padding, .left = c->crop[1] - t->padding, .height = t->size, .width = t->size};
    else
        d->crop = (Box){.top = c->crop[0], .left = c->crop[1], .height = c->crop[2], .width = c->crop[3]};
    if (c->erase)
        d->erase = (Box){.top = c->erase[0], .left = c->erase[1], .height = c->erase[2], .width = c->erase[3]};
    if (c->ops->kind != NODE_LIST || c->ops->count > RANDAUGMENT_MOST_OPS)
        return error_set(e, "config: ops is not a list of at most %d", RANDAUGMENT_MOST_OPS);
    for (d->steps = 0; d->steps < c->ops->count; d->steps++)
        if (!read_step(c->ops->items[d->steps], &d->step[d->steps], e))
            return false;
    return true;
}

static bool compare_train(Golden *g, const ImageTransform *t, const TransformDraws *draws, const Image *image, Error *e)
{
    const Erasure erasure = {.box = draws->erase};
    bool erased = draws->erase.height > 0;
    if (erased && !golden_replay(g, 1, (const char *const[]){"noise"}, e))
        return false;
    TransformScratch scratch = {0};
    uint8_t *out = mem_new((size_t)(t->size * t->size) * 3);
    transform_train(t, draws, image, &scratch, out);
    compare_image(g, t, out, erased ? &erasure : NULL);
    if (erased)
        golden_replay_end(g);
    mem_free(out);
    transform_scratch_free(&scratch);
    return true;
}

static bool box_inside(Box b, int height, int width)
{
    return b.top >= 0 && b.left >= 0 && b.height > 0 && b.width > 0 && b.top + b.height <= height &&
           b.left + b.width <= width;
}

bool golden_train_transform(Golden *g, Error *e)
{
    TrainTransformConfig c;
    if (!golden_config(g, &train_table, &c))
        return true;
    ImageTransform t = transform_for(c.input_size, true);
    TransformDraws draws;
    Image image = {0};
    bool good = read_draws(&c, &t, &draws, e) && read_image(g, &image, e);
    if (good && (t.crop == CROP_RESIZED
                     ? !box_inside(draws.crop, image.height, image.width)
                     : !box_inside((Box){draws.crop.top + t.padding, draws.crop.left + t.padding, t.size, t.size},
                                   image.height + 2 * t.padding, image.width + 2 * t.padding)))
        good = error_set(e, "config: crop lies outside the image");
    if (good && c.erase && !box_inside(draws.erase, t.size, t.size))
        good = error_set(e, "config: erase lies outside the image");
    good = good && compare_train(g, &t, &draws, &image, e);
    image_free(&image);
    config_free(&train_table, &c);
    return good;
}

/* ---- randaugment_ops: each on the original */

typedef struct OpsConfig {
    Node *ops;
} OpsConfig;

static const ConfigField ops_rows[] = {{CONFIG_ANY("ops", OpsConfig, ops)}};
static const ConfigTable ops_table = {CONFIG_STRUCT(OpsConfig), CONFIG_ROWS(ops_rows)};

static bool compare_ops(Golden *g, const Node *ops, const Image *image, Error *e)
{
    Image work = {0}, scratch = {0};
    bool good = ops->kind == NODE_LIST || error_set(e, "config: ops is not a list");
    for (int i = 0; good && i < ops->count; i++) {
        AugmentStep step;
        good = read_step(ops->items[i], &step, e);
        if (!good)
            break;
        char name[128];
        snprintf(name, sizeof name, "%d.%s", i, augment_name(step.op));
        image_copy(&work, image);
        augment_apply(step.op, step.argument, &work, &scratch);
        golden_output_values(g, name, U8, SHAPE(work.height, work.width, work.channels), work.pixels);
    }
    image_free(&work);
    image_free(&scratch);
    return good;
}

bool golden_randaugment_ops(Golden *g, Error *e)
{
    OpsConfig c;
    if (!golden_config(g, &ops_table, &c))
        return true;
    Image image = {0};
    bool good = read_image(g, &image, e) && compare_ops(g, c.ops, &image, e);
    image_free(&image);
    config_free(&ops_table, &c);
    return good;
}

/* ---- randaugment_args */

typedef struct Nothing {
    int unused;
} Nothing;

static const ConfigTable no_keys = {CONFIG_STRUCT(Nothing)};

bool golden_randaugment_args(Golden *g, Error *e)
{
    Nothing none;
    if (!golden_config(g, &no_keys, &none))
        return true;
    Shape shape, negate_shape;
    const float *m = golden_values(g, "m", F32, &shape, e);
    const int64_t *negate = m ? golden_values(g, "negate", I64, &negate_shape, e) : NULL;
    if (!negate || !shape_equal(shape, negate_shape))
        return negate ? error_set(e, "input/m and input/negate differ in shape") : false;
    int64_t rows = shape_count(shape);
    float *values = mem_new((size_t)rows * sizeof *values);
    for (int op = 0; op < AUGMENT_OPS; op++) {
        if (!augment_has_argument((AugmentOp)op))
            continue;
        for (int64_t i = 0; i < rows; i++)
            values[i] = (float)augment_argument((AugmentOp)op, m[i], negate[i] != 0);
        golden_output_values(g, augment_name((AugmentOp)op), F32, shape, values);
    }
    mem_free(values);
    return true;
}

/* ---- crop_box, erase_box: rows of u, used up in call order */

typedef struct BoxInputs {
    const float *u;
    const int64_t *size;
    int64_t rows, numbers;
} BoxInputs;

static bool read_boxes(Golden *g, BoxInputs *in, Error *e)
{
    Shape u, size;
    in->u = golden_values(g, "u", F32, &u, e);
    in->size = in->u ? golden_values(g, "size", I64, &size, e) : NULL;
    if (!in->size)
        return false;
    if (u.rank != 2 || size.rank != 2 || size.dim[1] != 2 || size.dim[0] != u.dim[0])
        return error_set(e, "input/u and input/size do not fit each other");
    in->rows = u.dim[0];
    in->numbers = u.dim[1];
    return true;
}

/* Where row i's box lies, drawn from its numbers; false: there is none. */
typedef bool DrawBox(const void *config, int width, int height, Random *random, Box *box);

static bool compare_boxes(Golden *g, DrawBox *draw, const void *config, Error *e)
{
    BoxInputs in = {0};
    if (!read_boxes(g, &in, e))
        return false;
    int64_t *boxes = mem_new((size_t)in.rows * 4 * sizeof *boxes);
    for (int64_t i = 0; i < in.rows; i++) {
        RandomReplay replay = {.values = in.u + i * in.numbers, .count = in.numbers};
        Random random = {.replay = &replay};
        Box b;
        if (!draw(config, (int)in.size[2 * i + 1], (int)in.size[2 * i], &random, &b))
            b = (Box){.top = -1, .left = -1, .height = -1, .width = -1};
        memcpy(boxes + 4 * i, (const int64_t[]){b.top, b.left, b.height, b.width}, 4 * sizeof *boxes);
    }
    golden_output_values(g, "box", I64, SHAPE(in.rows, 4), boxes);
    mem_free(boxes);
    return true;
}

typedef struct CropConfig {
    double scale[2], ratio[2];
} CropConfig;

static const ConfigField crop_rows[] = {
    {CONFIG_NUMBER_ARRAY("scale", CropConfig, scale, .range = "(0, 1]")},
    {CONFIG_NUMBER_ARRAY("ratio", CropConfig, ratio, .range = "(0, inf)")},
};
static const ConfigTable crop_table = {CONFIG_STRUCT(CropConfig), CONFIG_ROWS(crop_rows)};

static bool draw_crop(const void *config, int width, int height, Random *random, Box *box)
{
    const CropConfig *c = config;
    *box = crop_box_resized(width, height, c->scale, c->ratio, random);
    return true;
}

bool golden_crop_box(Golden *g, Error *e)
{
    CropConfig c;
    return !golden_config(g, &crop_table, &c) || compare_boxes(g, draw_crop, &c, e);
}

static const ConfigField erase_rows[] = {
    {CONFIG_NUMBER("probability", RandomErasing, probability, .range = "[0, 1]")},
    {CONFIG_NUMBER("min_area", RandomErasing, min_area, .range = "(0, 1]")},
    {CONFIG_NUMBER("max_area", RandomErasing, max_area, .range = "(0, 1]")},
    {CONFIG_NUMBER("min_aspect", RandomErasing, min_aspect, .range = "(0, inf)")},
};
static const ConfigTable erase_table = {CONFIG_STRUCT(RandomErasing), CONFIG_ROWS(erase_rows)};

static bool draw_erase(const void *config, int width, int height, Random *random, Box *box)
{
    return erase_box(width, height, config, random, box);
}

bool golden_erase_box(Golden *g, Error *e)
{
    RandomErasing c;
    return !golden_config(g, &erase_table, &c) || compare_boxes(g, draw_erase, &c, e);
}

/* ---- repeated_augmentation */

typedef struct ReplicasConfig {
    int num_replicas;
} ReplicasConfig;

static const ConfigField replicas_rows[] = {
    {CONFIG_INT("num_replicas", ReplicasConfig, num_replicas, .range = "[1, 4096]")},
};
static const ConfigTable replicas_table = {CONFIG_STRUCT(ReplicasConfig), CONFIG_ROWS(replicas_rows)};

bool golden_repeated_augmentation(Golden *g, Error *e)
{
    enum { REPEATS = 3 };
    ReplicasConfig c;
    if (!golden_config(g, &replicas_table, &c))
        return true;
    Shape shape;
    const int64_t *permutation = golden_values(g, "permutation", I64, &shape, e);
    if (!permutation)
        return false;
    int64_t n = shape_count(shape), *indices = mem_new((size_t)(REPEATS * n + 1) * sizeof *indices);
    for (int rank = 0; rank < c.num_replicas; rank++) {
        char name[32];
        int64_t count = repeated_augmentation(permutation, n, REPEATS, c.num_replicas, rank, indices);
        snprintf(name, sizeof name, "rank%d", rank);
        golden_output_values(g, name, I64, SHAPE(count), indices);
    }
    mem_free(indices);
    return true;
}
