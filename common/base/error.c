#include "common/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An error is one line, whatever the names in a file are: their line ends and other control characters become '?'. */
static void write_text(Error *e, const char *format, va_list args)
{
    if (!e)
        return;
    vsnprintf(e->text, sizeof e->text, format, args);
    for (char *c = e->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

bool error_set(Error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_text(e, format, args);
    va_end(args);
    return false;
}

void *error_null(Error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_text(e, format, args);
    va_end(args);
    return NULL;
}

bool error_prefix(Error *e, const char *format, ...)
{
    if (!e)
        return false;
    char prefix[512], line[sizeof e->text + sizeof prefix + 3];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    snprintf(line, sizeof line, "%s: %s", prefix, e->text);
    line[sizeof e->text - 1] = '\0';
    memcpy(e->text, line, strlen(line) + 1);
    return false;
}

void contract_broken(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "%s:%d: broken contract: ", file, line);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (getenv("ZOO_ABORT"))
        abort();
    exit(1);
}

void user_fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

int user_error(const Error *e)
{
    fprintf(stderr, "%s\n", e->text);
    return 2;
}
