/* UTF-8 by character and by word. */
#pragma once
#include "common/base/str.h"

/* The character at text[*at], *at < bytes, and steps over it; a byte that begins none gives U+FFFD and is stepped over
 * alone. */
uint32_t utf8_next(const char *text, size_t bytes, size_t *at);

bool utf8_valid(const char *text, size_t bytes);
void utf8_add(Str *s, uint32_t character);
void utf8_add_repaired(Str *s, const char *text, size_t bytes); /* each byte that begins no character as U+FFFD */

bool utf8_is_white_space(uint32_t character); /* Unicode's White_Space */
bool utf8_is_space(uint32_t character);       /* as Python's str.isspace(): U+001C to U+001F, too */

/* Finds the next word, a run of characters that are no space, from *at on: its start and size, and steps *at behind it.
 * False if there is none. */
bool utf8_word(const char *text, size_t bytes, size_t *at, size_t *start, size_t *size);
