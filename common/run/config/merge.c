/* Laying one config over another where a table knows what a changed choice makes meaningless. */
#include "common/run/config/view.h"

#include <string.h>

/* Removes from the section what is known to the choice alone. */
static void drop_keys(Node *section, const ConfigPlace *choice)
{
    Words keys = {0};
    view_words(choice, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        bool kept = false;
        for (const ConfigPlace *outer = choice->outer; outer; outer = outer->outer)
            kept = kept || view_owns(outer, keys.items[i]);
        if (!kept)
            node_free(node_take(section, keys.items[i]));
    }
    words_free(&keys);
}

static void drop_changed(const ConfigPlace *base, const ConfigPlace *over, Node *section)
{
    for (int i = 0; i < base->table->count; i++) {
        const ConfigField *row = &base->table->rows[i];
        ConfigPlace old, new;
        if (row->type == CONFIG_TYPE_REST) {
            old = view_rest(base, row), new = view_rest(over, row);
            drop_changed(&old, &new, section);
        }
        const ConfigChoice *choice = row->type == CONFIG_TYPE_VARIANT ? view_chosen(base, row) : NULL;
        if (!choice)
            continue;
        old = view_choice(base, choice), new = view_choice(over, choice);
        const Node *word = view_find(over, row);
        if (word && word->kind == NODE_SCALAR && strcmp(word->text, choice->word) != 0)
            drop_keys(section, &old);
        else
            drop_changed(&old, &new, section);
    }
}

/* Merges the section of one key by its own table and takes it out of `over`. */
static void merge_section(const ConfigPlace *view, const ConfigField *row, Node *base, Node *over)
{
    char *key = view_key(view, row);
    Node **slot = node_slot(base, key);
    if (slot && node_find(over, key))
        *slot = config_merge(row->table, *slot, node_take(over, key));
    mem_free(key);
}

static void merge_sections(const ConfigPlace *view, Node *base, Node *over)
{
    for (int i = 0; i < view->table->count; i++) {
        const ConfigField *row = &view->table->rows[i];
        ConfigPlace inner;
        const ConfigChoice *choice = row->type == CONFIG_TYPE_VARIANT ? view_chosen(view, row) : NULL;
        if (row->type == CONFIG_TYPE_TABLE && !view_hides(view, row)) {
            merge_section(view, row, base, over);
        } else if (row->type == CONFIG_TYPE_REST) {
            inner = view_rest(view, row);
            merge_sections(&inner, base, over);
        } else if (choice) {
            inner = view_choice(view, choice);
            merge_sections(&inner, base, over);
        }
    }
}

Node *config_merge(const ConfigTable *table, Node *base, Node *over)
{
    if (base->kind != NODE_MAP || over->kind != NODE_MAP)
        return node_merge(base, over);
    ConfigPlace old = view_section(table, base, "", "", ""), new = view_section(table, over, "", "", "");
    drop_changed(&old, &new, base);
    merge_sections(&old, base, over);
    return node_merge(base, over);
}
