/* CrossViT: counts of the named configurations, the fusion schemes, what a config may say, names in other files. Its numbers are
 * held against the authors' code by the golden files (tests/scripts/golden.sh). */
#include "models/crossvit/crossvit.h"
#include "models/crossvit/task.h"

#include "common/base/file.h"
#include "common/hosts/classification/classification.h"
#include "common/nn/optimizer.h"
#include "common/run/command/command.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char CONFIGS[] = "models/crossvit/configs";

/* A config of the folder with changes to its model section (flow YAML, or NULL). */
static Settings *settings_of(const char *config, const char *changes, Error *e)
{
    Program p = {.model = &crossvit_model, .configs = (char *)CONFIGS};
    SettingsTables tables = program_tables(&p);
    Node *over = node_map("test");
    if (changes) {
        Node *model = node_from_flow_yaml(changes, "test", e);
        assert_non_null(model);
        node_set(over, "model", model);
    }
    Node *tree = settings_layers(&tables, CONFIGS, config, over, e);
    node_free(over);
    return tree ? settings_bind(&tables, tree, config, NULL, -1, e) : NULL;
}

typedef struct Counted {
    int64_t parameters;
    int tensors;
    double gmacs;
} Counted;

static Counted count(const char *config, const char *changes)
{
    Error e;
    Settings *s = settings_of(config, changes, &e);
    assert_non_null(s);
    Params *p = params_new();
    Crossvit *m = crossvit_new(s->model, p);
    params_allocate(p, false, 0, NULL);
    Tape *t = tape_new(&(TapeOptions){.device = DEVICE_META});
    crossvit_model.trace(t, m, s->model);
    Counted c = {params_elements(p), params_count(p), tape_macs(t) / 1e9};
    tape_free(t);
    crossvit_free(m);
    params_free(p);
    settings_free(s);
    return c;
}

/* The spec's table of registered models, counted from the authors' code. */
static void test_named_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int64_t parameters;
        int tensors;
        double gmacs;
    } table[] = {
        {"tiny", 7014800, 304, 1.563},
        {"small", 26856272, 304, 5.616},
        {"base", 105025232, 304, 21.191},
        {"9", 8553296, 268, 1.841},
        {"15", 27528464, 340, 5.791},
        {"18", 43271408, 376, 9.031},
        {"9_dagger", 8776592, 276, 1.979},
        {"15_dagger", 28209008, 348, 6.112},
        {"15_dagger_384", 28500080, 348, 21.399},
        {"18_dagger", 44266976, 384, 9.473},
        {"18_dagger_384", 44606560, 384, 32.409},
    };
    for (int i = 0; i < COUNT_OF(table); i++) {
        Counted c = count(table[i].config, NULL);
        assert_int_equal(c.parameters, table[i].parameters);
        assert_int_equal(c.tensors, table[i].tensors);
        assert_true(fabs(c.gmacs - table[i].gmacs) < 6e-4);
    }
}

/* Table 6 and 8 of the paper, as far as their counts are known. */
static void test_ablations_count(void **state)
{
    (void)state;
    assert_true(fabs((double)count("small", "{fusion: none}").parameters / 1e6 - 23.7) < 0.15);
    assert_true(fabs((double)count("small", "{fusion: class_token}").parameters / 1e6 - 24.2) < 0.15);
    assert_true(fabs((double)count("small", "{fusion: pairwise}").parameters / 1e6 - 24.2) < 0.15);
    assert_true(fabs(count("small", "{fusion: none}").gmacs - 5.3) < 0.06);
    assert_true(fabs((double)count("9", "{branches: large, fusion: none}").parameters / 1e6 - 6.4) < 0.06);
    assert_true(fabs((double)count("18_dagger", "{branches: large, fusion: none}").parameters / 1e6 - 37.9) < 0.06);
    Counted at480 = count("18_dagger_384", "{img_size: [504, 480]}");
    assert_true(fabs(at480.gmacs - 56.6) < 0.06 && fabs((double)at480.parameters / 1e6 - 44.9) < 0.06);
}

/* ---- Training steps on noise: every scheme learns, and every parameter that it has gets a gradient */

static const char SMALL[] = "{patch_size: [4, 6], in_chans: 3, embed_dim: [8, 16], depth: [[1, 2, 0], [1, 1, 0]], "
                            "num_heads: [2, 2], multi_conv: false, ";

static double learn(const char *changes, DType inner, int steps)
{
    enum { BATCH = 4, SIDE = 20, CLASSES = 3 };
    Error e;
    char *all = str_format("%simg_size: [24, 24], num_classes: 3, %s}", SMALL, changes);
    Settings *s = settings_of("default", all, &e);
    free(all);
    assert_non_null(s);
    const Backend *backend = cpu_backend(&e);
    Params *p = params_new();
    Crossvit *m = crossvit_new(s->model, p);
    params_allocate(p, true, 3, backend);
    Tape *t = tape_new(&(TapeOptions){.backend = backend, .threads = 2, .seed = 3, .inner = inner});
    Optimizer *o = optimizer_new(&(OptimizerOptions){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, p);
    static float x[BATCH * 3 * SIDE * SIDE], targets[BATCH * CLASSES];
    Random random = random_at(5, STREAM_DATA, 0, 0);
    for (int i = 0; i < COUNT_OF(x); i++)
        x[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH; i++)
        targets[i * CLASSES + i % CLASSES] = 1;
    double loss = 0;
    region_open(t, TRAIN, GRAD);
    for (int i = 0; i < steps; i++) {
        tape_set_step(t, (uint32_t)i);
        params_zero_gradients(p);
        Tensor *logits = crossvit_forward(t, m, tensor_from(t, F32, SHAPE(BATCH, 3, SIDE, SIDE), x), NULL);
        Tensor *mean = tape_keep(
            t, mean_all(t, soft_cross_entropy(t, logits, tensor_from(t, F32, SHAPE(BATCH, CLASSES), targets), NULL)));
        tape_backward(t, &mean, NULL, 1);
        loss = tensor_scalar(t, mean);
        for (int k = 0; k < params_count(p); k++)
            assert_true(params_at(p, k)->state.touched);
        optimizer_step(o, t, 3e-3);
        tape_reset(t);
    }
    optimizer_free(o);
    tape_free(t);
    crossvit_free(m);
    params_free(p);
    settings_free(s);
    return loss;
}

static void test_every_scheme_learns(void **state)
{
    (void)state;
    static const char *const schemes[] = {
        "fusion: cross_attention",
        "fusion: cross_attention, drop_rate: 0.1, attn_drop_rate: 0.1, drop_path_rate: 0.1",
        "fusion: none",
        "fusion: class_token",
        "fusion: pairwise",
        "fusion: all_attention",
        "fusion: none, branches: small",
        "fusion: none, branches: large"};
    for (int i = 0; i < COUNT_OF(schemes); i++)
        for (DType inner = F32; inner <= BF16; inner++)
            assert_true(learn(schemes[i], inner, 60) < 0.5); /* log 3 = 1.1 where nothing is learned */
}

/* In bf16 the losses of the first steps are those of fp32, but for roundings of 2^-9 in every product. */
static void test_bf16_is_near_fp32(void **state)
{
    (void)state;
    int different = 0;
    for (int steps = 1; steps <= 4; steps++) {
        double exact = learn("fusion: cross_attention", F32, steps);
        double rounded = learn("fusion: cross_attention", BF16, steps);
        assert_true(fabs(rounded - exact) < 1e-3 * exact);
        different += rounded != exact;
    }
    assert_true(different >= 2);
}

/* ---- Configs */

static void refuse(const char *changes, const char *line)
{
    Error e;
    char *all = str_format("{%s}", changes);
    Settings *s = settings_of("tiny", all, &e);
    free(all);
    assert_null(s);
    assert_non_null(strstr(e.text, line));
}

static void test_refused_configs(void **state)
{
    (void)state;
    refuse("img_size: [241, 224]", "not divisible by its patch of 12");
    refuse("num_heads: [5, 3]", "not divisible by its 5 heads");
    refuse("multi_conv: true, patch_size: [8, 16]", "patches of 12 and 16");
    refuse("multi_conv: true, embed_dim: [18, 192]", "multiple of 4");
    refuse("depth: [[2, 1, 0]]", "stage 0");
    refuse("depth: [[0, 1, 0]]", "stage 0");
    refuse("depth: []", "at least one stage");
    refuse("branches: small", "nothing to fuse with");
    refuse("embed_dims: [8, 8]", "embed_dim");
}

/* ---- Weights: timm's names, another resolution, another class count */

static Params *params_for(const char *changes, uint32_t seed, Crossvit **m)
{
    Error e;
    char *all = str_format("%s%s}", SMALL, changes);
    Settings *s = settings_of("default", all, &e);
    free(all);
    assert_non_null(s);
    Params *p = params_new();
    *m = crossvit_new(s->model, p);
    params_allocate(p, true, seed, cpu_backend(&e));
    settings_free(s);
    return p;
}

static void test_weights_of_timm_and_other_resolutions(void **state)
{
    (void)state;
    Error e;
    Crossvit *from, *to;
    char path[] = "/tmp/zoo-crossvit-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    Params *a = params_for("img_size: [24, 24], num_classes: 3", 1, &from),
           *b = params_for("img_size: [48, 24], num_classes: 5", 2, &to);
    int count;
    TensorToWrite *list = params_to_write(a, &count);
    char renamed[4][256];
    int renames = 0;
    for (int i = 0; i < count; i++)
        if (crossvit_timm_name(list[i].name, renamed[renames]))
            list[i].name = renamed[renames++];
    assert_int_equal(renames, 4); /* pos_embed and cls_token of two branches */
    assert_true(safetensors_write(path, list, count, NULL, 0, &e));
    mem_free(list);

    TensorFile *file = tensor_file_open(path, &e);
    assert_non_null(file);
    LoadReport report;
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(&e), .threads = 1});
    LoadOptions options = {.strict = true, .rename = crossvit_timm_name};
    assert_false(params_load(b, file, &options, &report, &e)); /* positions and head differ, and are named */
    assert_non_null(strstr(e.text, "pos_embed.0"));
    assert_non_null(strstr(e.text, "head.1.bias"));
    load_report_free(&report);
    options.adapt = crossvit_model.adapt;
    options.adapt_user = t;
    options.skip = "head.";
    assert_true(params_load(b, file, &options, &report, &e));
    assert_int_equal(report.loaded, count - 4);
    load_report_free(&report);
    const float *cls_a = params_find(a, "pos_embed.0")->value.data, *cls_b = params_find(b, "pos_embed.0")->value.data;
    assert_memory_equal(cls_a, cls_b, 8 * sizeof(float)); /* the class token's position is kept */
    tensor_file_close(file);
    tape_free(t);
    crossvit_free(from);
    crossvit_free(to);
    params_free(a);
    params_free(b);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_configurations), cmocka_unit_test(test_ablations_count),
        cmocka_unit_test(test_every_scheme_learns),  cmocka_unit_test(test_bf16_is_near_fp32),
        cmocka_unit_test(test_refused_configs),      cmocka_unit_test(test_weights_of_timm_and_other_resolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
