#include "tests/kernels/check.h"

#include <float.h>

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
    operand_free(t->exec.scratch);
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

/* ---- Both tables in one pass */

/* One comparison: sizes, the clips of the tables (-1: no table), and masks. */
typedef struct Pass {
    int batch, queries, keys, heads, width, value_width, key_clip, value_clip;
    bool causal, window, lengths;
    char keep; /* 0: none; 'k': of the keys; 'q': of the queries and keys, some queries seeing none */
    float blocked;
    EmptyRow empty_row;
} Pass;

static const Pass passes[] = {
    {2, 5, 5, 3, 4, 7, 2, 3, .blocked = -1},
    {1, 1, 1, 1, 1, 1, 0, 0, .blocked = -1},
    {2, 70, 140, 2, 8, 16, 200, 200, .causal = true, .keep = 'k', .blocked = -1e9f},
    {1, 130, 130, 2, 33, 20, 9, 40, .causal = true, .blocked = -INFINITY},
    {2, 66, 99, 1, 16, 16, -1, 50, .keep = 'q', .blocked = -FLT_MAX},
    {2, 66, 99, 1, 5, 16, 50, -1, .keep = 'q', .blocked = -INFINITY, .empty_row = EMPTY_UNIFORM},
    {2, 9, 33, 2, 24, 8, 12, 12, .keep = 'q', .blocked = -INFINITY},
    {3, 40, 41, 2, 8, 8, 7, 7, .lengths = true, .blocked = -1e9f},
    {2, 80, 80, 2, 8, 8, 70, 70, .window = true, .blocked = -INFINITY},
    {0, 4, 4, 2, 3, 3, 2, 2, .blocked = -1},
};

static const int32_t pass_lengths[] = {20, 0, 41};

typedef struct Operands {
    RelativeAttention a;
    Matrix q, k, v, d_o, o, dq, dk, dv, tables[2], dtables[2];
    uint8_t *keep;
    int32_t *lengths;
} Operands;

static HeadRows head_rows(const Matrix *x, int64_t tokens)
{
    return (HeadRows){x->rows.data, tokens * x->rows.stride, x->rows.stride, F32};
}

static Operands operands_new(Trial *t, const Pass *c)
{
    int64_t rows = c->batch * c->queries, sources = c->batch * c->keys, d = c->heads * c->width,
            e = c->heads * c->value_width;
    Operands p = {.q = matrix_random(t, rows, d, 3, F32, -2, 2),
                  .k = matrix_random(t, sources, d, 5, F32, -2, 2),
                  .v = matrix_random(t, sources, e, 1, F32, -2, 2),
                  .d_o = matrix_random(t, rows, e, 0, F32, -1, 1),
                  .o = matrix_new(rows, e, 2, F32),
                  .dq = matrix_new(rows, d, 0, F32),
                  .dk = matrix_new(sources, d, 3, F32),
                  .dv = matrix_new(sources, e, 0, F32)};
    int clips[2] = {c->key_clip, c->value_clip}, widths[2] = {c->width, c->value_width};
    for (int i = 0; i < 2; i++) {
        p.tables[i] = matrix_random(t, 2 * MAX(clips[i], 0) + 1, widths[i], 0, F32, -1, 1);
        p.dtables[i] = matrix_random(t, 2 * MAX(clips[i], 0) + 1, widths[i], 0, F32, -1, 1);
    }
    bool per_query = c->keep == 'q';
    p.lengths = operand_copy(pass_lengths, sizeof pass_lengths);
    p.keep = operand_new((size_t)(sources * (per_query ? c->queries : 1)) + 1);
    for (int64_t n = 0; n < sources * (per_query ? c->queries : 1); n++)
        p.keep[n] = trial_random(t, 0, 1) < 0.7 && !(per_query && n / c->keys % 5 == 1);
    p.a = (RelativeAttention){.shape = {.batch = c->batch,
                                        .queries = c->queries,
                                        .keys = c->keys,
                                        .q_heads = c->heads,
                                        .k_heads = c->heads,
                                        .v_heads = c->heads,
                                        .width = c->width,
                                        .value_width = c->value_width,
                                        .scale = factor,
                                        .causal = c->causal,
                                        .causal_offset = c->keys - c->queries,
                                        .left = c->window ? 10 : -1,
                                        .right = c->window ? 4 : -1,
                                        .key_lengths = c->lengths ? p.lengths : NULL,
                                        .blocked = c->blocked,
                                        .empty_row = c->empty_row},
                              .key_table = c->key_clip < 0 ? NULL : p.tables[0].rows.data,
                              .value_table = c->value_clip < 0 ? NULL : p.tables[1].rows.data,
                              .key_clip = MAX(c->key_clip, 0),
                              .value_clip = MAX(c->value_clip, 0)};
    if (c->keep)
        p.a.shape.keep = (ScoreTable){.data = p.keep,
                                      .batch = c->batch,
                                      .heads = 1,
                                      .batch_step = c->keys * (per_query ? c->queries : 1),
                                      .query_step = per_query ? c->keys : 0,
                                      .key_step = 1};
    return p;
}

static void operands_free(Operands *p)
{
    Matrix *all[] = {&p->q,  &p->k,  &p->v,         &p->d_o,       &p->o,          &p->dq,
                     &p->dk, &p->dv, &p->tables[0], &p->tables[1], &p->dtables[0], &p->dtables[1]};
    for (int i = 0; i < COUNT_OF(all); i++)
        matrix_free(all[i]);
    operand_free(p->keep);
    operand_free(p->lengths);
}

static bool pass_sees(const Operands *p, int64_t b, int64_t i, int64_t j)
{
    const AttentionShape *s = &p->a.shape;
    int64_t here = i + s->causal_offset;
    const uint8_t *keep = s->keep.data;
    return !(s->causal && j > here) && !(s->left >= 0 && (j < here - s->left || j > here + s->right)) &&
           !(s->key_lengths && j >= s->key_lengths[b]) &&
           !(keep && !keep[b * s->keep.batch_step + i * s->keep.query_step + j]);
}

/* x . (row of y + row of the table), of a head. */
static double side_product(const Operands *p, int side, const Matrix *x, const Matrix *y, int64_t b, int64_t h,
                           int64_t i, int64_t j)
{
    const AttentionShape *s = &p->a.shape;
    int64_t width = side ? s->value_width : s->width;
    RelativeShape r = {.queries = s->queries, .keys = s->keys, .clip = side ? p->a.value_clip : p->a.key_clip};
    bool table = (side ? p->a.value_table : p->a.key_table) != NULL;
    double sum = 0;
    for (int64_t c = 0; c < width; c++)
        sum += matrix_get(x, b * s->queries + i, h * width + c) *
               (matrix_get(y, b * s->keys + j, h * width + c) +
                (table ? matrix_get(&p->tables[side], row_of(&r, i, j), c) : 0));
    return sum;
}

/* p and ds [K] of one query. */
static void pass_row(const Operands *p, int64_t b, int64_t h, int64_t i, double *probabilities, double *ds)
{
    const AttentionShape *s = &p->a.shape;
    double largest = -INFINITY, total = 0, delta = 0;
    for (int64_t j = 0; j < s->keys; j++) {
        double score = (double)factor * side_product(p, 0, &p->q, &p->k, b, h, i, j);
        probabilities[j] = pass_sees(p, b, i, j) ? score : (double)s->blocked;
        largest = fmax(largest, probabilities[j]);
    }
    for (int64_t j = 0; j < s->keys; j++)
        total += isinf(largest) ? 0 : exp(probabilities[j] - largest);
    for (int64_t j = 0; j < s->keys; j++) {
        double empty = s->empty_row == EMPTY_UNIFORM ? 1 / (double)s->keys : 0;
        probabilities[j] = isinf(largest) ? empty : exp(probabilities[j] - largest) / total;
        ds[j] = side_product(p, 1, &p->d_o, &p->v, b, h, i, j);
        delta += probabilities[j] * ds[j];
    }
    for (int64_t j = 0; j < s->keys; j++)
        ds[j] = pass_sees(p, b, i, j) && !isinf(largest) ? probabilities[j] * (ds[j] - delta) : 0;
}

/* What is expected, summed up in double in the layout of its matrix. */
typedef struct Sums {
    double *o, *dq, *dk, *dv, *dtables[2];
} Sums;

static double *sums_of(const Matrix *m, bool old)
{
    double *sums = mem_new((size_t)(m->count * m->cols) * sizeof *sums + 1);
    for (int64_t n = 0; n < m->count * m->cols; n++)
        sums[n] = old ? matrix_get(m, n / m->cols, n % m->cols) : 0;
    return sums;
}

/* Adds what query i and key j have for each other, on one side: `weight` goes to the sum of rows, to the rows by x and to the
 * table by x. */
static void add_pair(const Operands *p, int side, const Matrix *x, const Matrix *y, int64_t b, int64_t h, int64_t i,
                     int64_t j, double weight, double *sum, double *drows, double *dtable)
{
    const AttentionShape *s = &p->a.shape;
    int64_t width = side ? s->value_width : s->width, wide = s->q_heads * width;
    RelativeShape r = {.queries = s->queries, .keys = s->keys, .clip = side ? p->a.value_clip : p->a.key_clip};
    bool table = (side ? p->a.value_table : p->a.key_table) != NULL;
    for (int64_t c = 0; c < width; c++) {
        double row = matrix_get(y, b * s->keys + j, h * width + c), of_table = 0;
        double other = matrix_get(x, b * s->queries + i, h * width + c);
        if (table) {
            of_table = matrix_get(&p->tables[side], row_of(&r, i, j), c);
            dtable[row_of(&r, i, j) * width + c] += weight * other;
        }
        sum[(b * s->queries + i) * wide + h * width + c] += weight * (row + of_table);
        drows[(b * s->keys + j) * wide + h * width + c] += weight * other;
    }
}

static Sums expected_sums(const Operands *p)
{
    const AttentionShape *s = &p->a.shape;
    Sums e = {sums_of(&p->o, false),
              sums_of(&p->dq, false),
              sums_of(&p->dk, false),
              sums_of(&p->dv, false),
              {sums_of(&p->dtables[0], true), sums_of(&p->dtables[1], false)}};
    double probabilities[256], ds[256];
    for (int64_t row = 0; row < s->batch * s->q_heads * s->queries; row++) {
        int64_t i = row % s->queries, h = row / s->queries % s->q_heads, b = row / s->queries / s->q_heads;
        pass_row(p, b, h, i, probabilities, ds);
        for (int64_t j = 0; j < s->keys; j++) {
            add_pair(p, 1, &p->d_o, &p->v, b, h, i, j, probabilities[j], e.o, e.dv, e.dtables[1]);
            add_pair(p, 0, &p->q, &p->k, b, h, i, j, (double)factor * ds[j], e.dq, e.dk, e.dtables[0]);
        }
    }
    return e;
}

static void check_matrix(Trial *t, const Matrix *m, double *want, double tolerance, const char *what)
{
    for (int64_t n = 0; n < checked_rows(t, m->count * m->cols); n++)
        check_near(matrix_get(m, n / m->cols, n % m->cols), want[n], tolerance * (1 + fabs(want[n])), what, n / m->cols,
                   n % m->cols);
    record_matrix(t, m);
    mem_free(want);
}

/* The gradient of the keys' table is added to, that of the values' overwritten. */
static void pass_of(Trial *t, const Pass *c)
{
    Operands p = operands_new(t, c);
    const RelativeKernels *kernels = &t->backend->relative;
    HeadRows q = head_rows(&p.q, c->queries), k = head_rows(&p.k, c->keys), v = head_rows(&p.v, c->keys);
    RelativeGradients g = {.q = q,
                           .k = k,
                           .v = v,
                           .d_o = head_rows(&p.d_o, c->queries),
                           .dq = head_rows(&p.dq, c->queries),
                           .dk = head_rows(&p.dk, c->keys),
                           .dv = head_rows(&p.dv, c->keys),
                           .dkey_table = p.dtables[0].rows.data,
                           .dvalue_table = p.dtables[1].rows.data,
                           .add_keys = true};
    Sums e = {0};
    if (t->exec.threads == 1)
        e = expected_sums(&p);
    scratch_new(t, kernels->forward_scratch(&t->exec, &p.a));
    kernels->forward(&t->exec, &p.a, q, k, v, head_rows(&p.o, c->queries));
    operand_free(t->exec.scratch);
    scratch_new(t, kernels->backward_scratch(&t->exec, &p.a));
    kernels->backward(&t->exec, &p.a, &g);
    operand_free(t->exec.scratch);
    check_matrix(t, &p.o, e.o, 2e-5, "o");
    check_matrix(t, &p.dq, e.dq, 5e-5, "dq");
    check_matrix(t, &p.dk, e.dk, 5e-5, "dk");
    check_matrix(t, &p.dv, e.dv, 5e-5, "dv");
    for (int i = 0; i < 2; i++)
        if (i ? p.a.value_table : p.a.key_table)
            check_matrix(t, &p.dtables[i], e.dtables[i], 1e-4, i ? "the values' table" : "the keys' table");
        else
            mem_free(e.dtables[i]);
    operands_free(&p);
}

static void check_passes(Trial *t)
{
    for (int i = 0; i < COUNT_OF(passes); i++)
        pass_of(t, &passes[i]);
}

static const Case cases[] = {
    CASE(relative, scratch, check_scores),
    CASE(relative, scores, check_scores),
    CASE(relative, apply, check_apply),
    CASE(relative, table_gradient, check_table_gradient),
    CASE(relative, forward_scratch, check_passes),
    CASE(relative, forward, check_passes),
    CASE(relative, backward_scratch, check_passes),
    CASE(relative, backward, check_passes),
};
CHECK_FAMILY(relative)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
