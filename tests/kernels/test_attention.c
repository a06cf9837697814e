/* Attention at every level, or on the device cuda, against softmax(q k^T) v written out in double, forward and
 * backward: odd sizes, every mask alone and together, shared and grouped heads, windows of a fused projection, bf16,
 * and 1, 2 and 3 threads to the byte. */
#include "attention_reference.h"
#include "support/levels.h"

/* ---- what the kernels make of it ---- */

typedef struct Result {
    Tensor o, dq, dk, dv;
    float *lse, *dbias, *p;
} Result;

static Result run(const Problem *p, const Backend *backend, int threads)
{
    const AttentionKernels *kernels = &backend->attention;
    const AttentionShape *s = &p->shape;
    size_t rows = (size_t)(s->batch * s->q_heads * s->queries);
    Exec exec = {.threads = threads, .stream = backend->stream};
    exec.scratch_bytes = MAX(kernels->forward_scratch(&exec, s), kernels->backward_scratch(&exec, s));
    exec.scratch = operand_new(exec.scratch_bytes);
    memset(exec.scratch, 0xff, exec.scratch_bytes); /* NaN */
    Result r = {copy_of(&p->o),
                copy_of(&p->dq),
                copy_of(&p->dk),
                copy_of(&p->dv),
                operand_new(rows * 4 + 1),
                operand_new(p->bias_count * 4 + 1),
                operand_new(rows * (size_t)s->keys * 4 + 1)};
    ScoreTable dbias = p->dbias_table;
    dbias.data = p->dbias ? r.dbias : NULL;
    kernels->forward(&exec, s, p->q.rows, p->k.rows, p->v.rows, r.o.rows, r.lse);
    kernels->probabilities(&exec, s, p->q.rows, p->k.rows, r.lse, r.p);
    kernels->backward(&exec, s, p->q.rows, p->k.rows, p->v.rows, r.o.rows, r.lse, p->d_o.rows, p->dlse, p->add,
                      r.dq.rows, r.dk.rows, r.dv.rows, dbias);
    operand_free(exec.scratch);
    return r;
}

static void result_free(Result *r)
{
    operand_free(r->o.rows.data);
    operand_free(r->dq.rows.data);
    operand_free(r->dk.rows.data);
    operand_free(r->dv.rows.data);
    operand_free(r->lse);
    operand_free(r->dbias);
    operand_free(r->p);
}

/* `wanted` lies as the tensor does, or without its gaps; gaps must be as they were. */
static bool tensor_close(const char *what, const Tensor *got, const double *wanted, bool gapless, double tolerance)
{
    double largest = 0;
    int64_t live = got->heads * got->width, step = got->rows.token_step;
    for (size_t i = 0, n = 0; i < got->count; i++) {
        if (step && (int64_t)i % step >= live) {
            if (get(got, i) != GAP_MARK) {
                print_error("%s: wrote between two tokens, at %zu\n", what, i);
                return false;
            }
            continue;
        }
        largest = fmax(largest, fabs(wanted[gapless ? n++ : i]));
    }
    for (size_t i = 0, n = 0; i < got->count; i++) {
        if (step && (int64_t)i % step >= live)
            continue;
        if (!close_enough(what, i, get(got, i), wanted[gapless ? n++ : i], largest, tolerance))
            return false;
    }
    return true;
}

static bool results_equal(const Problem *p, const Result *a, const Result *b)
{
    const AttentionShape *s = &p->shape;
    size_t rows = (size_t)(s->batch * s->q_heads * s->queries), bytes = dtype_bytes(p->q.rows.type);
    return memcmp(a->o.rows.data, b->o.rows.data, a->o.count * bytes) == 0 &&
           memcmp(a->dq.rows.data, b->dq.rows.data, a->dq.count * bytes) == 0 &&
           memcmp(a->dk.rows.data, b->dk.rows.data, a->dk.count * bytes) == 0 &&
           memcmp(a->dv.rows.data, b->dv.rows.data, a->dv.count * bytes) == 0 &&
           memcmp(a->lse, b->lse, rows * 4) == 0 && memcmp(a->dbias, b->dbias, p->bias_count * 4) == 0 &&
           memcmp(a->p, b->p, rows * (size_t)s->keys * 4) == 0;
}

/* Of 1 + the largest value: one unit in the last place of bf16. Rounding the result takes half of it; the rest is
 * for the rounding of p, of ds, and of the o that backward reads (0.65 of it was the largest error seen). */
static const double BF16_TOLERANCE = 0x1p-7;

static void check_once(const Case *c)
{
    if (left_out())
        return;
    Problem p = problem(c);
    Reference want = reference(&p);
    size_t rows = (size_t)(p.shape.batch * p.shape.q_heads * p.shape.queries);
    for (Level level = {0}; next_level(&level);) {
        Result one = run(&p, level.backend, 1);
        double tolerance = c->bf16 ? BF16_TOLERANCE : 1e-5;
        double terms =
            p.bias_count ? (double)rows * c->keys / (double)p.bias_count : 0; /* of a sum: their errors add up */
        bool good =
            tensor_close("o", &one.o, want.o, true, tolerance) && floats_close("lse", one.lse, want.lse, rows, 1e-5) &&
            floats_close("p", one.p, want.p, rows * (size_t)c->keys, 1e-5) &&
            tensor_close("dq", &one.dq, want.dq, false, tolerance) &&
            tensor_close("dk", &one.dk, want.dk, false, tolerance) &&
            tensor_close("dv", &one.dv, want.dv, false, tolerance) &&
            floats_close("dbias", one.dbias, want.dbias, p.bias_count, c->bf16 ? 0.1 : tolerance + 2e-8 * terms);
        for (int threads = 2; threads <= most_threads() && good; threads++) {
            Result more = run(&p, level.backend, threads);
            good = results_equal(&p, &one, &more);
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
    reference_free(&want);
    problem_free(&p);
}

/* In fp32 and in bf16. */
static void check(const Case *c)
{
    Case half = *c;
    half.bf16 = true;
    check_once(c);
    check_once(&half);
}

/* ---- cases ---- */

static void test_sizes(void **state)
{
    static const int tokens[] = {1, 2, 3, 5, 7, 16, 17, 50, 63, 64, 65, 129, 197};
    static const int widths[] = {1, 5, 8, 16, 24, 32, 64, 80, 128};
    (void)state;
    for (int i = 0; i < COUNT_OF(tokens); i++) {
        Case c = plain_case(2, tokens[i], tokens[i], 2, widths[i % COUNT_OF(widths)]);
        check(&c);
    }
    for (int i = 0; i < COUNT_OF(widths); i++) {
        Case c = plain_case(1, 50, 65, 2, widths[i]);
        check(&c);
        c.value_width = widths[(i + 4) % COUNT_OF(widths)];
        c.fused = true;
        check(&c);
    }
}

/* More than any kernel lays out at once. */
static void test_wide(void **state)
{
    static const int widths[][2] = {{200, 24}, {40, 130}, {136, 264}, {0, 150}, {129, 0}};
    (void)state;
    for (int i = 0; i < COUNT_OF(widths); i++) {
        Case c = plain_case(1, 20 + i, 70, 2, widths[i][0]);
        c.value_width = widths[i][1];
        c.causal = c.dlse = c.add = i % 2;
        check(&c);
        c.queries = 2;
        c.empty_row = EMPTY_UNIFORM;
        c.empty_rows = true;
        memcpy(c.keep, "xxxx", 4);
        check(&c);
    }
}

static void test_one_query(void **state)
{
    static const int keys[] = {1, 10, 63, 64, 65, 402, 1157};
    static const int widths[] = {5, 8, 16, 32, 64};
    (void)state;
    for (int i = 0; i < COUNT_OF(keys); i++) {
        Case c = plain_case(2, 1, keys[i], 3, widths[i % COUNT_OF(widths)]);
        check(&c);
        c.fused = c.dlse = c.add = true;
        c.queries = 1 + i % 5;
        check(&c);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    for (int empty_row = 0; empty_row < 2; empty_row++) {
        check_emptiness(check, (EmptyRow)empty_row);
        Case no_width = plain_case(2, 5, 70, 2, 0), no_values = plain_case(2, 5, 70, 2, 8);
        no_values.value_width = 0;
        check(&no_width);
        check(&no_values);
    }
}

static void test_causal_and_windows(void **state)
{
    static const int sizes[][2] = {{1, 1}, {7, 7}, {65, 65}, {130, 130}, {3, 200}, {200, 3}, {70, 140}, {150, 90}};
    (void)state;
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        Case c = plain_case(1, sizes[i][0], sizes[i][1], 2, 16);
        c.causal = true;
        check(&c);
        c.empty_row = EMPTY_UNIFORM;
        c.left = 1 + 20;
        check(&c);
        c.causal = false;
        c.right = 1 + 9;
        check(&c);
        c.blocked = -FLT_MAX;
        check(&c);
        c.blocked = -1e9f;
        c.left = 0;
        check(&c);
    }
}

static void test_tables(void **state)
{
    static const char *const axes[] = {"xxxx", "1111", "x11x", "1xxx", "1kx1", "dk1x", "d1xx", "xx11", "11x1"};
    (void)state;
    for (int i = 0; i < COUNT_OF(axes); i++) {
        Case c = plain_case(4, 70, 67, 4, 8);
        c.k_heads = 2;
        memcpy(c.keep, axes[i], 4);
        check(&c);
        memcpy(c.bias, axes[(i + 3) % COUNT_OF(axes)], 4);
        c.empty_rows = true;
        check(&c);
        c.empty_row = EMPTY_UNIFORM;
        check(&c);
        c.blocked = i % 2 ? -1e9f : -FLT_MAX;
        c.share_kv = i % 3 == 0;
        c.share_q = i % 3 == 1;
        check(&c);
    }
}

static void test_grouped_and_shared(void **state)
{
    static const int heads[][3] = {{4, 1, 1}, {4, 2, 4}, {4, 4, 1}, {12, 4, 6}, {6, 3, 2}};
    (void)state;
    for (int i = 0; i < COUNT_OF(heads); i++) {
        for (int shared = 0; shared < 4; shared++) {
            Case c = plain_case(3, 40 + 33 * (shared & 1), 66, heads[i][0], 16);
            c.k_heads = heads[i][1];
            c.v_heads = heads[i][2];
            c.value_width = 24;
            c.share_q = shared & 1;
            c.share_kv = shared & 2;
            c.add = i % 2;
            check(&c);
            c.queries = 2;
            check(&c);
        }
    }
}

/* Everything together, drawn. */
static void test_drawn(void **state)
{
    (void)state;
    for (int n = 0; n < 250; n++) {
        Case c = drawn_case(n);
        check_once(&c);
    }
}

/* ---- the gradient against differences of the definition's own loss, sum(do o) + sum(dlse lse) ---- */

static double loss(const Problem *p)
{
    Reference r = reference(p);
    const AttentionShape *s = &p->shape;
    double sum = 0;
    for (size_t i = 0; i < p->d_o.count; i++)
        sum += get(&p->d_o, i) * r.o[i];
    for (int64_t i = 0; i < s->batch * s->q_heads * s->queries; i++)
        sum += p->dlse[i] * r.lse[i];
    reference_free(&r);
    return sum;
}

static void check_differences(const Problem *p, float *values, size_t count, const float *gradient)
{
    for (size_t i = 0; i < count; i += 1 + count / 20) {
        float old = values[i], up = old + 1e-3f, down = old - 1e-3f;
        values[i] = up;
        double above = loss(p);
        values[i] = down;
        double below = loss(p);
        values[i] = old;
        double slope = (above - below) / ((double)up - (double)down);
        assert_true(fabs(slope - (double)gradient[i]) < 1e-4 * (1 + fabs(slope)));
    }
}

static void test_differences(void **state)
{
    Case c = plain_case(2, 5, 9, 4, 6);
    (void)state;
    c.k_heads = c.v_heads = 2;
    c.causal = c.dlse = true;
    memcpy(c.bias, "1kxx", 4);
    Problem p = problem(&c);
    for (size_t i = 0; i < p.bias_count; i++)
        ((float *)p.shape.bias.data)[i] = random_value();
    for (Level level = {0}; next_level(&level);) {
        Result r = run(&p, level.backend, 1);
        check_differences(&p, p.q.rows.data, p.q.count, r.dq.rows.data);
        check_differences(&p, p.k.rows.data, p.k.count, r.dk.rows.data);
        check_differences(&p, p.v.rows.data, p.v.count, r.dv.rows.data);
        check_differences(&p, p.shape.bias.data, p.bias_count, r.dbias);
        result_free(&r);
    }
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_one_query),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_causal_and_windows),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_grouped_and_shared),
        cmocka_unit_test(test_drawn),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
