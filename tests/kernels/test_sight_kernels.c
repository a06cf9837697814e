#include "tests/kernels/check.h"

static void nonzero_of(Trial *t, int64_t batch, int64_t tokens, int64_t heads, int64_t width, DType type)
{
    Matrix x = matrix_random(t, batch * tokens, heads * width, 3, type, -1, 1);
    uint8_t *seen = operand_new((size_t)(batch * tokens * heads) + 1);
    for (int64_t n = 0; n < batch * tokens * heads; n += 3)
        for (int64_t c = 0; c < width; c++) /* zeros, or zeros but for the last value */
            matrix_set(&x, n / heads, n % heads * width + c, c == width - 1 && n % 2 ? 1e-30 : -0.0);
    HeadRows rows = {x.rows.data, tokens * x.rows.stride, x.rows.stride, type};
    t->backend->sight.nonzero(&t->exec, batch, tokens, heads, width, rows, seen);
    for (int64_t n = 0; n < checked_rows(t, batch * heads * tokens); n++) {
        int64_t b = n / tokens / heads, h = n / tokens % heads, token = n % tokens;
        bool want = false;
        for (int64_t c = 0; c < width; c++)
            want = want || matrix_get(&x, b * tokens + token, h * width + c) != 0;
        assert_int_equal(seen[n], want);
    }
    record_bytes(t, seen, (size_t)(batch * tokens * heads));
    matrix_free(&x);
    operand_free(seen);
}

static void check_nonzero(Trial *t)
{
    nonzero_of(t, 2, 7, 3, 5, F32);
    nonzero_of(t, 1, 1, 1, 1, F32);
    nonzero_of(t, 2, 7, 1, 1030, BF16);
    nonzero_of(t, 0, 4, 2, 3, F32);
    nonzero_of(t, 3, 300, 4, 33, BF16);
    nonzero_of(t, 3, 300, 4, 33, F32);
}

/* Clusters of an uneven sequence, whose members are drawn. */
typedef struct Members {
    RoutedSight sight;
    int32_t *query_index, *key_index;
    uint8_t *query_real, *key_real;
} Members;

static int32_t *drawn_members(Trial *t, int64_t count, int64_t tokens)
{
    int32_t *index = operand_new((size_t)count * sizeof *index + 1);
    for (int64_t n = 0; n < count; n++)
        index[n] = (int32_t)trial_random(t, 0, (double)tokens);
    return index;
}

static uint8_t *drawn_marks(Trial *t, int64_t count)
{
    uint8_t *marks = operand_new((size_t)count + 1);
    for (int64_t n = 0; n < count; n++)
        marks[n] = trial_random(t, 0, 1) < 0.7;
    return marks;
}

static Members members_new(Trial *t, RoutedSight s)
{
    Members m = {.sight = s};
    m.query_index = drawn_members(t, s.batch * s.clusters * s.queries * s.heads, s.query_tokens);
    m.key_index = drawn_members(t, s.batch * s.clusters * s.keys * s.heads, s.key_tokens);
    m.query_real = drawn_marks(t, s.batch * s.query_tokens);
    m.key_real = drawn_marks(t, s.batch * s.key_tokens);
    return m;
}

static void members_free(Members *m)
{
    operand_free(m->query_index);
    operand_free(m->key_index);
    operand_free(m->query_real);
    operand_free(m->key_real);
}

static int64_t index_of(const RoutedSight *s, const int32_t *index, int64_t size, int64_t group, int64_t head,
                        int64_t rank)
{
    return index ? index[(group * size + rank) * s->heads + head] : rank;
}

static void routed_of(Trial *t, RoutedSight shape, int how)
{
    Members m = members_new(t, shape);
    RoutedSight s = shape;
    bool ranks = how & 1;
    s.query_index = ranks ? NULL : m.query_index;
    s.key_index = ranks ? NULL : m.key_index;
    s.query_real = how & 2 ? m.query_real : NULL;
    s.key_real = how & 4 ? m.key_real : NULL;
    s.causal = how & 8;
    s.self = how & 16;
    int64_t columns = s.memory + s.keys, count = s.batch * s.clusters * s.heads * s.queries * columns;
    uint8_t *seen = operand_new((size_t)count + 1);
    float *bias = operand_new((size_t)count * sizeof *bias + 1);
    t->backend->sight.routed(&t->exec, &s, seen);
    t->backend->sight.routed_self(&t->exec, &s, -5e4f, bias);
    for (int64_t n = 0; n < checked_rows(t, count); n++) {
        int64_t j = n % columns - s.memory, i = n / columns % s.queries, h = n / columns / s.queries % s.heads;
        int64_t group = n / columns / s.queries / s.heads, b = group / MAX(s.clusters, 1);
        if (j < 0) {
            assert_true(seen[n] == 1 && bias[n] == 0);
            continue;
        }
        int64_t query = index_of(&s, s.query_index, s.queries, group, h, i);
        int64_t key = index_of(&s, s.key_index, s.keys, group, h, j);
        bool want = (!s.query_real || s.query_real[b * s.query_tokens + query]) &&
                    (!s.key_real || s.key_real[b * s.key_tokens + key]) && !(s.causal && key > query);
        assert_int_equal(seen[n], want || (s.self && query == key));
        assert_true(bias[n] == (query == key ? -5e4f : 0));
    }
    record_bytes(t, seen, (size_t)count);
    record_bytes(t, bias, (size_t)count * sizeof *bias);
    members_free(&m);
    operand_free(seen);
    operand_free(bias);
}

static void check_routed(Trial *t)
{
    const RoutedSight shapes[] = {
        {.batch = 2,
         .heads = 3,
         .clusters = 2,
         .queries = 5,
         .keys = 4,
         .memory = 2,
         .query_tokens = 9,
         .key_tokens = 8},
        {.batch = 1, .heads = 1, .clusters = 1, .queries = 1, .keys = 1, .query_tokens = 1, .key_tokens = 1},
        {.batch = 2, .heads = 4, .clusters = 5, .queries = 70, .keys = 67, .query_tokens = 200, .key_tokens = 190},
        {.batch = 0, .heads = 4, .clusters = 5, .queries = 3, .keys = 3, .query_tokens = 4, .key_tokens = 4},
    };
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int how = 0; how < 32; how += i == 2 ? 7 : 1)
            routed_of(t, shapes[i], how);
}

static const Case cases[] = {
    CASE(sight, nonzero, check_nonzero),
    CASE(sight, routed, check_routed),
    CASE(sight, routed_self, check_routed),
};
CHECK_FAMILY(sight)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
