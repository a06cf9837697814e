/* What must hold of the network whatever it learned, and that it learns. */
#include "models/skeleton/skeleton.h"
#include "models/skeleton/task.h"

#include "support/model_test.h"

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

/* images -> logits [B,CLASSES] */
static Tensor *forward(ModelTest *m, const void *images)
{
    return skeleton_forward(m->tape, m->network, tensor_from(m->tape, F32, SHAPE(BATCH, 1, SIDE, SIDE), images));
}

/* ---- */

static void has_the_parameters_of_the_equations(void **state)
{
    ModelTest *m = *state;
    int64_t c = 16, n = 4, hidden = 32, patch = PATCH * PATCH;
    int64_t block = 2 * c + (4 * c * c + c) + 2 * c + (2 * c * hidden + hidden + c);
    assert_int_equal(params_elements(m->params), (patch * c + c) + n * c + block + 2 * c + (c * CLASSES + CLASSES));
}

static void refuses_patches_that_do_not_fit(void **state)
{
    (void)state;
    assert_config_refused(&skeleton_model, "{img_size: 25}", "img_size is 25");
}

static void computes_what_the_reference_computes(void **state)
{
    (void)state;
    assert_golden(&skeleton_model, "forward");
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
static float moved_by_swapping(ModelTest *m)
{
    float images[BATCH * PIXELS], before[BATCH * CLASSES], after[BATCH * CLASSES];
    fill_noise(images, COUNT_OF(images));
    model_test_read(m, EVAL, forward, images, before);
    for (int i = 0; i < BATCH; i++)
        swap_halves(images + i * PIXELS);
    model_test_read(m, EVAL, forward, images, after);
    return furthest(before, after, BATCH * CLASSES);
}

/* Attention and the mean know no order: it comes from the positions alone. */
static void sees_order_through_positions_only(void **state)
{
    ModelTest *m = *state;
    Tensor *positions = &params_find(m->params, "positions")->value;
    assert_true(moved_by_swapping(m) > 1e-3f);
    memset(positions->data, 0, (size_t)tensor_count(positions) * sizeof(float));
    assert_true(moved_by_swapping(m) < 1e-6f);
}

static Tensor *losses_of(ModelTest *m, const void *images)
{
    float targets[BATCH * CLASSES] = {0};
    for (int i = 0; i < BATCH; i++)
        targets[i * CLASSES + i % CLASSES] = 1;
    Tensor *y = tensor_from(m->tape, F32, SHAPE(BATCH, CLASSES), targets);
    return soft_cross_entropy(m->tape, forward(m, images), y, NULL);
}

/* Six images of noise by heart: every parameter that is needed for it gets a gradient. */
static void learns_by_heart(void **state)
{
    float images[BATCH * PIXELS];
    fill_noise(images, COUNT_OF(images));
    assert_true(model_test_learn(*state, losses_of, images, 60, 1e-2) < 0.05f); /* log 3 = 1.1 at the start */
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
