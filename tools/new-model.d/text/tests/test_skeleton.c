/* What must hold of the network whatever it learned, and that it learns. */
#include "models/skeleton/golden.h"
#include "models/skeleton/skeleton.h"
#include "common/nn/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 11, TOKENS = 6, BATCH = 2, LOGITS = BATCH * TOKENS * VOCABULARY };

static const SkeletonConfig SMALL = {
    .n_vocab = VOCABULARY,
    .n_ctx = 8,
    .n_embd = 16,
    .n_layer = 1,
    .n_head = 2,
    .mlp_ratio = 2,
};

/* A network with a tape, and two texts. */
typedef struct Fixture {
    Params *params;
    Skeleton *model;
    Tape *tape;
    int64_t ids[BATCH * TOKENS];
} Fixture;

static int make(void **state)
{
    Error e;
    const Backend *backend = cpu_backend(&e);
    Fixture *f = mem_new(sizeof *f);
    f->params = params_new();
    f->model = skeleton_new(&SMALL, f->params);
    params_allocate(f->params, true, 1, backend);
    f->tape = tape_new(&(TapeOptions){.device = DEVICE_CPU, .backend = backend, .threads = 1});
    const int64_t ids[] = {3, 1, 4, 1, 5, 9, 2, 7, 1, 8, 2, 8};
    memcpy(f->ids, ids, sizeof f->ids);
    *state = f;
    return backend == NULL;
}

static int drop(void **state)
{
    Fixture *f = *state;
    tape_free(f->tape);
    skeleton_free(f->model);
    params_free(f->params);
    mem_free(f);
    return 0;
}

static void logits_of(Fixture *f, float out[LOGITS])
{
    Region before = region_open(f->tape, EVAL, NO_GRAD);
    Tensor *ids = tensor_from(f->tape, I64, SHAPE(BATCH, TOKENS), f->ids);
    tensor_read(f->tape, skeleton_forward(f->tape, f->model, ids), out);
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

/* ---- */

static void has_the_parameters_of_the_equations(void **state)
{
    Fixture *f = *state;
    int64_t c = SMALL.n_embd, hidden = 2 * c;
    int64_t block = 2 * c + (4 * c * c + c) + 2 * c + (2 * c * hidden + hidden + c);
    assert_int_equal(params_elements(f->params), 2 * VOCABULARY * c + SMALL.n_ctx * c + block + 2 * c);
}

static void refuses_heads_that_do_not_fit(void **state)
{
    (void)state;
    Error e;
    SkeletonConfig c;
    Node *node = node_from_yaml_text("n_embd: 25", "a config", &e);
    assert_false(config_bind(&skeleton_config_table, node, &c, &e));
    assert_non_null(strstr(e.text, "n_embd is 25"));
    node_free(node);
}

static void computes_what_the_reference_computes(void **state)
{
    (void)state;
    Error e;
    static const char file[] = "models/skeleton/golden/forward.safetensors";
    assert_int_equal(golden_run(file, "skeleton", skeleton_golden, cpu_backend(&e), 1), 0);
}

/* Another token moves what is said at its place and after it, and nothing before. */
static void looks_back_only(void **state)
{
    Fixture *f = *state;
    float before[LOGITS], after[LOGITS];
    const int changed = 3, earlier = changed * VOCABULARY;
    logits_of(f, before);
    f->ids[changed] = 10;
    logits_of(f, after);
    assert_memory_equal(before, after, (size_t)earlier * sizeof *before);
    for (int s = changed; s < TOKENS; s++)
        assert_true(furthest(before + s * VOCABULARY, after + s * VOCABULARY, VOCABULARY) > 1e-3f);
}

/* Two texts by heart: every parameter that is needed for it gets a gradient. */
static void learns_by_heart(void **state)
{
    Fixture *f = *state;
    Optimizer *o = optimizer_new(
        &(OptimizerOptions){.kind = OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, f->params);
    float loss = 0;
    Region before = region_open(f->tape, TRAIN, GRAD);
    for (int step = 0; step < 60; step++) {
        params_zero_gradients(f->params);
        Tensor *ids = tensor_from(f->tape, I64, SHAPE(BATCH, TOKENS), f->ids);
        Tensor *read = contiguous(f->tape, narrow(f->tape, ids, 1, 0, TOKENS - 1));
        Tensor *next = contiguous(f->tape, narrow(f->tape, ids, 1, 1, TOKENS - 1));
        Tensor *logits = skeleton_forward(f->tape, f->model, read);
        logits = reshape(f->tape, logits, SHAPE(BATCH * (TOKENS - 1), VOCABULARY));
        next = reshape(f->tape, next, SHAPE(BATCH * (TOKENS - 1)));
        Tensor *mean = tape_keep(f->tape, mean_all(f->tape, cross_entropy(f->tape, logits, next, -1)));
        tape_backward(f->tape, &mean, NULL, 1);
        loss = tensor_scalar(f->tape, mean);
        optimizer_step(o, f->tape, 1e-2);
        tape_reset(f->tape);
    }
    region_close(f->tape, before);
    optimizer_free(o);
    assert_true(loss < 0.05f); /* log 11 = 2.4 at the start */
    for (int i = 0; i < params_count(f->params); i++)
        assert_true(params_at(f->params, i)->state.touched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(has_the_parameters_of_the_equations, make, drop),
        cmocka_unit_test(refuses_heads_that_do_not_fit),
        cmocka_unit_test(computes_what_the_reference_computes),
        cmocka_unit_test_setup_teardown(looks_back_only, make, drop),
        cmocka_unit_test_setup_teardown(learns_by_heart, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
