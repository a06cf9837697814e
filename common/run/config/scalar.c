/* What plain scalars mean. The grammar is checked here, because strtod also takes "0x1p3", "nan", "1,5" in some locales
 * and the first half of "3 apples". */
#include "common/base/memory.h"
#include "common/run/config/node.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const Node *node, const char *a, const char *b)
{
    return node->kind == NODE_SCALAR && !node->quoted && (strcmp(node->text, a) == 0 || strcmp(node->text, b) == 0);
}

bool node_is_null(const Node *node)
{
    return is_one_of(node, "null", "~");
}

bool node_bool(const Node *node, bool *value)
{
    *value = is_one_of(node, "true", "yes");
    return *value || is_one_of(node, "false", "no");
}

static const char *skip_digits(const char *p)
{
    return p + strspn(p, "0123456789");
}

/* "-12" but not "012", which YAML 1.1 reads as octal. NULL: not an integer's beginning. */
static const char *skip_integer(const char *p)
{
    p += *p == '-' || *p == '+';
    const char *end = skip_digits(p);
    return end == p || (*p == '0' && end > p + 1) ? NULL : end;
}

bool node_int(const Node *node, int64_t *value)
{
    if (node->kind != NODE_SCALAR || node->quoted)
        return false;
    const char *end = skip_integer(node->text);
    if (!end || *end)
        return false;
    errno = 0;
    *value = strtoll(node->text, NULL, 10);
    return errno == 0;
}

static bool is_decimal(const char *text)
{
    const char *p = skip_integer(text);
    if (!p) { /* ".5" */
        p = text + (*text == '-' || *text == '+');
        if (p[0] != '.' || skip_digits(p + 1) == p + 1)
            return false;
    }
    if (*p == '.')
        p = skip_digits(p + 1);
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (skip_digits(p) == p)
            return false;
        p = skip_digits(p);
    }
    return *p == '\0';
}

static double read_decimal(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = strtod_l(text, NULL, c);
    freelocale(c);
    return value;
}

bool node_number(const Node *node, double *value)
{
    if (node->kind != NODE_SCALAR || node->quoted || !is_decimal(node->text))
        return false;
    *value = read_decimal(node->text);
    return isfinite(*value);
}

Node *node_from_number(double value, const char *origin)
{
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    if (read_decimal(text) != value)
        snprintf(text, sizeof text, "%.17g", value);
    return node_scalar(text, false, origin);
}
