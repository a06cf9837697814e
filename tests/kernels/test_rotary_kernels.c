#include "tests/kernels/check.h"

static const float slow_and_fast[] = {1, 0.3f, 0.09f, 0.027f, 1e-4f, 2, 3, 5};

static void table_of(Trial *t, int64_t rows, int64_t half)
{
    Matrix table = matrix_new(rows, 2 * half, 0, F32);
    float *frequencies = operand_copy(slow_and_fast, sizeof slow_and_fast);
    t->backend->rotary.table(&t->exec, rows, half, frequencies, table.rows.data);
    for (int64_t p = 0; p < checked_rows(t, rows); p++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * (double)slow_and_fast[i];
            check_near(matrix_get(&table, p, i), sin(angle), 1e-7, "sine", p, i);
            check_near(matrix_get(&table, p, half + i), cos(angle), 1e-7, "cosine", p, i);
        }
    record_matrix(t, &table);
    matrix_free(&table), operand_free(frequencies);
}

static void check_table(Trial *t)
{
    table_of(t, 1, 1);
    table_of(t, 3, 0);
    table_of(t, 1001, 8);
}

enum { POSITIONS = 50 };

static void rotate_layout(Trial *t, RotaryShape s, Layout l)
{
    Matrix table = matrix_random(t, POSITIONS, 2 * s.half, 0, F32, -1, 1);
    Matrix x = matrix_random(t, s.batch * s.tokens, s.heads * s.width, l.gap, l.in, -1, 1);
    Matrix y = matrix_random(t, s.batch * s.tokens, s.heads * s.width, l.gap, l.out, -1, 1), before = matrix_copy(&y);
    HeadRows from = {x.rows.data, s.tokens * x.rows.stride, x.rows.stride, l.in};
    HeadRows to = {y.rows.data, s.tokens * y.rows.stride, y.rows.stride, l.out};
    s.table_rows = POSITIONS;
    t->backend->rotary.rotate(&t->exec, &s, table.rows.data, from, l.add, to);
    for (int64_t row = 0; row < checked_rows(t, y.count); row++)
        for (int64_t column = 0; column < y.cols; column++) {
            int64_t b = row / s.tokens, n = row % s.tokens, h = column / s.width, c = column % s.width,
                    start = column - c;
            int64_t p = s.positions ? s.positions[b * s.batch_step + n * s.token_step + h * s.head_step] : n;
            bool halves = s.pairing == ROTARY_HALVES, second = halves ? c >= s.half : c % 2;
            int64_t pair = halves ? c % MAX(s.half, 1) : c / 2,
                    partner = halves ? (second ? c - s.half : c + s.half) : c ^ 1;
            double want = matrix_get(&x, row, column);
            if (c < 2 * s.half) {
                double sine = (s.back ? -1 : 1) * matrix_get(&table, p, pair);
                want = want * matrix_get(&table, p, s.half + pair) +
                       (second ? sine : -sine) * matrix_get(&x, row, start + partner);
            }
            want += l.add ? matrix_get(&before, row, column) : 0;
            check_near(matrix_get(&y, row, column), want, 1e-6 + rounding(l.out, want), "rotary", row, column);
        }
    record_matrix(t, &y);
    matrix_free(&table), matrix_free(&x), matrix_free(&y), matrix_free(&before);
}

static void check_rotate(Trial *t)
{
    enum { COUNT = 3 * 5 * 4 };
    int32_t *positions = operand_new(COUNT * sizeof *positions);
    for (int i = 0; i < COUNT; i++)
        positions[i] = i * 7 % POSITIONS;
    const RotaryShape shapes[] = {
        {.batch = 3, .tokens = 5, .heads = 4, .width = 6, .half = 3},
        {.batch = 3, .tokens = 5, .heads = 4, .width = 7, .half = 2, .pairing = ROTARY_NEIGHBOURS, .back = true},
        {.batch = 3, .tokens = 5, .heads = 4, .width = 16, .half = 8, .positions = positions, .token_step = 1},
        {.batch = 3,
         .tokens = 5,
         .heads = 4,
         .width = 5,
         .half = 1,
         .positions = positions,
         .batch_step = 20,
         .token_step = 4,
         .head_step = 1},
        {.batch = 2, .tokens = 49, .heads = 9, .width = 33, .half = 16, .back = true},
        {.batch = 90, .tokens = 41, .heads = 4, .width = 16, .half = 8, .pairing = ROTARY_NEIGHBOURS},
        {.batch = 0, .tokens = 5, .heads = 1, .width = 2, .half = 1},
        {.batch = 1, .tokens = 1, .heads = 1, .width = 1, .half = 0},
    };
    for (int s = 0; s < COUNT_OF(shapes); s++)
        for (int l = 0; l < COUNT_OF(check_layouts); l++)
            rotate_layout(t, shapes[s], check_layouts[l]);
    operand_free(positions);
}

static void beyond_the_table(Trial *t)
{
    float table[4] = {0}, x[2] = {0};
    int32_t position = 2;
    HeadRows rows = {x, 2, 2, F32};
    RotaryShape s = {
        .batch = 1, .tokens = 1, .heads = 1, .width = 2, .half = 1, .table_rows = 2, .positions = &position};
    t->backend->rotary.rotate(&t->exec, &s, table, rows, false, rows);
}

static void refusals(void **state)
{
    (void)state;
    check_refused(beyond_the_table);
}

static const Case cases[] = {
    CASE(rotary, table, check_table),
    CASE(rotary, rotate, check_rotate),
};
CHECK_FAMILY(rotary)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
