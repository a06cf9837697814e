/* What the tests of config tables share. */
#pragma once
#include "common/run/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static inline Node *yaml(const char *text)
{
    Error e = {0};
    Node *node = node_from_yaml_text(text, "a.yaml", &e);
    if (!node)
        fail_msg("%s", e.text);
    return node;
}

static inline void bind(const ConfigTable *table, const char *text, void *config)
{
    Error e = {0};
    Node *node = yaml(text);
    if (!config_bind(table, node, config, &e))
        fail_msg("%s", e.text);
    node_free(node);
}

static inline void assert_refused(const ConfigTable *table, const char *text, const char *line)
{
    Error e = {0};
    Node *node = yaml(text);
    char *config = mem_new(table->size), *zeros = mem_new(table->size);
    memset(config, 0x55, table->size);
    assert_false(config_bind(table, node, config, &e));
    assert_string_equal(e.text, line);
    assert_memory_equal(config, zeros, table->size); /* nothing left to free */
    mem_free(config);
    mem_free(zeros);
    node_free(node);
}

/* The resolved config is `written`, and reads back to the same. */
static inline void assert_resolved(const ConfigTable *table, const void *config, const char *written)
{
    Str text = {0}, again = {0};
    Node *node = config_to_node(table, config);
    node_write_yaml(node, &text);
    assert_string_equal(text.text, written);
    char *second = mem_new(table->size);
    bind(table, text.text, second);
    Node *back = config_to_node(table, second);
    node_write_yaml(back, &again);
    assert_string_equal(again.text, text.text);
    config_free(table, second);
    mem_free(second);
    node_free(node);
    node_free(back);
    str_free(&text);
    str_free(&again);
}

/* A small table that others hold. */
typedef struct Stage {
    char *name;
    int epochs;
} Stage;

static const ConfigField stage_rows[] = {
    {CONFIG_STRING("name", Stage, name, .value = "main", .help = "of the stage")},
    {CONFIG_INT("epochs", Stage, epochs, .value = "1", .range = "[0, 1000]")},
};
static const ConfigTable stage_table = {CONFIG_STRUCT(Stage), CONFIG_ROWS(stage_rows)};
