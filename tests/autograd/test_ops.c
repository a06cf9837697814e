/* Every differentiable op and layer against the tables of cases; an op that is declared and has no case is a failure. */
#include "autograd/attention_cases.h"
#include "autograd/augment_cases.h"
#include "autograd/batch_norm_cases.h"
#include "autograd/gather_cases.h"
#include "autograd/layer_cases.h"
#include "autograd/loss_cases.h"
#include "autograd/mechanism_cases.h"
#include "autograd/op_cases.h"
#include "autograd/routed_cases.h"
#include "autograd/shape_cases.h"
#include "common/base/file.h"

#include <ctype.h>

/* A header of ops, and what it declares that has a test of its own: it is not differentiable. */
typedef struct Header {
    const char *path, *elsewhere;
} Header;

static const Header headers[] = {
    {"common/autograd/ops.h", " nearest top_rows "},
    {"common/attention/attention.h", " attention_probabilities "},
    {"common/attention/kmeans.h", " cluster_scores hash_scores kmeans_mixed_counts kmeans_centres "},
    {"common/attention/relative.h", ""},
    {"common/attention/rotary.h", ""},
    {"common/attention/routed.h", ""},
    {"common/attention/windowed.h", " windowed_extend "},
    {"common/nn/layers.h", " self_attention_map "},
};

static const struct {
    const OpCase *cases;
    int count;
} tables[] = {
    {shape_cases, COUNT_OF(shape_cases)},
    {op_cases, COUNT_OF(op_cases)},
    {loss_cases, COUNT_OF(loss_cases)},
    {gather_cases, COUNT_OF(gather_cases)},
    {attention_cases, COUNT_OF(attention_cases)},
    {mechanism_cases, COUNT_OF(mechanism_cases)},
    {routed_cases, COUNT_OF(routed_cases)},
    {layer_cases, COUNT_OF(layer_cases)},
    {batch_norm_cases, COUNT_OF(batch_norm_cases)},
    {augment_cases, COUNT_OF(augment_cases)},
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

static bool has_case(const char *name)
{
    for (int i = 0; i < COUNT_OF(tables); i++)
        for (int j = 0; j < tables[i].count; j++)
            if (strcmp(tables[i].cases[j].op, name) == 0)
                return true;
    return false;
}

/* The name of the first op that `text` declares without a case here or elsewhere, or NULL; counts what it saw. */
static const char *missing_case(const char *text, const char *elsewhere, int *seen)
{
    static const char opening[] = "Tensor *";
    static char word[80]; /* " name " */
    for (const char *at = strstr(text, opening); at; at = strstr(at, opening)) {
        at += strlen(opening);
        size_t length = 0;
        while (isalnum((unsigned char)at[length]) || at[length] == '_')
            length++;
        if (length == 0 || length + 3 > sizeof word || strncmp(at + length, "(Tape ", 6) != 0)
            continue;
        ++*seen;
        snprintf(word, sizeof word, " %.*s ", (int)length, at);
        bool known = strstr(elsewhere, word) != NULL;
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (!known && !has_case(word))
            return word;
    }
    return NULL;
}

static void every_op_has_a_case(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(headers); i++) {
        Error e;
        char *text = file_read(headers[i].path, NULL, &e);
        int seen = 0;
        if (!text)
            fail_msg("%s", e.text);
        const char *missing = missing_case(text, headers[i].elsewhere, &seen);
        if (missing)
            fail_msg("%s declares %s, which has no case", headers[i].path, missing);
        assert_true(seen > 0);
        mem_free(text);
    }
}

static void a_missing_case_is_noticed(void **state)
{
    (void)state;
    int seen = 0;
    assert_string_equal(missing_case("Tensor *add(Tape *t);\nTensor *invented(Tape *t, Tensor *x);", "", &seen),
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
