/* Every differentiable op and layer against the tables of cases; an op that is declared and has no case is a failure. */
#include "autograd/attention_cases.h"
#include "autograd/layer_cases.h"
#include "autograd/op_cases.h"
#include "common/base/file.h"

#include <ctype.h>

typedef struct Table {
    const char *header;
    const OpCase *cases;
    int count;
    const char *elsewhere; /* what is declared there and has a test of its own: it is not differentiable */
} Table;

static const Table tables[] = {
    {"common/autograd/ops.h", op_cases, COUNT_OF(op_cases), ""},
    {"common/attention/attention.h", attention_cases, COUNT_OF(attention_cases), " attention_probabilities "},
    {"common/nn/layers.h", layer_cases, COUNT_OF(layer_cases), " self_attention_map "},
};

static void for_every_case(void (*check)(const OpCase *))
{
    for (int i = 0; i < COUNT_OF(tables); i++)
        for (int j = 0; j < tables[i].count; j++)
            check(&tables[i].cases[j]);
}

static void values_and_gradients(void **state)
{
    (void)state;
    for_every_case(check_case);
}

static void meta_device(void **state)
{
    (void)state;
    for_every_case(check_on_meta);
}

static void no_samples(void **state)
{
    (void)state;
    for_every_case(check_empty);
}

static void check_released_unless(const OpCase *c)
{
    if (!c->released_elsewhere)
        check_released(c);
}

static void released_inputs(void **state)
{
    (void)state;
    for_every_case(check_released_unless);
}

static bool has_case(const Table *table, const char *name)
{
    char word[96];
    snprintf(word, sizeof word, " %s ", name);
    if (strstr(table->elsewhere, word))
        return true;
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->cases[i].op, name) == 0)
            return true;
    return false;
}

/* The name of the first op that `text` declares and `table` lacks, or NULL; counts what it saw. */
static const char *missing_case(const char *text, const Table *table, int *seen)
{
    static const char opening[] = "Tensor *";
    static char name[80];
    for (const char *at = strstr(text, opening); at; at = strstr(at, opening)) {
        at += strlen(opening);
        size_t length = 0;
        while (isalnum((unsigned char)at[length]) || at[length] == '_')
            length++;
        if (length == 0 || length >= sizeof name || strncmp(at + length, "(Tape ", 6) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        ++*seen;
        if (!has_case(table, name))
            return name;
    }
    return NULL;
}

static void every_op_has_a_case(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(tables); i++) {
        Error e;
        char *text = file_read(tables[i].header, NULL, &e);
        int seen = 0;
        if (!text)
            fail_msg("%s", e.text);
        const char *missing = missing_case(text, &tables[i], &seen);
        if (missing)
            fail_msg("%s declares %s, which has no case", tables[i].header, missing);
        assert_true(seen > 3);
        mem_free(text);
    }
}

static void a_missing_case_is_noticed(void **state)
{
    (void)state;
    int seen = 0;
    assert_string_equal(missing_case("Tensor *add(Tape *t);\nTensor *invented(Tape *t, Tensor *x);", &tables[0], &seen),
                        "invented");
    assert_int_equal(seen, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_case),  cmocka_unit_test(a_missing_case_is_noticed),
        cmocka_unit_test(values_and_gradients), cmocka_unit_test(meta_device),
        cmocka_unit_test(no_samples),           cmocka_unit_test(released_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
