/* NiNformer and the networks beside it: counts of the named configurations, what a config may say, what each network knows of
 * the order of tokens, that all learn. Its numbers are held against the authors' code by the golden files. */
#include "common/hosts/classification/classification.h"
#include "common/nn/optimizer.h"
#include "common/run/command/tables.h"
#include "models/ninformer/golden.h"
#include "models/ninformer/task.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The smallest image that has tokens to mix: 2 x 2 patches. */
enum { SIDE = 8, PATCH = 4, CLASSES = 3, BATCH = 6, PIXELS = SIDE * SIDE };

static const NinformerConfig SMALL = {
    .image_size = SIDE,
    .patch_size = PATCH,
    .in_channels = 1,
    .num_classes = CLASSES,
    .d_model = 16,
    .d_ffn = 24,
    .seq_len = 4,
    .num_layers = 2,
    .num_heads = 2,
};

/* A network with a tape, and noise to look at. */
typedef struct Fixture {
    Params *params;
    Ninformer *model;
    Tape *tape;
    float images[BATCH * PIXELS];
} Fixture;

static Fixture *make(Network network, Gate gate, double dropout, DType inner)
{
    Error e;
    const Backend *backend = cpu_backend(&e);
    NinformerConfig config = SMALL;
    config.network = network;
    config.gate = gate;
    config.dropout = dropout;
    Fixture *f = mem_new(sizeof *f);
    f->params = params_new();
    f->model = ninformer_new(&config, f->params);
    params_allocate(f->params, true, 1, backend);
    f->tape = tape_new(&(TapeOptions){.backend = backend, .threads = 1, .inner = inner});
    Random random = random_at(1, STREAM_DATA, 0, 0);
    for (int i = 0; i < COUNT_OF(f->images); i++)
        f->images[i] = (float)random_normal(&random);
    return f;
}

static void drop(Fixture *f)
{
    tape_free(f->tape);
    ninformer_free(f->model);
    params_free(f->params);
    mem_free(f);
}

static void logits_of(Fixture *f, Phase phase, float out[BATCH * CLASSES])
{
    Region before = region_open(f->tape, phase, NO_GRAD);
    Tensor *x = tensor_from(f->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), f->images);
    tensor_read(f->tape, ninformer_forward(f->tape, f->model, x), out);
    tape_reset(f->tape);
    region_close(f->tape, before);
}

static float furthest(const float *a, const float *b, int count)
{
    float most = 0;
    for (int i = 0; i < count; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

/* ---- Counts */

static void named_configurations_have_the_counts_of_the_spec(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int64_t parameters;
        int tensors;
        double mmacs; /* 0: the spec does not say */
    } table[] = {
        {"cifar10", 2652170, 4 * 20 + 4, 218.9},
        {"cifar100", 2652170 + 90 * 257, 4 * 20 + 4, 0},
        {"cifar10_mixer", 1335306, 4 * 12 + 4, 0},
        {"cifar10_mixer_8", 2655498, 8 * 12 + 4, 0},
    };
    Error e;
    Program p = {.model = &ninformer_model, .configs = "models/ninformer/configs"};
    for (int i = 0; i < COUNT_OF(table); i++) {
        ModelCounts counts;
        Settings *s = table_settings(&p, table[i].config, NULL, NULL, NULL, &e);
        assert_non_null(s);
        assert_true(table_count(&p, s, &counts, &e));
        assert_int_equal(counts.parameters, table[i].parameters);
        assert_int_equal(counts.tensors, table[i].tensors);
        if (table[i].mmacs > 0)
            assert_true(fabs(counts.macs / 1e6 - table[i].mmacs) < 0.05);
        settings_free(s);
    }
}

/* What the experiment calls equal differs by less than a hundredth. */
static void equal_parameters_are_equal(void **state)
{
    (void)state;
    static const struct {
        const char *config, *arm;
    } rows[] = {{"experiment", "mixer_equal_parameters"},
                {"experiment", "vit_equal_parameters"},
                {"experiment_cifar10", "vit_equal_parameters"},
                {"experiment", "gate_is_a_sum"}};
    Error e;
    Program p = {.model = &ninformer_model, .configs = "models/ninformer/configs"};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        ModelCounts ours, other;
        Settings *a = table_settings(&p, rows[i].config, "ninformer", NULL, NULL, &e),
                 *b = table_settings(&p, rows[i].config, rows[i].arm, NULL, NULL, &e);
        assert_true(a && b && table_count(&p, a, &ours, &e) && table_count(&p, b, &other, &e));
        assert_true(fabs((double)other.parameters / (double)ours.parameters - 1) < 0.01);
        settings_free(a);
        settings_free(b);
    }
}

/* ---- Configs */

static void refuse(const char *text, const char *line)
{
    Error e;
    NinformerConfig c;
    Node *node = node_from_flow_yaml(text, "a config", &e);
    assert_false(config_bind(&ninformer_config_table, node, &c, &e));
    assert_non_null(strstr(e.text, line));
    node_free(node);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    refuse("{image_size: 30}", "image_size is 30, not divisible by the patch of 4");
    refuse("{image_size: 28, seq_len: 64}", "seq_len is 64, expected (image_size / patch_size)^2 = 49");
    refuse("{network: vit, num_heads: 5}", "not divisible by the 5 heads");
    refuse("{network: mixer, gate: sum}", "only network: ninformer has one");
    refuse("{dropout: 1}", "dropout is 1");
    refuse("{seqlen: 64}", "seq_len");
}

/* ---- Numbers of the authors' code, as far as they lie here */

static void computes_what_the_authors_compute(void **state)
{
    (void)state;
    Error e;
    static const char *const files[] = {"forward_dropout", "forward_small_scale", "optimizer_steps", "epoch_metrics"};
    for (int i = 0; i < COUNT_OF(files); i++) {
        char *path = str_format("models/ninformer/golden/%s.safetensors", files[i]);
        assert_int_equal(golden_run(path, "ninformer", ninformer_golden, cpu_backend(&e), 1), 0);
        mem_free(path);
    }
}

/* ---- The order of tokens */

/* The upper two patches change places with the lower two; how far do the logits move? */
static float moved_by_swapping(Fixture *f)
{
    float before[BATCH * CLASSES], after[BATCH * CLASSES], upper[PIXELS / 2];
    logits_of(f, EVAL, before);
    for (int i = 0; i < BATCH; i++) {
        float *image = f->images + i * PIXELS;
        memcpy(upper, image, sizeof upper);
        memcpy(image, image + PIXELS / 2, sizeof upper);
        memcpy(image + PIXELS / 2, upper, sizeof upper);
    }
    logits_of(f, EVAL, after);
    return furthest(before, after, BATCH * CLASSES);
}

/* Token mixing gives each place weights of its own; without it, and without ViT's positions, nothing does. */
static void only_token_mixing_and_positions_know_the_order(void **state)
{
    (void)state;
    static const struct {
        Network network;
        Gate gate;
        bool positions, knows;
    } rows[] = {{NETWORK_NINFORMER, GATE_PRODUCT, false, true},  {NETWORK_NINFORMER, GATE_SUM, false, true},
                {NETWORK_NINFORMER, GATE_UNMIXED, false, false}, {NETWORK_MIXER, GATE_PRODUCT, false, true},
                {NETWORK_VIT, GATE_PRODUCT, true, true},         {NETWORK_VIT, GATE_PRODUCT, false, false}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        Fixture *f = make(rows[i].network, rows[i].gate, 0, F32);
        Param *positions = params_find(f->params, "positions");
        assert_int_equal(positions != NULL, rows[i].network == NETWORK_VIT);
        if (positions && !rows[i].positions)
            memset(positions->value.data, 0, (size_t)tensor_count(&positions->value) * sizeof(float));
        float moved = moved_by_swapping(f);
        if (rows[i].knows)
            assert_true(moved > 1e-4f);
        else
            assert_true(moved < 1e-6f);
        drop(f);
    }
}

/* ---- Learning */

/* Six images of noise by heart; every parameter gets a gradient. */
static float learn(Network network, Gate gate, double dropout, DType inner)
{
    Fixture *f = make(network, gate, dropout, inner);
    Optimizer *o = optimizer_new(&(OptimizerOptions){.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
                                 f->params);
    float targets[BATCH * CLASSES] = {0}, loss = 0;
    for (int i = 0; i < BATCH; i++)
        targets[i * CLASSES + i % CLASSES] = 1;
    Region before = region_open(f->tape, TRAIN, GRAD);
    for (int step = 0; step < 120; step++) {
        tape_set_step(f->tape, (uint32_t)step);
        params_zero_gradients(f->params);
        Tensor *x = tensor_from(f->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), f->images);
        Tensor *y = tensor_from(f->tape, F32, SHAPE(BATCH, CLASSES), targets);
        Tensor *losses = soft_cross_entropy(f->tape, ninformer_forward(f->tape, f->model, x), y, NULL);
        Tensor *mean = tape_keep(f->tape, mean_all(f->tape, losses));
        tape_backward(f->tape, &mean, NULL, 1);
        loss = tensor_scalar(f->tape, mean);
        for (int i = 0; i < params_count(f->params); i++)
            assert_true(params_at(f->params, i)->state.touched);
        optimizer_step(o, f->tape, 5e-3);
        tape_reset(f->tape);
    }
    region_close(f->tape, before);
    optimizer_free(o);
    drop(f);
    return loss;
}

static void every_network_learns_by_heart(void **state)
{
    (void)state;
    for (DType inner = F32; inner <= BF16; inner++) {
        for (Gate gate = GATE_PRODUCT; gate <= GATE_UNMIXED; gate++)
            assert_true(learn(NETWORK_NINFORMER, gate, 0, inner) < 0.05f); /* log 3 = 1.1 at the start */
        assert_true(learn(NETWORK_NINFORMER, GATE_PRODUCT, 0.1, inner) < 0.3f);
        assert_true(learn(NETWORK_MIXER, GATE_PRODUCT, 0, inner) < 0.05f);
        assert_true(learn(NETWORK_VIT, GATE_PRODUCT, 0, inner) < 0.05f);
    }
}

static void drops_in_training_only(void **state)
{
    (void)state;
    Fixture *f = make(NETWORK_NINFORMER, GATE_PRODUCT, 0.5, F32),
            *plain = make(NETWORK_NINFORMER, GATE_PRODUCT, 0, F32);
    float training[BATCH * CLASSES], eval[BATCH * CLASSES], without[BATCH * CLASSES];
    logits_of(f, TRAIN, training);
    logits_of(f, EVAL, eval);
    logits_of(plain, EVAL, without);
    assert_memory_equal(eval, without, sizeof eval);
    assert_true(furthest(eval, training, BATCH * CLASSES) > 1e-3f);
    drop(f);
    drop(plain);
}

/* ---- The authors' test loss */

static void a_smaller_batch_counts_as_much(void **state)
{
    (void)state;
    const float logits[3 * 2] = {0, 0, 0, 0, 100, 0};
    int64_t labels[3] = {0, 1, 0};
    Tally tally = {0};
    float *const none[CLASSIFIER_PARTS] = {0};
    classification_count(&tally, &(Batch){.rows = 2, .labels = labels}, logits, none, 2);
    classification_count(&tally, &(Batch){.rows = 1, .labels = labels + 2}, logits + 4, none, 2);
    assert_true(fabs(classification_loss(&tally, MEAN_OF_IMAGES) - log(2) * 2 / 3) < 1e-6);
    assert_true(fabs(classification_loss(&tally, MEAN_OF_BATCHES) - log(2) / 2) < 1e-6);
    assert_int_equal(tally.top1, 2); /* of equal logits the lower index is the answer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_configurations_have_the_counts_of_the_spec),
        cmocka_unit_test(equal_parameters_are_equal),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(computes_what_the_authors_compute),
        cmocka_unit_test(only_token_mixing_and_positions_know_the_order),
        cmocka_unit_test(every_network_learns_by_heart),
        cmocka_unit_test(drops_in_training_only),
        cmocka_unit_test(a_smaller_batch_counts_as_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
