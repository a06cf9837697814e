/* First values by a function: what must hold of them whatever is drawn. */
#include "common/nn/init.h"
#include "support/param_values.h"
#include "support/tape_test.h"

#include <math.h>

typedef struct Filled {
    Params *params;
    const float *x;
} Filled;

static Filled filled(InitFunction *function, Shape shape)
{
    Filled f = {.params = params_new()};
    Tensor *x = params_add_buffer(f.params, "x", shape, INIT_ZEROS);
    params_init_function(f.params, x, function);
    params_allocate(f.params, true, 1, test_backend());
    f.x = param_values(f.params, x);
    return f;
}

static void rows_are_standardized(void **state)
{
    (void)state;
    Filled f = filled(init_standardized, SHAPE(3, 3, 8));
    for (int64_t row = 0; row < 9; row++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < 8; i++) {
            sum += (double)f.x[row * 8 + i];
            squares += (double)f.x[row * 8 + i] * (double)f.x[row * 8 + i];
        }
        assert_true(fabs(sum) < 1e-5 && fabs(squares - 8) < 1e-3);
    }
    assert_memory_not_equal(f.x, f.x + 8, 8 * sizeof(float));
    params_free(f.params);
}

static void vectors_are_orthonormal(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{4, 12}, {12, 6}, {10, 4}, {1, 1}};
    for (int s = 0; s < COUNT_OF(shapes); s++) {
        int64_t rows = shapes[s][0], width = shapes[s][1];
        Filled f = filled(init_orthogonal, rows % 2 ? SHAPE(rows, width) : SHAPE(rows / 2, 2, width));
        int64_t vectors = MIN(rows, width), length = MAX(rows, width);
        int64_t next = rows <= width ? width : 1, along = rows <= width ? 1 : width;
        for (int64_t a = 0; a < vectors; a++)
            for (int64_t b = 0; b <= a; b++) {
                double dot = 0;
                for (int64_t i = 0; i < length; i++)
                    dot += (double)f.x[a * next + i * along] * (double)f.x[b * next + i * along];
                assert_true(fabs(dot - (a == b)) < 1e-5);
            }
        params_free(f.params);
    }
}

static void positions_turn_at_their_frequencies(void **state)
{
    (void)state;
    Filled table = filled(init_sinusoids, SHAPE(50, 12)), frequencies = filled(init_frequencies, SHAPE(6));
    for (int p = 0; p < 50; p++)
        for (int i = 0; i < 6; i++) {
            double angle = p * pow(10000, -i / 6.0);
            assert_true(fabs(table.x[p * 12 + i] - sin(angle)) < 1e-5);
            assert_true(fabs(table.x[p * 12 + 6 + i] - cos(angle)) < 1e-5);
            assert_true(fabs(frequencies.x[i] - pow(10000, -i / 6.0)) < 1e-7);
        }
    params_free(table.params);
    params_free(frequencies.params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_standardized),
        cmocka_unit_test(vectors_are_orthonormal),
        cmocka_unit_test(positions_turn_at_their_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
