/* What must hold of the network whatever it learned, and that it learns. */
#include "models/skeleton/skeleton.h"
#include "models/skeleton/task.h"

#include "support/model_test.h"

enum { VOCABULARY = 11, TOKENS = 6, BATCH = 2, LOGITS = BATCH * TOKENS * VOCABULARY };

static const SkeletonConfig SMALL = {
    .n_vocab = VOCABULARY,
    .n_ctx = 8,
    .n_embd = 16,
    .n_layer = 1,
    .n_head = 2,
    .mlp_ratio = 2,
};

static const int64_t TEXTS[BATCH * (TOKENS + 1)] = {3, 1, 4, 1, 5, 9, 2, 2, 7, 1, 8, 2, 8, 1};

static int make(void **state)
{
    *state = model_test_open(&skeleton_model, &SMALL, F32);
    return 0;
}

static int drop(void **state)
{
    model_test_close(*state);
    return 0;
}

/* `shift` tokens on: what is read (0), and what follows it (1). */
static void texts_from(int shift, int64_t ids[BATCH * TOKENS])
{
    for (int b = 0; b < BATCH; b++)
        memcpy(ids + b * TOKENS, TEXTS + b * (TOKENS + 1) + shift, TOKENS * sizeof *ids);
}

/* ids -> logits [B,S,V] */
static Tensor *forward(ModelTest *m, const void *ids)
{
    return skeleton_forward(m->tape, m->network, tensor_from(m->tape, I64, SHAPE(BATCH, TOKENS), ids));
}

/* ---- */

static void has_the_parameters_of_the_equations(void **state)
{
    ModelTest *m = *state;
    int64_t c = SMALL.n_embd, hidden = 2 * c;
    int64_t block = 2 * c + (4 * c * c + c) + 2 * c + (2 * c * hidden + hidden + c);
    assert_int_equal(params_elements(m->params), 2 * VOCABULARY * c + SMALL.n_ctx * c + block + 2 * c);
}

static void refuses_heads_that_do_not_fit(void **state)
{
    (void)state;
    assert_config_refused(&skeleton_model, "{n_embd: 25}", "n_embd is 25");
}

static void computes_what_the_reference_computes(void **state)
{
    (void)state;
    assert_golden(&skeleton_model, "forward");
}

/* Another token moves what is said at its place and after it, and nothing before. */
static void looks_back_only(void **state)
{
    int64_t ids[BATCH * TOKENS];
    float before[LOGITS], after[LOGITS];
    const int changed = 3;
    texts_from(0, ids);
    model_test_read(*state, EVAL, forward, ids, before);
    ids[changed] = 10;
    model_test_read(*state, EVAL, forward, ids, after);
    assert_memory_equal(before, after, changed * VOCABULARY * sizeof *before);
    for (int s = changed; s < TOKENS; s++)
        assert_true(furthest(before + s * VOCABULARY, after + s * VOCABULARY, VOCABULARY) > 1e-3f);
}

static Tensor *losses_of(ModelTest *m, const void *ids)
{
    int64_t next[BATCH * TOKENS];
    texts_from(1, next);
    Tensor *logits = reshape(m->tape, forward(m, ids), SHAPE(BATCH * TOKENS, VOCABULARY));
    return cross_entropy(m->tape, logits, tensor_from(m->tape, I64, SHAPE(BATCH * TOKENS), next), -1);
}

/* Two texts by heart: every parameter that is needed for it gets a gradient. */
static void learns_by_heart(void **state)
{
    int64_t ids[BATCH * TOKENS];
    texts_from(0, ids);
    assert_true(model_test_learn(*state, losses_of, ids, 60, 1e-2) < 0.05f); /* log 11 = 2.4 at the start */
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
