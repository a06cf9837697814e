/* A struct back into a tree: the resolved config. */
#include "common/run/config/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void write_rows(const ConfigPlace *view, const char *base, Node *map);

static Node *from_int(const ConfigField *row, const char *from)
{
    int64_t value;
    if (row->size == sizeof(int)) {
        int narrow;
        memcpy(&narrow, from, sizeof narrow);
        value = narrow;
    } else {
        memcpy(&value, from, sizeof value);
    }
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return node_scalar(text, false, "");
}

/* A float is written so that it reads back as the same float: nine digits always do. */
static Node *from_number(const ConfigField *row, const char *from)
{
    double value;
    if (row->size == sizeof(double)) {
        memcpy(&value, from, sizeof value);
        return node_from_number(value, "");
    }
    float narrow;
    memcpy(&narrow, from, sizeof narrow);
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)narrow);
    return node_scalar(text, false, "");
}

/* Quoted where the text would read as something else than a string. */
static Node *from_string(const char *from)
{
    const char *text;
    memcpy(&text, from, sizeof text);
    if (!text)
        return node_scalar("null", false, "");
    Node *node = node_scalar(text, false, "");
    bool b;
    double number;
    if (*text && !node_is_null(node) && !node_bool(node, &b) && !node_number(node, &number))
        return node;
    node_free(node);
    return node_scalar(text, true, "");
}

static Node *from_node(const char *from)
{
    const Node *node;
    memcpy(&node, from, sizeof node);
    return node ? node_copy(node) : node_scalar("null", false, "");
}

static const char *word_of(const ConfigField *row, const char *from)
{
    int index;
    memcpy(&index, from, sizeof index);
    return row->type == CONFIG_TYPE_ENUM ? row->words[index] : row->choices[index].word;
}

static Node *from_table(const ConfigTable *table, const char *base)
{
    Node *map = node_map("");
    ConfigPlace view = view_section(table, NULL, "", "", "");
    write_rows(&view, base, map);
    return map;
}

static Node *from_value(const ConfigField *row, const char *base)
{
    const char *from = base + row->offset;
    bool given = true;
    if (row->has_flag)
        memcpy(&given, base + row->flag_offset, sizeof given);
    if (!given)
        return node_scalar("null", false, "");
    switch (row->type) {
    case CONFIG_TYPE_BOOL: {
        bool value;
        memcpy(&value, from, sizeof value);
        return node_scalar(value ? "true" : "false", false, "");
    }
    case CONFIG_TYPE_INT:
        return from_int(row, from);
    case CONFIG_TYPE_NUMBER:
        return from_number(row, from);
    case CONFIG_TYPE_STRING:
        return from_string(from);
    case CONFIG_TYPE_ENUM:
    case CONFIG_TYPE_VARIANT:
        return node_scalar(word_of(row, from), false, "");
    case CONFIG_TYPE_LIST: {
        int count;
        const char *items = config_items(row, base, &count);
        Node *list = node_list("");
        for (int i = 0; i < count; i++)
            node_append(list, from_value(row->item, items + (size_t)i * row->item_size));
        return list;
    }
    case CONFIG_TYPE_TABLE:
        return from_table(row->table, from);
    case CONFIG_TYPE_MAP:
    case CONFIG_TYPE_ANY:
        return from_node(from);
    default:
        return config_default(row);
    }
}

static void write_row(const ConfigPlace *view, const ConfigField *row, const char *base, Node *map)
{
    if (row->type == CONFIG_TYPE_REST) {
        ConfigPlace inner = view_rest(view, row);
        write_rows(&inner, base + row->offset, map);
        return;
    }
    if (row->type == CONFIG_TYPE_NO_EFFECT || view_hides(view, row))
        return;
    char *key = view_key(view, row);
    node_set(map, key, from_value(row, base));
    mem_free(key);
    if (row->type == CONFIG_TYPE_VARIANT) {
        int index;
        memcpy(&index, base + row->offset, sizeof index);
        ConfigPlace inner = view_choice(view, &row->choices[index]);
        write_rows(&inner, base + row->choices[index].offset, map);
    }
}

static void write_rows(const ConfigPlace *view, const char *base, Node *map)
{
    for (int i = 0; i < view->table->count; i++)
        write_row(view, &view->table->rows[i], base, map);
}

Node *config_to_node(const ConfigTable *table, const void *config)
{
    return from_table(table, config);
}
