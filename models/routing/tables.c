/* The paper's five tables: what it printed, what can be counted here (parameters, multiply-adds), and what finished runs gave.
 *
 * The figures are the spec's, which has 15.8, 18.3, 3.43, 3.44 and 33.2 from the paper's abstract and the others from memory. */
#include "models/routing/routing.h"

#include "common/run/command/tables.h"

#include <stdio.h>
#include <string.h>

/* config NULL: another paper's model, which has no place here. */
typedef struct Row {
    const char *name, *config, *paper;
    const char *note; /* or NULL */
} Row;

typedef struct Table {
    const char *data, *unit, *figure; /* figure: of result.yaml */
    const Row *rows;
    const char *small; /* a configuration of ours for the same data, or NULL */
} Table;

static const Row wikitext103[] = {
    {"Local Transformer, 16 layers", "wikitext103_local4k", "19.8", "14 layers in the released configuration"},
    {"Transformer-XL, 18 layers", NULL, "18.3", NULL},
    {"Compressive Transformer", NULL, "17.1", NULL},
    {"Routing Transformer, 10 layers", "wikitext103_local_cluster4k", "15.8",
     "14 layers in the released configuration"},
    {0},
};

static const Row enwik8[] = {
    {"Local Transformer, 24 layers", "enwik8_local8k", "1.10", "22 layers in the released configuration"},
    {"Transformer-XL, 24 layers", NULL, "0.99", NULL},
    {"Sparse Transformer, 30 layers", NULL, "0.99", NULL},
    {"Adaptive Transformer, 24 layers", NULL, "0.98", NULL},
    {"Routing Transformer, 12 layers", "enwik8_local_cluster8k", "0.99", "config enwik8 is the same"},
    {0},
};

static const Row imagenet64[] = {
    {"Local Transformer, 24 layers", "imagenet_local1d", "3.48", NULL},
    {"Reformer", NULL, "3.65", NULL},
    {"Sparse Transformer, 48 layers", NULL, "3.44", NULL},
    {"Routing Transformer, 24 layers", "imagenet_local_cluster", "3.43", "config imagenet64 is the same"},
    {0},
};

static const Row pg19[] = {
    {"Local Transformer, 24 layers", "pg19_local8k", "39.3", NULL},
    {"Transformer-XL, 36 layers", NULL, "36.3", NULL},
    {"Compressive Transformer, 36 layers", NULL, "33.6", NULL},
    {"Routing Transformer, 22 layers", "pg19_local_cluster8k", "33.2", "config pg19 is the same"},
    {0},
};

static const Row cifar10[] = {
    {"full attention", NULL, "2.98", "no configuration was released"},
    {"local attention", "cifar10_local1d", "3.01", NULL},
    {"random attention", "cifar10_random", "3.08", "by the paper; the released code has none"},
    {"routing, 4 heads in each layer", "cifar10_local_cluster", "2.97",
     "the paper's best routes in 8 layers; released: in 12"},
    {0},
};

static const Table tables[] = {
    {"WikiText-103", "perplexity of a word", "perplexity", wikitext103, NULL},
    {"enwik8", "bits per byte", "bits_per_byte", enwik8, "enwik8_small"},
    {"ImageNet 64x64", "bits per dim", "bits_per_dim", imagenet64, NULL},
    {"PG-19", "perplexity of a word", "word_perplexity", pg19, NULL},
    {"CIFAR-10, 12 layers", "bits per dim", "bits_per_dim", cifar10, "cifar10_small"},
};

/* Runs of a row under the name of its data, too: config enwik8 is enwik8_local_cluster8k. */
static const char *other_name(const char *config)
{
    static const char *const names[][2] = {{"enwik8_local_cluster8k", "enwik8"},
                                           {"pg19_local_cluster8k", "pg19"},
                                           {"imagenet_local_cluster", "imagenet64"},
                                           {"cifar10_local_cluster", "cifar10"}};
    for (int i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i][0], config) == 0)
            return names[i][1];
    return NULL;
}

static Spread result_of(const Row *row, const char *figure)
{
    Spread s = table_result("routing", row->config, NULL, figure);
    const char *other = other_name(row->config);
    return s.count || !other ? s : table_result("routing", other, NULL, figure);
}

/* ---- Printing */

static void print_result(Spread s)
{
    if (s.count)
        printf(" %10.4g |", spread_mean(&s));
    else
        printf(" %10s |", "not run");
}

static bool print_row(const Program *p, const Row *row, const char *figure, const Node *overrides, Error *e)
{
    printf("| %-35s | %6s |", row->name, row->paper);
    if (!row->config) {
        printf(" %11s | %8s | %10s | %s |\n", "", "", "", row->note ? row->note : "another paper's");
        return true;
    }
    ModelCounts counts;
    Settings *s = table_settings(p, row->config, NULL, NULL, overrides, e);
    bool good = s && table_count(p, s, &counts, e);
    if (good) {
        printf(" %11lld | %8.1f |", (long long)counts.parameters, counts.macs / 1e9);
        print_result(result_of(row, figure));
        printf(" %s%s%s |\n", row->config, row->note ? ": " : "", row->note ? row->note : "");
    }
    settings_free(s);
    return good;
}

static const char explanation[] =
    "\nPaper: %s, of the test part (ImageNet: of validation). 15.8, 18.3, 3.43, 3.44 and 33.2 stand in its abstract, "
    "the\nothers are quoted from memory and unchecked. GMACs: the forward of one sequence. Here: what the newest "
    "finished "
    "run of\nthat config in runs/routing ended with, on the data it was given. The paper's configurations were not "
    "trained "
    "here:\ntheir batch sizes and steps were never published, and they are too large for a machine without an "
    "accelerator.\n"
    "Configs that end in _small are ours and compare with nothing in the paper.";

bool routing_table(const struct Program *program, int number, const Node *overrides, Error *e)
{
    if (number < 1 || number > COUNT_OF(tables))
        return error_set(e,
                         "--table %d: the tables here are 1 (WikiText-103), 2 (enwik8), 3 (ImageNet 64x64), 4 (PG-19) "
                         "and 5 (CIFAR-10)",
                         number);
    const Table *table = &tables[number - 1];
    printf("| %-35s | %6s | %11s | %8s | %10s | config |\n", table->data, "paper", "parameters", "GMACs", "here");
    printf("|-------------------------------------|--------|-------------|----------|------------|--------|\n");
    for (const Row *row = table->rows; row->name; row++)
        if (!print_row(program, row, table->figure, overrides, e))
            return false;
    Row small = {"small", table->small, "", NULL};
    if (table->small && !print_row(program, &small, table->figure, overrides, e))
        return false;
    printf(explanation, table->unit);
    puts("");
    return true;
}
