#include "common/data/utf8.h"

#include <utf8proc.h>

enum { REPLACEMENT = 0xfffd };

/* Bytes of the character at text[at], 0 if none begins there. */
static size_t character_at(const char *text, size_t bytes, size_t at, utf8proc_int32_t *character)
{
    size_t left = bytes - at;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(left < 4 ? left : 4), character);
    return n > 0 ? (size_t)n : 0;
}

uint32_t utf8_next(const char *text, size_t bytes, size_t *at)
{
    unsigned char first = (unsigned char)text[*at];
    if (first < 0x80) {
        ++*at;
        return first;
    }
    utf8proc_int32_t character;
    size_t n = character_at(text, bytes, *at, &character);
    *at += n ? n : 1;
    return n ? (uint32_t)character : REPLACEMENT;
}

bool utf8_valid(const char *text, size_t bytes)
{
    utf8proc_int32_t character;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = (unsigned char)text[at] < 0x80 ? 1 : character_at(text, bytes, at, &character);
        if (!n)
            return false;
    }
    return true;
}

void utf8_add(Str *s, uint32_t character)
{
    utf8proc_uint8_t encoded[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)character, encoded);
    str_add_bytes(s, encoded, (size_t)n);
}

void utf8_add_repaired(Str *s, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;)
        utf8_add(s, utf8_next(text, bytes, &at));
}

bool utf8_is_space(uint32_t c)
{
    return utf8_is_white_space(c) || (c >= 0x1c && c <= 0x1f);
}

bool utf8_is_white_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool utf8_word(const char *text, size_t bytes, size_t *at, size_t *start, size_t *size)
{
    size_t next = *at;
    do {
        *start = next;
        if (next == bytes) {
            *at = next;
            return false;
        }
    } while (utf8_is_space(utf8_next(text, bytes, &next)));
    *at = next;
    while (next < bytes && !utf8_is_space(utf8_next(text, bytes, &next)))
        *at = next;
    *size = *at - *start;
    return true;
}
