/* Tables inside a section: the rest of the keys, a prefix, a choice between tables, and layers and help of them. */
#include "config_check.h"

typedef struct Encoder {
    int dim;
    int depth;
    bool causal;
    char *name;
} Encoder;

typedef struct EncoderDecoder {
    int dim;
    Encoder encoder, decoder, plain;
} EncoderDecoder;

static const ConfigField encoder_rows[] = {
    {CONFIG_INT("dim", Encoder, dim, .range = "[1, 4096]", .help = "width")},
    {CONFIG_INT("depth", Encoder, depth, .value = "2", .range = "[0, 99]", .help = "layers")},
    {CONFIG_BOOL("causal", Encoder, causal, .value = "no")},
    {CONFIG_STRING("name", Encoder, name, .value = "x")},
};
static const ConfigTable encoder_table = {CONFIG_STRUCT(Encoder), CONFIG_ROWS(encoder_rows)};

static bool resolve_encoder_decoder(void *config, const ConfigPlace *place, Error *e)
{
    EncoderDecoder *model = config;
    model->encoder.dim = model->decoder.dim = model->plain.dim = model->dim;
    if (model->encoder.depth > model->decoder.depth)
        return config_refuse(place, config_given(place, "enc_depth") ? "enc_depth" : "dec_depth", e,
                             "too deep or flat");
    return model->dim % 2 == 0 || config_refuse(place, "dim", e, "but it must be even");
}

static const ConfigField encoder_decoder_rows[] = {
    {CONFIG_INT("dim", EncoderDecoder, dim, .range = "[1, 4096]", .help = "width of all parts")},
    {CONFIG_FIXED("enc_causal", "no")},
    {CONFIG_INT("enc_dim", EncoderDecoder, encoder.dim, .value = "0")},
    {CONFIG_INT("dec_dim", EncoderDecoder, decoder.dim, .value = "0")},
    {CONFIG_REST("enc_", EncoderDecoder, encoder, &encoder_table)},
    {CONFIG_REST("dec_", EncoderDecoder, decoder, &encoder_table)},
    {CONFIG_REST("", EncoderDecoder, plain, &encoder_table)},
};
static const ConfigTable encoder_decoder_table = {CONFIG_STRUCT(EncoderDecoder), CONFIG_ROWS(encoder_decoder_rows),
                                                  .resolve = resolve_encoder_decoder};

static void test_rest_and_prefix(void **state)
{
    (void)state;
    EncoderDecoder model;
    bind(&encoder_decoder_table, "dim: 64\nenc_depth: 3\ndec_depth: 4\ndec_causal: yes\ndepth: 5\n", &model);
    assert_int_equal(model.encoder.dim, 64);
    assert_int_equal(model.encoder.depth, 3);
    assert_false(model.encoder.causal);
    assert_int_equal(model.decoder.depth, 4);
    assert_true(model.decoder.causal);
    assert_int_equal(model.plain.dim, 64);
    assert_int_equal(model.plain.depth, 5);
    assert_resolved(&encoder_decoder_table, &model,
                    "dim: 64\nenc_causal: no\nenc_dim: 64\ndec_dim: 64\nenc_depth: 3\nenc_name: x\n"
                    "dec_depth: 4\ndec_causal: true\ndec_name: x\ndepth: 5\ncausal: false\nname: x\n");
    config_free(&encoder_decoder_table, &model);

    static const struct {
        const char *text, *line;
    } cases[] = {
        {"dim: 64\nenc_depht: 3\n", "a.yaml:2: unknown key enc_depht (did you mean enc_depth?)"},
        {"dim: 64\nenc_depth: 100\n", "a.yaml:2: enc_depth is 100, expected an integer in [0, 99]"},
        {"dim: 64\nenc_causal: yes\n", "a.yaml:2: enc_causal is yes, expected no, the only value it can have here"},
        {"depth: 1\n", "a.yaml:1: dim is missing, expected an integer in [1, 4096]"},
        {"depth: 1\ndim: 3\n", "a.yaml:2: dim is 3, but it must be even"},
        {"dim: 2\nenc_depth: 3\ndec_depth: 2\n", "a.yaml:2: enc_depth is 3, too deep or flat"},
        {"dim: 2\ndec_depth: 0\n", "a.yaml:2: dec_depth is 0, too deep or flat"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        assert_refused(&encoder_decoder_table, cases[i].text, cases[i].line);

    Encoder encoder;
    Error e;
    Node *node = yaml("v_dim: 8\nv_depth: 100\n");
    assert_false(config_bind_at(&encoder_table, node, "model", "v_", &encoder, &e));
    assert_string_equal(e.text, "a.yaml:2: model.v_depth is 100, expected an integer in [0, 99]");
    node_free(node);
}

typedef struct Official {
    char *hparams;
    int dim;
} Official;

typedef struct Variants {
    int kind;
    double dropout;
    union {
        Encoder lucid;
        Official official;
    } part;
} Variants;

static const ConfigField official_rows[] = {
    {CONFIG_STRING("hparams", Official, hparams, .value = "text")},
    {CONFIG_INT("dim", Official, dim, .value = "512")},
};
static const ConfigTable official_table = {CONFIG_STRUCT(Official), CONFIG_ROWS(official_rows)};

static const ConfigField variant_rows[] = {
    {CONFIG_VARIANT("variant", Variants, kind,
                    CONFIG_CHOICES(CONFIG_CHOICE("lucid", Variants, part.lucid, &encoder_table),
                                   CONFIG_CHOICE("official", Variants, part.official, &official_table),
                                   CONFIG_CHOICE_EMPTY("none")),
                    .value = "lucid", .help = "which code it follows")},
    {CONFIG_NUMBER("dropout", Variants, dropout, .value = "0", .range = "[0, 1)")},
};
static const ConfigTable variant_table = {CONFIG_STRUCT(Variants), CONFIG_ROWS(variant_rows)};

typedef struct Run {
    Variants model;
    Stage train;
} Run;

static const ConfigField run_rows[] = {
    {CONFIG_TABLE("model", Run, model, &variant_table)},
    {CONFIG_TABLE("train", Run, train, &stage_table)},
};
static const ConfigTable run_table = {CONFIG_STRUCT(Run), CONFIG_ROWS(run_rows)};

static void test_variant(void **state)
{
    (void)state;
    Run run;
    bind(&run_table, "model: {dim: 8, dropout: 0.5}\n", &run);
    assert_int_equal(run.model.kind, 0);
    assert_int_equal(run.model.part.lucid.dim, 8);
    assert_true(run.model.dropout == 0.5);
    config_free(&run_table, &run);

    bind(&run_table, "model: {hparams: image, variant: official}\n", &run);
    assert_int_equal(run.model.kind, 1);
    assert_int_equal(run.model.part.official.dim, 512);
    assert_string_equal(run.model.part.official.hparams, "image");
    assert_resolved(&run_table, &run,
                    "model:\n  variant: official\n  hparams: image\n  dim: 512\n  dropout: 0\n"
                    "train:\n  name: main\n  epochs: 1\n");
    config_free(&run_table, &run);

    bind(&run_table, "model: {variant: none}\n", &run);
    assert_int_equal(run.model.kind, 2);
    config_free(&run_table, &run);

    static const struct {
        const char *text, *line;
    } cases[] = {
        {"model: {variant: offical, hparams: x}\n",
         "a.yaml:1: model.variant is offical, expected lucid, official or none"},
        {"model: {variant: [lucid]}\n", "a.yaml:1: model.variant is [lucid], expected lucid, official or none"},
        {"model: {variant: official, depth: 3}\n", "a.yaml:1: unknown key model.depth"},
        {"model: {variant: official, hparam: 3}\n", "a.yaml:1: unknown key model.hparam (did you mean hparams?)"},
        {"model: {variant: none, dim: 3}\n", "a.yaml:1: unknown key model.dim"},
        {"train: {}\n", "a.yaml:1: model.dim is missing, expected an integer in [1, 4096]"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++)
        assert_refused(&run_table, cases[i].text, cases[i].line);
}

static void test_layers_of_a_variant(void **state)
{
    (void)state;
    static const struct {
        const char *base, *over, *merged;
    } cases[] = {
        /* the same choice: key by key */
        {"model: {dim: 8, depth: 2}\n", "model: {depth: 3}\n", "model:\n  dim: 8\n  depth: 3\n"},
        {"model: {dim: 8}\n", "model: {variant: lucid, depth: 3}\n",
         "model:\n  dim: 8\n  variant: lucid\n  depth: 3\n"},
        /* another one: what belonged to the first goes, rows beside the variant stay */
        {"model: {dim: 8, depth: 2, dropout: 0.5}\ntrain: {epochs: 3}\n", "model: {variant: official}\n",
         "model:\n  dropout: 0.5\n  variant: official\ntrain:\n  epochs: 3\n"},
        {"model: {variant: official, dim: 8, hparams: x}\n", "model: {variant: none}\n", "model:\n  variant: none\n"},
        /* a key that nobody knows stays, so that it is complained about */
        {"model: {dim: 8, dpeth: 2}\n", "model: {variant: none}\n", "model:\n  dpeth: 2\n  variant: none\n"},
        {"model: {dim: 8}\n", "model: [1]\n", "model: [1]\n"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Node *merged = config_merge(&run_table, yaml(cases[i].base), yaml(cases[i].over));
        Str text = {0};
        node_write_yaml(merged, &text);
        assert_string_equal(text.text, cases[i].merged);
        str_free(&text);
        node_free(merged);
    }
}

static void test_help(void **state)
{
    (void)state;
    Str text = {0};
    config_help(&run_table, &text);
    assert_string_equal(
        text.text,
        "  model.variant                    lucid            which code it follows (lucid, official or none)\n"
        "  with model.variant=lucid:\n"
        "  model.dim                        (required)       width (an integer in [1, 4096])\n"
        "  model.depth                      2                layers (an integer in [0, 99])\n"
        "  model.causal                     no               true, false, yes or no\n"
        "  model.name                       x                a string\n"
        "  with model.variant=official:\n"
        "  model.hparams                    text             a string\n"
        "  model.dim                        512              an integer\n"
        "  model.dropout                    0                a number in [0, 1)\n"
        "  train.name                       main             of the stage (a string)\n"
        "  train.epochs                     1                an integer in [0, 1000]\n");
    str_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest_and_prefix),
        cmocka_unit_test(test_variant),
        cmocka_unit_test(test_layers_of_a_variant),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
