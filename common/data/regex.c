#include "common/data/regex.h"

#include "common/base/memory.h"
#include "common/base/str.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct Regex {
    pcre2_code *code;
    pcre2_match_data *match;
};

/* White_Space as the inside of a class. */
#define SPACES "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* The pattern with \s and \S written out (a \S inside a class stays PCRE2's). */
static void write_spaces_out(const char *pattern, Str *out)
{
    bool in_class = false;
    for (const char *c = pattern; *c; c++) {
        if (c[0] == '\\' && c[1] == 's') {
            str_add(out, in_class ? SPACES : "[" SPACES "]");
            c++;
        } else if (c[0] == '\\' && c[1] == 'S' && !in_class) {
            str_add(out, "[^" SPACES "]");
            c++;
        } else {
            in_class = c[0] == '[' || (in_class && c[0] != ']');
            str_add_bytes(out, c, c[0] == '\\' && c[1] ? 2 : 1);
            c += c[0] == '\\' && c[1];
        }
    }
}

Regex *regex_new(const char *pattern, Error *e)
{
    Str text = {0};
    int why;
    PCRE2_SIZE where;
    write_spaces_out(pattern, &text);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)(text.text ? text.text : ""), text.length,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &why, &where, NULL);
    str_free(&text);
    if (!code) {
        PCRE2_UCHAR words[128];
        pcre2_get_error_message(why, words, sizeof words);
        return error_null(e, "the regular expression '%.200s' is not valid: %s", pattern, (const char *)words);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    Regex *regex = mem_new(sizeof *regex);
    *regex = (Regex){code, pcre2_match_data_create_from_pattern(code, NULL)};
    return regex;
}

void regex_free(Regex *regex)
{
    if (!regex)
        return;
    pcre2_match_data_free(regex->match);
    pcre2_code_free(regex->code);
    mem_free(regex);
}

RegexResult regex_find(const Regex *regex, const char *text, size_t bytes, size_t at, size_t *start, size_t *size,
                       Error *e)
{
    int found = pcre2_match(regex->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, regex->match, NULL);
    if (found == PCRE2_ERROR_NOMATCH)
        return REGEX_NONE;
    if (found < 0) {
        PCRE2_UCHAR words[128];
        pcre2_get_error_message(found, words, sizeof words);
        error_set(e, "a regular expression of the tokenizer gave up: %s", (const char *)words);
        return REGEX_FAILED;
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(regex->match);
    *start = place[0];
    *size = place[1] > place[0] ? place[1] - place[0] : 0; /* \K in a lookahead can set the start behind the end */
    return REGEX_FOUND;
}
