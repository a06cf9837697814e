/* Gives back what binding took: strings, nodes, lists. */
#include "common/run/config/view.h"

#include <string.h>

char *config_items(const ConfigField *list, const void *base, int *count)
{
    char *in_place = (char *)base + list->offset, *items;
    *count = list->length;
    if (list->length)
        return in_place;
    memcpy(&items, in_place, sizeof items);
    memcpy(count, (const char *)base + list->count_offset, sizeof *count);
    return items;
}

static void free_rows(const ConfigTable *table, char *base);

static void free_value(const ConfigField *row, char *base)
{
    void *pointer = NULL;
    switch (row->type) {
    case CONFIG_TYPE_STRING:
        memcpy(&pointer, base + row->offset, sizeof pointer);
        mem_free(pointer);
        break;
    case CONFIG_TYPE_MAP:
    case CONFIG_TYPE_ANY:
        memcpy(&pointer, base + row->offset, sizeof pointer);
        node_free(pointer);
        break;
    case CONFIG_TYPE_TABLE:
    case CONFIG_TYPE_REST:
        free_rows(row->table, base + row->offset);
        break;
    case CONFIG_TYPE_LIST: {
        int count;
        char *items = config_items(row, base, &count);
        for (int i = 0; i < count; i++)
            free_value(row->item, items + (size_t)i * row->item_size);
        if (!row->length)
            mem_free(items);
        break;
    }
    case CONFIG_TYPE_VARIANT: {
        int choice;
        memcpy(&choice, base + row->offset, sizeof choice);
        if (row->choices[choice].table)
            free_rows(row->choices[choice].table, base + row->choices[choice].offset);
        break;
    }
    default:
        break;
    }
}

static void free_rows(const ConfigTable *table, char *base)
{
    for (int i = 0; i < table->count; i++)
        free_value(&table->rows[i], base);
}

void config_free(const ConfigTable *table, void *config)
{
    free_rows(table, config);
    memset(config, 0, table->size);
}
