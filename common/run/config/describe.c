/* What a row takes, in words and as numbers. */
#include "common/run/config/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double range_end(const char *text, char **after)
{
    size_t length = strcspn(text, ",])");
    char word[40];
    contract(length < sizeof word, "config: %s is no range", text);
    memcpy(word, text, length);
    word[length] = '\0';
    *after = (char *)text + length;
    if (strcmp(word, "inf") == 0 || strcmp(word, "-inf") == 0)
        return *word == '-' ? -INFINITY : INFINITY;
    Node *node = node_scalar(word, false, "");
    double value = 0;
    contract(node_number(node, &value), "config: %s is no end of a range", word);
    node_free(node);
    return value;
}

bool config_in_range(const char *range, double value)
{
    if (!range)
        return true;
    char *p;
    double low = range_end(range + 1, &p);
    contract(strchr("[(", *range) && str_starts(p, ", "), "config: %s is no range such as [0, 1)", range);
    double high = range_end(p + 2, &p);
    contract(*p && strchr("])", *p) && !p[1], "config: %s is no range such as [0, 1)", range);
    return (value > low || (*range == '[' && value == low)) && (value < high || (*p == ']' && value == high));
}

ConfigField config_item(const ConfigField *list)
{
    ConfigField item = *list->item;
    item.range = item.range ? item.range : list->range;
    return item;
}

Node *config_default(const ConfigField *row)
{
    Error e;
    Node *node = node_from_flow_yaml(row->value, "default", &e);
    contract(node, "config: the default of %s: %s", row->key, e.text);
    return node;
}

static void describe_words(const ConfigField *row, bool many, Str *out)
{
    str_add(out, many ? "words out of " : "");
    const char *last = NULL;
    for (int i = 0; row->type == CONFIG_TYPE_ENUM ? !!row->words[i] : !!row->choices[i].word; i++) {
        if (last)
            str_add(out, i > 1 ? ", %s" : "%s", last);
        last = row->type == CONFIG_TYPE_ENUM ? row->words[i] : row->choices[i].word;
    }
    bool several = row->type == CONFIG_TYPE_ENUM ? row->words[1] : row->choices[1].word;
    str_add(out, several ? " or %s" : "%s", last);
}

static void describe_list(const ConfigField *row, bool many, Str *out)
{
    ConfigField item = config_item(row);
    if (row->or_one) {
        config_describe(&item, many, out);
        str_add(out, " or ");
    }
    str_add(out, many ? "lists of " : "a list of ");
    if (row->length)
        str_add(out, "%d ", row->length);
    config_describe(&item, true, out);
}

void config_describe(const ConfigField *row, bool many, Str *out)
{
    switch (row->type) {
    case CONFIG_TYPE_BOOL:
        str_add(out, many ? "booleans (true, false, yes or no)" : "true, false, yes or no");
        break;
    case CONFIG_TYPE_INT:
        str_add(out, many ? "integers" : "an integer");
        break;
    case CONFIG_TYPE_NUMBER:
        str_add(out, many ? "numbers" : "a number");
        break;
    case CONFIG_TYPE_STRING:
        str_add(out, many ? "strings" : "a string");
        break;
    case CONFIG_TYPE_ENUM:
    case CONFIG_TYPE_VARIANT:
        describe_words(row, many, out);
        break;
    case CONFIG_TYPE_LIST:
        describe_list(row, many, out);
        break;
    case CONFIG_TYPE_TABLE:
    case CONFIG_TYPE_REST:
    case CONFIG_TYPE_MAP:
        str_add(out, many ? "sections of keys" : "a section of keys");
        break;
    case CONFIG_TYPE_FIXED:
        str_add(out, "%s, the only value it can have here", row->value);
        break;
    case CONFIG_TYPE_ANY:
    case CONFIG_TYPE_NO_EFFECT:
        str_add(out, many ? "values" : "any value");
        break;
    }
    if (row->range && (row->type == CONFIG_TYPE_INT || row->type == CONFIG_TYPE_NUMBER))
        str_add(out, " in %s", row->range);
    if (row->or_null)
        str_add(out, " or null");
}

char *config_shown(const Node *node)
{
    enum { LONGEST = 60 };
    Str s = {0};
    node_write_flow(node, &s);
    if (s.length > LONGEST) {
        size_t end = LONGEST;
        while (end && ((unsigned char)s.text[end] & 0xc0) == 0x80) /* not inside a character */
            end--;
        s.text[end] = '\0';
        s.length = end;
        str_add(&s, "...");
    }
    return s.text;
}
