/* Any text as a config: as YAML, as a value of the command line, as JSON, and bound to a table. What reads must be
 * written so that it reads back to the same. */
#include "common/base/memory.h"
#include "common/run/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Part {
    int size[2];
    double rate;
    bool has_rate;
} Part;

typedef struct Config {
    int kind;
    Part part;
    char **names;
    int name_count;
    int (*depth)[3];
    int stages;
    Part *parts;
    int part_count;
    Node *rest;
} Config;

static const ConfigField part_rows[] = {
    {CONFIG_INT_ARRAY("size", Part, size, CONFIG_OR_ONE, .value = "1")},
    {CONFIG_NUMBER("rate", Part, rate, CONFIG_OR_NULL(Part, has_rate), .value = "null", .range = "[0, 1)")},
};
static const ConfigTable part_table = {CONFIG_STRUCT(Part), CONFIG_ROWS(part_rows)};

static const ConfigField config_rows[] = {
    {CONFIG_VARIANT("kind", Config, kind,
                    CONFIG_CHOICES(CONFIG_CHOICE_EMPTY("none"), CONFIG_CHOICE("part", Config, part, &part_table)),
                    .value = "none")},
    {CONFIG_STRING_LIST("names", Config, names, name_count, .value = "[]")},
    {CONFIG_INT_ARRAY_LIST("depth", Config, depth, stages, .value = "[]", .range = "[0, 9]")},
    {CONFIG_TABLE_LIST("parts", Config, parts, part_count, &part_table, .value = "[]")},
    {CONFIG_ANY("rest", Config, rest, .value = "null")},
};
static const ConfigTable config_table = {CONFIG_STRUCT(Config), CONFIG_ROWS(config_rows)};

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "%s:\n%s\n", what, text);
    abort();
}

static void check_reads_back(const Node *node)
{
    Str text = {0}, again = {0};
    node_write_yaml(node, &text);
    Error e;
    Node *back = node_from_yaml_text(text.text, "again", &e);
    if (!back)
        fail(e.text, text.text);
    node_write_yaml(back, &again);
    if (strcmp(text.text, again.text) != 0)
        fail("written twice, differently", text.text);
    node_free(back);
    str_free(&text);
    str_free(&again);
}

static void check_binds(const Node *node)
{
    Config config;
    Error e;
    if (!config_bind(&config_table, node, &config, &e)) {
        if (strchr(e.text, '\n'))
            fail("an error of several lines", e.text);
        return;
    }
    Node *resolved = config_to_node(&config_table, &config);
    check_reads_back(resolved);
    config_free(&config_table, &config);
    if (!config_bind(&config_table, resolved, &config, &e))
        fail("a resolved config does not bind", e.text);
    config_free(&config_table, &config);
    node_free(resolved);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = mem_new(size + 1);
    if (size)
        memcpy(text, bytes, size);
    Error e;
    Node *node = node_from_yaml_text(text, "text", &e);
    if (node) {
        check_reads_back(node);
        check_binds(node);
        node = config_merge(&config_table, node_copy(node), node);
        check_reads_back(node);
        node_free(node);
    }
    Node *root = node_map("root");
    char *equals = strchr(text, '=');
    if (equals) {
        *equals = '\0';
        if (node_set_path(root, text, equals + 1, "command line", &e))
            check_binds(root);
        *equals = '=';
    }
    node_free(root);
    node = node_from_json_text(text, "text", &e);
    if (node)
        check_binds(node);
    node_free(node);
    mem_free(text);
    return 0;
}
