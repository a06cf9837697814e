/* JSON through jansson, as the same tree. */
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/run/config/node.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* A real keeps a point or an exponent, so that 4.0 is still no integer. */
static Node *from_real(double value, const char *origin)
{
    Node *node = node_from_number(value, origin);
    if (strpbrk(node->text, ".e"))
        return node;
    char *text = str_format("%s.0", node->text);
    mem_free(node->text);
    node->text = text;
    return node;
}

static Node *from_scalar(const json_t *json, const char *origin)
{
    char text[32];
    switch (json_typeof(json)) {
    case JSON_STRING:
        return node_scalar(json_string_value(json), true, origin);
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
        return node_scalar(text, false, origin);
    case JSON_REAL:
        return from_real(json_real_value(json), origin);
    case JSON_TRUE:
        return node_scalar("true", false, origin);
    case JSON_FALSE:
        return node_scalar("false", false, origin);
    default:
        return node_scalar("null", false, origin);
    }
}

/* NULL: nested too deep. */
static Node *from_json(json_t *json, const char *origin, int depth)
{
    if (!json_is_object(json) && !json_is_array(json))
        return from_scalar(json, origin);
    if (depth == NODE_DEEPEST)
        return NULL;
    Node *node = json_is_object(json) ? node_map(origin) : node_list(origin);
    const char *key;
    json_t *value;
    size_t i;
    bool ok = true;
    json_object_foreach(json, key, value)
    {
        Node *item = ok ? from_json(value, origin, depth + 1) : NULL;
        ok = item != NULL;
        if (ok)
            node_set(node, key, item);
    }
    json_array_foreach(json, i, value)
    {
        Node *item = ok ? from_json(value, origin, depth + 1) : NULL;
        ok = item != NULL;
        if (ok)
            node_append(node, item);
    }
    if (ok)
        return node;
    node_free(node);
    return NULL;
}

/* jansson quotes the text around a mistake, line breaks included. */
static void flatten(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ')
            *text = ' ';
    }
}

static Node *read_text(const char *text, size_t size, const char *origin, Error *e)
{
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        flatten(error.text);
        return error_null(e, "%s:%d: not valid JSON: %s", origin, error.line, error.text);
    }
    Node *node = from_json(json, origin, 0);
    json_decref(json);
    return node ? node : error_null(e, "%s: nested too deep", origin);
}

Node *node_from_json_text(const char *text, const char *origin, Error *e)
{
    return read_text(text, strlen(text), origin, e);
}

Node *node_from_json_file(const char *path, Error *e)
{
    size_t size;
    char *text = file_read(path, &size, e);
    if (!text)
        return NULL;
    Node *node = read_text(text, size, path, e);
    mem_free(text);
    return node;
}
