/* Inside common/run/config only: one table as it is seen in one section of a config. A section is bound to a table; a
 * `rest` or a `variant` shows further tables in the same section, perhaps behind a prefix, and the rows of the outer
 * table hide keys of the same name in the inner ones. */
#pragma once
#include "common/run/config/config.h"

struct ConfigPlace {
    const ConfigTable *table;
    const Node *map;    /* NULL: a section that is not written */
    const char *path;   /* of the section: "model", or "" at the top */
    const char *origin; /* where the section stands */
    char prefix[64];    /* what the table's keys carry in this section */
    const ConfigPlace *outer;
};

typedef struct Words {
    char **items;
    size_t count, capacity;
} Words;

ConfigPlace view_section(const ConfigTable *table, const Node *map, const char *path, const char *prefix,
                         const char *origin);
/* The table that a `rest` row, or the chosen one of a `variant` row, shows in the same section. */
ConfigPlace view_rest(const ConfigPlace *outer, const ConfigField *row);
ConfigPlace view_choice(const ConfigPlace *outer, const ConfigChoice *choice);

char *view_key(const ConfigPlace *view, const ConfigField *row);  /* as written in the section; free it */
char *view_path(const ConfigPlace *view, const ConfigField *row); /* "model.depth"; free it */
const Node *view_find(const ConfigPlace *view, const ConfigField *row);
bool view_hides(const ConfigPlace *view, const ConfigField *row); /* an outer table has a row of this name */
bool view_owns(const ConfigPlace *view, const char *key);         /* a row of the table itself */
bool view_knows(const ConfigPlace *view, const char *key);        /* a row of the table or of one that it shows */
void view_words(const ConfigPlace *view, Words *words);           /* every key that is known here */
void words_free(Words *words);

/* The choice that the section makes (or the default); NULL if it is none of them. */
const ConfigChoice *view_chosen(const ConfigPlace *view, const ConfigField *row);

/* "an integer in [1, 100]" or, of many, "integers in [1, 100]". */
void config_describe(const ConfigField *row, bool many, Str *out);
/* A range's ends, and whether a value lies in it. */
bool config_in_range(const char *range, double value);
/* An item's row with what the list's row says about all items. */
ConfigField config_item(const ConfigField *list);
/* The default of a row, read; a mistake in it is ours. */
Node *config_default(const ConfigField *row);

/* The value as one writes it, cut where it gets long; free it. */
char *config_shown(const Node *node);
char *config_items(const ConfigField *list, const void *base, int *count); /* where they lie, how many */
