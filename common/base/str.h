/* Strings: a growing buffer, and the few questions about words that the command line asks. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing, always NUL-terminated string. Start from {0}; text is NULL until something was added. */
typedef struct Str {
    char *text;
    size_t length, capacity;
} Str;

__attribute__((format(printf, 2, 3))) void str_add(Str *s, const char *format, ...);
void str_add_bytes(Str *s, const void *bytes, size_t count);
void str_clear(Str *s); /* empties it, keeps the memory */
void str_free(Str *s);

/* A fresh string (free it). Never NULL: memory that has run out ends the program. */
__attribute__((format(printf, 1, 2))) char *str_format(const char *format, ...);
char *str_copy(const char *text);

bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);

/* Of `count` words the one with the smallest edit distance to `word`, if that is small enough to be a slip of the
 * fingers; else NULL. For "unknown key 'epohcs' (did you mean 'epochs'?)". */
const char *str_nearest(const char *word, const char *const *words, int count);

/* FNV-1a, 64 bits: names of random draws, cache keys. */
uint64_t str_hash(const char *text);
uint64_t bytes_hash(uint64_t start, const void *bytes, size_t count); /* start with 0 */
