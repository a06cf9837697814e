/* The named configurations: each binds, runs on the meta device, and has the parameters that the authors' code would make,
 * those of variant A counted here from the shapes. */
#include "common/run/command/command.h"
#include "models/routing/routing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

extern const Model routing_model;

static const char CONFIGS[] = "models/routing/configs";

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
};

typedef struct Counted {
    int64_t parameters;
    double macs; /* of one sequence */
} Counted;

static Counted count(const char *config)
{
    Error e;
    Program p = {.model = &routing_model, .configs = (char *)CONFIGS};
    SettingsTables tables = program_tables(&p);
    Node *tree = settings_layers(&tables, CONFIGS, config, NULL, &e);
    Settings *s = tree ? settings_bind(&tables, tree, config, NULL, -1, &e) : NULL;
    if (!s)
        fail_msg("%s", e.text);
    Params *params = params_new();
    void *network = routing_model.create(s->model, params);
    params_allocate(params, false, 0, NULL);
    Tape *t = tape_new(&(TapeOptions){.device = DEVICE_META});
    routing_model.trace(t, network, s->model);
    Counted c = {params_elements(params), tape_macs(t)};
    tape_free(t);
    routing_model.destroy(network);
    params_free(params);
    settings_free(s);
    return c;
}

static void named_configurations(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT_OF(table); i++) {
        Counted c = count(table[i].config);
        if (c.parameters != parameters(&table[i]))
            fail_msg("%s has %ld parameters, not %ld", table[i].config, (long)c.parameters,
                     (long)parameters(&table[i]));
        assert_true(c.macs > (double)parameters(&table[i]));
    }
}

/* As the package counts them. */
static void configurations_of_lucidrains(void **state)
{
    (void)state;
    assert_int_equal(count("lucidrains").parameters, 841856);
    assert_int_equal(count("lucidrains_enwik8").parameters, 18779136);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_configurations),
        cmocka_unit_test(configurations_of_lucidrains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
