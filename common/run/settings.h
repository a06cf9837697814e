/* The settings of a run: default.yaml, the CONFIG, an arm and the command line laid over each other, then bound by tables. */
#pragma once
#include "common/run/config/config.h"

typedef enum DeviceChoice { CHOICE_CPU, CHOICE_CUDA } DeviceChoice;
typedef enum Precision { PRECISION_FP32, PRECISION_BF16 } Precision;

/* The keys at the top of a config. */
typedef struct RunKeys {
    int64_t seed;
    DeviceChoice device;
    Precision precision;
    int threads; /* 0: one for every processor */
    char *name;  /* of the run's folder; NULL: the config's */
    Node *arms;  /* name -> overrides, or NULL */
    int64_t *seeds;
    int seed_count;
    char *claim; /* what the paper says, printed under an experiment's table */
    double save_seconds;
} RunKeys;

/* The tables of the four sections: the model's own and its workload's. */
typedef struct SettingsTables {
    const ConfigTable *model, *data, *train, *eval;
} SettingsTables;

typedef struct Settings {
    Node *tree;        /* as laid over each other, unresolved */
    char *config_name; /* "tiny" */
    char *arm;         /* or NULL */
    SettingsTables tables;
    RunKeys run;
    void *model, *data, *train, *eval; /* the bound structs */
} Settings;

/* Lays out the layers: `<folder>/default.yaml`, then CONFIG (a name in the folder or a path; NULL or "default": none), then
 * the overrides of the command line (a map; NULL: none). A config with `base: NAME` stands on that config instead of on
 * default.yaml. NULL with a line. */
Node *settings_layers(const SettingsTables *tables, const char *folder, const char *config, const Node *overrides,
                      Error *e);

/* Binds the tree strictly (it is taken over). `arm` (NULL: none) is laid over first, as is `seed` (-1: the config's). */
Settings *settings_bind(const SettingsTables *tables, Node *tree, const char *config_name, const char *arm,
                        int64_t seed, Error *e);
void settings_free(Settings *s);

/* Every key with the value it has now: what a run writes to config.yaml and reads again. Free it. */
Node *settings_resolved(const Settings *s);

/* The help text of all keys. */
void settings_help(const SettingsTables *tables, Str *out);

/* The names of the configs in a folder, without .yaml, sorted, default first; free with names_free. */
bool settings_list(const char *folder, char ***names, int *count, Error *e);
