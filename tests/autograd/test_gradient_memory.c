/* Cross-entropy writes the gradient of the logits over them where nobody else looks: a vocabulary makes them the largest tensor
 * of a step. */
#include "support/tape_test.h"

enum { ROWS = 32, CLASSES = 5000, WIDTH = 3, LOGITS_BYTES = ROWS * CLASSES * 4 };

typedef enum Look { NOBODY, KEEPS, ANOTHER_OP, ANOTHER_VIEW, LOOKS } Look;

typedef struct Step {
    float gradient[ROWS * WIDTH]; /* of the states below the logits */
    float logits[ROWS * CLASSES]; /* after backward, if they are kept */
    size_t peak;
} Step;

/* States times a weight are the logits, a [2,R/2,V] that is read as [R,V]. */
static Step step(Look look)
{
    Step s = {.peak = 0};
    Tape *t = test_tape(1);
    int64_t labels[ROWS];
    for (int r = 0; r < ROWS; r++)
        labels[r] = r % 5 == 0 ? -1 : r * 37 % CLASSES;
    Region before = region_open(t, TRAIN, GRAD);
    Tensor *x = random_leaf(t, "x", SHAPE(2, ROWS / 2, WIDTH)), *w = random_tensor(t, "w", SHAPE(CLASSES, WIDTH));
    pool_peak_reset(tape_pool(t));
    size_t base = pool_used(tape_pool(t));
    Scope scope = scope_open(t);
    Tensor *logits = affine(t, x, w, NULL), *flat = reshape(t, logits, SHAPE(ROWS, CLASSES));
    Tensor *loss = sum_all(t, cross_entropy(t, flat, tensor_from(t, I64, SHAPE(ROWS), labels), -1));
    Tensor *kept = look == KEEPS ? tape_keep(t, logits) : look == ANOTHER_VIEW ? tape_keep(t, flat) : NULL;
    if (look == ANOTHER_OP)
        loss = add(t, loss, scale(t, sum_all(t, square(t, logits)), 0)); /* reads them once more, and adds nothing */
    loss = scope_close(t, scope, loss);
    tape_backward(t, &loss, NULL, 1);
    s.peak = pool_peak(tape_pool(t)) - base;
    tensor_read(t, tensor_gradient(x), s.gradient);
    tensor_read(t, kept ? kept : affine(t, x, w, NULL), s.logits);
    region_close(t, before);
    tape_free(t);
    return s;
}

static Step steps[LOOKS];

static void the_gradient_takes_the_logits_place(void **state)
{
    (void)state;
    assert_true(steps[NOBODY].peak >= LOGITS_BYTES && steps[NOBODY].peak < LOGITS_BYTES * 5 / 4);
    assert_true(steps[KEEPS].peak >= 2 * LOGITS_BYTES);
}

static void whoever_looks_sees_what_was(void **state)
{
    (void)state;
    for (Look look = KEEPS; look < LOOKS; look++) {
        assert_memory_equal(steps[look].logits, steps[NOBODY].logits, sizeof steps->logits);
        assert_memory_equal(steps[look].gradient, steps[NOBODY].gradient, sizeof steps->gradient);
    }
}

int main(void)
{
    for (Look look = NOBODY; look < LOOKS; look++)
        steps[look] = step(look);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_gradient_takes_the_logits_place),
                                       cmocka_unit_test(whoever_looks_sees_what_was)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
