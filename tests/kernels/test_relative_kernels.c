#include "tests/kernels/check.h"

/* Odd sizes, more than a tile of queries, distances beyond the table and a table that is never used up. */
static const RelativeShape shapes[] = {{2, 5, 5, 3, 4, 2},   {1, 1, 1, 1, 1, 0},       {2, 7, 12, 2, 8, 3},
                                       {1, 70, 90, 3, 5, 8}, {2, 67, 131, 1, 17, 200}, {1, 200, 200, 2, 33, 40},
                                       {0, 3, 4, 2, 5, 1}};

static int64_t row_of(const RelativeShape *s, int64_t i, int64_t j)
{
    int64_t distance = j - i - (s->keys - s->queries);
    return MIN(MAX(distance, -s->clip), s->clip) + s->clip;
}

/* A trial of one shape: x a window with gaps, scores and table without. */
typedef struct Problem {
    const RelativeShape *s;
    Matrix x, scores, table;
    HeadRows rows;
} Problem;

static const float factor = 0.7f;

static Problem problem_new(Trial *t, const RelativeShape *s)
{
    Problem p = {.s = s};
    p.x = matrix_random(t, s->batch * s->queries, s->heads * s->width, 3, F32, -1, 1);
    p.scores = matrix_random(t, s->batch * s->heads * s->queries, s->keys, 0, F32, -1, 1);
    p.table = matrix_random(t, 2 * s->clip + 1, s->width, 0, F32, -1, 1);
    p.rows = (HeadRows){p.x.rows.data, s->queries * p.x.rows.stride, p.x.rows.stride, F32};
    scratch_new(t, t->backend->relative.scratch(&t->exec, s));
    return p;
}

static void problem_free(Trial *t, Problem *p)
{
    matrix_free(&p->x), matrix_free(&p->scores), matrix_free(&p->table);
    free(t->exec.scratch);
}

static double x_of(const Problem *p, int64_t b, int64_t i, int64_t h, int64_t c)
{
    return matrix_get(&p->x, b * p->s->queries + i, h * p->s->width + c);
}

static void scores_of(Trial *t, const RelativeShape *s, bool add)
{
    Problem p = problem_new(t, s);
    Matrix before = matrix_copy(&p.scores);
    t->backend->relative.scores(&t->exec, s, factor, p.rows, p.table.rows.data, add, p.scores.rows.data);
    for (int64_t row = 0; row < checked_rows(t, p.scores.count); row++)
        for (int64_t j = 0; j < s->keys; j++) {
            int64_t i = row % s->queries, h = row / s->queries % s->heads, b = row / s->queries / s->heads;
            double want = 0;
            for (int64_t c = 0; c < s->width; c++)
                want += (double)factor * x_of(&p, b, i, h, c) * matrix_get(&p.table, row_of(s, i, j), c);
            want += add ? matrix_get(&before, row, j) : 0;
            check_near(matrix_get(&p.scores, row, j), want, 1e-5, "relative scores", row, j);
        }
    record_matrix(t, &p.scores);
    matrix_free(&before);
    problem_free(t, &p);
}

static void apply_of(Trial *t, const RelativeShape *s, bool add)
{
    Problem p = problem_new(t, s);
    Matrix before = matrix_copy(&p.x);
    t->backend->relative.apply(&t->exec, s, factor, p.scores.rows.data, p.table.rows.data, add, p.rows);
    for (int64_t row = 0; row < checked_rows(t, p.x.count); row++)
        for (int64_t column = 0; column < p.x.cols; column++) {
            int64_t i = row % s->queries, b = row / s->queries, h = column / s->width, c = column % s->width;
            double want = 0;
            for (int64_t j = 0; j < s->keys; j++)
                want += (double)factor * matrix_get(&p.scores, (b * s->heads + h) * s->queries + i, j) *
                        matrix_get(&p.table, row_of(s, i, j), c);
            want += add ? matrix_get(&before, row, column) : 0;
            check_near(matrix_get(&p.x, row, column), want, 3e-5, "relative apply", row, column);
        }
    record_matrix(t, &p.x);
    matrix_free(&before);
    problem_free(t, &p);
}

static void table_gradient_of(Trial *t, const RelativeShape *s, bool add)
{
    Problem p = problem_new(t, s);
    double *want = mem_new((size_t)(p.table.count * s->width) * sizeof *want);
    for (int64_t n = 0; n < p.table.count * s->width; n++)
        want[n] = add ? matrix_get(&p.table, n / s->width, n % s->width) : 0;
    for (int64_t row = 0; row < checked_rows(t, p.scores.count); row++)
        for (int64_t j = 0; j < s->keys; j++) {
            int64_t i = row % s->queries, h = row / s->queries % s->heads, b = row / s->queries / s->heads;
            for (int64_t c = 0; c < s->width; c++)
                want[row_of(s, i, j) * s->width + c] +=
                    (double)factor * matrix_get(&p.scores, row, j) * x_of(&p, b, i, h, c);
        }
    t->backend->relative.table_gradient(&t->exec, s, factor, p.scores.rows.data, p.rows, add, p.table.rows.data);
    for (int64_t n = 0; n < checked_rows(t, p.table.count * s->width); n++)
        check_near(matrix_get(&p.table, n / s->width, n % s->width), want[n], 3e-4, "relative table", n, 0);
    record_matrix(t, &p.table);
    mem_free(want);
    problem_free(t, &p);
}

static void every_shape(Trial *t, void (*check)(Trial *, const RelativeShape *, bool add))
{
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int add = 0; add < 2; add++)
            check(t, &shapes[i], add);
}

static void check_scores(Trial *t)
{
    every_shape(t, scores_of);
}

static void check_apply(Trial *t)
{
    every_shape(t, apply_of);
}

static void check_table_gradient(Trial *t)
{
    every_shape(t, table_gradient_of);
}

static const Case cases[] = {
    CASE(relative, scratch, check_scores),
    CASE(relative, scores, check_scores),
    CASE(relative, apply, check_apply),
    CASE(relative, table_gradient, check_table_gradient),
};
CHECK_FAMILY(relative)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
