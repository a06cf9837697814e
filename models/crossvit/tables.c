/* The paper's tables beside what is here: parameters and multiply-adds are counted, accuracies are measured where the authors'
 * weights and ImageNet are given, and what was not run is said. */
#include "models/crossvit/task.h"

#include "common/base/file.h"
#include "common/run/command/tables.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Row {
    const char *config;  /* of models/crossvit/configs, NULL: none of ours */
    const char *changes; /* flow YAML over it, or NULL */
    const char *name;
    double top1, gflops, params; /* the paper's */
    double timm1, timm5;         /* the authors' weights, measured by timm; 0: none */
    const char *weights;         /* the authors' file */
} Row;

/* Table 2 and 4: ImageNet-1K. */
static const Row table2[] = {
    {NULL, NULL, "DeiT-Ti", 72.2, 1.3, 5.7, 0, 0, NULL},
    {"tiny", NULL, "CrossViT-Ti", 73.4, 1.6, 6.9, 73.352, 91.906, "crossvit_tiny_224"},
    {"9", NULL, "CrossViT-9", 73.9, 1.8, 8.6, 73.994, 91.976, "crossvit_9_224"},
    {"9_dagger", NULL, "CrossViT-9+", 77.1, 2.0, 8.8, 76.990, 93.602, "crossvit_9_dagger_224"},
    {NULL, NULL, "DeiT-S", 79.8, 4.6, 22.1, 0, 0, NULL},
    {"small", NULL, "CrossViT-S", 81.0, 5.6, 26.7, 81.036, 95.466, "crossvit_small_224"},
    {"15", NULL, "CrossViT-15", 81.5, 5.8, 27.4, 81.522, 95.694, "crossvit_15_224"},
    {"15_dagger", NULL, "CrossViT-15+", 82.3, 6.1, 28.2, 82.302, 95.960, "crossvit_15_dagger_224"},
    {NULL, NULL, "DeiT-B", 81.8, 17.6, 86.6, 0, 0, NULL},
    {"base", NULL, "CrossViT-B", 82.2, 21.2, 104.7, 82.212, 95.826, "crossvit_base_224"},
    {"18", NULL, "CrossViT-18", 82.5, 9.03, 43.3, 82.390, 96.064, "crossvit_18_224"},
    {"18_dagger", NULL, "CrossViT-18+", 82.8, 9.5, 44.3, 82.494, 96.070, "crossvit_18_dagger_224"},
    {"15_dagger_384", NULL, "CrossViT-15+@384", 83.5, 21.4, 28.5, 83.842, 96.786, "crossvit_15_dagger_384"},
    {"18_dagger_384", NULL, "CrossViT-18+@384", 83.9, 32.4, 44.6, 84.198, 96.834, "crossvit_18_dagger_384"},
    {"18_dagger_384", "{img_size: [504, 480]}", "CrossViT-18+@480", 84.1, 56.6, 44.9, 0, 0, NULL},
    {0},
};

/* Table 6: how the branches meet, on CrossViT-S. */
static const Row table6[] = {
    {"small", "{fusion: none}", "none", 80.2, 5.3, 23.7, 0, 0, NULL},
    {"small", "{fusion: all_attention}", "all-attention", 80.0, 7.6, 27.7, 0, 0, NULL},
    {"small", "{fusion: class_token}", "class token", 80.3, 5.4, 24.2, 0, 0, NULL},
    {"small", "{fusion: pairwise}", "pairwise", 80.3, 5.5, 24.2, 0, 0, NULL},
    {"small", NULL, "cross-attention", 81.0, 5.6, 26.7, 81.036, 95.466, "crossvit_small_224"},
    {0},
};

/* Table 8: the large branch alone. */
static const Row table8[] = {
    {"9", "{branches: large, fusion: none}", "DeiT-9", 72.9, 1.4, 6.4, 0, 0, NULL},
    {"9_dagger", "{branches: large, fusion: none}", "DeiT-9+", 75.6, 1.5, 6.6, 0, 0, NULL},
    {"15", "{branches: large, fusion: none}", "DeiT-15", 80.8, 4.9, 22.9, 0, 0, NULL},
    {"15_dagger", "{branches: large, fusion: none}", "DeiT-15+", 81.7, 5.1, 23.5, 0, 0, NULL},
    {"18", "{branches: large, fusion: none}", "DeiT-18", 81.4, 7.8, 37.1, 0, 0, NULL},
    {"18_dagger", "{branches: large, fusion: none}", "DeiT-18+", 81.2, 8.1, 37.9, 0, 0, NULL},
    {0},
};

/* $ZOO_WEIGHTS/<name>.pth or .safetensors; NULL if it is not there. */
static char *find_weights(const char *name)
{
    const char *folder = getenv("ZOO_WEIGHTS");
    static const char *const endings[] = {"pth", "safetensors"};
    for (int i = 0; folder && name && i < COUNT_OF(endings); i++) {
        char *path = str_format("%s/%s.%s", folder, name, endings[i]);
        if (file_exists(path))
            return path;
        free(path);
    }
    return NULL;
}

static bool print_row(const Program *p, const Row *row, const Node *overrides, Error *e)
{
    char parameters[16] = "", gmacs[16] = "", timm[32] = "";
    if (row->config) {
        ModelCounts counts;
        Settings *s = table_settings(p, row->config, NULL, row->changes, overrides, e);
        bool good = s && table_count(p, s, &counts, e);
        settings_free(s);
        if (!good)
            return false;
        snprintf(parameters, sizeof parameters, "%.2f", (double)counts.parameters / 1e6);
        snprintf(gmacs, sizeof gmacs, "%.2f", counts.macs / 1e9);
    }
    if (row->timm1 > 0)
        snprintf(timm, sizeof timm, "%.3f / %.3f", row->timm1, row->timm5);
    printf("| %-16s | %5.1f | %8.1f | %6.1f | %8s | %5s | %16s |\n", row->name, row->top1, row->params, row->gflops,
           parameters, gmacs, timm);
    return true;
}

static bool measure_row(const Program *p, Settings *s, const char *path, Error *e)
{
    Job job;
    Weights w = {.path = (char *)path};
    if (!job_open(&job, p, s, JOB_ON_DEVICE, e))
        return false;
    job.log = log_open(stdout, NULL, e);
    bool good = weights_load(&w, &job, NULL, e) && p->model->workload->evaluate(&job, e);
    log_close(job.log);
    job_close(&job);
    return good;
}

static const char not_given[] =
    "Accuracies here: not run. They are measured if ZOO_WEIGHTS names a folder of the authors' weights\n"
    "(crossvit_tiny_224.pth, ...) and data.path=FOLDER is ImageNet.";
static const char not_released[] = "Accuracies here: not run. No weights of these models were released.";

/* What the row's weights give, or why that is not known. */
static bool run_row(const Program *p, const Row *row, const Node *overrides, Error *e)
{
    Settings *s = table_settings(p, row->config, NULL, row->changes, overrides, e);
    char *weights = find_weights(row->weights);
    bool good = s != NULL;
    Error missing;
    Str where = {0};
    if (good && !row->weights)
        error_set(&missing, "no weights were released");
    else if (good && !weights)
        error_set(&missing, "%s.pth or .safetensors is not in $ZOO_WEIGHTS", row->weights);
    if (good && weights && p->model->workload->find_data(s, &where, &missing)) {
        printf("\n%s\n", row->name);
        good = measure_row(p, s, weights, e);
    } else if (good) {
        printf("%-16s not run: %s\n", row->name, missing.text);
    }
    str_free(&where);
    free(weights);
    settings_free(s);
    return good;
}

static const char heading[] =
    "|                  |         paper             |      here        | authors' weights |\n"
    "|                  | top-1 | M params | GFLOPs | M params | GMACs | by timm: top-1/5 |\n"
    "|------------------|-------|----------|--------|----------|-------|------------------|\n";
static const char explanation[] = "\n+ stands for the dagger models. The paper counts a multiply-add as one FLOP, and "
                                  "for Ti, S, B and 15 leaves the\n"
                                  "position embeddings out of the parameters. By timm: what timm measured of the "
                                  "weights that the authors released.\n\n";

bool crossvit_table(const struct Program *program, int number, const Node *overrides, Error *e)
{
    const Row *rows = number == 2 ? table2 : number == 6 ? table6 : number == 8 ? table8 : NULL;
    if (!rows)
        return error_set(e, "--table %d: the tables here are 2 (ImageNet), 6 (fusion) and 8 (single branches)", number);
    fputs(heading, stdout);
    for (const Row *row = rows; row->name; row++)
        if (!print_row(program, row, overrides, e))
            return false;
    fputs(explanation, stdout);
    bool released = false;
    for (const Row *row = rows; row->name; row++)
        released = released || row->weights;
    if (!released || !getenv("ZOO_WEIGHTS")) {
        puts(released ? not_given : not_released);
        return true;
    }
    printf("Accuracies here, of the authors' weights:\n");
    for (const Row *row = rows; row->name; row++)
        if (row->config && !run_row(program, row, overrides, e))
            return false;
    return true;
}
