/* Strings with numbers: the tokens of a vocabulary, in the order of their ids. A string may hold any bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Vocabulary Vocabulary;

Vocabulary *vocabulary_new(void);
void vocabulary_free(Vocabulary *v); /* NULL is fine */

int32_t vocabulary_count(const Vocabulary *v);

/* The id of a string; a new one gets the next id. */
int32_t vocabulary_add(Vocabulary *v, const char *text, size_t size);

int32_t vocabulary_find(const Vocabulary *v, const char *text, size_t size); /* -1: not there */

/* The string of an id, NUL-terminated; valid until the next add. size may be NULL. */
const char *vocabulary_text(const Vocabulary *v, int32_t id, size_t *size);

uint64_t vocabulary_hash(const Vocabulary *v, uint64_t start);
