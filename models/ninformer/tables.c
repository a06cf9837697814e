/* The paper's comparison, NiNformer beside MLP-Mixer and ViT at equal depth and at equal parameters: counts, and the accuracies
 * of the runs that were finished here. */
#include "models/ninformer/task.h"

#include "common/run/command/tables.h"

#include <stdio.h>

typedef struct Row {
    const char *config, *arm, *name;
} Row;

/* CIFAR-10 by the authors' recipe. */
static const Row paper_rows[] = {
    {"cifar10", NULL, "NiNformer"},
    {"cifar10_mixer", NULL, "MLP-Mixer, equal depth"},
    {"cifar10_mixer_8", NULL, "MLP-Mixer, equal parameters"},
    {"cifar10_vit", NULL, "ViT, equal depth"},
    {"cifar10_vit_5", NULL, "ViT, equal parameters"},
    {0},
};

static const Row small_rows[] = {
    {"experiment", "ninformer", "NiNformer"},
    {"experiment", "mixer_equal_depth", "MLP-Mixer, equal depth"},
    {"experiment", "mixer_equal_parameters", "MLP-Mixer, equal parameters"},
    {"experiment", "vit_equal_parameters", "ViT, equal parameters"},
    {"experiment", "gate_is_a_sum", "gate: u + v"},
    {"experiment", "gate_without_mixing", "gate: u * Z, nothing mixed"},
    {0},
};

static void print_accuracy(const Row *row, const char *figure)
{
    Spread s = table_result("ninformer", row->config, row->arm, figure);
    if (s.count > 1)
        printf(" %6.2f +- %5.2f |", spread_mean(&s), spread_deviation(&s));
    else if (s.count)
        printf(" %15.2f |", spread_mean(&s));
    else
        printf(" %15s |", "not run");
}

static bool print_row(const Program *p, const Row *row, bool paper, const Node *overrides, Error *e)
{
    ModelCounts counts;
    Settings *s = table_settings(p, row->config, row->arm, NULL, overrides, e);
    bool good = s && table_count(p, s, &counts, e);
    if (good) {
        const NinformerConfig *c = s->model;
        printf("| %-27s | %6d | %10lld | %6.1f |", row->name, c->num_layers, (long long)counts.parameters,
               counts.macs / 1e6);
        if (paper)
            printf(" %7s |", "unknown");
        print_accuracy(row, "top1");
        if (paper)
            print_accuracy(row, "augmented_top1");
        printf("\n");
    }
    settings_free(s);
    return good;
}

static const char paper_heading[] =
    "| CIFAR-10, 100 epochs        | layers | parameters |  MMACs |  paper  |      here top-1 | here, augmented |\n"
    "|-----------------------------|--------|------------|--------|---------|-----------------|-----------------|\n";
static const char paper_explanation[] =
    "\nThe paper's accuracies are not known here: its repository has none, and its abstract says only that NiNformer "
    "is above\n"
    "the others. Augmented: the test images go through the training's random crop and flip, as in the authors' "
    "script.\n"
    "Here: the newest finished run in runs/ninformer/<config> (cifar10, cifar10_mixer, cifar10_mixer_8, cifar10_vit, "
    "cifar10_vit_5).";
static const char small_heading[] =
    "| data set pairs, 20 epochs   | layers | parameters |  MMACs |      here top-1 |\n"
    "|-----------------------------|--------|------------|--------|-----------------|\n";
static const char small_explanation[] =
    "\nHere: mean and standard deviation over the seeds of the newest finished ./train ninformer experiment.";

bool ninformer_table(const struct Program *program, int number, const Node *overrides, Error *e)
{
    if (number != 1 && number != 2)
        return error_set(e, "--table %d: the tables here are 1 (the paper's comparison) and 2 (the small experiment)",
                         number);
    bool paper = number == 1;
    fputs(paper ? paper_heading : small_heading, stdout);
    for (const Row *row = paper ? paper_rows : small_rows; row->config; row++)
        if (!print_row(program, row, paper, overrides, e))
            return false;
    puts(paper ? paper_explanation : small_explanation);
    return true;
}
