/* A table as --help text: one line a key, "train.epochs  10  passes over the data (an integer in [1, 100000])". */
#include "common/run/config/view.h"

#include <stdio.h>
#include <string.h>

static void help_rows(const ConfigPlace *view, Str *out);

static void help_section(const ConfigTable *table, const char *path, Str *out)
{
    ConfigPlace view = view_section(table, NULL, path, "", "");
    help_rows(&view, out);
}

static void help_line(const ConfigField *row, const char *path, Str *out)
{
    Str type = {0};
    config_describe(row, false, &type);
    str_add(out, "  %-32s %-16s ", path, row->value ? row->value : "(required)");
    if (row->help)
        str_add(out, "%s (%s)\n", row->help, type.text);
    else
        str_add(out, "%s\n", type.text);
    str_free(&type);
}

static void help_choices(const ConfigPlace *view, const ConfigField *row, const char *path, Str *out)
{
    for (const ConfigChoice *choice = row->choices; choice->word; choice++) {
        if (!choice->table)
            continue;
        str_add(out, "  with %s=%s:\n", path, choice->word);
        ConfigPlace inner = view_choice(view, choice);
        help_rows(&inner, out);
    }
}

static void help_row(const ConfigPlace *view, const ConfigField *row, Str *out)
{
    if (row->type == CONFIG_TYPE_REST) {
        ConfigPlace inner = view_rest(view, row);
        help_rows(&inner, out);
        return;
    }
    if (view_hides(view, row))
        return;
    char *path = view_path(view, row);
    if (row->type == CONFIG_TYPE_NO_EFFECT) {
        str_add(out, "  %-32s %-16s %s%saccepted, no effect\n", path, "", row->help ? row->help : "",
                row->help ? "; " : "");
    } else if (row->type == CONFIG_TYPE_TABLE && !row->value && !row->or_null) {
        if (row->help)
            str_add(out, "%s: %s\n", path, row->help);
        help_section(row->table, path, out);
    } else {
        help_line(row, path, out);
        char *inside = str_format("%s[]", path);
        if (row->type == CONFIG_TYPE_TABLE)
            help_section(row->table, path, out);
        else if (row->type == CONFIG_TYPE_LIST && row->item->type == CONFIG_TYPE_TABLE)
            help_section(row->item->table, inside, out);
        else if (row->type == CONFIG_TYPE_VARIANT)
            help_choices(view, row, path, out);
        mem_free(inside);
    }
    mem_free(path);
}

static void help_rows(const ConfigPlace *view, Str *out)
{
    for (int i = 0; i < view->table->count; i++)
        help_row(view, &view->table->rows[i], out);
}

void config_help(const ConfigTable *table, Str *out)
{
    help_section(table, "", out);
}
