#include "tests/kernels/check.h"

/* Few different values, so that there are ties; now and then an infinity, a NaN, a zero with a sign. */
static double coarse(Trial *t)
{
    double x = floor(trial_random(t, -6, 6)) / 4, odd = trial_random(t, 0, 1);
    if (odd < 0.03)
        return odd < 0.02 ? (double)NAN : odd < 0.025 ? (double)INFINITY : -(double)INFINITY;
    return odd < 0.2 ? -0.0 : x;
}

static double ordered(double x)
{
    return isnan(x) ? -(double)INFINITY : x;
}

/* ---- largest */

static void largest_layout(Trial *t, Shape s, Layout l)
{
    if (s.cols == 0)
        return;
    Matrix x = matrix_new(s.rows, s.cols, l.gap, l.in);
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t c = 0; c < s.cols; c++)
            matrix_set(&x, r, c, r == 1 ? (double)NAN : coarse(t));
    int32_t *index = operand_new((size_t)s.rows * sizeof *index + 8);
    t->backend->select.largest(&t->exec, s.rows, s.cols, x.rows, index);
    for (int64_t r = 0; r < checked_rows(t, s.rows); r++) {
        int64_t want = 0;
        for (int64_t c = 0; c < s.cols; c++)
            if (ordered(matrix_get(&x, r, c)) > ordered(matrix_get(&x, r, want)))
                want = c;
        assert_int_equal(index[r], want);
    }
    record_bytes(t, index, (size_t)s.rows * sizeof *index);
    matrix_free(&x), operand_free(index);
}

static void check_largest(Trial *t)
{
    each_layout(t, largest_layout);
}

/* ---- top_rows */

static const TopRows tables[] = {
    {.batch = 0, .heads = 1, .rows = 3, .cols = 2, .count = 1},
    {.batch = 1, .heads = 2, .rows = 5, .cols = 0, .count = 2},
    {.batch = 2, .heads = 1, .rows = 0, .cols = 3, .count = 0},
    {.batch = 1, .heads = 1, .rows = 1, .cols = 1, .count = 1},
    {.batch = 2, .heads = 3, .rows = 7, .cols = 5, .count = 7},
    {.batch = 2, .heads = 2, .rows = 33, .cols = 8, .count = 0},
    {.batch = 2, .heads = 3, .rows = 65, .cols = 11, .count = 13},
    {.batch = 1, .heads = 2, .rows = 400, .cols = 17, .count = 50},
};

typedef enum Scores { COARSE, FINE, EQUAL, DESCENDING, SCORES } Scores;

static float score(Trial *t, Scores kind, int64_t n)
{
    switch (kind) {
    case COARSE:
        return (float)coarse(t);
    case FINE:
        return (float)trial_random(t, -1e-3, 1e-3);
    case EQUAL:
        return -2.5f;
    default:
        return -(float)n * 1e30f;
    }
}

/* Whether row a is taken before row b. */
static bool before(const float *scores, int64_t step, int64_t a, int64_t b)
{
    double x = ordered((double)scores[a * step]), y = ordered((double)scores[b * step]);
    return x > y || (x == y && a < b);
}

/* A row is in the answer if fewer than w rows are taken before it. */
static void check_column(const TopRows *s, const float *scores, const int32_t *index)
{
    int64_t found = 0;
    for (int64_t n = 0; n < s->rows; n++) {
        int64_t earlier = 0;
        for (int64_t other = 0; other < s->rows; other++)
            earlier += before(scores, s->cols, other, n);
        if (earlier < s->count)
            assert_int_equal(index[found++ * s->heads], n);
    }
    assert_int_equal(found, s->count);
}

static void top_rows_of(Trial *t, const TopRows *s, Scores kind)
{
    int64_t count = s->batch * s->heads * s->rows * s->cols, indices = s->batch * s->cols * s->count * s->heads;
    float *scores = operand_new((size_t)count * sizeof *scores + 8);
    int32_t *index = operand_new((size_t)indices * sizeof *index + 8);
    for (int64_t i = 0; i < count; i++)
        scores[i] = score(t, kind, i / s->cols % s->rows);
    scratch_new(t, t->backend->select.top_rows_scratch(&t->exec, s));
    t->backend->select.top_rows(&t->exec, s, scores, index);
    for (int64_t i = 0; i < checked_rows(t, s->batch * s->heads * s->cols); i++) {
        int64_t k = i % s->cols, table = i / s->cols, b = table / s->heads, h = table % s->heads;
        check_column(s, scores + table * s->rows * s->cols + k, index + (b * s->cols + k) * s->count * s->heads + h);
    }
    record_bytes(t, index, (size_t)indices * sizeof *index);
    operand_free(scores), operand_free(index), operand_free(t->exec.scratch);
}

static void check_top_rows(Trial *t)
{
    for (int i = 0; i < COUNT_OF(tables); i++)
        for (Scores kind = COARSE; kind < SCORES; kind++)
            top_rows_of(t, &tables[i], kind);
}

static const Case cases[] = {
    CASE(select, largest, check_largest),
    CASE(select, top_rows_scratch, check_top_rows),
    CASE(select, top_rows, check_top_rows),
};
CHECK_FAMILY(select)

/* ---- What ends the program */

static void more_than_there_are(Trial *t)
{
    const TopRows s = {.batch = 1, .heads = 1, .rows = 2, .cols = 1, .count = 3};
    float scores[2] = {0};
    int32_t index[3];
    scratch_new(t, t->backend->select.top_rows_scratch(&t->exec, &s));
    t->backend->select.top_rows(&t->exec, &s, scores, index);
}

static void rows_of_nothing(Trial *t)
{
    float x = 0;
    int32_t index;
    t->backend->select.largest(&t->exec, 1, 0, (Rows){&x, 1, F32}, &index);
}

static void impossible_choices(void **state)
{
    (void)state;
    check_refused(more_than_there_are);
    check_refused(rows_of_nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level),
                                       cmocka_unit_test(impossible_choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
