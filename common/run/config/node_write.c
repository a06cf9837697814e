/* A tree as YAML that reads back equal. What needs no quotes in any place stands plain; everything else is in double
 * quotes with escapes, so nothing depends on where a scalar stands. */
#include "common/base/memory.h"
#include "common/run/config/node.h"

#include <string.h>

/* Written plain in blocks, in [ ] and { } alike, and as a key. */
static bool is_plain_word(const char *text)
{
    if (!*text || strcmp(text, "-") == 0 || str_starts(text, "---") || str_starts(text, "..."))
        return false;
    for (const char *p = text; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!letter && !strchr("_./+-~", *p))
            return false;
    }
    return true;
}

/* Decodes one character of valid UTF-8 and moves past it. */
static uint32_t next_character(const unsigned char **p)
{
    const unsigned char *s = *p;
    int more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t c = more ? s[0] & (0x3fu >> more) : s[0];
    int i = 1;
    for (; i <= more && (s[i] & 0xc0) == 0x80; i++)
        c = c << 6 | (s[i] & 0x3fu);
    *p = s + i;
    return c;
}

/* What YAML would not take as it is: controls, its own line breaks, the byte order mark and what is no character. */
static bool must_escape(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
           c == 0xffff || c == '"' || c == '\\';
}

static void write_escape(uint32_t c, Str *out)
{
    if (c == '"' || c == '\\')
        str_add(out, "\\%c", (int)c);
    else if (c == '\n')
        str_add(out, "\\n");
    else if (c == '\t')
        str_add(out, "\\t");
    else if (c < 0x100)
        str_add(out, "\\x%02x", c);
    else
        str_add(out, "\\u%04x", c);
}

static void write_quoted(const char *text, Str *out)
{
    str_add(out, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        const unsigned char *start = p;
        uint32_t c = next_character(&p);
        if (must_escape(c))
            write_escape(c, out);
        else
            str_add_bytes(out, start, (size_t)(p - start));
    }
    str_add(out, "\"");
}

static void write_word(const char *text, bool quoted, Str *out)
{
    if (!quoted && is_plain_word(text))
        str_add(out, "%s", text);
    else
        write_quoted(text, out);
}

/* A key and its colon. YAML takes a key of more than 1024 characters only behind a question mark. */
static void write_key(const char *key, const char *before_colon, Str *out)
{
    enum { LONG = 1000 };
    Str word = {0};
    write_word(key, false, &word);
    if (word.length > LONG)
        str_add(out, "? %s%s:", word.text, before_colon);
    else
        str_add(out, "%s:", word.text);
    str_free(&word);
}

void node_write_flow(const Node *node, Str *out)
{
    if (node->kind == NODE_SCALAR) {
        write_word(node->text, node->quoted, out);
        return;
    }
    bool is_map = node->kind == NODE_MAP;
    str_add(out, is_map ? "{" : "[");
    for (int i = 0; i < node->count; i++) {
        str_add(out, i ? ", " : "");
        if (is_map) {
            write_key(node->keys[i], " ", out);
            str_add(out, " ");
        }
        node_write_flow(node->items[i], out);
    }
    str_add(out, is_map ? "}" : "]");
}

static bool holds_maps(const Node *list)
{
    for (int i = 0; i < list->count; i++) {
        if (list->items[i]->kind == NODE_MAP)
            return true;
    }
    return false;
}

static void write_block(const Node *map, int indent, Str *out)
{
    char *next_line = str_format("\n%*s", indent, "");
    for (int i = 0; i < map->count; i++) {
        const Node *item = map->items[i];
        str_add(out, "%*s", indent, "");
        write_key(map->keys[i], next_line, out);
        if (item->kind == NODE_MAP && item->count) {
            str_add(out, "\n");
            write_block(item, indent + 2, out);
        } else if (item->kind == NODE_LIST && holds_maps(item)) {
            str_add(out, "\n");
            for (int j = 0; j < item->count; j++) {
                str_add(out, "%*s- ", indent + 2, "");
                node_write_flow(item->items[j], out);
                str_add(out, "\n");
            }
        } else {
            str_add(out, " ");
            node_write_flow(item, out);
            str_add(out, "\n");
        }
    }
    mem_free(next_line);
}

void node_write_yaml(const Node *node, Str *out)
{
    if (node->kind == NODE_MAP && node->count) {
        write_block(node, 0, out);
    } else {
        node_write_flow(node, out);
        str_add(out, "\n");
    }
}
