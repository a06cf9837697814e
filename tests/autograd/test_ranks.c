/* Several ranks are one: ops over virtual ranks against finite differences, draws of a share against those of the whole batch,
 * and when the gradient of a parameter is known to be whole. */
#include "common/autograd/ranks.h"
#include "common/comm/virtual.h"
#include "common/nn/layers.h"
#include "support/tape_test.h"

enum { RANKS = 3, SHARE = 2, WIDTH = 3, ROWS = RANKS * SHARE, EACH = 4 };

/* ---- comm_sum, comm_gather_rows, comm_mean */

/* Rank r has rows r and ROWS - 1 - r of x, as a share of a batch. */
typedef struct Problem {
    bool mapped;
    float x[ROWS][WIDTH], gradient[ROWS][WIDTH], gathered[RANKS][ROWS][WIDTH];
    double loss[RANKS];
} Problem;

static int64_t row_of(const Problem *p, int rank, int i)
{
    return !p->mapped ? rank * SHARE + i : i == 0 ? rank : ROWS - 1 - rank;
}

/* A loss that differs from rank to rank and depends on everything that the others have. */
static void losses_of_a_rank(Comm *c, void *user)
{
    Problem *p = user;
    int rank = comm_rank(c);
    int64_t place[] = {row_of(p, rank, 0), row_of(p, rank, 1)};
    Tape *t = tape_new(&(TapeOptions){.backend = test_backend(), .threads = 1, .comm = c});
    Region before = region_open(t, TRAIN, GRAD);
    tape_map_rows(t, p->mapped ? (RowMap){place, SHARE} : (RowMap){0});
    float mine[SHARE][WIDTH];
    for (int i = 0; i < SHARE; i++)
        memcpy(mine[i], p->x[place[i]], sizeof mine[i]);
    Tensor *x = tensor_from(t, F32, SHAPE(SHARE, WIDTH), mine);
    tensor_needs_gradient(x);
    Tensor *all = comm_gather_rows(t, x), *sum = comm_sum(t, square(t, x));
    Tensor *a = comm_mean(t, scale(t, multiply(t, square(t, all), all), (float)(rank + 1)));
    Tensor *loss = add(t, a, comm_mean(t, multiply(t, sum, x)));
    tape_keep(t, all);
    p->loss[rank] = (double)tensor_scalar(t, loss);
    tape_backward(t, &loss, NULL, 1);
    float gradient[SHARE][WIDTH];
    tensor_read(t, tensor_gradient(x), gradient);
    for (int i = 0; i < SHARE; i++)
        memcpy(p->gradient[place[i]], gradient[i], sizeof gradient[i]);
    tensor_read(t, all, p->gathered[rank]);
    region_close(t, before);
    tape_free(t);
}

static double loss_of_all(Problem *p)
{
    double sum = 0;
    virtual_ranks_run(RANKS, losses_of_a_rank, p, NULL);
    for (int r = 0; r < RANKS; r++)
        sum += p->loss[r];
    return sum;
}

static void check_against_differences(bool mapped)
{
    Problem p = {.mapped = mapped};
    random_floats("x", ROWS * WIDTH, -1, 1, &p.x[0][0]);
    loss_of_all(&p);
    for (int r = 0; r < RANKS; r++)
        assert_memory_equal(p.gathered[r], p.x, sizeof p.x);
    Problem near = p;
    for (int i = 0; i < ROWS * WIDTH; i++) {
        float *x = &near.x[i / WIDTH][i % WIDTH], gradient = p.gradient[i / WIDTH][i % WIDTH];
        const float step = 1e-2f, at = *x;
        *x = at + step;
        double above = loss_of_all(&near);
        *x = at - step;
        double below = loss_of_all(&near), slope = (above - below) / (2 * (double)step);
        *x = at;
        if (fabs(slope - (double)gradient) > 1e-3)
            fail_msg("element %d: %g, by differences %g", i, (double)gradient, slope);
    }
}

static void gradients_over_ranks(void **state)
{
    (void)state;
    check_against_differences(false);
    check_against_differences(true);
}

/* ---- The draws of a share are those of its rows in the whole batch. */

typedef struct Drawn {
    float dropped[ROWS][EACH], gradient[ROWS][EACH], paths[ROWS][EACH], uniforms[ROWS][EACH], shared[5];
    int64_t rows;
} Drawn;

/* Rows of x, [rows, EACH], to their places in the whole batch. */
static void keep_rows(Tape *t, const Tensor *x, const int64_t *place, int64_t rows, float (*out)[EACH])
{
    float values[ROWS][EACH];
    tensor_read(t, x, values);
    for (int64_t i = 0; i < rows; i++)
        memcpy(out[place ? place[i] : i], values[i], sizeof values[i]);
}

static void draw_as(Tape *t, Drawn *d, const int64_t *place, int64_t rows)
{
    Region before = region_open(t, TRAIN, GRAD);
    tape_set_step(t, 3);
    float ones[ROWS * EACH];
    for (int i = 0; i < ROWS * EACH; i++)
        ones[i] = 1;
    Tensor *x = tensor_from(t, F32, SHAPE(2 * rows, EACH / 2), ones); /* two rows a sample */
    tensor_needs_gradient(x);
    Tensor *y = tape_keep(t, dropout(t, x, 0.5f, 11));
    Tensor *paths = tape_keep(t, drop_path(t, tensor_from(t, F32, SHAPE(rows, EACH), ones), 0.5f, 12));
    Tensor *numbers = tape_keep(t, uniform(t, SHAPE(rows, EACH), 13));
    Tensor *shared = tape_keep(t, uniform(t, SHAPE(5), 14)); /* of no sample */
    tape_backward(t, &y, NULL, 1);
    keep_rows(t, y, place, rows, d->dropped);
    keep_rows(t, tensor_gradient(x), place, rows, d->gradient);
    keep_rows(t, paths, place, rows, d->paths);
    keep_rows(t, numbers, place, rows, d->uniforms);
    tensor_read(t, shared, d->shared);
    region_close(t, before);
    tape_reset(t);
}

static void shares_draw_as_the_whole(void **state)
{
    (void)state;
    static const int64_t places[RANKS][SHARE] = {{0, 5}, {1, 4}, {2, 3}};
    Drawn whole = {0}, parts = {0};
    Tape *t = test_tape(1);
    draw_as(t, &whole, NULL, ROWS);
    for (int r = 0; r < RANKS; r++) {
        tape_map_rows(t, (RowMap){places[r], SHARE});
        draw_as(t, &parts, places[r], SHARE);
        assert_int_equal(tape_element(t, SHAPE(2 * SHARE, 7), 3 * 7 + 2), (places[r][1] * 2 + 1) * 7 + 2);
    }
    assert_memory_equal(&whole, &parts, sizeof whole);
    assert_memory_equal(whole.dropped, whole.gradient, sizeof whole.dropped);
    tape_free(t);
}

/* ---- When a gradient is whole */

typedef struct Watch {
    const ParamState *param;
    int nodes, whole_after; /* nodes gone back until nothing is pending */
} Watch;

static void look(void *user)
{
    Watch *w = user;
    w->nodes++;
    if (w->param->pending == 0 && !w->whole_after)
        w->whole_after = w->nodes;
}

static Tensor *used_twice(Tape *t, Tensor *w)
{
    Tensor *rows = narrow(t, w, 0, 1, 2); /* a window of it, which counts as a use */
    return sum_all(t, square(t, multiply(t, square(t, rows), rows)));
}

static void a_gradient_is_whole_when_nothing_is_pending(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Params *p = params_new();
    Tensor *w = params_add(p, "w", SHAPE(3, 2), INIT_ONES);
    params_allocate(p, true, 0, test_backend());
    Region before = region_open(t, TRAIN, GRAD);
    Watch watch = {.param = w->param};
    tape_on_node_done(t, look, &watch);
    Tensor *loss = used_twice(t, w);
    assert_int_equal(w->param->pending, 2); /* square and multiply, each through the window */
    tape_backward_part(t, &loss, NULL, 1);
    assert_int_equal(watch.nodes, 0); /* there is more to come */
    loss = used_twice(t, w);
    tape_backward(t, &loss, NULL, 1);
    assert_int_equal(watch.nodes, 4);
    assert_int_equal(watch.whole_after, 4);
    used_twice(t, w);
    tape_reset(t);
    assert_int_equal(w->param->pending, 0);
    region_close(t, before);
    tape_free(t);
    params_free(p);
}

static void late(void *unused)
{
    (void)unused;
    Tape *t = test_tape(1);
    ParamState param = {.name = "w", .trainable = true, .summed = true};
    region_open(t, TRAIN, GRAD);
    Tensor *w = random_leaf(t, "w", SHAPE(2));
    w->param = &param;
    Tensor *loss = sum_all(t, w);
    tape_backward(t, &loss, NULL, 1);
}

static void a_gradient_that_comes_late_is_a_bug(void **state)
{
    (void)state;
    expect_broken_contract(late, NULL, "sum_all: a gradient of w after it was summed over the ranks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_over_ranks),
        cmocka_unit_test(shares_draw_as_the_whole),
        cmocka_unit_test(a_gradient_is_whole_when_nothing_is_pending),
        cmocka_unit_test(a_gradient_that_comes_late_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
