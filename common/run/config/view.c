#include "common/run/config/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

ConfigPlace view_section(const ConfigTable *table, const Node *map, const char *path, const char *prefix,
                         const char *origin)
{
    ConfigPlace view = {.table = table, .map = map, .path = path, .origin = origin};
    contract(strlen(prefix) < sizeof view.prefix, "config: the prefix %s is too long", prefix);
    strcpy(view.prefix, prefix);
    return view;
}

static ConfigPlace view_inside(const ConfigPlace *outer, const ConfigTable *table, const char *prefix)
{
    ConfigPlace view = *outer;
    view.table = table;
    view.outer = outer;
    contract(strlen(view.prefix) + strlen(prefix) < sizeof view.prefix, "config: the prefix %s is too long", prefix);
    strcat(view.prefix, prefix);
    return view;
}

ConfigPlace view_rest(const ConfigPlace *outer, const ConfigField *row)
{
    return view_inside(outer, row->table, row->key);
}

ConfigPlace view_choice(const ConfigPlace *outer, const ConfigChoice *choice)
{
    static const ConfigTable no_keys = {0};
    return view_inside(outer, choice->table ? choice->table : &no_keys, "");
}

char *view_key(const ConfigPlace *view, const ConfigField *row)
{
    return str_format("%s%s", view->prefix, row->key);
}

char *view_path(const ConfigPlace *view, const ConfigField *row)
{
    return str_format("%s%s%s%s", view->path, *view->path ? "." : "", view->prefix, row->key);
}

bool view_owns(const ConfigPlace *view, const char *key)
{
    if (!str_starts(key, view->prefix))
        return false;
    for (int i = 0; i < view->table->count; i++) {
        const ConfigField *row = &view->table->rows[i];
        if (row->type != CONFIG_TYPE_REST && strcmp(row->key, key + strlen(view->prefix)) == 0)
            return true;
    }
    return false;
}

static bool hides_key(const ConfigPlace *view, const char *key)
{
    for (const ConfigPlace *outer = view->outer; outer; outer = outer->outer) {
        if (view_owns(outer, key))
            return true;
    }
    return false;
}

bool view_hides(const ConfigPlace *view, const ConfigField *row)
{
    char *key = view_key(view, row);
    bool hidden = row->type != CONFIG_TYPE_REST && hides_key(view, key);
    mem_free(key);
    return hidden;
}

const Node *view_find(const ConfigPlace *view, const ConfigField *row)
{
    char *key = view_key(view, row);
    const Node *node = hides_key(view, key) ? NULL : node_find(view->map, key);
    mem_free(key);
    return node;
}

const ConfigChoice *view_chosen(const ConfigPlace *view, const ConfigField *row)
{
    const Node *node = view_find(view, row);
    const char *word = node ? node->text : row->value;
    for (const ConfigChoice *choice = row->choices; word && choice->word; choice++) {
        if (strcmp(choice->word, word) == 0)
            return choice;
    }
    return NULL;
}

bool view_knows(const ConfigPlace *view, const char *key)
{
    if (view_owns(view, key))
        return true;
    for (int i = 0; i < view->table->count; i++) {
        const ConfigField *row = &view->table->rows[i];
        ConfigPlace inner;
        if (row->type == CONFIG_TYPE_REST) {
            inner = view_rest(view, row);
        } else if (row->type == CONFIG_TYPE_VARIANT) {
            const ConfigChoice *choice = view_chosen(view, row);
            if (!choice)
                return true; /* the wrong choice is what to complain about, not the keys beside it */
            inner = view_choice(view, choice);
        } else {
            continue;
        }
        if (view_knows(&inner, key))
            return true;
    }
    return false;
}

void view_words(const ConfigPlace *view, Words *words)
{
    for (int i = 0; i < view->table->count; i++) {
        const ConfigField *row = &view->table->rows[i];
        if (row->type == CONFIG_TYPE_REST) {
            ConfigPlace inner = view_rest(view, row);
            view_words(&inner, words);
            continue;
        }
        *array_add(words) = view_key(view, row);
        const ConfigChoice *choice = row->type == CONFIG_TYPE_VARIANT ? view_chosen(view, row) : NULL;
        if (choice) {
            ConfigPlace inner = view_choice(view, choice);
            view_words(&inner, words);
        }
    }
}

void words_free(Words *words)
{
    for (size_t i = 0; i < words->count; i++)
        mem_free(words->items[i]);
    array_free(words);
}

static const ConfigField *own_row(const ConfigTable *table, const char *key)
{
    for (int i = 0; i < table->count; i++)
        if (table->rows[i].type != CONFIG_TYPE_REST && strcmp(table->rows[i].key, key) == 0)
            return &table->rows[i];
    return NULL;
}

/* The row of a key, and the place that it is in: `asked`, or one of its rests. */
static const ConfigField *find_row(const ConfigPlace *asked, const char *key, ConfigPlace *place)
{
    const ConfigField *row = own_row(asked->table, key);
    *place = *asked;
    for (int i = 0; !row && i < asked->table->count; i++) {
        const ConfigField *rest = &asked->table->rows[i];
        if (rest->type != CONFIG_TYPE_REST || !str_starts(key, rest->key))
            continue;
        *place = view_rest(asked, rest);
        row = own_row(rest->table, key + strlen(rest->key));
    }
    contract(row, "config: resolve asks for the key %s, which its table does not have", key);
    return row;
}

bool config_given(const ConfigPlace *asked, const char *key)
{
    ConfigPlace place;
    const ConfigField *row = find_row(asked, key, &place);
    return view_find(&place, row) != NULL;
}

bool config_refuse(const ConfigPlace *asked, const char *key, Error *e, const char *format, ...)
{
    ConfigPlace place;
    const ConfigField *row = find_row(asked, key, &place);
    const Node *node = view_find(&place, row);
    char *path = view_path(&place, row), *value = node ? config_shown(node) : NULL, reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (node)
        error_set(e, "%s: %s is %s, %s", node->origin, path, value, reason);
    else
        error_set(e, "%s: %s is %s by default, %s", place.origin, path, row->value ? row->value : "built", reason);
    mem_free(path);
    mem_free(value);
    return false;
}
