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

/* The smallest image that has patches to exchange: 2 x 2 of them. */
enum { SIDE = 8, PATCH = 4, CLASSES = 3, BATCH = 6, PIXELS = SIDE * SIDE };

static const SkeletonConfig SMALL = {
    .img_size = SIDE,
    .patch_size = PATCH,
    .in_chans = 1,
    .num_classes = CLASSES,
    .embed_dim = 16,
    .depth = 1,
    .num_heads = 2,
    .mlp_ratio = 2,
};

/* A network with a tape, and noise to look at. */
typedef struct Fixture {
    Params *params;
    Skeleton *model;
    Tape *tape;
    float images[BATCH * PIXELS];
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
    Random random = random_at(1, STREAM_DATA, 0, 0);
    for (int i = 0; i < COUNT_OF(f->images); i++)
        f->images[i] = (float)random_normal(&random);
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

static void logits_of(Fixture *f, float out[BATCH * CLASSES])
{
    Region before = region_open(f->tape, EVAL, NO_GRAD);
    Tensor *x = tensor_from(f->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), f->images);
    tensor_read(f->tape, skeleton_forward(f->tape, f->model, x), out);
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
    int64_t c = 16, n = 4, hidden = 32, patch = PATCH * PATCH;
    int64_t block = 2 * c + (4 * c * c + c) + 2 * c + (2 * c * hidden + hidden + c);
    assert_int_equal(params_elements(f->params), (patch * c + c) + n * c + block + 2 * c + (c * CLASSES + CLASSES));
}

static void refuses_patches_that_do_not_fit(void **state)
{
    (void)state;
    Error e;
    SkeletonConfig c;
    Node *node = node_from_yaml_text("img_size: 25", "a config", &e);
    assert_false(config_bind(&skeleton_config_table, node, &c, &e));
    assert_non_null(strstr(e.text, "img_size is 25"));
    node_free(node);
}

static void computes_what_the_reference_computes(void **state)
{
    (void)state;
    Error e;
    static const char file[] = "models/skeleton/golden/forward.safetensors";
    assert_int_equal(golden_run(file, "skeleton", skeleton_golden, cpu_backend(&e), 1), 0);
}

/* The upper two patches change places with the lower two. */
static void swap_halves(float *image)
{
    float upper[PIXELS / 2];
    memcpy(upper, image, sizeof upper);
    memcpy(image, image + PIXELS / 2, sizeof upper);
    memcpy(image + PIXELS / 2, upper, sizeof upper);
}

/* How far the logits move when patches change places. */
static float moved_by_swapping(Fixture *f)
{
    float before[BATCH * CLASSES], after[BATCH * CLASSES];
    logits_of(f, before);
    for (int i = 0; i < BATCH; i++)
        swap_halves(f->images + i * PIXELS);
    logits_of(f, after);
    return furthest(before, after, BATCH * CLASSES);
}

/* Attention and the mean know no order: it comes from the positions alone. */
static void sees_order_through_positions_only(void **state)
{
    Fixture *f = *state;
    Tensor *positions = &params_find(f->params, "positions")->value;
    assert_true(moved_by_swapping(f) > 1e-3f);
    memset(positions->data, 0, (size_t)tensor_count(positions) * sizeof(float));
    assert_true(moved_by_swapping(f) < 1e-6f);
}

/* Six images of noise by heart: every parameter that is needed for it gets a gradient. */
static void learns_by_heart(void **state)
{
    Fixture *f = *state;
    Optimizer *o = optimizer_new(
        &(OptimizerOptions){.kind = OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, f->params);
    float targets[BATCH * CLASSES] = {0}, loss = 0;
    for (int i = 0; i < BATCH; i++)
        targets[i * CLASSES + i % CLASSES] = 1;
    Region before = region_open(f->tape, TRAIN, GRAD);
    for (int step = 0; step < 60; step++) {
        params_zero_gradients(f->params);
        Tensor *x = tensor_from(f->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), f->images);
        Tensor *y = tensor_from(f->tape, F32, SHAPE(BATCH, CLASSES), targets);
        Tensor *logits = skeleton_forward(f->tape, f->model, x);
        Tensor *mean = tape_keep(f->tape, mean_all(f->tape, soft_cross_entropy(f->tape, logits, y, NULL)));
        tape_backward(f->tape, &mean, NULL, 1);
        loss = tensor_scalar(f->tape, mean);
        optimizer_step(o, f->tape, 1e-2);
        tape_reset(f->tape);
    }
    region_close(f->tape, before);
    optimizer_free(o);
    assert_true(loss < 0.05f); /* log 3 = 1.1 at the start */
    for (int i = 0; i < params_count(f->params); i++)
        assert_true(params_at(f->params, i)->state.touched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(has_the_parameters_of_the_equations, make, drop),
        cmocka_unit_test(refuses_patches_that_do_not_fit),
        cmocka_unit_test(computes_what_the_reference_computes),
        cmocka_unit_test_setup_teardown(sees_order_through_positions_only, make, drop),
        cmocka_unit_test_setup_teardown(learns_by_heart, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
