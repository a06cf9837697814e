/* The softmax of written scores at every level against the double reference of attention: p and the gradients of scores
 * and bias under every mask, with 1, 2 and 3 threads to the byte, in place and apart. */
#include "attention_reference.h"
#include "support/levels.h"

/* Scores and the gradient of p as an attention of q, k, v has them. */
typedef struct Written {
    float *scores, *dp;
    size_t count, rows;
} Written;

static Written write_out(const Problem *p)
{
    const AttentionShape *s = &p->shape;
    size_t rows = (size_t)(s->batch * s->q_heads * s->queries), count = rows * (size_t)s->keys;
    Written w = {operand_new(count * 4 + 1), operand_new(count * 4 + 1), count, rows};
    for (size_t n = 0; n < count; n++) {
        int64_t j = (int64_t)n % s->keys, i = (int64_t)n / s->keys % s->queries;
        int64_t bh = (int64_t)n / s->keys / s->queries, b = bh / s->q_heads, h = bh % s->q_heads;
        w.scores[n] = (float)raw_score(p, b, h, i, j);
        w.dp[n] = (float)probability_slope(p, b, h, i, j);
    }
    return w;
}

typedef struct Result {
    float *p, *lse, *ds, *dbias;
} Result;

static Result run(const Problem *p, const Written *w, const Backend *backend, int threads, bool in_place)
{
    Exec exec = {.threads = threads, .stream = backend->stream};
    Result r = {operand_new(w->count * 4 + 1), operand_new(w->rows * 4 + 1), operand_new(w->count * 4 + 1),
                operand_new(p->bias_count * 4 + 1)};
    ScoreTable dbias = p->dbias_table;
    dbias.data = p->dbias ? r.dbias : NULL;
    if (in_place) {
        memcpy(r.p, w->scores, w->count * 4);
        memcpy(r.ds, w->dp, w->count * 4);
    }
    backend->attention.softmax(&exec, &p->shape, in_place ? r.p : w->scores, r.p, r.lse);
    backend->attention.softmax_gradient(&exec, &p->shape, r.p, r.lse, in_place ? r.ds : w->dp, r.ds, dbias);
    return r;
}

static void result_free(Result *r)
{
    operand_free(r->p);
    operand_free(r->lse);
    operand_free(r->ds);
    operand_free(r->dbias);
}

static bool results_equal(const Problem *p, const Written *w, const Result *a, const Result *b)
{
    return memcmp(a->p, b->p, w->count * 4) == 0 && memcmp(a->lse, b->lse, w->rows * 4) == 0 &&
           memcmp(a->ds, b->ds, w->count * 4) == 0 && memcmp(a->dbias, b->dbias, p->bias_count * 4) == 0;
}

static void check(const Case *c)
{
    if (left_out())
        return;
    Problem p = problem(c);
    Reference want = reference(&p);
    Written w = write_out(&p);
    for (Level level = {0}; next_level(&level);) {
        Result one = run(&p, &w, level.backend, 1, false);
        bool good = floats_close("p", one.p, want.p, w.count, 1e-5) &&
                    floats_close("lse", one.lse, want.lse, w.rows, 1e-5) &&
                    floats_close("ds", one.ds, want.ds, w.count, 1e-5) &&
                    floats_close("dbias", one.dbias, want.dbias, p.bias_count, 1e-5);
        for (int threads = 2; threads <= most_threads() && good; threads++) {
            Result more = run(&p, &w, level.backend, threads, threads == 2);
            good = results_equal(&p, &w, &one, &more);
            if (!good)
                print_error("%d threads give other bits than one\n", threads);
            result_free(&more);
        }
        result_free(&one);
        if (!good) {
            describe(c, level.name);
            fail();
        }
    }
    operand_free(w.scores);
    operand_free(w.dp);
    reference_free(&want);
    problem_free(&p);
}

static void test_drawn(void **state)
{
    (void)state;
    for (int n = 0; n < 250; n++) {
        Case c = drawn_case(n);
        c.dlse = c.add = c.bf16 = false; /* the fused pass alone knows them */
        check(&c);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    for (int empty_row = 0; empty_row < 2; empty_row++) {
        check_emptiness(check, (EmptyRow)empty_row);
    }
}

/* A caller may have written the lowest float into scores: that key is there, one at -infinity is not. */
static void test_lowest_scores(void **state)
{
    (void)state;
    const AttentionShape shape = {
        .batch = 1, .queries = 3, .keys = 2, .q_heads = 1, .left = -1, .right = -1, .blocked = -INFINITY};
    const float scores[] = {-FLT_MAX, -FLT_MAX, -INFINITY, -FLT_MAX, -INFINITY, -INFINITY};
    const float wanted[] = {0.5f, 0.5f, 0, 1, 0, 0};
    float *given = operand_copy(scores, sizeof scores), *p = operand_new(sizeof scores), *lse = operand_new(3 * 4);
    for (Level level = {0}; next_level(&level);) {
        level.backend->attention.softmax(&(Exec){.threads = 1, .stream = level.backend->stream}, &shape, given, p, lse);
        assert_memory_equal(p, wanted, sizeof wanted);
        assert_true(lse[0] > -INFINITY && lse[1] > -INFINITY && lse[2] == -INFINITY);
    }
    operand_free(given), operand_free(p), operand_free(lse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drawn), cmocka_unit_test(test_nothing),
                                       cmocka_unit_test(test_lowest_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
