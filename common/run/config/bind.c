/* A tree into a struct, strictly. */
#include "common/run/config/view.h"

#include <limits.h>
#include <math.h>
#include <string.h>

typedef struct Binder {
    Str path; /* of the value in hand: "model.depth[0][1]" */
    Error *e;
} Binder;

static bool bind_value(Binder *b, const ConfigField *row, const Node *node, char *base);
static bool bind_section(Binder *b, const ConfigTable *table, const Node *map, const char *prefix, const char *origin,
                         char *base);
static bool bind_rows(Binder *b, const ConfigPlace *view, char *base);

static bool refuse(Binder *b, const ConfigField *row, const Node *node)
{
    Str expected = {0};
    config_describe(row, false, &expected);
    char *value = config_shown(node);
    error_set(b->e, "%s: %s is %s, expected %s", node->origin, b->path.text, value, expected.text);
    mem_free(value);
    str_free(&expected);
    return false;
}

static bool bind_int(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    int64_t value;
    if (!node_int(node, &value) || !config_in_range(row->range, (double)value))
        return refuse(b, row, node);
    if (row->size == sizeof(int64_t)) {
        memcpy(to, &value, sizeof value);
        return true;
    }
    if (value < INT_MIN || value > INT_MAX)
        return refuse(b, row, node);
    memcpy(to, &(int){(int)value}, sizeof(int));
    return true;
}

static bool bind_number(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    double value;
    if (!node_number(node, &value) || !config_in_range(row->range, value))
        return refuse(b, row, node);
    if (row->size == sizeof(double)) {
        memcpy(to, &value, sizeof value);
        return true;
    }
    float narrow = (float)value;
    if (!isfinite(narrow))
        return refuse(b, row, node);
    memcpy(to, &narrow, sizeof narrow);
    return true;
}

static bool bind_bool(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    bool value;
    if (!node_bool(node, &value))
        return refuse(b, row, node);
    memcpy(to, &value, sizeof value);
    return true;
}

static bool bind_string(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    if (node->kind != NODE_SCALAR || node_is_null(node))
        return refuse(b, row, node);
    char *text = str_copy(node->text);
    memcpy(to, &text, sizeof text);
    return true;
}

static bool bind_enum(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    contract(row->size == sizeof(int), "config: %s is no int", b->path.text);
    for (int i = 0; node->kind == NODE_SCALAR && row->words[i]; i++) {
        if (strcmp(row->words[i], node->text) == 0) {
            memcpy(to, &i, sizeof i);
            return true;
        }
    }
    return refuse(b, row, node);
}

/* Gives a list of any length its memory. */
static char *new_items(const ConfigField *row, int count, char *base)
{
    char *items = count ? mem_new((size_t)count * row->item_size) : NULL;
    memcpy(base + row->offset, &items, sizeof items);
    memcpy(base + row->count_offset, &count, sizeof count);
    return items;
}

static bool bind_list(Binder *b, const ConfigField *row, const Node *node, char *base)
{
    bool one = row->or_one && node->kind != NODE_LIST;
    if (!one && (node->kind != NODE_LIST || (row->length && node->count != row->length)))
        return refuse(b, row, node);
    int count = row->length ? row->length : one ? 1 : node->count;
    char *items = row->length ? base + row->offset : new_items(row, count, base);
    ConfigField item = config_item(row);
    size_t length = b->path.length;
    for (int i = 0; i < count; i++) {
        if (!one)
            str_add(&b->path, "[%d]", i);
        if (!bind_value(b, &item, one ? node : node->items[i], items + (size_t)i * row->item_size))
            return false;
        b->path.length = length;
        b->path.text[length] = '\0';
    }
    return true;
}

static bool bind_node(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    if (row->type == CONFIG_TYPE_MAP && node->kind != NODE_MAP)
        return refuse(b, row, node);
    Node *copy = node_copy(node);
    memcpy(to, &copy, sizeof copy);
    return true;
}

static bool bind_fixed(Binder *b, const ConfigField *row, const Node *node)
{
    Node *only = config_default(row);
    bool same = node_equal(node, only);
    node_free(only);
    return same || refuse(b, row, node);
}

static bool bind_variant(Binder *b, const ConfigField *row, const Node *node, char *to)
{
    contract(row->size == sizeof(int), "config: %s is no int", b->path.text);
    for (int i = 0; node->kind == NODE_SCALAR && row->choices[i].word; i++) {
        if (strcmp(row->choices[i].word, node->text) == 0) {
            memcpy(to, &i, sizeof i);
            return true;
        }
    }
    return refuse(b, row, node);
}

static bool bind_value(Binder *b, const ConfigField *row, const Node *node, char *base)
{
    bool is_null = row->or_null && node_is_null(node);
    if (row->has_flag)
        memcpy(base + row->flag_offset, &(bool){!is_null}, sizeof(bool));
    if (is_null)
        return true;
    char *to = base + row->offset;
    switch (row->type) {
    case CONFIG_TYPE_BOOL:
        return bind_bool(b, row, node, to);
    case CONFIG_TYPE_INT:
        return bind_int(b, row, node, to);
    case CONFIG_TYPE_NUMBER:
        return bind_number(b, row, node, to);
    case CONFIG_TYPE_STRING:
        return bind_string(b, row, node, to);
    case CONFIG_TYPE_ENUM:
        return bind_enum(b, row, node, to);
    case CONFIG_TYPE_LIST:
        return bind_list(b, row, node, base);
    case CONFIG_TYPE_TABLE:
        if (node->kind != NODE_MAP)
            return refuse(b, row, node);
        return bind_section(b, row->table, node, "", node->origin, to);
    case CONFIG_TYPE_MAP:
    case CONFIG_TYPE_ANY:
        return bind_node(b, row, node, to);
    case CONFIG_TYPE_VARIANT:
        return bind_variant(b, row, node, to);
    case CONFIG_TYPE_FIXED:
        return bind_fixed(b, row, node);
    case CONFIG_TYPE_NO_EFFECT:
    case CONFIG_TYPE_REST:
        return true;
    }
    return true;
}

/* A key that is not written: its default, or all the defaults of a section, or it is missed. */
static bool bind_default(Binder *b, const ConfigField *row, const ConfigPlace *view, char *base)
{
    if (!row->value && row->type == CONFIG_TYPE_TABLE) {
        if (row->has_flag)
            memcpy(base + row->flag_offset, &(bool){true}, sizeof(bool));
        return bind_section(b, row->table, NULL, "", view->origin, base + row->offset);
    }
    if (!row->value && view_hides(view, row))
        return true; /* the outer table's row of this name stands for it */
    if (!row->value) {
        Str expected = {0};
        config_describe(row, false, &expected);
        error_set(b->e, "%s: %s is missing, expected %s", view->origin, b->path.text, expected.text);
        str_free(&expected);
        return false;
    }
    if (row->type == CONFIG_TYPE_NO_EFFECT || row->type == CONFIG_TYPE_FIXED)
        return true;
    Node *node = config_default(row);
    Error *asked = b->e, e;
    b->e = &e;
    bool ok = bind_value(b, row, node, base);
    contract(ok, "config: a default is wrong: %s", e.text);
    b->e = asked;
    node_free(node);
    return true;
}

/* Binds one row; b->path is the section's before and after. */
static bool bind_row(Binder *b, const ConfigField *row, const ConfigPlace *view, char *base)
{
    if (row->type == CONFIG_TYPE_REST) {
        ConfigPlace inner = view_rest(view, row);
        return bind_rows(b, &inner, base + row->offset);
    }
    size_t length = b->path.length;
    str_add(&b->path, "%s%s%s", length ? "." : "", view->prefix, row->key);
    const Node *node = view_find(view, row);
    if (!(node ? bind_value(b, row, node, base) : bind_default(b, row, view, base)))
        return false;
    b->path.length = length;
    b->path.text[length] = '\0';
    if (row->type != CONFIG_TYPE_VARIANT)
        return true;
    const ConfigChoice *choice = view_chosen(view, row);
    ConfigPlace inner = view_choice(view, choice);
    return bind_rows(b, &inner, base + choice->offset);
}

static bool bind_rows(Binder *b, const ConfigPlace *view, char *base)
{
    for (int i = 0; i < view->table->count; i++) {
        if (!bind_row(b, &view->table->rows[i], view, base))
            return false;
    }
    return !view->table->resolve || view->table->resolve(base, view, b->e);
}

static bool refuse_unknown(Binder *b, const ConfigPlace *view, const char *key, const Node *node)
{
    Words words = {0};
    view_words(view, &words);
    const char *nearest = str_nearest(key, (const char *const *)words.items, (int)words.count);
    Str line = {0}, name = {0};
    Node *written = node_scalar(key, false, "");
    node_write_flow(written, &name);
    node_free(written);
    const char *dot = b->path.length ? "." : "";
    str_add(&line, "%s: unknown key %s%s%s", node->origin, b->path.text, dot, name.text);
    if (nearest)
        str_add(&line, " (did you mean %s?)", nearest);
    error_set(b->e, "%s", line.text);
    str_free(&line);
    str_free(&name);
    words_free(&words);
    return false;
}

static bool bind_section(Binder *b, const ConfigTable *table, const Node *map, const char *prefix, const char *origin,
                         char *base)
{
    char *path = str_copy(b->path.text);
    ConfigPlace view = view_section(table, map, path, prefix, origin);
    bool ok = true;
    for (int i = 0; ok && map && i < map->count; i++) {
        if (!view_knows(&view, map->keys[i]))
            ok = refuse_unknown(b, &view, map->keys[i], map->items[i]);
    }
    ok = ok && bind_rows(b, &view, base);
    mem_free(path);
    return ok;
}

bool config_bind_at(const ConfigTable *table, const Node *node, const char *path, const char *prefix, void *config,
                    Error *e)
{
    memset(config, 0, table->size);
    if (node && node->kind != NODE_MAP) {
        char *value = config_shown(node);
        error_set(e, "%s: %s%s%s, expected a section of keys", node->origin, path, *path ? " is " : "", value);
        mem_free(value);
        return false;
    }
    Binder b = {.e = e};
    str_add(&b.path, "%s", path);
    bool ok = bind_section(&b, table, node, prefix, node ? node->origin : "config", config);
    str_free(&b.path);
    if (!ok)
        config_free(table, config);
    return ok;
}

bool config_bind(const ConfigTable *table, const Node *node, void *config, Error *e)
{
    return config_bind_at(table, node, "", "", config, e);
}
