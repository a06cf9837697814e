#include "tests/kernels/check.h"

static const KmeansShape shapes[] = {{2, 7, 3, 4, 5},    {1, 1, 1, 1, 1}, {3, 50, 2, 9, 33},
                                     {2, 400, 4, 5, 40}, {0, 4, 2, 3, 5}, {1, 9, 1, 3, 16}};

/* Tokens, some of which are all zeros, and the cluster of each; the last cluster stays empty. */
typedef struct Tokens {
    Matrix x, sums, counts, means;
    int32_t *nearest;
    HeadRows rows;
} Tokens;

static Tokens tokens_new(Trial *t, const KmeansShape *s)
{
    Tokens k = {.x = matrix_random(t, s->batch * s->tokens, s->heads * s->width, 3, F32, -1, 1)};
    k.nearest = operand_new((size_t)(s->batch * s->heads * s->tokens) * sizeof *k.nearest + 1);
    for (int64_t n = 0; n < s->batch * s->heads * s->tokens; n++)
        k.nearest[n] = (int32_t)trial_random(t, 0, (double)MAX(s->clusters - 1, 1));
    for (int64_t n = 0; n < k.x.count; n += 4)
        for (int64_t c = 0; c < s->width; c++)
            matrix_set(&k.x, n, c, 0);
    k.rows = (HeadRows){k.x.rows.data, s->tokens * k.x.rows.stride, k.x.rows.stride, F32};
    k.sums = matrix_random(t, s->heads * s->clusters, s->width, 0, F32, -1, 1);
    k.counts = matrix_random(t, s->heads, s->clusters, 0, F32, 0, 9);
    k.means = matrix_random(t, s->heads * s->clusters, s->width, 0, F32, -1, 1);
    return k;
}

static void tokens_free(Tokens *k)
{
    matrix_free(&k->x), matrix_free(&k->sums), matrix_free(&k->counts), matrix_free(&k->means);
    operand_free(k->nearest);
}

static bool zeros(const Tokens *k, int64_t row, int64_t h, int64_t width)
{
    for (int64_t c = 0; c < width; c++)
        if (matrix_get(&k->x, row, h * width + c) != 0)
            return false;
    return true;
}

/* Tokens of `head` in a cluster, or of all heads those whose turn it is. */
static double count_of(const KmeansShape *s, const Tokens *k, int64_t head, int64_t cluster, bool mixed)
{
    double count = 0;
    for (int64_t r = 0; r < s->batch * s->heads * s->tokens; r++) {
        int64_t n = r % s->tokens, h = r / s->tokens % s->heads, b = r / s->tokens / s->heads;
        bool here = mixed ? r % s->heads == head : h == head;
        count += here && k->nearest[r] == cluster && !zeros(k, b * s->tokens + n, h, s->width);
    }
    return count;
}

static double sum_of(const KmeansShape *s, const Tokens *k, int64_t head, int64_t cluster, int64_t c)
{
    double sum = 0;
    for (int64_t row = 0; row < s->batch * s->tokens; row++)
        if (k->nearest[(row / s->tokens * s->heads + head) * s->tokens + row % s->tokens] == cluster)
            sum += matrix_get(&k->x, row, head * s->width + c);
    return sum;
}

static void check_sums(Trial *t)
{
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        const KmeansShape *s = &shapes[i];
        Tokens k = tokens_new(t, s);
        t->backend->kmeans.sums(&t->exec, s, k.rows, k.nearest, k.sums.rows.data, k.counts.rows.data);
        for (int64_t row = 0; row < checked_rows(t, s->heads * s->clusters); row++) {
            int64_t h = row / s->clusters, c = row % s->clusters;
            assert_true(matrix_get(&k.counts, h, c) == count_of(s, &k, h, c, false));
            for (int64_t j = 0; j < s->width; j++)
                check_near(matrix_get(&k.sums, row, j), sum_of(s, &k, h, c, j), 1e-4, "k-means' sums", row, j);
        }
        record_matrix(t, &k.sums);
        record_matrix(t, &k.counts);
        tokens_free(&k);
    }
}

static void check_mixed(Trial *t)
{
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        const KmeansShape *s = &shapes[i];
        Tokens k = tokens_new(t, s);
        t->backend->kmeans.mixed_counts(&t->exec, s, k.rows, k.nearest, k.counts.rows.data);
        for (int64_t row = 0; row < checked_rows(t, s->heads * s->clusters); row++)
            assert_true(matrix_get(&k.counts, row / s->clusters, row % s->clusters) ==
                        count_of(s, &k, row / s->clusters, row % s->clusters, true));
        record_matrix(t, &k.counts);
        tokens_free(&k);
    }
}

static void smooth_of(Trial *t, const KmeansShape *s)
{
    const float decay = 0.9f, eps = 1e-5f;
    Tokens now = tokens_new(t, s), k = tokens_new(t, s);
    Matrix sums = matrix_copy(&k.sums), counts = matrix_copy(&k.counts);
    t->backend->kmeans.smooth(&t->exec, s, decay, eps, now.sums.rows.data, now.counts.rows.data, k.sums.rows.data,
                              k.counts.rows.data, k.means.rows.data);
    double keep = (double)decay, take = 1 - (double)decay;
    for (int64_t h = 0; h < checked_rows(t, s->heads); h++) {
        double n = 0;
        for (int64_t c = 0; c < s->clusters; c++)
            n += keep * matrix_get(&counts, h, c) + take * matrix_get(&now.counts, h, c);
        for (int64_t c = 0; c < s->clusters; c++) {
            double count = keep * matrix_get(&counts, h, c) + take * matrix_get(&now.counts, h, c);
            double smoothed = (count + (double)eps) / (n + (double)s->clusters * (double)eps) * n;
            check_near(matrix_get(&k.counts, h, c), count, 1e-5, "count", h, c);
            for (int64_t row = h * s->clusters + c, j = 0; j < s->width; j++) {
                double sum = keep * matrix_get(&sums, row, j) + take * matrix_get(&now.sums, row, j);
                check_near(matrix_get(&k.sums, row, j), sum, 1e-6, "sum", row, j);
                check_near(matrix_get(&k.means, row, j), sum / smoothed, 1e-5 * (1 + fabs(sum / smoothed)), "mean", row,
                           j);
            }
        }
    }
    record_matrix(t, &k.sums);
    record_matrix(t, &k.counts);
    record_matrix(t, &k.means);
    matrix_free(&sums), matrix_free(&counts);
    tokens_free(&now), tokens_free(&k);
}

static void check_smooth(Trial *t)
{
    for (int i = 0; i < COUNT_OF(shapes); i++)
        smooth_of(t, &shapes[i]);
}

static void check_normalize(Trial *t)
{
    for (int i = 0; i < COUNT_OF(shapes); i++) {
        const KmeansShape *s = &shapes[i];
        Tokens k = tokens_new(t, s);
        for (int64_t h = 0; h < s->heads; h++)
            matrix_set(&k.counts, h, s->clusters - 1, 0);
        Matrix centres = matrix_new(s->heads * s->clusters, s->width, 0, F32);
        t->backend->kmeans.normalize(&t->exec, s, k.sums.rows.data, k.counts.rows.data, k.means.rows.data,
                                     centres.rows.data);
        for (int64_t row = 0; row < checked_rows(t, centres.count); row++) {
            double squares = 0;
            for (int64_t j = 0; j < s->width; j++)
                squares += matrix_get(&k.sums, row, j) * matrix_get(&k.sums, row, j);
            bool empty = matrix_get(&k.counts, row / s->clusters, row % s->clusters) == 0;
            for (int64_t j = 0; j < s->width; j++)
                check_near(matrix_get(&centres, row, j),
                           empty ? matrix_get(&k.means, row, j) : matrix_get(&k.sums, row, j) / sqrt(squares), 1e-6,
                           "centre", row, j);
        }
        record_matrix(t, &centres);
        matrix_free(&centres);
        tokens_free(&k);
    }
}

static void buckets_of(Trial *t, int64_t rows, int64_t bits, int64_t clusters)
{
    Matrix along = matrix_random(t, rows, bits, 0, F32, -1, 1), hot = matrix_random(t, rows, clusters, 0, F32, -1, 1);
    for (int64_t r = 0; r < rows; r += 3)
        for (int64_t bit = 0; bit < bits; bit++)
            matrix_set(&along, r, bit, 0);
    t->backend->kmeans.buckets(&t->exec, rows, bits, clusters, along.rows.data, hot.rows.data);
    for (int64_t r = 0; r < checked_rows(t, rows); r++) {
        int64_t bucket = 0;
        for (int64_t bit = 0; bit < bits; bit++)
            bucket += matrix_get(&along, r, bit) > 0 ? (int64_t)1 << bit : 0;
        for (int64_t c = 0; c < clusters; c++)
            assert_true(matrix_get(&hot, r, c) == (c == bucket));
    }
    record_matrix(t, &hot);
    matrix_free(&along), matrix_free(&hot);
}

static void check_buckets(Trial *t)
{
    buckets_of(t, 0, 2, 4);
    buckets_of(t, 5, 0, 1);
    buckets_of(t, 7, 2, 7);
    buckets_of(t, 30011, 3, 8);
}

static void beyond_the_clusters(Trial *t)
{
    float x[2] = {1, 2}, sums[2], counts[1];
    int32_t nearest = 1;
    KmeansShape s = {1, 1, 1, 1, 2};
    t->backend->kmeans.sums(&t->exec, &s, (HeadRows){x, 2, 2, F32}, &nearest, sums, counts);
}

static void refusals(void **state)
{
    (void)state;
    check_refused(beyond_the_clusters);
}

static const Case cases[] = {
    CASE(kmeans, sums, check_sums),       CASE(kmeans, mixed_counts, check_mixed),
    CASE(kmeans, smooth, check_smooth),   CASE(kmeans, normalize, check_normalize),
    CASE(kmeans, buckets, check_buckets),
};
CHECK_FAMILY(kmeans)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_entry_has_a_case),
                                       cmocka_unit_test(every_case_at_every_level), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
