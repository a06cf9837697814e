/* What a config of variant B may say, and how many parameters it has. */
#include "models/routing/tests/small_lucidrains.h"

static int64_t parameters_of(const char *keys)
{
    Error e;
    LucidrainsConfig c;
    if (!bind(keys, &c, &e))
        fail_msg("%s", e.text);
    Params *p = params_new();
    Lucidrains *m = lucidrains_new(&c, p);
    int64_t count = params_elements(p);
    lucidrains_free(m);
    params_free(p);
    config_free(&lucidrains_config_table, &c);
    return count;
}

static void has_the_parameters_of_the_equations(void **state)
{
    (void)state;
    int64_t v = VOCABULARY, c = 18, heads = 3, d = 6, width = heads * d, emb = 5;
    int64_t feed_forward = 4 * c * c + 4 * c + 4 * c * c + c, norms = 4 * c;
    int64_t routing = 3 * c * width, local = 3 * (c * width + width) + c * width;
    int64_t ends = v * c + 2 * c + v * c + v;
    assert_int_equal(parameters_of("causal: true, window_size: 8"), ends + 2 * (routing + feed_forward + norms));
    assert_int_equal(parameters_of("window_size: 8"), ends + 2 * (routing + c * width + feed_forward + norms));
    assert_int_equal(parameters_of("window_size: 8, n_local_attn_heads: 3"), ends + 2 * (local + feed_forward + norms));
    assert_int_equal(parameters_of("causal: true, window_size: 8, num_mem_kv: 2, weight_tie: true"),
                     ends + routing + 2 * heads * 3 * 2 * d + feed_forward + 2 * norms);
    assert_int_equal(parameters_of("causal: true, window_size: 8, emb_dim: 5, tie_embedding: true, use_rezero: true"),
                     v * emb + emb * c + c + c * emb + emb + 2 * emb + 2 * (routing + feed_forward + 2));
    assert_int_equal(parameters_of("causal: true, window_size: 8, ff_glu: true, use_scale_norm: true"),
                     ends + 2 * (routing + feed_forward + 4 * c * c + 4 * c + 2));
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *expected;
    } cases[] = {
        {"window_size: 7", "max_seq_len is 24, not divisible by the window of 7"},
        {"window_size: 8, n_local_attn_heads: [1, 2, 3]", "3 entries for 2 layers"},
        {"window_size: 8, n_local_attn_heads: [1, 4]", "more than the 3 heads"},
        {"window_size: 8, n_local_attn_heads: [1, 2], weight_tie: true", "tied layers have equally many"},
        {"window_size: 8, return_embeddings: true, emb_dim: 5", "dim is 18"},
        {"window_size: 8, pkm_layers: [1]", "pkm_layers"},
        {"window_size: 8, no_such_key: 1", "unknown key no_such_key"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Error e;
        LucidrainsConfig c;
        assert_false(bind(cases[i].keys, &c, &e));
        if (!strstr(e.text, cases[i].expected))
            fail_msg("%s: \"%s\" was expected", e.text, cases[i].expected);
    }
}

static void a_language_model_is_causal(void **state)
{
    (void)state;
    Error e;
    LucidrainsConfig c;
    Node *node = node_from_flow_yaml("{" SMALL ", window_size: 8}", "test", &e);
    assert_false(config_bind(&lucidrains_language_table, node, &c, &e));
    assert_non_null(strstr(e.text, "causal is false by default"));
    node_free(node);
    node = node_from_flow_yaml("{" SMALL ", window_size: 8, causal: true}", "test", &e);
    assert_true(config_bind(&lucidrains_language_table, node, &c, &e));
    assert_true(c.shared_qk && c.emb_dim == 18 && c.local_attn_window_size == 8);
    node_free(node);
    config_free(&lucidrains_language_table, &c);
}

/* An encoder-decoder has other defaults, and its keys their prefixes in errors. */
static void pairs_have_keys_of_their_own(void **state)
{
    (void)state;
    Error e;
    LucidrainsPairConfig c;
    Node *node =
        node_from_flow_yaml("{dim: 8, enc_num_tokens: 5, enc_depth: 1, enc_max_seq_len: 512, dec_num_tokens: 6, "
                            "dec_depth: 1, dec_max_seq_len: 256, dec_emb_dim: 4, pad_value: 3}",
                            "test", &e);
    assert_true(config_bind(&lucidrains_pair_config_table, node, &c, &e));
    node_free(node);
    assert_true(c.encoder.window_size == 256 && c.encoder.return_embeddings && !c.encoder.causal);
    assert_true(c.decoder.causal && c.decoder.receives_context && c.decoder.emb_dim == 4 && c.decoder.dim == 8);
    assert_true(c.ignore_index == 3);
    config_free(&lucidrains_pair_config_table, &c);
    node = node_from_flow_yaml("{dim: 8, enc_num_tokens: 5, enc_depth: 1, enc_max_seq_len: 500, dec_num_tokens: 6, "
                               "dec_depth: 1, dec_max_seq_len: 256}",
                               "test", &e);
    assert_false(config_bind(&lucidrains_pair_config_table, node, &c, &e));
    assert_non_null(strstr(e.text, "enc_max_seq_len is 500"));
    node_free(node);
    node = node_from_flow_yaml("{dim: 8, enc_num_tokens: 5, enc_depth: 1, enc_max_seq_len: 512, dec_num_tokens: 6, "
                               "dec_depth: 1, dec_max_seq_len: 256}",
                               "test", &e);
    assert_false(config_bind(&lucidrains_translator_table, node, &c, &e));
    assert_non_null(strstr(e.text, "enc_num_tokens is 5, expected dec_num_tokens"));
    node_free(node);
}

static void top_k_counts_as_the_authors_do(void **state)
{
    (void)state;
    assert_int_equal(lucidrains_top_k(0.9, 50), 4);
    assert_int_equal(lucidrains_top_k(0.9, 256), 25);
    assert_int_equal(lucidrains_top_k(0.5, 7), 3);
    assert_int_equal(lucidrains_top_k(0, 7), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_parameters_of_the_equations), cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(a_language_model_is_causal),          cmocka_unit_test(pairs_have_keys_of_their_own),
        cmocka_unit_test(top_k_counts_as_the_authors_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
