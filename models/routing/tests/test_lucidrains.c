/* Variant B: what must hold of the mathematics whatever the weights, and what a config may say. Its numbers are held against
 * the authors' package by the golden files (tests/scripts/golden.sh). */
#include "models/routing/tests/small_lucidrains.h"

#include "common/base/memory.h"
#include "common/nn/optimizer.h"

#include "run_floor/scratch.h"

#include <math.h>
#include <stdio.h>

enum { LENGTH = 24, BATCH = 3 };

/* A network of a config in flow YAML, with a tape and tokens to read. */
typedef struct Fixture {
    LucidrainsConfig config;
    Params *params;
    Lucidrains *model;
    Tape *tape;
    int64_t tokens[BATCH * LENGTH];
} Fixture;

static Fixture make(const char *keys)
{
    Error e;
    Fixture f = {0};
    const Backend *backend = cpu_backend(&e);
    if (!bind(keys, &f.config, &e))
        fail_msg("%s", e.text);
    f.params = params_new();
    f.model = lucidrains_new(&f.config, f.params);
    params_allocate(f.params, true, 1, backend);
    f.tape = tape_new(&(TapeOptions){.device = DEVICE_CPU, .backend = backend, .threads = 1});
    Random random = random_at(1, STREAM_DATA, 0, 0);
    for (int i = 0; i < BATCH * LENGTH; i++)
        f.tokens[i] = 1 + random_integer(&random, VOCABULARY - 1);
    return f;
}

static void drop(Fixture *f)
{
    tape_free(f->tape);
    lucidrains_free(f->model);
    params_free(f->params);
    config_free(&lucidrains_config_table, &f->config);
}

static LucidrainsInput input_of(Fixture *f)
{
    return (LucidrainsInput){.tokens = tensor_from(f->tape, I64, SHAPE(BATCH, LENGTH), f->tokens)};
}

typedef float Logits[BATCH][LENGTH][VOCABULARY];

static void read_logits(Fixture *f, const uint8_t *mask, Logits out)
{
    Region before = region_open(f->tape, EVAL, NO_GRAD);
    LucidrainsInput in = input_of(f);
    Tensor *aux;
    in.mask = mask ? tensor_from(f->tape, U8, SHAPE(BATCH, LENGTH), mask) : NULL;
    tensor_read(f->tape, lucidrains_forward(f->tape, f->model, &in, &aux), out);
    tape_reset(f->tape);
    region_close(f->tape, before);
}

/* The largest difference of the rows first .. last-1. */
static float furthest(Logits a, Logits b, int first, int last)
{
    float most = 0;
    for (int s = 0; s < BATCH; s++)
        for (int n = first; n < last; n++)
            for (int v = 0; v < VOCABULARY; v++)
                most = fmaxf(most, fabsf(a[s][n][v] - b[s][n][v]));
    return most;
}

/* How far the rows before the last token move when that token changes. */
static float moved_by_the_future(const char *keys)
{
    static Logits before, after;
    Fixture f = make(keys);
    read_logits(&f, NULL, before);
    for (int s = 0; s < BATCH; s++)
        f.tokens[s * LENGTH + LENGTH - 1] = 1 + f.tokens[s * LENGTH + LENGTH - 1] % (VOCABULARY - 1);
    read_logits(&f, NULL, after);
    assert_true(furthest(before, after, LENGTH - 1, LENGTH) > 1e-4f);
    float moved = furthest(before, after, 0, LENGTH - 1);
    drop(&f);
    return moved;
}

/* With local heads, and where every token is a member of the one cluster. */
static void a_causal_model_does_not_see_the_future(void **state)
{
    (void)state;
    assert_true(moved_by_the_future("causal: true, window_size: 8, n_local_attn_heads: 3") == 0);
    assert_true(moved_by_the_future("causal: true, window_size: 24, shared_qk: true") < 1e-6f);
    assert_true(moved_by_the_future("causal: true, window_size: 24, shared_qk: false, shift_tokens: true") < 1e-6f);
    assert_true(moved_by_the_future("causal: false, window_size: 24") > 1e-4f);
}

/* The content of padding reaches no real token where all are members. */
static void padding_is_not_seen(void **state)
{
    (void)state;
    static Logits before, after;
    enum { REAL = 17 };
    uint8_t mask[BATCH * LENGTH];
    for (int i = 0; i < BATCH * LENGTH; i++)
        mask[i] = i % LENGTH < REAL;
    Fixture f = make("window_size: 24, n_local_attn_heads: 1, local_attn_window_size: 8");
    read_logits(&f, mask, before);
    for (int i = 0; i < BATCH * LENGTH; i++)
        f.tokens[i] = mask[i] ? f.tokens[i] : 0;
    read_logits(&f, mask, after);
    assert_true(furthest(before, after, 0, REAL) < 1e-6f);
    assert_true(furthest(before, after, REAL, LENGTH) > 1e-4f);
    read_logits(&f, NULL, after);
    assert_true(furthest(before, after, 0, REAL) > 1e-4f);
    drop(&f);
}

/* ---- The means */

/* The squares of the means, least and most. */
static void lengths_of_means(const Tensor *means, float *least, float *most)
{
    int64_t width = tensor_dim(means, -1);
    *least = INFINITY;
    *most = 0;
    for (int64_t i = 0; i < tensor_count(means); i += width) {
        float sum = 0;
        for (int64_t j = 0; j < width; j++)
            sum += ((float *)means->data)[i + j] * ((float *)means->data)[i + j];
        *least = fminf(*least, sum);
        *most = fmaxf(*most, sum);
    }
}

static float distance(const Tensor *x, const float *y)
{
    float sum = 0;
    for (int64_t i = 0; i < tensor_count(x); i++)
        sum += (((float *)x->data)[i] - y[i]) * (((float *)x->data)[i] - y[i]);
    return sqrtf(sum);
}

static void the_first_forward_finds_the_means(void **state)
{
    (void)state;
    static Logits logits;
    static const char name[] = "routing_transformer.layers.layers.0.0.fn.global_attn.kmeans.";
    char means_name[128], flag_name[128];
    snprintf(means_name, sizeof means_name, "%smeans", name);
    snprintf(flag_name, sizeof flag_name, "%sinitted", name);
    Fixture f = make("causal: true, window_size: 8, kmeans_ema_decay: 0.75");
    const Tensor *means = &params_find(f.params, means_name)->value;
    const uint8_t *found = params_find(f.params, flag_name)->value.data;
    float least, most;
    assert_int_equal(*found, 0);
    read_logits(&f, NULL, logits);
    assert_int_equal(*found, 1);
    lengths_of_means(means, &least, &most);
    assert_true(least > 0.999f && most < 1.001f);

    size_t bytes = (size_t)tensor_count(means) * sizeof(float);
    float *first = mem_copy(means->data, bytes);
    lucidrains_update_means(f.tape, f.model); /* no forward in training: no step */
    assert_true(distance(means, first) == 0);
    Region before = region_open(f.tape, TRAIN, GRAD);
    float steps[2], *now = mem_new(bytes);
    for (int i = 0; i < 2; i++) { /* equal forwards: towards one point, by a quarter of the way */
        LucidrainsInput in = input_of(&f);
        Tensor *aux;
        for (int again = 0; again <= i; again++)
            lucidrains_forward(f.tape, f.model, &in, &aux);
        memcpy(now, means->data, bytes);
        assert_true(i == 0 || distance(means, first) > 0);
        lucidrains_update_means(f.tape, f.model);
        steps[i] = distance(means, now);
        tape_reset(f.tape);
    }
    region_close(f.tape, before);
    assert_true(steps[0] > 0 && steps[1] > 0 && steps[1] < steps[0]);
    mem_free(now);
    mem_free(first);
    drop(&f);
}

/* ---- Training and text */

static float train_by_heart(Fixture *f, int steps)
{
    Optimizer *o = optimizer_new(&(OptimizerOptions){.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
                                 f->params);
    float last = 0;
    Region before = region_open(f->tape, TRAIN, GRAD);
    for (int step = 0; step < steps; step++) {
        LucidrainsInput in = input_of(f);
        params_zero_gradients(f->params);
        tape_set_step(f->tape, (uint32_t)step);
        LucidrainsLoss loss = lucidrains_loss(f->tape, f->model, &in, 0);
        Tensor *total = tape_keep(f->tape, loss.total);
        tape_backward(f->tape, &total, NULL, 1);
        last = tensor_scalar(f->tape, total);
        optimizer_step(o, f->tape, 1e-2);
        lucidrains_update_means(f->tape, f->model);
        tape_reset(f->tape);
    }
    region_close(f->tape, before);
    optimizer_free(o);
    return last;
}

/* Three texts by heart, then each again from its first half: the greedy continuation is the rest of it. The length is no
 * multiple of the window, so that training and asking pad. */
static void learns_by_heart_and_says_it(void **state)
{
    (void)state;
    Fixture f =
        make("causal: true, window_size: 12, n_local_attn_heads: 2, local_attn_window_size: 8, reversible: true");
    float loss = train_by_heart(&f, 150);
    assert_true(loss < 0.1f); /* log 10 = 2.3 at the start */
    for (int i = 0; i < params_count(f.params); i++) {
        const Param *p = params_at(f.params, i);
        assert_true(!p->state.trainable || p->state.touched || tensor_count(&p->value) == 0);
    }
    enum { KNOWN = 14, STEPS = LENGTH - KNOWN };
    int64_t start[BATCH * KNOWN], said[BATCH * STEPS], right = 0;
    for (int s = 0; s < BATCH; s++)
        memcpy(start + s * KNOWN, f.tokens + s * LENGTH, KNOWN * sizeof *start);
    LucidrainsInput in = {.tokens = tensor_from(f.tape, I64, SHAPE(BATCH, KNOWN), start)};
    LucidrainsGeneration how = {.steps = STEPS, .filter = FILTER_TOP_K, .threshold = 0.8, .temperature = 1};
    assert_int_equal(lucidrains_generate(f.tape, f.model, &in, &how, said, NULL), STEPS);
    for (int s = 0; s < BATCH; s++)
        for (int n = 0; n < STEPS; n++)
            right += said[s * STEPS + n] == f.tokens[s * LENGTH + KNOWN + n];
    assert_true(right >= BATCH * STEPS * 8 / 10);
    how.has_eos = true;
    how.eos = said[0];
    in.tokens = tensor_from(f.tape, I64, SHAPE(1, KNOWN), start);
    assert_int_equal(lucidrains_generate(f.tape, f.model, &in, &how, said, NULL), 1);
    drop(&f);
}

static float loss_in_training(Fixture *f)
{
    LucidrainsInput in = input_of(f);
    Region before = region_open(f->tape, TRAIN, GRAD);
    float loss = tensor_scalar(f->tape, lucidrains_loss(f->tape, f->model, &in, 0).total);
    tape_reset(f->tape);
    region_close(f->tape, before);
    return loss;
}

/* Each kind of noise changes the loss of a step, and the loss without it is its own. */
static void every_dropout_is_at_work(void **state)
{
    (void)state;
    static const char *const keys[] = {"attn_dropout: 0.3", "ff_dropout: 0.3", "attn_layer_dropout: 0.3",
                                       "layer_dropout: 0.5"};
    Fixture quiet = make("causal: true, window_size: 8, n_local_attn_heads: 1");
    float without = loss_in_training(&quiet);
    assert_true(loss_in_training(&quiet) == without);
    drop(&quiet);
    for (int i = 0; i < COUNT_OF(keys); i++) {
        char all[128];
        int different = 0;
        snprintf(all, sizeof all, "causal: true, window_size: 8, n_local_attn_heads: 1, %s", keys[i]);
        Fixture f = make(all);
        for (uint32_t step = 0; step < 8; step++) {
            tape_set_step(f.tape, step);
            different += loss_in_training(&f) != without;
        }
        assert_true(different >= 2);
        drop(&f);
    }
}

/* ---- Files */

/* A state_dict of the AutoregressiveWrapper: every tensor twice, and the shared ones under all names. */
static void loads_a_state_dict_of_the_wrapper(void **state)
{
    static const char keys[] = "causal: true, window_size: 8, n_local_attn_heads: 1, weight_tie: true, "
                               "tie_embedding: true",
                      *const places[] = {"net.net", "base_net"};
    Error e;
    Fixture saved = make(keys), loaded = make(keys);
    lucidrains_repeat_names(saved.params, 0, 0, 2, places);
    lucidrains_repeat_names(loaded.params, 0, 0, 2, places);
    TensorToWrite *list = mem_new(1024 * sizeof *list);
    int count = 0;
    for (int i = 0; i < params_count(saved.params); i++) {
        Param *p = params_at(saved.params, i);
        if (p->value.type == F32 && tensor_count(&p->value) > 0)
            ((float *)p->value.data)[0] = (float)i;
        for (size_t a = 0; a < p->aliases.count; a++) {
            if (!str_starts(p->aliases.items[a], "net.net.") && !str_starts(p->aliases.items[a], "base_net."))
                continue;
            list[count] = (TensorToWrite){
                .name = p->aliases.items[a], .type = p->value.type, .rank = p->value.shape.rank, .data = p->value.data};
            memcpy(list[count++].shape, p->value.shape.dim, sizeof list[0].shape);
        }
    }
    char *path = str_format("%s/wrapper.safetensors", (char *)*state);
    assert_true(safetensors_write(path, list, count, NULL, 0, &e));
    TensorFile *file = tensor_file_open(path, &e);
    LoadReport report;
    assert_non_null(file);
    if (!params_load(loaded.params, file, &(LoadOptions){.strict = true}, &report, &e))
        fail_msg("%s", e.text);
    assert_int_equal(report.loaded, params_count(loaded.params));
    for (int i = 0; i < params_count(loaded.params); i++) {
        const Tensor *x = &params_at(loaded.params, i)->value;
        assert_true(x->type != F32 || tensor_count(x) == 0 || ((float *)x->data)[0] == (float)i);
    }
    load_report_free(&report);
    tensor_file_close(file);
    mem_free(path);
    mem_free(list);
    drop(&loaded);
    drop(&saved);
}

/* As a workload has them, source and target are one sequence: the rows of the target are those of the pair's own loss. */
static void a_pair_reads_and_goes_on(void **state)
{
    (void)state;
    Error e;
    LucidrainsPairConfig config;
    Node *node = node_from_flow_yaml(
        "{dim: 18, enc_num_tokens: 11, enc_depth: 1, enc_max_seq_len: 16, enc_heads: 3, enc_window_size: 4, "
        "enc_n_local_attn_heads: 1, dec_num_tokens: 11, dec_depth: 1, dec_max_seq_len: 8, dec_heads: 3, "
        "dec_window_size: 4, dec_n_local_attn_heads: 1}",
        "test", &e);
    assert_true(config_bind(&lucidrains_translator_table, node, &config, &e));
    Params *p = params_new();
    LucidrainsPair *m = lucidrains_pair_new(&config, p);
    params_allocate(p, true, 1, cpu_backend(&e));
    Tape *t = tape_new(&(TapeOptions){.backend = cpu_backend(&e), .threads = 1});
    int64_t ids[2 * 23];
    for (int i = 0; i < COUNT_OF(ids); i++)
        ids[i] = 1 + i * 7 % 10;
    Tensor *all = tensor_from(t, I64, SHAPE(2, 23), ids), *aux, *encoder_aux;
    Tensor *logits = lucidrains_pair_language(t, m, all, &aux); /* [2,16+7,11] */
    Tensor *source = contiguous(t, narrow(t, all, 1, 0, 16));
    LucidrainsInput target = {.tokens =
                                  contiguous(t, pad(t, narrow(t, all, 1, 16, 7), 1, 0, 1))}; /* its last is a label */
    LucidrainsLoss loss = lucidrains_pair_loss(t, m, source, NULL, &target, 0, &encoder_aux);
    float got[2][23][11], want[2][7][11];
    tensor_read(t, logits, got);
    tensor_read(t, loss.logits, want);
    for (int row = 0; row < 2; row++)
        for (int i = 0; i < 23 * 11; i++)
            assert_true(got[row][i / 11][i % 11] == (i < 16 * 11 ? 0 : want[row][i / 11 - 16][i % 11]));
    double both = (double)tensor_scalar(t, loss.aux) + (double)tensor_scalar(t, encoder_aux);
    assert_true(fabs((double)tensor_scalar(t, aux) - both) < 1e-6);
    tape_free(t);
    lucidrains_pair_free(m);
    params_free(p);
    config_free(&lucidrains_translator_table, &config);
    node_free(node);
}

/* A text that grows in pieces has the rows of the whole text. */
static void caches_change_nothing(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "causal: true, window_size: 8, n_local_attn_heads: 3, local_attn_window_size: 4",
        "causal: true, window_size: 8, n_local_attn_heads: 3, local_attn_radius_blocks: 2, local_attn_window_size: 4, "
        "reversible: true",
        "causal: true, window_size: 8, n_local_attn_heads: 3, weight_tie: true, use_rezero: true, ff_glu: true"};
    static const int64_t pieces[] = {7, 1, 1, 5, 1, 9};
    static Logits whole;
    for (int i = 0; i < COUNT_OF(keys); i++) {
        Fixture f = make(keys[i]);
        read_logits(&f, NULL, whole);
        Region before = region_open(f.tape, EVAL, NO_GRAD);
        Caches *past = lucidrains_caches(f.tape, f.model, BATCH);
        assert_non_null(past);
        for (int64_t p = 0, at = 0; p < COUNT_OF(pieces); at += pieces[p++]) {
            LucidrainsInput in = input_of(&f);
            in.tokens = contiguous(f.tape, narrow(f.tape, in.tokens, 1, at, pieces[p]));
            in.past = past;
            float got[BATCH * LENGTH * VOCABULARY];
            Tensor *aux;
            tensor_read(f.tape, lucidrains_forward(f.tape, f.model, &in, &aux), got);
            for (int64_t r = 0; r < BATCH * pieces[p] * VOCABULARY; r++) {
                int64_t token = r / VOCABULARY % pieces[p];
                float want = whole[r / VOCABULARY / pieces[p]][at + token][r % VOCABULARY];
                assert_true(fabsf(got[r] - want) < 1e-5f);
            }
            tape_reset(f.tape);
        }
        caches_free(past);
        region_close(f.tape, before);
        drop(&f);
    }
    static const char *const without[] = {"causal: true, window_size: 8, n_local_attn_heads: [3, 2]",
                                          "causal: true, window_size: 8, n_local_attn_heads: 3, shift_tokens: true",
                                          "causal: false, window_size: 8, n_local_attn_heads: 3"};
    for (int i = 0; i < COUNT_OF(without); i++) {
        Fixture f = make(without[i]);
        assert_null(lucidrains_caches(f.tape, f.model, 1));
        drop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_causal_model_does_not_see_the_future),
        cmocka_unit_test(padding_is_not_seen),
        cmocka_unit_test(the_first_forward_finds_the_means),
        cmocka_unit_test(learns_by_heart_and_says_it),
        cmocka_unit_test(every_dropout_is_at_work),
        SCRATCH_TEST(loads_a_state_dict_of_the_wrapper),
        cmocka_unit_test(caches_change_nothing),
        cmocka_unit_test(a_pair_reads_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
