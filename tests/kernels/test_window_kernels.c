#include "tests/kernels/check.h"

static const WindowShape shapes[] = {{2, 4, 3, 1, 0}, {2, 4, 3, 1, 1},   {1, 1, 5, 2, 2}, {3, 2, 1, 0, 0},
                                     {1, 5, 2, 0, 3}, {2, 33, 16, 1, 1}, {0, 3, 4, 1, 0}, {2, 0, 4, 1, 0}};

static int64_t window_of(const WindowShape *s)
{
    return (s->back + 1 + s->forward) * s->block;
}

/* The token of the sample that column j of block n's window shows, or -1. */
static int64_t token_of(const WindowShape *s, int64_t n, int64_t j)
{
    int64_t token = (n - s->back) * s->block + j;
    return token < s->blocks * s->block ? token : -1;
}

static void gather_layout(Trial *t, const WindowShape *s, int64_t width, Layout l)
{
    int64_t tokens = s->blocks * s->block, window = window_of(s);
    Matrix x = matrix_random(t, s->batch * tokens, width, l.gap, l.in, -1, 1);
    Matrix y = matrix_new(s->batch * s->blocks * window, width, 0, l.in);
    HeadRows from = {x.rows.data, tokens * x.rows.stride, x.rows.stride, l.in},
             to = {y.rows.data, window * width, width, l.in};
    t->backend->windows.gather(&t->exec, s, -1, from, to);
    for (int64_t row = 0; row < checked_rows(t, y.count); row++)
        for (int64_t c = 0; c < width; c++) {
            int64_t block = row / window, token = token_of(s, block % s->blocks, row % window);
            double want = token < 0 ? -1 : matrix_get(&x, block / s->blocks * tokens + token, c);
            check_near(matrix_get(&y, row, c), want, 0, "windows", row, c);
        }
    record_matrix(t, &y);
    matrix_free(&x), matrix_free(&y);
}

static void gradient_layout(Trial *t, const WindowShape *s, int64_t width, Layout l)
{
    int64_t tokens = s->blocks * s->block, window = window_of(s);
    Matrix dy = matrix_random(t, s->batch * s->blocks * window, width, 0, l.out, -1, 1);
    Matrix dx = matrix_random(t, s->batch * tokens, width, l.gap, l.out, -1, 1), before = matrix_copy(&dx);
    HeadRows from = {dy.rows.data, window * width, width, l.out},
             to = {dx.rows.data, tokens * dx.rows.stride, dx.rows.stride, l.out};
    t->backend->windows.gather_gradient(&t->exec, s, from, l.add, to);
    for (int64_t row = 0; row < checked_rows(t, dx.count); row++)
        for (int64_t c = 0; c < width; c++) {
            double want = l.add ? matrix_get(&before, row, c) : 0;
            for (int64_t n = 0; n < s->blocks; n++)
                for (int64_t j = 0; j < window; j++)
                    if (token_of(s, n, j) == row % tokens)
                        want += matrix_get(&dy, (row / tokens * s->blocks + n) * window + j, c);
            check_near(matrix_get(&dx, row, c), want, 1e-6 + rounding(l.out, want), "windows' gradient", row, c);
        }
    record_matrix(t, &dx);
    matrix_free(&dy), matrix_free(&dx), matrix_free(&before);
}

static void every_shape(Trial *t, void (*check)(Trial *, const WindowShape *, int64_t width, Layout))
{
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int l = 0; l < COUNT_OF(check_layouts); l++)
            check(t, &shapes[i], l % 2 ? 7 : shapes[i].block < 16 ? 1030 : 40, check_layouts[l]);
}

static void check_gather(Trial *t)
{
    every_shape(t, gather_layout);
}

static void check_gradient(Trial *t)
{
    every_shape(t, gradient_layout);
}

static void sight_of(Trial *t, const WindowShape *s, bool padding)
{
    int64_t tokens = s->blocks * s->block, window = window_of(s), rows = padding ? s->block : 1;
    int64_t blocks = padding ? s->batch * s->blocks : s->blocks;
    uint8_t *real = operand_new((size_t)(s->batch * tokens) + 1),
            *seen = operand_new((size_t)(blocks * rows * window) + 1);
    for (int64_t n = 0; n < s->batch * tokens; n++)
        real[n] = trial_random(t, 0, 1) < 0.7;
    t->backend->windows.sight(&t->exec, s, padding ? real : NULL, seen);
    for (int64_t n = 0; n < checked_rows(t, blocks * rows * window); n++) {
        int64_t block = n / window / rows, token = token_of(s, block % s->blocks, n % window),
                query = n / window % rows;
        bool want = token >= 0;
        if (padding && want)
            want = real[block / s->blocks * tokens + token] && real[block * s->block + query];
        assert_int_equal(seen[n], want);
    }
    record_bytes(t, seen, (size_t)(blocks * rows * window));
    operand_free(real);
    operand_free(seen);
}

static void check_sight(Trial *t)
{
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int padding = 0; padding < 2; padding++)
            sight_of(t, &shapes[i], padding);
}

static const Case cases[] = {
    CASE(windows, gather, check_gather),
    CASE(windows, gather_gradient, check_gradient),
    CASE(windows, sight, check_sight),
};
CHECK_FAMILY(windows)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
