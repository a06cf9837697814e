/* NiNformer and the networks beside it: counts of the named configurations, what a config may say, what each network knows of
 * the order of tokens, that all learn. Its numbers are held against the authors' code by the golden files. */
#include "common/hosts/classification/classification.h"
#include "common/run/command/tables.h"
#include "models/ninformer/task.h"

#include "support/model_test.h"

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

static ModelTest *make(Network network, Gate gate, double dropout, DType inner)
{
    NinformerConfig config = SMALL;
    config.network = network;
    config.gate = gate;
    config.dropout = dropout;
    return model_test_open(&ninformer_model, &config, inner);
}

/* images -> logits [B,CLASSES] */
static Tensor *forward(ModelTest *m, const void *images)
{
    return ninformer_forward(m->tape, m->network, tensor_from(m->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), images));
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
    assert_config_refused(&ninformer_model, text, line);
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
    assert_golden(&ninformer_model, "forward_dropout");
    assert_golden(&ninformer_model, "forward_small_scale");
    assert_golden(&ninformer_model, "optimizer_steps");
    assert_golden(&ninformer_model, "epoch_metrics");
}

/* ---- The order of tokens */

/* The upper two patches change places with the lower two; how far do the logits move? */
static float moved_by_swapping(ModelTest *m)
{
    float images[BATCH * PIXELS], before[BATCH * CLASSES], after[BATCH * CLASSES], upper[PIXELS / 2];
    fill_noise(images, COUNT_OF(images));
    model_test_read(m, EVAL, forward, images, before);
    for (int i = 0; i < BATCH; i++) {
        float *image = images + i * PIXELS;
        memcpy(upper, image, sizeof upper);
        memcpy(image, image + PIXELS / 2, sizeof upper);
        memcpy(image + PIXELS / 2, upper, sizeof upper);
    }
    model_test_read(m, EVAL, forward, images, after);
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
        ModelTest *m = make(rows[i].network, rows[i].gate, 0, F32);
        Param *positions = params_find(m->params, "positions");
        assert_int_equal(positions != NULL, rows[i].network == NETWORK_VIT);
        if (positions && !rows[i].positions)
            memset(positions->value.data, 0, (size_t)tensor_count(&positions->value) * sizeof(float));
        float moved = moved_by_swapping(m);
        if (rows[i].knows)
            assert_true(moved > 1e-4f);
        else
            assert_true(moved < 1e-6f);
        model_test_close(m);
    }
}

/* ---- Learning */

static Tensor *losses_of(ModelTest *m, const void *images)
{
    float targets[BATCH * CLASSES] = {0};
    for (int i = 0; i < BATCH; i++)
        targets[i * CLASSES + i % CLASSES] = 1;
    Tensor *y = tensor_from(m->tape, F32, SHAPE(BATCH, CLASSES), targets);
    return soft_cross_entropy(m->tape, forward(m, images), y, NULL);
}

/* Six images of noise by heart. */
static float learn(Network network, Gate gate, double dropout, DType inner)
{
    float images[BATCH * PIXELS];
    ModelTest *m = make(network, gate, dropout, inner);
    fill_noise(images, COUNT_OF(images));
    float loss = model_test_learn(m, losses_of, images, 120, 5e-3);
    model_test_close(m);
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
    ModelTest *m = make(NETWORK_NINFORMER, GATE_PRODUCT, 0.5, F32),
              *plain = make(NETWORK_NINFORMER, GATE_PRODUCT, 0, F32);
    float images[BATCH * PIXELS], training[BATCH * CLASSES], eval[BATCH * CLASSES], without[BATCH * CLASSES];
    fill_noise(images, COUNT_OF(images));
    model_test_read(m, TRAIN, forward, images, training);
    model_test_read(m, EVAL, forward, images, eval);
    model_test_read(plain, EVAL, forward, images, without);
    assert_memory_equal(eval, without, sizeof eval);
    assert_true(furthest(eval, training, BATCH * CLASSES) > 1e-3f);
    model_test_close(m);
    model_test_close(plain);
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
