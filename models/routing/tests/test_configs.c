/* The named configurations: each binds, runs on the meta device, and has the parameters that the authors' code would make,
 * those of variant A counted here from the shapes. */
#include "common/run/command/tables.h"
#include "models/routing/routing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

extern const Model routing_model;

/* W tokens or values; E, D, F widths; L layers of `local` + `routing` heads, `skip` of them with local heads alone; K clusters;
 * M farthest distance; side: 0 text, else rows of an image of C channels. */
typedef struct Sizes {
    const char *config;
    int64_t words, narrow, wide, hidden, layers, local, routing, skip, clusters, farthest, side, channels;
    bool norms_first; /* and so one more behind the last layer */
} Sizes;

static int64_t of_layer(const Sizes *s, bool routes)
{
    int64_t width = s->wide / (s->local + s->routing), table = 2 * (2 * s->farthest + 1) * width;
    int64_t count = 4 * s->wide * s->wide + width * width + 4 * s->wide;
    count += s->side ? 2 * s->wide * s->hidden + s->wide + s->hidden : 3 * s->wide * s->hidden;
    if (!s->side)
        count += table + (routes ? table : 0);
    return count + (routes ? s->routing * s->clusters * width : 0);
}

static int64_t parameters(const Sizes *s)
{
    int64_t w = s->words, e = s->narrow, d = s->wide, count;
    if (s->side)
        count = w * s->channels * d + 2 * s->side * s->channels * d + d * w + w;
    else
        count = w * e + e * d + d + (e != d ? d * e + e : 0) + e * w + w;
    count += s->norms_first ? 2 * d : 0;
    for (int64_t layer = 0; layer < s->layers; layer++)
        count += of_layer(s, s->routing && layer >= s->skip);
    return count;
}

static const Sizes table[] = {
    {"wikitext103_local4k", 267735, 256, 1024, 3072, 14, 16, 0, 0, 0, 513, 0, 0, false},
    {"wikitext103_local_cluster4k", 267735, 256, 1024, 3072, 14, 8, 8, 0, 8, 513, 0, 0, false},
    {"wikitext103_local_cluster1k", 267735, 256, 1024, 3072, 20, 8, 8, 0, 2, 513, 0, 0, false},
    {"wikitext103_local_hash4k", 267735, 256, 1024, 3072, 14, 8, 8, 0, 0, 513, 0, 0, false},
    {"wikitext103_local_hash1k", 267735, 256, 1024, 3072, 20, 8, 8, 0, 0, 513, 0, 0, false},
    {"wikitext103_random4k", 267735, 256, 1024, 3072, 14, 8, 8, 0, 0, 513, 0, 0, false},
    {"enwik8_local8k", 256, 1024, 1024, 3072, 22, 8, 0, 0, 0, 513, 0, 0, false},
    {"enwik8_local_cluster8k", 256, 1024, 1024, 3072, 12, 4, 4, 0, 16, 513, 0, 0, false},
    {"enwik8_local12k", 256, 1024, 1024, 3072, 22, 8, 0, 0, 0, 257, 0, 0, false},
    {"enwik8_local_cluster12k", 256, 1024, 1024, 3072, 12, 4, 4, 0, 48, 257, 0, 0, false},
    {"pg19_local8k", 98304, 1032, 1032, 4096, 24, 8, 0, 0, 0, 513, 0, 0, false},
    {"pg19_local_cluster8k", 98304, 1032, 1032, 4096, 22, 6, 2, 21, 16, 513, 0, 0, false},
    {"imagenet_local1d", 256, 0, 1024, 2048, 24, 16, 0, 0, 0, 0, 64, 3, false},
    {"imagenet_local_cluster", 256, 0, 1024, 2048, 24, 12, 4, 0, 8, 0, 64, 3, false},
    {"cifar10_local1d", 256, 0, 1024, 2048, 12, 8, 0, 0, 0, 0, 32, 3, false},
    {"cifar10_local_cluster", 256, 0, 1024, 2048, 12, 4, 4, 0, 6, 0, 32, 3, false},
    {"cifar10_random", 256, 0, 1024, 2048, 12, 4, 4, 0, 0, 0, 32, 3, false},
    {"mnist_local1d", 256, 0, 512, 2048, 12, 4, 0, 0, 0, 0, 28, 1, false},
    {"mnist_cluster_local", 256, 0, 512, 2048, 12, 2, 2, 0, 7, 0, 28, 1, false},
    /* The same by the name of their data, and for a small machine. */
    {"enwik8", 256, 1024, 1024, 3072, 12, 4, 4, 0, 16, 513, 0, 0, false},
    {"pg19", 98304, 1032, 1032, 4096, 22, 6, 2, 21, 16, 513, 0, 0, false},
    {"imagenet64", 256, 0, 1024, 2048, 24, 12, 4, 0, 8, 0, 64, 3, false},
    {"cifar10", 256, 0, 1024, 2048, 12, 4, 4, 0, 6, 0, 32, 3, false},
    {"wikitext2", 33278, 128, 256, 768, 4, 2, 2, 0, 8, 129, 0, 0, true},
    {"wikitext2_small", 8000, 128, 256, 768, 3, 2, 2, 0, 8, 129, 0, 0, true},
    {"enwik8_small", 256, 256, 256, 768, 4, 2, 2, 0, 8, 129, 0, 0, true},
    {"shakespeare", 128, 192, 192, 576, 4, 2, 2, 0, 8, 129, 0, 0, true},
    {"cifar10_small", 256, 0, 128, 256, 4, 2, 2, 0, 6, 0, 32, 3, true},
    {"mnist_small", 256, 0, 128, 256, 4, 2, 2, 0, 7, 0, 28, 1, true},
    {"default", 256, 192, 192, 384, 4, 3, 1, 2, 4, 33, 0, 0, false},
    {"local", 256, 192, 192, 384, 4, 4, 0, 0, 0, 33, 0, 0, false},
};

/* An arm that a key of default.yaml makes another's equal would go unseen in the experiment. */
static const struct {
    const char *arm;
    Sizes sizes;
} arms[] = {
    {"full", {"experiment", 192, 64, 64, 128, 2, 4, 0, 0, 0, 513, 0, 0, true}},
    {"routing", {"experiment", 192, 64, 64, 128, 2, 2, 2, 0, 8, 65, 0, 0, true}},
    {"random", {"experiment", 192, 64, 64, 128, 2, 2, 2, 0, 0, 65, 0, 0, true}},
    {"local", {"experiment", 192, 64, 64, 128, 2, 4, 0, 0, 0, 65, 0, 0, true}},
};

static ModelCounts count(const char *config, const char *arm)
{
    Error e;
    ModelCounts counts;
    Program p = {.model = &routing_model, .configs = "models/routing/configs"};
    Settings *s = table_settings(&p, config, arm, NULL, NULL, &e);
    if (!s || !table_count(&p, s, &counts, &e))
        fail_msg("%s", e.text);
    settings_free(s);
    return counts;
}

static void check(const Sizes *sizes, const char *arm)
{
    ModelCounts c = count(sizes->config, arm);
    if (c.parameters != parameters(sizes))
        fail_msg("%s %s has %ld parameters, not %ld", sizes->config, arm ? arm : "", (long)c.parameters,
                 (long)parameters(sizes));
    assert_true(c.macs > (double)parameters(sizes));
}

static void named_configurations(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(table); i++)
        check(&table[i], NULL);
    for (int i = 0; i < COUNT_OF(arms); i++)
        check(&arms[i].sizes, arms[i].arm);
}

/* As the package counts them. */
static void configurations_of_lucidrains(void **state)
{
    (void)state;
    assert_int_equal(count("lucidrains", NULL).parameters, 841856);
    assert_int_equal(count("lucidrains_enwik8", NULL).parameters, 18779136);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_configurations),
        cmocka_unit_test(configurations_of_lucidrains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
