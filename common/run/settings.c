#include "common/run/settings.h"

#include "common/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ConfigField run_rows[] = {
    {CONFIG_INT("seed", RunKeys, seed, .value = "0", .range = "[0, 4294967295]", .help = "of every random draw")},
    {CONFIG_ENUM(
        "device", RunKeys, device, CONFIG_WORDS("cpu", "cuda"), .value = "cpu",
        .help = "what computes; cuda: the first NVIDIA GPU. Draws are the same, sums differ in their last digits")},
    {CONFIG_ENUM("precision", RunKeys, precision, CONFIG_WORDS("fp32", "bf16"), .value = "fp32",
                 .help = "bf16: activations inside a block, and what backward saves of them, are bfloat16")},
    {CONFIG_INT("threads", RunKeys, threads, .value = "0", .range = "[0, 1024]",
                .help = "threads that compute; 0: one for every processor. Results do not depend on it")},
    {CONFIG_STRING("name", RunKeys, name, CONFIG_NULLABLE, .value = "null",
                   .help = "of the run's folder; null: the config's")},
    {CONFIG_MAP("arms", RunKeys, arms, CONFIG_NULLABLE, .value = "null",
                .help = "an experiment: name -> keys that differ; each is trained with every seed")},
    {CONFIG_INT_LIST("seeds", RunKeys, seeds, seed_count, .value = "[]", .range = "[0, 4294967295]",
                     .help = "of an experiment")},
    {CONFIG_STRING("claim", RunKeys, claim, CONFIG_NULLABLE, .value = "null",
                   .help = "what the paper says, printed under an experiment's table")},
    {CONFIG_NUMBER("save_seconds", RunKeys, save_seconds, .value = "60", .range = "(0, inf)",
                   .help = "between checkpoints inside an epoch")},
};
static const ConfigTable run_table = {CONFIG_STRUCT(RunKeys), CONFIG_ROWS(run_rows)};

typedef struct Section {
    const char *name;
    const ConfigTable *table;
    void **bound;
} Section;

enum { SECTIONS = 4 };

static void sections_of(const SettingsTables *tables, Settings *s, Section out[SECTIONS])
{
    out[0] = (Section){"model", tables->model, s ? &s->model : NULL};
    out[1] = (Section){"data", tables->data, s ? &s->data : NULL};
    out[2] = (Section){"train", tables->train, s ? &s->train : NULL};
    out[3] = (Section){"eval", tables->eval, s ? &s->eval : NULL};
}

/* ---- Layers */

static Node *read_layer(const char *folder, const char *config, Error *e)
{
    if (strchr(config, '/') || str_ends(config, ".yaml"))
        return node_from_yaml_file(config, e);
    char *path = str_format("%s/%s.yaml", folder, config);
    Node *node = NULL;
    if (file_exists(path)) {
        node = node_from_yaml_file(path, e);
    } else {
        char **names = NULL;
        int count = 0;
        if (settings_list(folder, &names, &count, e)) {
            const char *near = str_nearest(config, (const char *const *)names, count);
            error_set(e, "config %s: there is no %s%s%s%s", config, path, near ? "; did you mean " : "",
                      near ? near : "", near ? "?" : "");
        }
        names_free(names, count);
    }
    free(path);
    return node;
}

/* Whole trees are merged section by section, so that a section's variants are honoured. */
static Node *lay_over(const SettingsTables *tables, Node *base, Node *over)
{
    Section sections[SECTIONS];
    sections_of(tables, NULL, sections);
    for (int i = 0; i < SECTIONS; i++) {
        Node *section = node_take(over, sections[i].name), *below = node_take(base, sections[i].name);
        if (section && below)
            section = config_merge(sections[i].table, below, section);
        if (section || below)
            node_set(base, sections[i].name, section ? section : below);
    }
    return node_merge(base, over);
}

/* The config with what it stands on below it; `deep` stops a base that leads back to itself. */
static Node *read_with_base(const SettingsTables *tables, const char *folder, const char *config, int deep, Error *e)
{
    Node *node = read_layer(folder, config, e);
    Node *base = node ? node_take(node, "base") : NULL;
    if (!node || strcmp(config, "default") == 0)
        return node;
    Node *below = NULL;
    if (base && (base->kind != NODE_SCALAR || deep > 8))
        error_set(e, "%s: base: expected the name of another config, and no circle", base->origin);
    else
        below = read_with_base(tables, folder, base ? base->text : "default", deep + 1, e);
    node_free(base);
    if (below)
        return lay_over(tables, below, node);
    node_free(node);
    return NULL;
}

Node *settings_layers(const SettingsTables *tables, const char *folder, const char *config, const Node *overrides,
                      Error *e)
{
    Node *tree = read_with_base(tables, folder, config ? config : "default", 0, e);
    return tree && overrides ? lay_over(tables, tree, node_copy(overrides)) : tree;
}

/* ---- Binding */

static bool lay_arm(const SettingsTables *tables, Node **tree, const char *arm, Error *e)
{
    const Node *keys = node_find(node_find(*tree, "arms"), arm);
    if (!keys)
        return error_set(e, "arm %s is not in the config", arm);
    if (keys->kind != NODE_MAP && !node_is_null(keys))
        return error_set(e, "%s: arms.%s is no section of keys", keys->origin, arm);
    *tree = lay_over(tables, *tree, keys->kind == NODE_MAP ? node_copy(keys) : node_map(keys->origin));
    node_free(node_take(*tree, "arms")); /* one run of the experiment has none of its own */
    node_free(node_take(*tree, "seeds"));
    return true;
}

static bool bind_sections(Settings *s, Node *top, Error *e)
{
    Section sections[SECTIONS];
    sections_of(&s->tables, s, sections);
    for (int i = 0; i < SECTIONS; i++) {
        Node *node = node_take(top, sections[i].name);
        void *bound = mem_new(sections[i].table->size);
        bool good = config_bind_at(sections[i].table, node, sections[i].name, "", bound, e);
        node_free(node);
        if (!good) {
            mem_free(bound);
            return false;
        }
        *sections[i].bound = bound;
    }
    return config_bind(&run_table, top, &s->run, e);
}

Settings *settings_bind(const SettingsTables *tables, Node *tree, const char *config_name, const char *arm,
                        int64_t seed, Error *e)
{
    Settings *s = mem_new(sizeof *s);
    s->tables = *tables;
    s->tree = tree;
    s->config_name = str_copy(config_name);
    s->arm = arm ? str_copy(arm) : NULL;
    Node *top = node_copy(tree);
    bool good = !arm || lay_arm(tables, &top, arm, e);
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)seed);
    if (good && seed >= 0)
        good = node_set_path(top, "seed", text, "seeds", e);
    good = good && bind_sections(s, top, e);
    node_free(top);
    if (good)
        return s;
    settings_free(s);
    return NULL;
}

void settings_free(Settings *s)
{
    if (!s)
        return;
    Section sections[SECTIONS];
    sections_of(&s->tables, s, sections);
    for (int i = 0; i < SECTIONS; i++)
        if (*sections[i].bound) {
            config_free(sections[i].table, *sections[i].bound);
            mem_free(*sections[i].bound);
        }
    config_free(&run_table, &s->run);
    node_free(s->tree);
    free(s->config_name);
    free(s->arm);
    mem_free(s);
}

Node *settings_resolved(const Settings *s)
{
    Node *top = config_to_node(&run_table, &s->run);
    Section sections[SECTIONS];
    sections_of(&s->tables, (Settings *)s, sections);
    for (int i = 0; i < SECTIONS; i++)
        node_set(top, sections[i].name, config_to_node(sections[i].table, *sections[i].bound));
    return top;
}

void settings_help(const SettingsTables *tables, Str *out)
{
    config_help(&run_table, out);
    Section sections[SECTIONS];
    sections_of(tables, NULL, sections);
    for (int i = 0; i < SECTIONS; i++) {
        str_add(out, "\n%s:\n", sections[i].name);
        config_help(sections[i].table, out);
    }
}

bool settings_list(const char *folder, char ***names, int *count, Error *e)
{
    char **files;
    int found, kept = 0;
    if (!folder_list(folder, &files, &found, e))
        return false;
    for (int i = 0; i < found; i++) {
        if (str_ends(files[i], ".yaml")) {
            files[i][strlen(files[i]) - 5] = '\0';
            files[kept++] = files[i];
            if (strcmp(files[kept - 1], "default") == 0)
                for (int j = kept - 1; j > 0; j--) {
                    char *swap = files[j];
                    files[j] = files[j - 1];
                    files[j - 1] = swap;
                }
        } else {
            free(files[i]);
        }
    }
    *names = files;
    *count = kept;
    return true;
}
