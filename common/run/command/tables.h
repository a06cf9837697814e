/* For a model's --table N: the paper's rows beside what can be counted here and what runs here ended with. */
#pragma once
#include "common/run/command/command.h"

/* A named config, over it the user's overrides, over them one of its arms or changes to its model section in flow YAML
 * (NULL: none). */
Settings *table_settings(const Program *p, const char *config, const char *arm, const char *changes,
                         const Node *overrides, Error *e);

/* Of one sample's forward, on the meta device. */
typedef struct ModelCounts {
    int64_t parameters;
    int tensors;
    double macs;
} ModelCounts;

bool table_count(const Program *p, Settings *s, ModelCounts *counts, Error *e);

/* Mean and standard deviation (of a sample; 0 for one value). */
typedef struct Spread {
    double sum, squares;
    int count;
} Spread;

void spread_add(Spread *s, double value);
double spread_mean(const Spread *s);
double spread_deviation(const Spread *s);

/* A figure of result.yaml in the newest finished run of this config or name, over the seeds of an arm (NULL: it is no
 * experiment). count 0: there is none. */
Spread table_result(const char *model, const char *name, const char *arm, const char *figure);
