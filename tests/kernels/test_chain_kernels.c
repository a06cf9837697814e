/* Norm, product, activation and product in one pass, against a plain double reference. */
#include "tests/kernels/check.h"

typedef struct Sizes {
    int64_t rows, in, width, out; /* out 0: one product */
} Sizes;

/* None, one, odd, and enough rows for several tiles, the last one smaller. */
static const Sizes sizes[] = {{0, 5, 3, 4},   {1, 1, 1, 1},     {3, 7, 5, 0},       {33, 31, 65, 17},
                              {70, 16, 8, 0}, {401, 96, 31, 0}, {300, 24, 2100, 9}, {1303, 33, 40, 32}};

enum { VARIANTS = 4 }; /* bit 0: a norm; bit 1: biases, and the hidden layer is kept */

/* What a product in bf16 sees of a number. */
static double seen(DType inner, double value)
{
    return inner == BF16 ? (double)bf16_to_float(bf16_from_float((float)value)) : value;
}

static double product(DType inner, const double *x, const Matrix *w, int64_t row, double bias)
{
    double sum = bias;
    for (int64_t i = 0; i < w->cols; i++)
        sum += seen(inner, x[i]) * seen(inner, matrix_get(w, row, i));
    return sum;
}

static void normalise(int64_t n, const Matrix *gamma, const Matrix *beta, double eps, double *x, double *mean,
                      double *rstd)
{
    *mean = 0;
    for (int64_t i = 0; i < n; i++)
        *mean += x[i] / (double)n;
    double variance = 0;
    for (int64_t i = 0; i < n; i++)
        variance += (x[i] - *mean) * (x[i] - *mean) / (double)n;
    *rstd = 1 / sqrt(variance + eps);
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] - *mean) * *rstd * matrix_get(gamma, 0, i) + (beta ? matrix_get(beta, 0, i) : 0);
}

/* One run of the kernel. */
typedef struct Problem {
    Sizes s;
    bool norm, more; /* more: biases, statistics and the hidden layer */
    DType inner;
    Matrix x, gamma, beta, up, up_bias, down, down_bias; /* operands */
    Matrix hidden, statistics, y;                        /* results; statistics: means, then reciprocal deviations */
} Problem;

static Problem problem_new(Trial *t, Sizes s, int variant, Layout l)
{
    Problem p = {.s = s, .norm = variant & 1, .more = variant & 2, .inner = l.out};
    int64_t out = s.out ? s.out : s.width;
    p.x = matrix_random(t, s.rows, s.in, l.gap, l.in, -2, 2);
    p.gamma = matrix_random(t, 1, s.in, 0, F32, 0.5, 1.5);
    p.beta = matrix_random(t, 1, s.in, 0, F32, -1, 1);
    p.up = matrix_random(t, s.width, s.in, 0, F32, -1, 1);
    p.up_bias = matrix_random(t, 1, s.width, 0, F32, -1, 1);
    p.down = matrix_random(t, s.out, s.width, 0, F32, -1, 1);
    p.down_bias = matrix_random(t, 1, out, 0, F32, -1, 1);
    p.hidden = matrix_new(s.rows, s.width, l.gap, p.inner);
    p.statistics = matrix_new(2, s.rows, 0, F32);
    p.y = matrix_new(s.rows, out, l.gap, s.out ? F32 : p.inner);
    return p;
}

static void problem_free(Problem *p)
{
    Matrix *const all[] = {&p->x,    &p->gamma,     &p->beta,   &p->up,         &p->up_bias,
                           &p->down, &p->down_bias, &p->hidden, &p->statistics, &p->y};
    for (int i = 0; i < COUNT_OF(all); i++)
        matrix_free(all[i]);
}

static void run(Trial *t, Problem *p)
{
    Weight up = {.data = p->up.rows.data, .stride = p->s.in}, down = {.data = p->down.rows.data, .stride = p->s.width};
    Chain c = {.rows = p->s.rows,
               .in = p->s.in,
               .width = p->s.width,
               .out = p->s.out,
               .gamma = p->norm ? p->gamma.rows.data : NULL,
               .beta = p->norm && p->more ? p->beta.rows.data : NULL,
               .eps = 1e-3f,
               .up = &up,
               .down = p->s.out ? &down : NULL,
               .up_bias = p->more ? p->up_bias.rows.data : NULL,
               .down_bias = p->more ? p->down_bias.rows.data : NULL,
               .f = UNARY_GELU,
               .inner = p->inner};
    float *statistics = p->statistics.rows.data;
    void *scratch = scratch_new(t, t->backend->chain.forward_scratch(&t->exec, &c));
    t->backend->chain.forward(&t->exec, &c, p->x.rows, p->more ? p->hidden.rows : (Rows){0},
                              p->more ? statistics : NULL, p->more ? statistics + p->s.rows : NULL, p->y.rows);
    operand_free(scratch);
}

/* Holds row r against the reference; the second product starts from f of what the first one left, as rounded. */
static void check_row(const Problem *p, int64_t r)
{
    const Sizes s = p->s;
    double *x = mem_new((size_t)s.in * sizeof *x), *hidden = mem_new((size_t)s.width * sizeof *hidden), mean, rstd;
    double size = p->inner == BF16 ? 0x1p-7 : 1e-5;
    for (int64_t i = 0; i < s.in; i++)
        x[i] = matrix_get(&p->x, r, i);
    if (p->norm)
        normalise(s.in, &p->gamma, p->more ? &p->beta : NULL, (double)1e-3f, x, &mean, &rstd);
    if (p->norm && p->more) {
        check_near(matrix_get(&p->statistics, 0, r), mean, 1e-6, "mean", r, 0);
        check_near(matrix_get(&p->statistics, 1, r), rstd, 1e-5 * rstd, "rstd", r, 0);
    }
    const Matrix *first = s.out ? &p->hidden : &p->y;
    double norm = sqrt((double)s.in) * 4;
    for (int64_t j = 0; j < s.width; j++) {
        hidden[j] = product(p->inner, x, &p->up, j, p->more ? matrix_get(&p->up_bias, 0, j) : 0);
        if (!s.out || p->more) {
            check_near(matrix_get(first, r, j), hidden[j], size * norm, "first product", r, j);
            hidden[j] = matrix_get(first, r, j);
        }
        hidden[j] = 0.5 * hidden[j] * erfc(-hidden[j] / sqrt(2));
    }
    for (int64_t j = 0; j < s.out; j++) {
        double want = product(p->inner, hidden, &p->down, j, p->more ? matrix_get(&p->down_bias, 0, j) : 0);
        check_near(matrix_get(&p->y, r, j), want, size * norm * sqrt((double)s.width), "second product", r, j);
    }
    mem_free(x);
    mem_free(hidden);
}

static void check_forward(Trial *t)
{
    for (int i = 0; i < COUNT_OF(sizes); i++)
        for (int l = 0; l < COUNT_OF(check_layouts); l++)
            for (int variant = 0; variant < VARIANTS; variant++) {
                Problem p = problem_new(t, sizes[i], variant, check_layouts[l]);
                run(t, &p);
                for (int64_t r = 0; r<checked_rows(t, p.s.rows); r += p.s.rows> 100 ? 37 : 1)
                    check_row(&p, r);
                check_last_row_is_first(&p.y);
                record_matrix(t, &p.y);
                record_matrix(t, &p.hidden);
                record_matrix(t, &p.statistics);
                problem_free(&p);
            }
}

static const Case cases[] = {
    CASE(chain, forward, check_forward),
    CASE(chain, forward_scratch, check_forward),
};

CHECK_FAMILY(chain)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_has_a_case),
        cmocka_unit_test(every_case_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
