/* Regular expressions on UTF-8, by PCRE2, with Unicode's \p{...}. `\s` is Unicode's White_Space, as Oniguruma and Rust have
 * it (PCRE2's own would take U+180E, too). */
#pragma once
#include "common/base/error.h"

#include <stddef.h>

typedef struct Regex Regex;

Regex *regex_new(const char *pattern, Error *e);
void regex_free(Regex *regex); /* NULL is fine */

typedef enum RegexResult { REGEX_NONE, REGEX_FOUND, REGEX_FAILED } RegexResult;

/* The first match from byte `at` on: where it starts and how long it is; text before `at` counts as what precedes. FAILED,
 * with a line, where a pattern takes more steps than PCRE2 allows. The text is valid UTF-8. */
RegexResult regex_find(const Regex *regex, const char *text, size_t bytes, size_t at, size_t *start, size_t *size,
                       Error *e);
