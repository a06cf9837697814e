/* Gradients over virtual ranks are those of one rank with the whole batch, dropout and all; buckets leave before backward ends; a
 * parameter that one rank touched is touched on all. */
#include "common/autograd/ranks.h"
#include "common/comm/virtual.h"
#include "common/nn/gradient_sum.h"
#include "support/small_transformer.h"

enum { BATCH = 8, TOKENS = 5, WIDTH = 8, CLASSES = 10, MOST_RANKS = 4, STEPS = 2 };

typedef struct Problem {
    int64_t bucket;
    float x[BATCH][TOKENS][WIDTH], targets[BATCH][CLASSES];
    float *gradients[MOST_RANKS]; /* of the last step */
    int64_t count;
    int early[MOST_RANKS]; /* messages sent before backward was over */
    bool touched[MOST_RANKS][3];
    float some[MOST_RANKS]; /* the gradient that rank 1 alone has */
} Problem;

/* "some" is met by rank 1 alone, "never" by none. */
typedef struct Extra {
    Tensor *some, *never;
} Extra;

static void check_flags(Problem *p, const Transformer *m, const Extra *x, int rank)
{
    p->touched[rank][0] = m->norm.weight->param->touched;
    p->touched[rank][1] = x->some->param->touched;
    p->touched[rank][2] = x->never->param->touched;
    param_read(m->params, x->some->gradient, &p->some[rank]);
}

static void train(Comm *c, void *user)
{
    Problem *p = user;
    int rank = comm_rank(c), ranks = comm_ranks(c), share = BATCH / ranks;
    int64_t place[BATCH];
    float x[BATCH][TOKENS][WIDTH], targets[BATCH][CLASSES];
    for (int i = 0; i < share; i++) {
        place[i] = i < share / 2 ? rank * (share / 2) + i : BATCH - 1 - rank * (share / 2) - (share - 1 - i);
        memcpy(x[i], p->x[place[i]], sizeof x[i]);
        memcpy(targets[i], p->targets[place[i]], sizeof targets[i]);
    }
    Transformer m = transformer_new(share, TOKENS, WIDTH, 0.2f);
    Extra extra = {params_add(m.params, "some", SHAPE(1), INIT_ONES),
                   params_add(m.params, "never", SHAPE(1), INIT_ONES)};
    params_allocate(m.params, true, 1, test_backend());
    Tape *t = tape_new(&(TapeOptions){.backend = test_backend(), .threads = 1, .comm = c});
    GradientSum *g = gradient_sum_new(m.params, t, p->bucket);
    tape_map_rows(t, ranks > 1 ? (RowMap){place, share} : (RowMap){0});
    Region before = region_open(t, TRAIN, GRAD);
    for (uint32_t step = 0; step < STEPS; step++) {
        params_zero_gradients(m.params);
        gradient_sum_begin(g);
        tape_set_step(t, step);
        Tensor *in = tensor_from(t, F32, SHAPE(share, TOKENS, WIDTH), x);
        Tensor *target = tensor_from(t, F32, SHAPE(share, CLASSES), targets);
        Tensor *loss = comm_mean(t, soft_cross_entropy(t, transformer_logits(t, &m, in), target, NULL));
        if (rank == 1)
            loss = add(t, loss, scale(t, sum_all(t, square(t, extra.some)), (float)(step + 1)));
        int64_t sent = comm_sent(c).messages;
        tape_backward(t, &loss, NULL, 1);
        p->early[rank] = (int)(comm_sent(c).messages - sent);
        gradient_sum_finish(g);
        tape_reset(t);
    }
    check_flags(p, &m, &extra, rank);
    p->count = params_find(m.params, "some")->offset;
    p->gradients[rank] = mem_new((size_t)p->count * sizeof(float));
    params_download(m.params, p->gradients[rank], params_flat_gradients(m.params), (size_t)p->count * sizeof(float));
    region_close(t, before);
    gradient_sum_free(g);
    tape_free(t);
    params_free(m.params);
}

static void check_ranks(int ranks, int64_t bucket)
{
    Problem one = {.bucket = bucket}, many;
    random_floats("x", COUNT_OF(one.x) * TOKENS * WIDTH, -1, 1, &one.x[0][0][0]);
    random_floats("targets", COUNT_OF(one.targets) * CLASSES, 0, 1, &one.targets[0][0]);
    many = one;
    train(NULL, &one);
    virtual_ranks_run(ranks, train, &many, NULL);
    for (int r = 0; r < ranks; r++) {
        assert_memory_equal(many.gradients[r], many.gradients[0], (size_t)one.count * sizeof(float));
        assert_true(many.touched[r][0] && many.touched[r][1] && !many.touched[r][2]);
        assert_true(many.some[r] == 2 * STEPS);
        assert_true(many.early[r] >= (bucket ? 10 : 1));
        if (r)
            mem_free(many.gradients[r]);
    }
    for (int64_t i = 0; i < one.count; i++)
        if (fabsf(one.gradients[0][i] - many.gradients[0][i]) > 1e-7f + 1e-6f * fabsf(one.gradients[0][i]))
            fail_msg("%d ranks: gradient %ld is %.9g, with one rank %.9g", ranks, (long)i, (double)many.gradients[0][i],
                     (double)one.gradients[0][i]);
    mem_free(one.gradients[0]);
    mem_free(many.gradients[0]);
}

static void ranks_have_the_gradients_of_one(void **state)
{
    (void)state;
    check_ranks(2, 100); /* many buckets */
    check_ranks(4, 100);
    check_ranks(2, 0); /* everything in one */
}

static void one_rank_sums_nothing(void **state)
{
    (void)state;
    Tape *t = test_tape(1);
    Params *p = params_new();
    assert_null(gradient_sum_new(p, t, 0));
    gradient_sum_begin(NULL);
    gradient_sum_finish(NULL);
    gradient_sum_free(NULL);
    params_free(p);
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_have_the_gradients_of_one),
        cmocka_unit_test(one_rank_sums_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
