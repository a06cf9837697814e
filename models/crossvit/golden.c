/* Entries of golden files (../shared/papers/crossvit.md, last section but one): what is computed, on which inputs. */
#include "models/crossvit/golden.h"

#include "common/data/order.h"
#include "common/data/mix.h"
#include "common/data/transform.h"
#include "common/hosts/classification/classification.h"
#include "common/nn/schedule.h"

#include <string.h>

/* A model with the file's parameters. */
typedef struct Loaded {
    CrossvitConfig config;
    Params *params;
    Crossvit *model;
} Loaded;

static void loaded_free(Loaded *l)
{
    crossvit_free(l->model);
    params_free(l->params);
    config_free(&crossvit_config_table, &l->config);
}

/* The config is bound already. */
static bool load_model(Golden *g, Loaded *l, Error *e)
{
    l->params = params_new();
    l->model = crossvit_new(&l->config, l->params);
    params_allocate(l->params, true, 0, golden_backend(g));
    return golden_params(g, l->params, e);
}

static bool compare_forward(Golden *g, Loaded *l, Error *e)
{
    Tensor *x = golden_input(g, "x", e);
    if (!x)
        return false;
    Tensor *logits = crossvit_forward(golden_tape(g), l->model, x, NULL);
    golden_output(g, "logits", logits);
    golden_backward(g, 1, (const char *const[]){"logits"}, &logits, l->params);
    return true;
}

static bool forward(Golden *g, Error *e)
{
    Loaded l = {0};
    if (!golden_config(g, &crossvit_config_table, &l.config))
        return true;
    bool good = load_model(g, &l, e) && compare_forward(g, &l, e);
    loaded_free(&l);
    return good;
}

static bool forward_drop_path(Golden *g, Error *e)
{
    enum { MOST_SITES = 4096 };
    Loaded l = {0};
    if (!golden_config(g, &crossvit_config_table, &l.config))
        return true;
    bool good = load_model(g, &l, e) && golden_replay(g, 1, (const char *const[]){"u"}, e);
    if (good) {
        float *rates = mem_new(MOST_SITES * sizeof *rates);
        int sites = crossvit_drop_path_rates(&l.config, rates, MOST_SITES);
        golden_output_values(g, "rates", F32, SHAPE(sites), rates);
        mem_free(rates);
        good = compare_forward(g, &l, e);
        golden_replay_end(g);
    }
    loaded_free(&l);
    return good;
}

/* ---- optimizer_steps */

typedef struct StepsConfig {
    CrossvitConfig model;
    int opt;
    double *lr;
    int steps;
    double weight_decay, momentum, opt_eps;
} StepsConfig;

static const ConfigField steps_rows[] = {
    {CONFIG_ENUM("opt", StepsConfig, opt, CONFIG_WORDS("adamw", "sgd"))},
    {CONFIG_NUMBER_LIST("lr", StepsConfig, lr, steps)},
    {CONFIG_NUMBER("weight_decay", StepsConfig, weight_decay)},
    {CONFIG_NUMBER("momentum", StepsConfig, momentum, .value = "0.9")},
    {CONFIG_NUMBER("opt_eps", StepsConfig, opt_eps, .value = "1e-8")},
    {CONFIG_REST("", StepsConfig, model, &crossvit_config_table)},
};
static const ConfigTable steps_table = {CONFIG_STRUCT(StepsConfig), CONFIG_ROWS(steps_rows)};

static bool run_steps(Golden *g, const StepsConfig *c, Loaded *l, Error *e)
{
    Optimizer *o = optimizer_new(&(OptimizerOptions){.kind = c->opt ? OPTIMIZER_SGD : OPTIMIZER_ADAMW,
                                                     .beta1 = 0.9,
                                                     .beta2 = 0.999,
                                                     .eps = c->opt_eps,
                                                     .momentum = c->momentum,
                                                     .weight_decay = c->weight_decay},
                                 l->params);
    int steps = golden_optimizer_steps(g, l->params, o, c->lr, c->steps, e);
    if (steps >= 0 && steps != c->steps)
        golden_mismatch(g, "config: lr has %d rates, there are gradients of %d steps", c->steps, steps);
    optimizer_free(o);
    return steps >= 0;
}

static bool optimizer_steps(Golden *g, Error *e)
{
    StepsConfig c;
    if (!golden_config(g, &steps_table, &c))
        return true;
    Loaded l = {.config = c.model}; /* lists stay c's */
    bool good = load_model(g, &l, e) && run_steps(g, &c, &l, e);
    crossvit_free(l.model);
    params_free(l.params);
    config_free(&steps_table, &c);
    return good;
}

/* ---- Losses */

/* The mean over the rows of -sum targets log softmax(logits), with its gradient wanted. */
static Tensor *mean_cross_entropy(Golden *g, Tensor *logits, const float *targets)
{
    Tape *t = golden_tape(g);
    return mean_all(t, soft_cross_entropy(t, logits, tensor_from(t, F32, logits->shape, targets), NULL));
}

static Tensor *smoothed_loss(Golden *g, Tensor *logits, const int64_t *labels, double smoothing)
{
    int64_t rows = logits->shape.dim[0], classes = logits->shape.dim[1];
    float *targets = mem_new((size_t)(rows * classes) * sizeof *targets);
    mix_targets(&(Mix){.lambda = 1}, labels, (int)rows, (int)classes, smoothing, targets);
    Tensor *loss = mean_cross_entropy(g, logits, targets);
    mem_free(targets);
    return reshape(golden_tape(g), loss, SHAPE(1));
}

typedef struct LossesConfig {
    double smoothing;
} LossesConfig;

static const ConfigField losses_rows[] = {
    {CONFIG_NUMBER("smoothing", LossesConfig, smoothing, .value = "0.1", .range = "[0, 1]")},
};
static const ConfigTable losses_table = {CONFIG_STRUCT(LossesConfig), CONFIG_ROWS(losses_rows)};

static bool check_labels(const int64_t *labels, int64_t rows, int64_t classes, Error *e)
{
    for (int64_t i = 0; i < rows; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return error_set(e, "input/labels: %lld is not one of %lld classes", (long long)labels[i],
                             (long long)classes);
    return true;
}

/* How many labels are the first, or one of the first five, of their logits, in percent. */
static void accuracies(Golden *g, Tensor *logits, const int64_t *labels)
{
    int64_t rows = tensor_dim(logits, 0), classes = tensor_dim(logits, 1);
    float right[2] = {0}, *values = mem_new((size_t)(rows * classes) * sizeof *values);
    tensor_read(golden_tape(g), logits, values);
    for (int64_t i = 0; i < rows; i++) {
        int rank = classification_rank(values + i * classes, (int)classes, labels[i]);
        right[0] += rank < 1;
        right[1] += rank < 5;
    }
    for (int i = 0; i < 2; i++)
        right[i] *= 100.0f / (float)rows;
    golden_output_values(g, "acc1", F32, SHAPE(1), &right[0]);
    golden_output_values(g, "acc5", F32, SHAPE(1), &right[1]);
    mem_free(values);
}

static bool losses(Golden *g, Error *e)
{
    LossesConfig c;
    if (!golden_config(g, &losses_table, &c))
        return true;
    Shape shape;
    Tensor *logits = golden_input(g, "logits", e);
    const int64_t *labels = logits ? golden_values(g, "labels", I64, &shape, e) : NULL;
    if (!labels || logits->shape.rank != 2 || shape_count(shape) != logits->shape.dim[0])
        return labels ? error_set(e, "input/labels does not fit input/logits") : false;
    int64_t rows = logits->shape.dim[0], classes = logits->shape.dim[1];
    if (!check_labels(labels, rows, classes, e))
        return false;
    accuracies(g, logits, labels);
    Tensor *both[] = {smoothed_loss(g, logits, labels, c.smoothing), smoothed_loss(g, logits, labels, 0)};
    static const char *const names[] = {"label_smoothing_ce", "cross_entropy"};
    for (int i = 0; i < 2; i++)
        golden_output(g, names[i], both[i]);
    golden_backward(g, 2, names, both, NULL);
    return true;
}

typedef struct MixupConfig {
    int mode;
    double lam, label_smoothing;
    int num_classes, cy, cx;
} MixupConfig;

static const ConfigField mixup_rows[] = {
    {CONFIG_ENUM("mode", MixupConfig, mode, CONFIG_WORDS("mixup", "cutmix"))},
    {CONFIG_NUMBER("lam", MixupConfig, lam, .range = "[0, 1]")},
    {CONFIG_NUMBER("label_smoothing", MixupConfig, label_smoothing, .value = "0.1", .range = "[0, 1]")},
    {CONFIG_INT("num_classes", MixupConfig, num_classes, .range = "[1, 1000000]")},
    {CONFIG_INT("cy", MixupConfig, cy, .value = "0")},
    {CONFIG_INT("cx", MixupConfig, cx, .value = "0")},
};
static const ConfigTable mixup_table = {CONFIG_STRUCT(MixupConfig), CONFIG_ROWS(mixup_rows)};

static void compare_mix(Golden *g, const Mix *mix, Shape shape, const float *images)
{
    Tape *t = golden_tape(g);
    golden_output(g, "x", mix_images(t, mix, tensor_from(t, F32, shape, images)));
    float lambda = (float)mix->lambda;
    golden_output_values(g, "lam", F32, SHAPE(1), &lambda);
    int64_t box[] = {mix->box.top, mix->box.top + mix->box.height, mix->box.left, mix->box.left + mix->box.width};
    if (mix->mode == MIX_CUTMIX)
        golden_output_values(g, "box", I64, SHAPE(4), box);
}

static bool mixup_loss(Golden *g, Error *e)
{
    MixupConfig c;
    if (!golden_config(g, &mixup_table, &c))
        return true;
    Shape shape, label_shape;
    const float *x = golden_values(g, "x", F32, &shape, e);
    const int64_t *labels = x ? golden_values(g, "labels", I64, &label_shape, e) : NULL;
    Tensor *logits = labels ? golden_input(g, "logits", e) : NULL;
    if (!logits)
        return false;
    int64_t rows = shape.dim[0];
    if (shape.rank != 4 || shape_count(label_shape) != rows || !shape_equal(logits->shape, SHAPE(rows, c.num_classes)))
        return error_set(e, "input/x, input/labels and input/logits do not fit each other");
    if (!check_labels(labels, rows, c.num_classes, e))
        return false;
    Mix mix = {.mode = MIX_MIXUP, .lambda = c.lam};
    if (c.mode)
        mix = mix_cut(c.lam, c.cy, c.cx, (int)shape.dim[2], (int)shape.dim[3]);
    compare_mix(g, &mix, shape, x);
    float *targets = mem_new((size_t)(rows * c.num_classes) * sizeof *targets);
    mix_targets(&mix, labels, (int)rows, c.num_classes, c.label_smoothing, targets);
    golden_output_values(g, "target", F32, SHAPE(rows, c.num_classes), targets);
    Tensor *loss = mean_cross_entropy(g, logits, targets);
    mem_free(targets);
    golden_loss(g, "soft_target_ce", tensor_scalar(golden_tape(g), loss));
    golden_backward(g, 1, (const char *const[]){"loss"}, &loss, NULL);
    return true;
}

/* ---- Schedule */

typedef struct ScheduleConfig {
    double lr, batch_size, warmup_lr, min_lr;
    int epochs, warmup_epochs;
} ScheduleConfig;

static const ConfigField schedule_rows[] = {
    {CONFIG_NUMBER("lr", ScheduleConfig, lr)},
    {CONFIG_NUMBER("batch_size", ScheduleConfig, batch_size)},
    {CONFIG_INT("epochs", ScheduleConfig, epochs, .range = "[1, 100000]")},
    {CONFIG_INT("warmup_epochs", ScheduleConfig, warmup_epochs, .range = "[0, 100000]")},
    {CONFIG_NUMBER("warmup_lr", ScheduleConfig, warmup_lr)},
    {CONFIG_NUMBER("min_lr", ScheduleConfig, min_lr)},
};
static const ConfigTable schedule_table = {CONFIG_STRUCT(ScheduleConfig), CONFIG_ROWS(schedule_rows)};

static bool lr_schedule(Golden *g, Error *e)
{
    (void)e;
    ScheduleConfig c;
    if (!golden_config(g, &schedule_table, &c))
        return true;
    CosineSchedule s = {.peak = c.lr * c.batch_size / 512,
                        .floor = c.min_lr,
                        .start = c.warmup_lr,
                        .warmup = c.warmup_epochs,
                        .total = c.epochs};
    float *rates = mem_new((size_t)c.epochs * sizeof *rates);
    for (int epoch = 0; epoch < c.epochs; epoch++)
        rates[epoch] = (float)(1e6 * schedule_timm_cosine(&s, epoch));
    golden_output_values(g, "lr_micro", F32, SHAPE(c.epochs), rates);
    mem_free(rates);
    return true;
}

/* ---- Resizing inside the model */

typedef struct SizeConfig {
    int size[2];
} SizeConfig;

static const ConfigField size_rows[] = {
    {CONFIG_INT_ARRAY("size", SizeConfig, size, .range = "[1, 4096]")},
};
static const ConfigTable size_table = {CONFIG_STRUCT(SizeConfig), CONFIG_ROWS(size_rows)};

static bool bicubic_resize(Golden *g, Error *e)
{
    SizeConfig c;
    if (!golden_config(g, &size_table, &c))
        return true;
    Tensor *x = golden_input(g, "x", e);
    if (!x)
        return false;
    Tensor *y = resize_bicubic(golden_tape(g), x, c.size[0], c.size[1]);
    golden_output(g, "y", y);
    golden_backward(g, 1, (const char *const[]){"y"}, &y, NULL);
    return true;
}

typedef struct GridConfig {
    int old_grid, new_grid;
} GridConfig;

static const ConfigField grid_rows[] = {
    {CONFIG_INT("old_grid", GridConfig, old_grid, .range = "[1, 1024]")},
    {CONFIG_INT("new_grid", GridConfig, new_grid, .range = "[1, 1024]")},
};
static const ConfigTable grid_table = {CONFIG_STRUCT(GridConfig), CONFIG_ROWS(grid_rows)};

static bool resize_pos_embed(Golden *g, Error *e)
{
    GridConfig c;
    if (!golden_config(g, &grid_table, &c))
        return true;
    Tensor *x = golden_input(g, "pos_embed", e);
    if (!x)
        return false;
    if (x->shape.rank != 3 || x->shape.dim[1] != 1 + c.old_grid * c.old_grid)
        return error_set(e, "input/pos_embed does not have 1 + old_grid^2 rows");
    Tensor *y = crossvit_resize_positions(golden_tape(g), x, c.new_grid);
    golden_output(g, "pos_embed", y);
    golden_backward(g, 1, (const char *const[]){"pos_embed"}, &y, NULL);
    return true;
}

/* ---- */

const GoldenEntry crossvit_golden[] = {
    {"forward", forward},
    {"forward_drop_path", forward_drop_path},
    {"optimizer_steps", optimizer_steps},
    {"losses", losses},
    {"mixup_loss", mixup_loss},
    {"lr_schedule", lr_schedule},
    {"bicubic_resize", bicubic_resize},
    {"resize_pos_embed", resize_pos_embed},
    {"eval_transform", golden_eval_transform},
    {"train_transform", golden_train_transform},
    {"randaugment_ops", golden_randaugment_ops},
    {"randaugment_args", golden_randaugment_args},
    {"crop_box", golden_crop_box},
    {"erase_box", golden_erase_box},
    {"repeated_augmentation", golden_repeated_augmentation},
    {0},
};
