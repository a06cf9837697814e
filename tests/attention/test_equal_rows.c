/* Tokens that are equal stay equal, bit for bit, wherever they stand: a router breaks the ties of its scores by their position
 * (Roy et al. 2020: in a first layer without positions equal words have equal scores), and rounding must not do it instead.
 * oneDNN takes its instructions once for a process, so each level is a child, as is the device cuda. */
#include "common/attention/attention.h"
#include "support/levels.h"
#include "support/tape_test.h"

enum { HEADS = 2, WIDTH = 40, CLUSTERS = 9, HIDDEN = 70 };

typedef Tensor *Way(Tape *t, Tensor *x, Tensor *weight);

/* x [N,HEADS*WIDTH], weight [HIDDEN,HEADS*WIDTH]; of each result the rows of tokens are compared. */
static Tensor *product(Tape *t, Tensor *x, Tensor *weight)
{
    return affine(t, x, weight, NULL);
}

static Tensor *whole_half(Tape *t, Tensor *x, Tensor *weight)
{
    Tensor *gamma = random_tensor(t, "gamma", SHAPE(HEADS * WIDTH)), *beta = random_tensor(t, "beta", gamma->shape);
    Tensor *down = random_tensor(t, "down", SHAPE(13, HIDDEN));
    return feed_forward(t, x, &(LayerNorm){gamma, beta, 1e-5f}, &(Linear){weight, NULL}, UNARY_GELU,
                        &(Linear){down, NULL});
}

static Tensor *rows_of_length_1(Tape *t, Tensor *x, Tensor *weight)
{
    return affine(t, normalize_l2(t, x, 1e-12f), weight, NULL);
}

static Tensor *as_heads_of(Tape *t, Tensor *x)
{
    return reshape(t, x, SHAPE(1, tensor_count(x) / HEADS / WIDTH, HEADS, WIDTH));
}

/* Scores of clusters: [1,H,N,K] -> [N,H,K] */
static Tensor *scores(Tape *t, Tensor *x, Tensor *weight)
{
    Tensor *means = as_heads_of(t, narrow(t, weight, 0, 0, CLUSTERS));
    Tensor *s = attention_scores(t, &(AttentionSpec){.scale = 1}, as_heads_of(t, x), means);
    return permute(t, s, (const int[]){2, 0, 1, 3});
}

static Tensor *attended(Tape *t, Tensor *x, Tensor *weight)
{
    Tensor *keys = as_heads_of(t, narrow(t, weight, 0, 0, CLUSTERS));
    return reshape(t, attend(t, &(AttentionSpec){0}, as_heads_of(t, x), keys, keys), x->shape);
}

static const struct {
    const char *name;
    Way *way;
} ways[] = {{"affine", product},
            {"feed_forward", whole_half},
            {"normalize_l2", rows_of_length_1},
            {"attention_scores", scores},
            {"attend", attended}};

static bool rows_equal(Tape *t, const Tensor *y, int64_t rows)
{
    float *values = floats_of(t, y);
    size_t bytes = (size_t)(tensor_count(y) / rows) * sizeof *values;
    bool equal = true;
    for (int64_t r = 1; r < rows && equal; r++)
        equal = memcmp(values + (size_t)r * bytes / sizeof *values, values, bytes) == 0;
    mem_free(values);
    return equal;
}

static bool every_way(int64_t rows, int threads)
{
    Tape *t = test_tape(threads);
    Tensor *x = expand(t, random_tensor(t, "token", SHAPE(1, HEADS * WIDTH)), rows);
    Tensor *weight = random_tensor(t, "weight", SHAPE(HIDDEN, HEADS * WIDTH));
    bool good = true;
    for (int i = 0; i < COUNT_OF(ways); i++)
        if (!rows_equal(t, ways[i].way(t, x, weight), rows)) {
            fprintf(stderr, "%s, level %s, %d threads: %ld equal rows give different ones\n", ways[i].name,
                    cpu_backend_level(), threads, (long)rows);
            good = false;
        }
    tape_free(t);
    return good;
}

static bool every_size(void)
{
    static const int64_t more[] = {127, 200, 257, 1000, 4099};
    bool good = true;
    for (int64_t rows = 1; rows <= 103; rows++)
        good &= every_way(rows, 1);
    for (int i = 0; i < COUNT_OF(more); i++)
        good &= every_way(more[i], 2);
    return good;
}

static void equal_rows_stay_equal(void **state)
{
    (void)state;
    int levels = testing_cuda() ? 1 : COUNT_OF(level_names);
    for (int i = 0; i < levels; i++) {
        if (!cpu_backend_at(level_names[i]))
            continue;
        pid_t child = fork();
        if (child == 0) {
            setenv("ZOO_CPU", level_names[i], 1);
            _exit(every_size() ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_rows_stay_equal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
