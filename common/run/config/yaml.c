/* YAML through libyaml's events, so that anchors, aliases and tags are seen (and refused) before they mean anything. */
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/run/config/node.h"

#include <string.h>
#include <yaml.h>

typedef struct Reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    const char *text;
    const char *origin;
    bool flow; /* one value of a command line: no blocks, and no line numbers */
    int depth;
    Error *e;
} Reader;

static Node *read_node(Reader *r);

/* "file:12" for the 0-based line of a mark; free it. */
static char *place(const Reader *r, size_t line)
{
    return r->flow ? str_copy(r->origin) : str_format("%s:%zu", r->origin, line + 1);
}

static bool refuse_at(Reader *r, size_t line, const char *what)
{
    char *where = place(r, line);
    error_set(r->e, "%s: %s", where, what);
    mem_free(where);
    return false;
}

static bool refuse(Reader *r, const char *what)
{
    return refuse_at(r, r->event.start_mark.line, what);
}

/* libyaml gives no line where a byte is no character at all, but its offset. */
static size_t line_of_problem(const Reader *r)
{
    if (r->parser.error != YAML_READER_ERROR)
        return r->parser.problem_mark.line;
    size_t line = 0;
    for (size_t i = 0; i < r->parser.problem_offset; i++)
        line += r->text[i] == '\n';
    return line;
}

/* Moves on to the next event. */
static bool next(Reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        char *what = str_format("not valid YAML: %s", r->parser.problem ? r->parser.problem : "out of memory");
        refuse_at(r, line_of_problem(r), what);
        mem_free(what);
        return false;
    }
    return true;
}

static bool scalar_is_clean(Reader *r)
{
    if (r->event.data.scalar.anchor)
        return refuse(r, "anchors (&name) are not allowed in a config");
    if (r->event.data.scalar.tag)
        return refuse(r, "tags (!name) are not allowed in a config");
    const char *text = (const char *)r->event.data.scalar.value;
    if (strlen(text) != r->event.data.scalar.length)
        return refuse(r, "a NUL character is not allowed in a config");
    return true;
}

static Node *read_scalar(Reader *r)
{
    if (!scalar_is_clean(r))
        return NULL;
    bool quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    char *where = place(r, r->event.start_mark.line);
    Node *node = node_scalar((const char *)r->event.data.scalar.value, quoted, where);
    mem_free(where);
    return node;
}

/* Reads the items of a list, up to its end event. */
static bool read_items(Reader *r, Node *list)
{
    while (next(r)) {
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return true;
        Node *item = read_node(r);
        if (!item)
            return false;
        node_append(list, item);
    }
    return false;
}

/* A key's text (free it), or NULL with the reason in the error. */
static char *read_key(Reader *r, const Node *map)
{
    if (r->event.type != YAML_SCALAR_EVENT) {
        refuse(r, "a key must be a word");
        return NULL;
    }
    if (!scalar_is_clean(r))
        return NULL;
    const char *key = (const char *)r->event.data.scalar.value;
    if (!*key && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        refuse(r, "a key is missing");
        return NULL;
    }
    const Node *earlier = node_find(map, key);
    if (earlier) {
        char *what = str_format("key %s stands here twice (first at %s)", key, earlier->origin);
        refuse(r, what);
        mem_free(what);
        return NULL;
    }
    return str_copy(key);
}

/* Reads the keys and values of a map, up to its end event. */
static bool read_pairs(Reader *r, Node *map)
{
    while (next(r)) {
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return true;
        char *key = read_key(r, map);
        if (!key)
            return false;
        Node *value = next(r) ? read_node(r) : NULL;
        if (value)
            node_set(map, key, value);
        mem_free(key);
        if (!value)
            return false;
    }
    return false;
}

static Node *read_collection(Reader *r)
{
    bool is_map = r->event.type == YAML_MAPPING_START_EVENT;
    bool anchor = is_map ? r->event.data.mapping_start.anchor : r->event.data.sequence_start.anchor;
    bool tag = is_map ? r->event.data.mapping_start.tag : r->event.data.sequence_start.tag;
    bool block = is_map ? r->event.data.mapping_start.style == YAML_BLOCK_MAPPING_STYLE
                        : r->event.data.sequence_start.style == YAML_BLOCK_SEQUENCE_STYLE;
    const char *problem = anchor             ? "anchors (&name) are not allowed in a config"
                          : tag              ? "tags (!name) are not allowed in a config"
                          : block && r->flow ? "expected one value, with lists as [a, b] and maps as {key: value}"
                          : r->depth == NODE_DEEPEST ? "nested too deep"
                                                     : NULL;
    if (problem) {
        refuse(r, problem);
        return NULL;
    }
    char *where = place(r, r->event.start_mark.line);
    Node *node = is_map ? node_map(where) : node_list(where);
    mem_free(where);
    r->depth++;
    bool ok = is_map ? read_pairs(r, node) : read_items(r, node);
    r->depth--;
    if (ok)
        return node;
    node_free(node);
    return NULL;
}

/* Reads the value that begins with the current event. */
static Node *read_node(Reader *r)
{
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_collection(r);
    default:
        refuse(r, "aliases (*name) are not allowed in a config");
        return NULL;
    }
}

/* stream start, document start, value, document end, stream end */
static Node *read_stream(Reader *r)
{
    if (!next(r) || !next(r))
        return NULL;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        if (r->flow) {
            refuse(r, "a value is missing (write null, or '' for an empty string)");
            return NULL;
        }
        return node_map(r->origin);
    }
    if (r->event.data.document_start.tag_directives.start != r->event.data.document_start.tag_directives.end) {
        refuse(r, "tags (!name) are not allowed in a config");
        return NULL;
    }
    Node *node = next(r) ? read_node(r) : NULL;
    bool ended = node && next(r) && next(r); /* document end, stream end */
    if (ended && r->event.type != YAML_STREAM_END_EVENT)
        ended = refuse(r, "a second document begins; a config is one document");
    if (ended)
        return node;
    node_free(node);
    return NULL;
}

static Node *read_text(const char *text, size_t size, const char *origin, bool flow, Error *e)
{
    Reader r = {.text = text, .origin = origin, .flow = flow, .e = e};
    if (!yaml_parser_initialize(&r.parser))
        return error_null(e, "%s: out of memory", origin);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    Node *node = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return node;
}

Node *node_from_yaml_text(const char *text, const char *origin, Error *e)
{
    return read_text(text, strlen(text), origin, false, e);
}

Node *node_from_flow_yaml(const char *text, const char *origin, Error *e)
{
    return read_text(text, strlen(text), origin, true, e);
}

Node *node_from_yaml_file(const char *path, Error *e)
{
    size_t size;
    char *text = file_read(path, &size, e);
    if (!text)
        return NULL;
    Node *node = read_text(text, size, path, false, e);
    mem_free(text);
    return node;
}
