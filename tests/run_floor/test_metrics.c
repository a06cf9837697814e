#include "run_floor/scratch.h"
#include "common/run/metrics.h"

#include <math.h>

static const char *const COLUMNS[] = {"loss", "accuracy"};

static void add(Metrics *m, int64_t step, double loss, double accuracy)
{
    Error e;
    if (!metrics_add(m, step, (double[]){loss, accuracy}, &e))
        fail_msg("%s", e.text);
}

static void writes_rows_that_read_back(void **state)
{
    Error e;
    char *path = path_join(*state, "metrics.csv");
    Metrics *m = metrics_open(path, COLUMNS, 2, -1, &e);
    assert_non_null(m);
    add(m, 10, (double)0.1f, NAN);
    add(m, 20, 1e-30, 0.5);
    assert_true(metrics_sync(m, &e));
    metrics_close(m);
    assert_file(path, "step,loss,accuracy\n10,0.100000001,\n20,1e-30,0.5\n");

    MetricsTable t;
    assert_true(metrics_read(&t, path, &e));
    assert_int_equal(t.row_count, 2);
    assert_int_equal(t.steps[1], 20);
    assert_true((float)t.values[0] == 0.1f && isnan(t.values[1]) && t.values[2] == 1e-30);
    double x[2], y[2];
    assert_int_equal(metrics_points(&t, "accuracy", x, y), 1);
    assert_true(x[0] == 20 && y[0] == 0.5);
    assert_int_equal(metrics_points(&t, "speed", x, y), 0);
    metrics_table_free(&t);
    mem_free(path);
}

static void is_cut_back_to_a_step(void **state)
{
    Error e;
    char *path = path_join(*state, "metrics.csv");
    write_text(path, "step,loss,accuracy\n10,3,0.1\n20,2,0.2\n30,1,0.3\n40,0.5,0.");
    Metrics *m = metrics_open(path, COLUMNS, 2, 20, &e);
    assert_non_null(m);
    assert_file(path, "step,loss,accuracy\n10,3,0.1\n20,2,0.2\n");
    add(m, 30, 1.5, 0.25);
    metrics_close(m);
    assert_file(path, "step,loss,accuracy\n10,3,0.1\n20,2,0.2\n30,1.5,0.25\n");
    mem_free(path);
}

static void loses_only_the_half_line_of_a_killed_run(void **state)
{
    Error e;
    char *path = path_join(*state, "metrics.csv");
    write_text(path, "step,loss,accuracy\n10,3,0.1\n20,2");
    metrics_close(metrics_open(path, COLUMNS, 2, 20, &e));
    assert_file(path, "step,loss,accuracy\n10,3,0.1\n");
    mem_free(path);
}

static void touches_no_file_of_another_kind(void **state)
{
    char *path = path_join(*state, "metrics.csv");
    const struct {
        const char *text;
        int64_t step;
        const char *line;
    } cases[] = {
        {"step,loss\n10,3\n", 20, "columns are not 'step,loss,accuracy'"},
        {"step,loss,accuracy\n10,3,1\n", -1, "rows of another run"},
        {"step,loss,accuracy\nten,3,1\n", 20, "metrics.csv:2: does not begin with a step"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Error e = {{0}};
        write_text(path, cases[i].text);
        assert_null(metrics_open(path, COLUMNS, 2, cases[i].step, &e));
        if (!strstr(e.text, cases[i].line))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].line);
        assert_file(path, cases[i].text);
    }
    mem_free(path);
}

static void names_the_line_that_cannot_be_read(void **state)
{
    char *path = path_join(*state, "metrics.csv");
    MetricsTable t;
    Error e;
    const char *rows[] = {"10,1", "10,1,2,3", "x,1,2", "10,one,2"};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char *text = str_format("step,loss,accuracy\n5,1,2\n%s\n", rows[i]);
        write_text(path, text);
        assert_false(metrics_read(&t, path, &e));
        assert_non_null(strstr(e.text, "metrics.csv:3:"));
        mem_free(text);
    }
    write_text(path, "loss\n1\n");
    assert_false(metrics_read(&t, path, &e));
    assert_non_null(strstr(e.text, "metrics.csv:1:"));
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(writes_rows_that_read_back),
        SCRATCH_TEST(is_cut_back_to_a_step),
        SCRATCH_TEST(loses_only_the_half_line_of_a_killed_run),
        SCRATCH_TEST(touches_no_file_of_another_kind),
        SCRATCH_TEST(names_the_line_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
