/* Variant A beyond its golden files: what a token may depend on, training for any number of threads, the controls, sampling. */
#include "models/routing/official_attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char SMALL[] =
    "vocab_size: 11, hidden_size: 24, embedding_dims: 16, filter_size: 20, num_decoder_layers: 2, "
    "local_num_heads: 2, sparsity_cluster_num_heads: 2, sparsity_cluster_size: 3, "
    "sparsity_cluster_attention_window: 6, query_shape: [4], memory_flange: [4], "
    "max_relative_position: 5, max_target_length: 16, layer_prepostprocess_dropout: 0";

typedef struct Model {
    OfficialModality config;
    const OfficialConfig *c; /* the model's own */
    Params *params;
    Official *official;
    Tape *tape;
} Model;

static const Backend *backend(void)
{
    Error e;
    const Backend *b = cpu_backend(&e);
    assert_non_null(b);
    return b;
}

/* `changes` are keys in front of those of SMALL, or NULL. */
static bool bind(const char *changes, OfficialModality *config, Error *e)
{
    Node *node = node_from_flow_yaml(changes ? changes : "{}", "changes", e);
    Str small = {0};
    str_add(&small, "{%s}", SMALL);
    Node *all = node_merge(node_from_flow_yaml(small.text, "small", e), node);
    bool good = config_bind(&official_config_table, all, config, e);
    node_free(all);
    str_free(&small);
    return good;
}

static Model model_new(const char *changes, int threads)
{
    Model m = {.params = params_new()};
    Error e;
    if (!bind(changes, &m.config, &e))
        fail_msg("%s", e.text);
    m.official = official_new(official_config(&m.config), m.params);
    m.c = official_settings(m.official);
    params_allocate(m.params, true, 3, backend());
    m.tape = tape_new(&(TapeOptions){.backend = backend(), .threads = threads, .seed = 5});
    return m;
}

static void model_free(Model *m)
{
    tape_free(m->tape);
    official_free(m->official);
    params_free(m->params);
    config_free(&official_config_table, &m->config);
}

static Tensor *tokens(const Model *m, int64_t batch, int64_t length)
{
    int64_t *ids = mem_new((size_t)(batch * length) * sizeof *ids);
    for (int64_t i = 0; i < batch * length; i++)
        ids[i] = 1 + (i * i + 3 * i) % (m->c->vocab_size - 1);
    Tensor *x = tensor_from(m->tape, I64, SHAPE(batch, length), ids);
    mem_free(ids);
    return x;
}

/* A training step's loss, gradients in the parameters; then the clusters move. */
static float step(Model *m, uint32_t number)
{
    Tape *t = m->tape;
    tape_set_step(t, number);
    params_zero_gradients(m->params);
    Region before = region_open(t, TRAIN, GRAD);
    Tensor *aux = NULL, *targets = tokens(m, 2, 16);
    Tensor *logits = official_language(t, m->official, targets, &aux);
    Tensor *losses =
        cross_entropy(t, reshape(t, logits, SHAPE(32, m->c->vocab_size)), reshape(t, targets, SHAPE(32)), 0);
    Tensor *loss = add(t, mean_all(t, losses), aux);
    float value = tensor_scalar(t, loss);
    tape_backward(t, &loss, NULL, 1);
    region_close(t, before);
    tape_reset(t);
    official_update_clusters(t, m->official);
    return value;
}

/* ---- Training */

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    static const char *const changes[] = {
        NULL, "{share_qk: false, ema: false}", "{hash_items: true}",
        "{dropout: 0.2, attention_dropout: 0.2, relu_dropout: 0.1, target_dropout: 0.3}",
        "{random_routing: true, layer_prepostprocess_dropout: 0.1}"};
    for (int i = 0; i < COUNT_OF(changes); i++) {
        Model one = model_new(changes[i], 1);
        step(&one, 0);
        for (int threads = 2; threads <= 3; threads++) {
            Model more = model_new(changes[i], threads);
            step(&more, 0);
            for (int p = 0; p < params_count(one.params); p++) {
                const Param *a = params_at(one.params, p), *b = params_at(more.params, p);
                size_t bytes = (size_t)tensor_count(&a->value) * sizeof(float);
                assert_memory_equal(a->value.data, b->value.data, bytes); /* means have moved */
                assert_true(!str_ends(a->name, "/means") || a->state.touched == !one.c->ema);
                if (a->state.touched)
                    assert_memory_equal(a->gradient.data, b->gradient.data, bytes);
                assert_int_equal(a->state.touched, b->state.touched);
            }
            model_free(&more);
        }
        model_free(&one);
    }
}

/* The moving averages follow training forwards alone, once, and the means stay where no token was assigned. */
static void clusters_move_in_training_only(void **state)
{
    (void)state;
    Model m = model_new("{decay: 0.5}", 1);
    const char *name = "sparse_transformer/body/decoder_layer_1/self_attention/self_attention/attention_nd/"
                       "cluster_attention/cluster_attention/ema_count";
    const float *count = params_find(m.params, name)->value.data;
    Region before = region_open(m.tape, EVAL, NO_GRAD);
    official_language(m.tape, m.official, tokens(&m, 2, 16), NULL);
    region_close(m.tape, before);
    tape_reset(m.tape);
    official_update_clusters(m.tape, m.official);
    double sum = 0;
    for (int i = 0; i < 6; i++)
        sum += fabs((double)count[i]);
    assert_true(sum == 0);
    for (int steps = 1; steps <= 2; steps++) {
        step(&m, 0);
        official_update_clusters(m.tape, m.official); /* nothing is left to move to */
        sum = 0;
        for (int i = 0; i < 6; i++)
            sum += (double)count[i];
        assert_true(fabs(sum - (steps == 1 ? 32 : 48)) < 1e-4); /* 64 assignments, half of them a step */
    }
    model_free(&m);
}

/* Drawn groups change from step to step, and are those of the seed. */
static void random_groups_are_drawn(void **state)
{
    (void)state;
    Model m = model_new("{random_routing: true}", 1);
    assert_int_equal(params_find(m.params, "sparse_transformer/body/decoder_layer_0/self_attention/self_attention/"
                                           "attention_nd/cluster_attention/cluster_attention/means") == NULL,
                     1);
    float first = step(&m, 0), again = step(&m, 0), other = step(&m, 1);
    assert_true(first == again && first != other);
    model_free(&m);
}

/* ---- What a token depends on */

/* Logits of row `row` of a text. */
static void row_of(Model *m, Tensor *targets, int64_t row, float *out)
{
    Tape *t = m->tape;
    Region before = region_open(t, EVAL, NO_GRAD);
    Tensor *logits = official_language(t, m->official, targets, NULL);
    tensor_read(t, contiguous(t, narrow(t, narrow(t, logits, 0, 0, 1), 1, row, 1)), out);
    region_close(t, before);
}

/* Without routing heads a row depends on nothing behind it, and a token more changes no row before; what follows ids is what
 * forward predicts there. */
static void local_heads_are_causal(void **state)
{
    (void)state;
    Model m = model_new("{local_num_heads: 4, sparsity_cluster_num_heads: 0}", 1);
    float want[11], got[11];
    for (int64_t n = 0; n < 16; n++) {
        Tensor *all = tokens(&m, 1, 16);
        row_of(&m, all, n, want);
        Region before = region_open(m.tape, EVAL, NO_GRAD);
        tensor_read(m.tape, official_next(m.tape, m.official, contiguous(m.tape, narrow(m.tape, all, 1, 0, n))), got);
        region_close(m.tape, before);
        for (int i = 0; i < 11; i++)
            assert_true(fabs((double)want[i] - (double)got[i]) < 1e-5);
        tape_reset(m.tape);
    }
    model_free(&m);
}

/* What follows a text does not depend on how much blank room is behind it; where all tokens are known, blanks change nothing. */
static void blank_rows_are_chosen_last(void **state)
{
    (void)state;
    Model m = model_new(NULL, 1);
    Tape *t = m.tape;
    float values[2][11];
    Region before = region_open(t, EVAL, NO_GRAD);
    for (int i = 0; i < 2; i++) { /* the 8 known rows fill every window of 6 */
        Tensor *shifted = tokens(&m, 1, i ? 16 : 8);
        Tensor *logits = official_forward(t, m.official, shifted, 8, NULL);
        tensor_read(t, contiguous(t, narrow(t, logits, 1, 7, 1)), values[i]);
    }
    region_close(t, before);
    for (int i = 0; i < 11; i++)
        assert_true(fabs((double)values[0][i] - (double)values[1][i]) < 1e-5);
    model_free(&m);
}

/* The logits of a text that grows in pieces of 1 to 4 tokens, from nothing on, are those of the whole text each time. */
static void caches_change_nothing(void **state)
{
    (void)state;
    static const char *const changes[] = {"{sparsity_cluster_num_heads: 0}",
                                          "{sparsity_cluster_num_heads: 0, memory_flange: [0], "
                                          "layer_preprocess_sequence: n, layer_postprocess_sequence: da}",
                                          "{sparsity_cluster_num_heads: 0, memory_flange: [8], local_relative: false}",
                                          "{sparsity_skip_first: 2}"};
    for (int i = 0; i < COUNT_OF(changes); i++) {
        Model m = model_new(changes[i], 1);
        Tape *t = m.tape;
        int64_t batch = 1 + i % 2, ids[32];
        float want[22], got[22];
        tensor_read(t, tokens(&m, batch, 16), ids);
        Caches *past = official_caches(t, m.official, batch);
        assert_non_null(past);
        Region before = region_open(t, EVAL, NO_GRAD);
        for (int64_t seen = 0, piece = 0; seen + piece < 16; seen += piece, piece = 1 + (piece + seen) % 4) {
            Tensor *all = tensor_from(t, I64, SHAPE(batch, 16), ids);
            Tensor *fresh = contiguous(t, narrow(t, all, 1, seen, piece));
            tensor_read(t, official_extend(t, m.official, past, fresh), got);
            Tensor *known = contiguous(t, narrow(t, all, 1, 0, seen + piece));
            tensor_read(t, official_next(t, m.official, known), want);
            for (int64_t v = 0; v < 11 * batch; v++)
                assert_true(fabs((double)want[v] - (double)got[v]) < 1e-5);
            tape_reset(t);
        }
        region_close(t, before);
        caches_free(past);
        model_free(&m);
    }
    Model routes = model_new(NULL, 1);
    assert_null(official_caches(routes.tape, routes.official, 1));
    model_free(&routes);
}

/* A text longer than the window goes on from its end. */
static void a_long_text_is_seen_by_its_end(void **state)
{
    (void)state;
    Model m = model_new(NULL, 1);
    Tape *t = m.tape;
    float whole[11], end[11];
    int64_t ids[40], last[16];
    for (int i = 0; i < 40; i++)
        ids[i] = 1 + i * 7 % 10;
    memcpy(last, ids + 24, sizeof last);
    Region before = region_open(t, EVAL, NO_GRAD);
    tensor_read(t, official_next(t, m.official, tensor_from(t, I64, SHAPE(1, 40), ids)), whole);
    Tensor *logits = official_forward(t, m.official, tensor_from(t, I64, SHAPE(1, 16), last), 16, NULL);
    tensor_read(t, contiguous(t, narrow(t, logits, 1, 15, 1)), end);
    region_close(t, before);
    assert_memory_equal(whole, end, sizeof whole);
    model_free(&m);
}

/* ---- First values */

static void averages_begin_at_the_means(void **state)
{
    (void)state;
    Model m = model_new(NULL, 1);
    Params *p = params_new();
    Clusters *c = clusters_new(p, m.c, 3, 8);
    Hashing hash = hashing_new(p, 2, 5, 8);
    params_allocate(p, true, 1, backend());
    assert_memory_equal(c->means->data, c->ema_means->data, 72 * sizeof(float));
    assert_int_equal(tensor_dim(hash.directions, 1), 2); /* 2^2 <= 5 */
    clusters_free(c);
    params_free(p);
    model_free(&m);
}

/* ---- Sampling */

static void filters_are_the_authors(void **state)
{
    (void)state;
    OfficialConfig c = {.sampling_keep_top_k = 2, .nucleus_sampling = 1, .sampling_temp = 1};
    float top[] = {3, 2, 1, 0, 9, 8, 7, 6}; /* one threshold, 2, which goes too */
    official_filter(&c, top, 2, 4);
    assert_true(top[0] == 1 && top[1] == 0 && top[2] == 0);
    assert_true(top[4] > top[5] && top[5] > top[6] && top[6] > top[7] && top[7] > 0);

    c = (OfficialConfig){.sampling_keep_top_k = 0, .nucleus_sampling = 0.6, .sampling_temp = 0.5};
    float nucleus[] = {logf(0.5f), logf(0.3f), logf(0.2f)}; /* before the third stand 0.8 */
    official_filter(&c, nucleus, 1, 3);
    assert_true(nucleus[2] == 0);
    assert_true(fabs((double)nucleus[0] - 25.0 / 34) < 1e-6); /* 0.5^2 and 0.3^2 */
}

/* ---- Configs */

static void wrong_configs_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *changes, *line;
    } cases[] = {
        {"{hidden_size: 30}", "hidden_size is 30, not divisible by 4 heads"},
        {"{memory_flange: [6]}", "not divisible by the block of 4"},
        {"{sparsity_cluster_size: 0}", "routing heads need clusters"},
        {"{layer_preprocess_sequence: na}", "expected none, or d (dropout) and n (norm)"},
        {"{max_relative_position: 0}", "relative attention needs at least 1"},
        {"{max_target_length: 18}", "not divisible by the block of 4"},
        {"{hash_items: true, random_routing: true}", "tokens are either hashed or drawn"},
        {"{frame_height: 3}", "unknown key frame_height"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        OfficialModality config;
        Error e;
        assert_false(bind(cases[i].changes, &config, &e));
        if (!strstr(e.text, cases[i].line))
            fail_msg("\"%s\" does not say \"%s\"", e.text, cases[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(clusters_move_in_training_only),
        cmocka_unit_test(random_groups_are_drawn),
        cmocka_unit_test(local_heads_are_causal),
        cmocka_unit_test(blank_rows_are_chosen_last),
        cmocka_unit_test(caches_change_nothing),
        cmocka_unit_test(a_long_text_is_seen_by_its_end),
        cmocka_unit_test(averages_begin_at_the_means),
        cmocka_unit_test(filters_are_the_authors),
        cmocka_unit_test(wrong_configs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
