/* ./eval routing RUN --clusters, of both variants: every token has a nearest cluster, every cluster as many members as its
 * window, the page shows the text; and ./eval routing --table N. */
#include "common/base/file.h"
#include "common/run/command/command.h"
#include "models/routing/clusters.h"

#include "run_floor/scratch.h"

#include <stdio.h>
#include <unistd.h>

extern const Model routing_model;

static const char CONFIGS[] = "models/routing/configs";
enum { TOKENS = 24, CLUSTERS = 3, LAYERS = 2, HEADS = 2 };

static const char OFFICIAL[] =
    "{model: {variant: official, vocab_size: 256, hidden_size: 16, embedding_dims: 16, filter_size: 16, "
    "num_decoder_layers: 3, sparsity_skip_first: 1, local_num_heads: 2, sparsity_cluster_num_heads: 2, "
    "sparsity_cluster_size: 3, sparsity_cluster_attention_window: 4, query_shape: [8], memory_flange: [8], "
    "max_relative_position: 9, max_target_length: 32}}";
/* Clusters: max_seq_len / window_size. */
static const char LUCIDRAINS[] =
    "{model: {variant: lucidrains, num_tokens: 256, dim: 16, depth: 3, max_seq_len: 24, heads: 4, dim_head: 4, "
    "causal: true, window_size: 8, local_attn_window_size: 8, n_local_attn_heads: [4, 2, 2]}}";

typedef struct Fixture {
    Job job;
    Settings *settings;
} Fixture;

static Fixture make(const char *yaml)
{
    Error e;
    Program p = {.model = &routing_model, .configs = (char *)CONFIGS};
    SettingsTables tables = program_tables(&p);
    Node *tree = node_from_flow_yaml(yaml, "test", &e);
    Settings *s = tree ? settings_bind(&tables, tree, "test", NULL, -1, &e) : NULL;
    if (!s)
        fail_msg("%s", e.text);
    Fixture f = {.settings = s};
    if (!job_open(&f.job, &p, s, JOB_ON_DEVICE, &e))
        fail_msg("%s", e.text);
    f.job.log = log_open(stdout, NULL, &e);
    return f;
}

static void drop(Fixture *f)
{
    log_close(f->job.log);
    job_close(&f->job);
    settings_free(f->settings);
}

/* The row in front of an official model's first token is a member, too, and of no token's. */
static void check_head(const ClustersOfHead *h, int members, int64_t ahead)
{
    assert_int_equal(h->clusters, CLUSTERS);
    for (int64_t i = 0; i < TOKENS; i++)
        assert_in_range(h->nearest[i], 0, CLUSTERS - 1);
    for (int c = 0; c < CLUSTERS; c++) {
        int count = 0;
        for (int64_t i = 0; i < TOKENS; i++)
            count += h->member[i * CLUSTERS + c];
        assert_in_range(count, members - ahead, members);
    }
}

static void heads_of_both_variants(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int members;
    } cases[] = {{OFFICIAL, 4}, {LUCIDRAINS, 8}};
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Fixture f = make(cases[i].yaml);
        int64_t ids[TOKENS];
        for (int n = 0; n < TOKENS; n++)
            ids[n] = 'a' + n * 7 % 26;
        Clustering c = clustering_of(&f.job, ids, TOKENS);
        assert_int_equal(c.heads.count, LAYERS * HEADS);
        for (size_t h = 0; h < c.heads.count; h++) {
            assert_int_equal(c.heads.items[h].layer, 1 + h / HEADS); /* in layer 0 all heads are local */
            assert_int_equal(c.heads.items[h].head, h % HEADS);
            check_head(&c.heads.items[h], cases[i].members, c.shift);
        }
        clustering_free(&c);
        drop(&f);
    }
}

/* In the scratch folder: the view writes where it is called. */
static void the_page_shows_the_text(void **state)
{
    static const char *const models[] = {OFFICIAL, LUCIDRAINS};
    char back[4096];
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(*state), 0);
    for (int i = 0; i < COUNT_OF(models); i++) {
        Error e;
        Fixture f = make(models[i]);
        if (!clusters_view(&f.job, "one <two>\nthree", &e))
            fail_msg("%s", e.text);
        char *html = file_read("clusters.html", NULL, &e);
        assert_non_null(html);
        assert_non_null(strstr(html, ">&lt;</span>"));
        assert_non_null(strstr(html, "Layer 1"));
        assert_null(strstr(html, "Layer 0"));
        assert_non_null(strstr(html, "nearest to cluster "));
        mem_free(html);
        assert_int_equal(unlink("clusters.html"), 0);
        drop(&f);
    }
    assert_int_equal(chdir(back), 0);
}

static void what_cannot_be_drawn_is_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *text, *line;
    } cases[] = {
        {OFFICIAL, "", "--clusters: the text is empty"},
        {"{model: {vocab_size: 256, hidden_size: 16, num_decoder_layers: 1, local_num_heads: 2, query_shape: [8], "
         "memory_flange: [8], max_target_length: 16}}",
         "text", "--clusters: no head of this model routes"},
        {"{model: {vocab_size: 100, hidden_size: 16, num_decoder_layers: 1, local_num_heads: 2, query_shape: [8], "
         "memory_flange: [8], max_target_length: 16}}",
         "text", "the vocabulary of the model is 100"},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        Error e;
        Fixture f = make(cases[i].yaml);
        assert_false(clusters_view(&f.job, cases[i].text, &e));
        if (!strstr(e.text, cases[i].line))
            fail_msg("%s", e.text);
        drop(&f);
    }
}

/* All configurations that the tables name are there and can be counted. */
static void tables(void **state)
{
    (void)state;
    Error e;
    Program p = {.model = &routing_model, .configs = (char *)CONFIGS};
    Node *nothing = node_map("test");
    for (int i = 1; i <= 5; i++)
        if (!routing_table(&p, i, nothing, &e))
            fail_msg("%s", e.text);
    assert_false(routing_table(&p, 6, nothing, &e));
    assert_non_null(strstr(e.text, "--table 6"));
    node_free(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_both_variants),
        SCRATCH_TEST(the_page_shows_the_text),
        cmocka_unit_test(what_cannot_be_drawn_is_one_line),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
