#include "tests/kernels/check.h"

/* Nothing, one, odd, wider than a strip and a block, more rows than choices and the reverse, and enough for threads. */
static const Choices problems[] = {
    {.batch = 0, .rows = 3, .count = 2, .heads = 1, .width = 4},
    {.batch = 2, .rows = 3, .count = 0, .heads = 2, .width = 5},
    {.batch = 2, .rows = 3, .count = 4, .heads = 2, .width = 0},
    {.batch = 1, .rows = 1, .count = 1, .heads = 1, .width = 1},
    {.batch = 2, .rows = 7, .count = 5, .heads = 3, .width = 3},
    {.batch = 1, .rows = 4, .count = 33, .heads = 1, .width = 1030},
    {.batch = 3, .rows = 41, .count = 17, .heads = 2, .width = 16},
    {.batch = 1, .rows = 900, .count = 1200, .heads = 1, .width = 300},
    {.batch = 3, .rows = 130, .count = 300, .heads = 5, .width = 33},
};

/* One problem in one layout: the index, its side of N rows and its side of M rows. */
typedef struct Problem {
    Choices choices;
    int64_t *index; /* as the kernel's, but always 64 bits wide */
    Matrix all, chosen;
} Problem;

/* Row 0 is chosen often, the last one never. */
static int64_t random_choice(Trial *t, int64_t rows)
{
    int64_t row = (int64_t)trial_random(t, 0, (double)rows - 1e-3);
    return trial_random(t, 0, 1) < 0.2 || row == rows - 1 ? 0 : row;
}

static Problem problem_new(Trial *t, const Choices *shape, Layout l, DType all, DType chosen)
{
    Problem p = {.choices = *shape};
    const Choices *c = &p.choices;
    int64_t count = c->batch * c->count * c->heads;
    bool narrow = l.gap % 2 == 1;
    p.index = operand_new((size_t)count * sizeof *p.index);
    int32_t *halves = operand_new((size_t)count * sizeof *halves);
    for (int64_t i = 0; i < count; i++)
        halves[i] = (int32_t)(p.index[i] = random_choice(t, c->rows));
    if (!narrow)
        operand_free(halves);
    p.choices.index = narrow ? (void *)halves : p.index;
    p.choices.type = narrow ? I32 : I64;
    p.all = matrix_random(t, c->batch * c->rows, c->heads * c->width, l.gap, all, -1, 1);
    p.chosen = matrix_random(t, c->batch * c->count, c->heads * c->width, l.gap, chosen, -1, 1);
    return p;
}

static void problem_free(Problem *p)
{
    if (p->choices.type == I32)
        operand_free((void *)p->choices.index);
    operand_free(p->index);
    matrix_free(&p->all), matrix_free(&p->chosen);
}

static HeadRows heads_of(const Matrix *m, int64_t tokens)
{
    return (HeadRows){m->rows.data, tokens * m->rows.stride, m->rows.stride, m->rows.type};
}

static void gather_layout(Trial *t, const Choices *shape, Layout l, bool with_factors)
{
    Problem p = problem_new(t, shape, l, l.in, l.out);
    const Choices *c = &p.choices;
    Matrix before = matrix_copy(&p.chosen), factors = matrix_random(t, c->batch * c->rows, c->heads, 0, F32, 0, 2);
    t->backend->gather.gather(&t->exec, c, heads_of(&p.all, c->rows), with_factors ? factors.rows.data : NULL, l.add,
                              heads_of(&p.chosen, c->count));
    for (int64_t r = 0; r < checked_rows(t, p.chosen.count); r++)
        for (int64_t j = 0; j < p.chosen.cols; j++) {
            int64_t h = j / c->width, i = r / c->count * c->rows + p.index[r * c->heads + h];
            double want = matrix_get(&p.all, i, j) * (with_factors ? matrix_get(&factors, i, h) : 1);
            want += l.add ? matrix_get(&before, r, j) : 0;
            check_near(matrix_get(&p.chosen, r, j), want, 2 * rounding(l.out, want) + rounding(F32, 3), "gather", r, j);
        }
    record_matrix(t, &p.chosen);
    problem_free(&p), matrix_free(&before), matrix_free(&factors);
}

/* The sums [B,N,H,C] and how many choices each is of [B,N,H], in double. */
static void reference_sums(const Problem *p, double *sums, double *found)
{
    const Choices *c = &p->choices;
    for (int64_t r = 0; r < p->chosen.count; r++)
        for (int64_t h = 0; h < c->heads; h++) {
            int64_t to = (r / c->count * c->rows + p->index[r * c->heads + h]) * c->heads + h;
            found[to]++;
            for (int64_t j = 0; j < c->width; j++)
                sums[to * c->width + j] += matrix_get(&p->chosen, r, h * c->width + j);
        }
}

static void scatter_compare(const Problem *p, const Matrix *before, const Matrix *factors, double eps)
{
    const Choices *c = &p->choices;
    double *sums = mem_new((size_t)(p->all.count * p->all.cols) * sizeof *sums);
    double *found = mem_new((size_t)(p->all.count * c->heads) * sizeof *found);
    reference_sums(p, sums, found);
    for (int64_t r = 0; r < p->all.count; r++)
        for (int64_t j = 0; j < p->all.cols; j++) {
            int64_t h = j / c->width;
            double many = found[r * c->heads + h], factor = factors ? 1 / (many + eps) : 1;
            double want = sums[r * p->all.cols + j] * factor + (before ? matrix_get(before, r, j) : 0);
            double lost = many * 0x1p-22 * factor + 1e-6 + rounding(p->all.rows.type, want);
            check_near(matrix_get(&p->all, r, j), want, lost, "scatter", r, j);
            if (factors)
                check_near(matrix_get(factors, r, h), factor, 1e-6 * factor, "factors", r, h);
        }
    mem_free(sums), mem_free(found);
}

static void scatter_layout(Trial *t, const Choices *shape, Layout l, bool mean)
{
    const float eps = 1e-2f;
    Problem p = problem_new(t, shape, l, l.out, l.in);
    const Choices *c = &p.choices;
    Matrix before = matrix_copy(&p.all), factors = matrix_new(c->batch * c->rows, c->heads, 0, F32);
    scratch_new(t, t->backend->gather.scatter_scratch(c));
    t->backend->gather.scatter(&t->exec, c, heads_of(&p.chosen, c->count), mean ? factors.rows.data : NULL, eps, l.add,
                               heads_of(&p.all, c->rows));
    if (t->exec.threads == 1)
        scatter_compare(&p, l.add ? &before : NULL, mean ? &factors : NULL, (double)eps);
    record_matrix(t, &p.all);
    if (mean && c->width > 0)
        record_matrix(t, &factors);
    problem_free(&p), matrix_free(&before), matrix_free(&factors);
    operand_free(t->exec.scratch);
}

static void every_problem(Trial *t, void (*body)(Trial *, const Choices *, Layout, bool))
{
    for (int i = 0; i < COUNT_OF(problems); i++)
        for (int l = 0; l < COUNT_OF(check_layouts); l++) {
            body(t, &problems[i], check_layouts[l], false);
            body(t, &problems[i], check_layouts[l], true);
        }
}

static void check_gather(Trial *t)
{
    every_problem(t, gather_layout);
}

static void check_scatter(Trial *t)
{
    every_problem(t, scatter_layout);
}

static const Case cases[] = {
    CASE(gather, gather, check_gather),
    CASE(gather, scatter_scratch, check_scatter),
    CASE(gather, scatter, check_scatter),
};
CHECK_FAMILY(gather)

/* ---- A table that no cache holds is zeroed past the caches: the same bytes as sums added to zeros. */

static void scatter_into(const Backend *backend, int threads, const Choices *c, bool add, const float *x, float *y)
{
    Trial t = {.exec = {.threads = threads, .stream = backend->stream}};
    HeadRows from = {(void *)x, c->count * c->width, c->width, F32}, to = {y, c->rows * c->width, c->width, F32};
    void *scratch = scratch_new(&t, backend->gather.scatter_scratch(c));
    backend->gather.scatter(&t.exec, c, from, NULL, 0, add, to);
    operand_free(scratch);
}

static void a_large_table(void **state)
{
    (void)state;
    enum { ROWS = 10000, COUNT = 37, WIDTH = 432, VALUES = ROWS * WIDTH, ODD = 3 };
    float *x = operand_new(COUNT * WIDTH * sizeof *x);
    int64_t *index = operand_new(COUNT * sizeof *index);
    for (int i = 0; i < COUNT * WIDTH; i++)
        x[i] = (float)(i % 1001);
    for (int i = 0; i < COUNT; i++)
        index[i] = i * 977 % ROWS / 7 * 7;
    Choices c = {.batch = 1, .rows = ROWS, .count = COUNT, .heads = 1, .width = WIDTH, .index = index, .type = I64};
    float *got = operand_new(VALUES * sizeof *got + 64), *want = operand_new(VALUES * sizeof *want);
    for (Level level = {0}; next_level(&level);)
        for (int threads = 1; threads <= 2; threads++)
            for (int offset = 0; offset <= ODD; offset += ODD) { /* also where no row begins on a vector */
                memset(want, 0, VALUES * sizeof *want);
                memset(got, GAP_BYTE, VALUES * sizeof *got + 64);
                scatter_into(level.backend, threads, &c, true, x, want);
                scatter_into(level.backend, threads, &c, false, x, got + offset);
                assert_memory_equal(got + offset, want, VALUES * sizeof *got);
            }
    operand_free(x), operand_free(index), operand_free(want), operand_free(got);
}

/* ---- What ends the program */

static void gather_one(Trial *t, int64_t choice)
{
    float x[2] = {1, 2}, y[1];
    Choices c = {.batch = 1, .rows = 2, .count = 1, .heads = 1, .width = 1, .index = &choice, .type = I64};
    t->backend->gather.gather(&t->exec, &c, (HeadRows){x, 0, 1, F32}, NULL, false, (HeadRows){y, 0, 1, F32});
}

static void too_large(Trial *t)
{
    gather_one(t, 2);
}

static void negative(Trial *t)
{
    gather_one(t, -1);
}

static void choices_outside(void **state)
{
    (void)state;
    check_refused(too_large);
    check_refused(negative);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level), cmocka_unit_test(a_large_table),
                                       cmocka_unit_test(choices_outside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
