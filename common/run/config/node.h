/* What a YAML or JSON text says, before anyone asks what it means: a tree of scalars, lists and maps. Every node
 * remembers where it was written ("models/crossvit/configs/tiny.yaml:12" or "command line"). */
#pragma once
#include "common/base/error.h"
#include "common/base/str.h"

typedef enum NodeKind { NODE_SCALAR, NODE_LIST, NODE_MAP } NodeKind;

typedef struct Node Node;
struct Node {
    NodeKind kind;
    bool quoted;  /* a scalar that stood in quotes (or a block): a string, whatever it looks like */
    char *text;   /* a scalar's characters; a plain scalar without any reads as null */
    char *origin; /* file and line, or whatever the text came from */
    Node **items; /* of a list or map, in the order written */
    char **keys;  /* of a map: keys[i] belongs to items[i] */
    int count, capacity;
};

enum { NODE_DEEPEST = 64 }; /* deeper nesting than this is refused */

Node *node_scalar(const char *text, bool quoted, const char *origin);
Node *node_list(const char *origin);
Node *node_map(const char *origin);
Node *node_copy(const Node *node);
void node_free(Node *node); /* NULL is fine */

void node_append(Node *list, Node *item);                /* the list owns the item from now on */
void node_set(Node *map, const char *key, Node *value);  /* replaces what the key had, or adds the key at the end */
Node *node_take(Node *map, const char *key);             /* out of the map; NULL if it is not there */
Node **node_slot(Node *map, const char *key);            /* where the key's value stands; NULL if it is not there */
Node *node_find(const Node *map, const char *key);       /* NULL: not there, or node is NULL or no map */
Node *node_find_path(const Node *map, const char *path); /* "train.epochs" */
bool node_equal(const Node *a, const Node *b);           /* same values; numbers by value, maps in any order */

/* Reading. A text without any value gives an empty map. Refused, with file and line: duplicate keys, anchors, aliases,
 * tags, several documents, keys that are not scalars, NUL characters, and nesting deeper than NODE_DEEPEST. NULL on
 * failure. JSON strings are quoted scalars; JSON nodes have the origin alone, because jansson gives no lines. */
Node *node_from_yaml_file(const char *path, Error *e);
Node *node_from_yaml_text(const char *text, const char *origin, Error *e);
Node *node_from_flow_yaml(const char *text, const char *origin, Error *e); /* one value: 3, [1, 2], {a: b}; no line */
Node *node_from_json_file(const char *path, Error *e);
Node *node_from_json_text(const char *text, const char *origin, Error *e);

/* Lays `over` upon `base`: maps merge key by key, anything else replaces. Takes both and returns the result. (A config
 * with a `variant` in it is merged by config_merge, which knows the table.) */
Node *node_merge(Node *base, Node *over);

/* key=value: sets the value at a dotted path, making the maps on the way; `value` is flow YAML. */
bool node_set_path(Node *root, const char *path, const char *value, const char *origin, Error *e);

/* YAML that reads back as an equal tree. Maps are blocks, lists stand on one line unless they hold maps. */
void node_write_yaml(const Node *node, Str *out);
void node_write_flow(const Node *node, Str *out); /* the whole tree on one line */

/* What a plain scalar means. True only if the whole text reads so, in any locale; a quoted scalar is none of these. */
bool node_is_null(const Node *node);                      /* null, ~ */
bool node_bool(const Node *node, bool *value);            /* true, false, yes, no */
bool node_int(const Node *node, int64_t *value);          /* decimal, without superfluous zeros */
bool node_number(const Node *node, double *value);        /* decimal, finite */
Node *node_from_number(double value, const char *origin); /* %.9g, or all 17 digits where nine would not read back */
