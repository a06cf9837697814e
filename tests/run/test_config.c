#include "common/run/config/config.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The model section of crossvit, as its spec writes it. */
typedef struct Vit {
    int img_size[2];
    int (*depth)[3];
    int stages;
    double mlp_ratio[3];
    bool qkv_bias;
    double qk_scale;
    bool has_qk_scale;
    double drop_rate;
} Vit;

static bool resolve_vit(void *config, const ConfigPlace *place, Error *e)
{
    const Vit *vit = config;
    for (int i = 0; i < vit->stages; i++) {
        if (vit->depth[i][0] > vit->depth[i][1])
            return config_refuse(place, "depth", e, "stage %d: the small branch has more blocks than the large one", i);
    }
    return true;
}

static const ConfigField vit_rows[] = {
    {CONFIG_INT_ARRAY("img_size", Vit, img_size, .value = "[240, 224]", .range = "[1, 4096]", .help = "image sides")},
    {CONFIG_INT_ARRAY_LIST("depth", Vit, depth, stages, .value = "[[1, 4, 0], [1, 4, 0], [1, 4, 0]]",
                           .range = "[0, 100]", .help = "blocks of each stage")},
    {CONFIG_NUMBER_ARRAY("mlp_ratio", Vit, mlp_ratio, .value = "[4, 4, 1]", .range = "(0, inf)")},
    {CONFIG_BOOL("qkv_bias", Vit, qkv_bias, .value = "true")},
    {CONFIG_NUMBER("qk_scale", Vit, qk_scale, CONFIG_OR_NULL(Vit, has_qk_scale), .value = "null",
                   .help = "score scale; null: by the head's width")},
    {CONFIG_NUMBER("drop_rate", Vit, drop_rate, .value = "0", .range = "[0, 1)")},
};
static const ConfigTable vit_table = {CONFIG_STRUCT(Vit), CONFIG_ROWS(vit_rows), .resolve = resolve_vit};

static void test_crossvit_model_section(void **state)
{
    (void)state;
    Error e;
    Vit vit;
    assert_true(config_bind(&vit_table, NULL, &vit, &e));
    assert_int_equal(vit.img_size[0], 240);
    assert_int_equal(vit.stages, 3);
    assert_int_equal(vit.depth[2][1], 4);
    assert_false(vit.has_qk_scale);
    config_free(&vit_table, &vit);

    Node *node = node_from_yaml_text("img_size: [28, 28]\ndepth: [[1, 2, 0]]\nqk_scale: 0.125\nqkv_bias: no\n", "x", &e);
    assert_non_null(node);
    assert_true(config_bind(&vit_table, node, &vit, &e));
    assert_int_equal(vit.img_size[1], 28);
    assert_int_equal(vit.stages, 1);
    assert_int_equal(vit.depth[0][1], 2);
    assert_true(vit.has_qk_scale);
    assert_true(vit.qk_scale == 0.125);
    assert_false(vit.qkv_bias);
    node_free(node);

    Node *resolved = config_to_node(&vit_table, &vit);
    Str text = {0};
    node_write_yaml(resolved, &text);
    assert_string_equal(text.text, "img_size: [28, 28]\ndepth: [[1, 2, 0]]\nmlp_ratio: [4, 4, 1]\nqkv_bias: false\n"
                                   "qk_scale: 0.125\ndrop_rate: 0\n");
    str_free(&text);
    node_free(resolved);
    config_free(&vit_table, &vit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crossvit_model_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
