#include "common/run/config/node.h"

#include "common/base/memory.h"

#include <string.h>

static Node *new_node(NodeKind kind, const char *origin)
{
    Node *node = mem_new(sizeof *node);
    node->kind = kind;
    node->origin = str_copy(origin);
    return node;
}

Node *node_scalar(const char *text, bool quoted, const char *origin)
{
    Node *node = new_node(NODE_SCALAR, origin);
    node->quoted = quoted;
    node->text = str_copy(*text || quoted ? text : "null");
    return node;
}

Node *node_list(const char *origin)
{
    return new_node(NODE_LIST, origin);
}

Node *node_map(const char *origin)
{
    return new_node(NODE_MAP, origin);
}

Node *node_copy(const Node *node)
{
    if (node->kind == NODE_SCALAR)
        return node_scalar(node->text, node->quoted, node->origin);
    Node *copy = new_node(node->kind, node->origin);
    for (int i = 0; i < node->count; i++) {
        if (node->kind == NODE_MAP)
            node_set(copy, node->keys[i], node_copy(node->items[i]));
        else
            node_append(copy, node_copy(node->items[i]));
    }
    return copy;
}

void node_free(Node *node)
{
    if (!node)
        return;
    for (int i = 0; i < node->count; i++) {
        node_free(node->items[i]);
        if (node->keys)
            mem_free(node->keys[i]);
    }
    mem_free(node->items);
    mem_free(node->keys);
    mem_free(node->text);
    mem_free(node->origin);
    mem_free(node);
}

static void make_room(Node *node)
{
    if (node->count < node->capacity)
        return;
    node->capacity = node->capacity ? 2 * node->capacity : 8;
    node->items = mem_resize(node->items, (size_t)node->capacity * sizeof *node->items);
    if (node->kind == NODE_MAP)
        node->keys = mem_resize(node->keys, (size_t)node->capacity * sizeof *node->keys);
}

void node_append(Node *list, Node *item)
{
    contract(list->kind == NODE_LIST, "node_append: not a list");
    make_room(list);
    list->items[list->count++] = item;
}

static int find_index(const Node *map, const char *key)
{
    for (int i = 0; map && map->kind == NODE_MAP && i < map->count; i++) {
        if (strcmp(map->keys[i], key) == 0)
            return i;
    }
    return -1;
}

void node_set(Node *map, const char *key, Node *value)
{
    contract(map->kind == NODE_MAP, "node_set: not a map");
    int i = find_index(map, key);
    if (i >= 0) {
        node_free(map->items[i]);
        map->items[i] = value;
        return;
    }
    make_room(map);
    map->keys[map->count] = str_copy(key);
    map->items[map->count++] = value;
}

Node *node_take(Node *map, const char *key)
{
    int i = find_index(map, key);
    if (i < 0)
        return NULL;
    Node *item = map->items[i];
    mem_free(map->keys[i]);
    map->count--;
    memmove(map->items + i, map->items + i + 1, (size_t)(map->count - i) * sizeof *map->items);
    memmove(map->keys + i, map->keys + i + 1, (size_t)(map->count - i) * sizeof *map->keys);
    return item;
}

Node **node_slot(Node *map, const char *key)
{
    int i = find_index(map, key);
    return i < 0 ? NULL : &map->items[i];
}

Node *node_find(const Node *map, const char *key)
{
    int i = find_index(map, key);
    return i < 0 ? NULL : map->items[i];
}

Node *node_find_path(const Node *map, const char *path)
{
    char *words = str_copy(path), *rest = words;
    Node *found = NULL;
    for (char *word = strsep(&rest, "."); word; word = strsep(&rest, ".")) {
        found = node_find(map, word);
        map = found;
    }
    mem_free(words);
    return found;
}

Node *node_merge(Node *base, Node *over)
{
    if (base->kind != NODE_MAP || over->kind != NODE_MAP) {
        node_free(base);
        return over;
    }
    for (int i = 0; i < over->count; i++) {
        Node **slot = node_slot(base, over->keys[i]);
        if (slot)
            *slot = node_merge(*slot, over->items[i]);
        else
            node_set(base, over->keys[i], over->items[i]);
        over->items[i] = NULL;
    }
    node_free(over);
    return base;
}

/* A key of a command line: printable ASCII, since a shell may hand us any bytes. */
static bool is_key(const char *word)
{
    for (const char *p = word; *p; p++) {
        if (*p <= ' ' || *p > '~')
            return false;
    }
    return *word != '\0';
}

bool node_set_path(Node *root, const char *path, const char *value, const char *origin, Error *e)
{
    enum { MOST_WORDS = 16 };
    Node *node = node_from_flow_yaml(value, origin, e);
    if (!node) {
        char *reason = e ? str_copy(e->text + strlen(origin)) : NULL;
        error_set(e, "%s: %s=%s%s", origin, path, value, reason);
        mem_free(reason);
        return false;
    }
    char *words = str_copy(path), *start[MOST_WORDS], *rest = words;
    int count = 0;
    bool legal = true;
    for (char *word = strsep(&rest, "."); word && legal; word = strsep(&rest, ".")) {
        legal = is_key(word) && count < MOST_WORDS;
        if (legal)
            start[count++] = word;
    }
    if (!legal) {
        node_free(node);
        mem_free(words);
        return error_set(e, "%s: %s is no key: expected words with a dot between them, at most %d", origin, path,
                         MOST_WORDS);
    }
    Node *map = root;
    for (int i = 0; i < count - 1; i++) {
        Node *next = node_find(map, start[i]);
        if (!next || next->kind != NODE_MAP) {
            next = node_map(origin);
            node_set(map, start[i], next);
        }
        map = next;
    }
    node_set(map, start[count - 1], node);
    mem_free(words);
    return true;
}

static bool scalars_equal(const Node *a, const Node *b)
{
    bool x, y;
    double p, q;
    int64_t i, j;
    if (node_is_null(a) || node_is_null(b))
        return node_is_null(a) && node_is_null(b);
    if (node_bool(a, &x) && node_bool(b, &y))
        return x == y;
    if (node_int(a, &i) && node_int(b, &j))
        return i == j;
    if (node_number(a, &p) && node_number(b, &q))
        return p == q;
    bool a_is_string = a->quoted || (!node_bool(a, &x) && !node_number(a, &p));
    bool b_is_string = b->quoted || (!node_bool(b, &y) && !node_number(b, &q));
    return a_is_string && b_is_string && strcmp(a->text, b->text) == 0;
}

bool node_equal(const Node *a, const Node *b)
{
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == NODE_SCALAR)
        return scalars_equal(a, b);
    for (int i = 0; i < a->count; i++) {
        const Node *other = a->kind == NODE_MAP ? node_find(b, a->keys[i]) : b->items[i];
        if (!other || !node_equal(a->items[i], other))
            return false;
    }
    return true;
}
