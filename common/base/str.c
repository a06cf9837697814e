#include "common/base/str.h"

#include "common/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(Str *s, size_t more)
{
    if (s->length + more + 1 <= s->capacity)
        return;
    s->capacity = (s->length + more + 1) * 2;
    s->text = mem_resize(s->text, s->capacity);
}

void str_add_bytes(Str *s, const void *bytes, size_t count)
{
    reserve(s, count);
    if (count)
        memcpy(s->text + s->length, bytes, count);
    s->length += count;
    s->text[s->length] = '\0';
}

static void add_formatted(Str *s, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int needed = vsnprintf(NULL, 0, format, args);
    reserve(s, (size_t)needed);
    vsnprintf(s->text + s->length, (size_t)needed + 1, format, again);
    s->length += (size_t)needed;
    va_end(again);
}

void str_add(Str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_formatted(s, format, args);
    va_end(args);
}

void str_clear(Str *s)
{
    s->length = 0;
    if (s->text)
        s->text[0] = '\0';
}

void str_free(Str *s)
{
    free(s->text);
    *s = (Str){0};
}

char *str_format(const char *format, ...)
{
    Str s = {0};
    va_list args;
    va_start(args, format);
    add_formatted(&s, format, args);
    va_end(args);
    return s.text;
}

char *str_copy(const char *text)
{
    return str_format("%s", text);
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* Levenshtein distance; words longer than the row are compared by their first letters. */
static int edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    int row[LONGEST + 1];
    int n = (int)strnlen(a, LONGEST), m = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= m; j++)
        row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int replace = diagonal + (a[i - 1] != b[j - 1]);
            int skip = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < skip ? replace : skip;
        }
    }
    return row[m];
}

const char *str_nearest(const char *word, const char *const *words, int count)
{
    const char *best = NULL;
    int limit = (int)strlen(word) / 3 + 2, best_distance = limit;
    for (int i = 0; i < count; i++) {
        int distance = edit_distance(word, words[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = words[i];
        }
    }
    return best;
}

uint64_t bytes_hash(uint64_t start, const void *bytes, size_t count)
{
    uint64_t h = start ? start : 0xcbf29ce484222325u;
    const unsigned char *p = bytes;
    for (size_t i = 0; i < count; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t str_hash(const char *text)
{
    return bytes_hash(0, text, strlen(text));
}
