#include "common/data/subword.h"
#include "common/data/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_control(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

/* The ranges of BERT's own code and the tokenizers library, which begins the last but one at 2B920 instead of 2B820. */
static bool is_ideograph(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static void clean(const char *text, size_t bytes, Str *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c = utf8_next(text, bytes, &at);
        if (c && c != 0xfffd && !is_control(c))
            utf8_add(out, utf8_is_white_space(c) ? ' ' : c);
    }
}

static void pad_ideographs(const char *text, size_t bytes, Str *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c = utf8_next(text, bytes, &at);
        bool pad = is_ideograph(c);
        if (pad)
            str_add(out, " ");
        utf8_add(out, c);
        if (pad)
            str_add(out, " ");
    }
}

/* Composes or decomposes. */
static void to_form(const char *text, size_t bytes, int form, Str *out)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &mapped,
                                      (utf8proc_option_t)(form | UTF8PROC_STABLE));
    contract(n >= 0, "utf8proc_map: %s", utf8proc_errmsg(n));
    str_add_bytes(out, mapped, (size_t)n);
    free(mapped);
}

static void strip_accents(const char *text, size_t bytes, Str *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c = utf8_next(text, bytes, &at);
        if (utf8proc_category((utf8proc_int32_t)c) != UTF8PROC_CATEGORY_MN)
            utf8_add(out, c);
    }
}

/* Each character by itself: no final sigma. U+0130 is the one that becomes two. */
static void lower(const char *text, size_t bytes, Str *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c = utf8_next(text, bytes, &at);
        utf8_add(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
        if (c == 0x130)
            utf8_add(out, 0x307);
    }
}

static bool replace(const Normalizer *n, const char *text, size_t bytes, Str *out, Error *e)
{
    for (size_t at = 0, start, size;;) {
        RegexResult result = at <= bytes ? regex_find(n->pattern, text, bytes, at, &start, &size, e) : REGEX_NONE;
        if (result == REGEX_FAILED)
            return false;
        if (result == REGEX_NONE || !size) { /* an empty match replaces nothing */
            str_add_bytes(out, text + at, bytes - at);
            return true;
        }
        str_add_bytes(out, text + at, start - at);
        str_add_bytes(out, n->text, strlen(n->text));
        at = start + size;
    }
}

/* A step from one text to the next, in turn. */
typedef struct Steps {
    Str text, next;
} Steps;

static void step_done(Steps *s)
{
    Str old = s->text;
    s->text = s->next;
    s->next = old;
    str_clear(&s->next);
    str_add_bytes(&s->text, "", 0); /* never NULL */
}

static void bert(const Normalizer *n, Steps *s)
{
    if (n->clean_text) {
        clean(s->text.text, s->text.length, &s->next);
        step_done(s);
    }
    if (n->handle_chinese_chars) {
        pad_ideographs(s->text.text, s->text.length, &s->next);
        step_done(s);
    }
    if (n->strip_accents) {
        to_form(s->text.text, s->text.length, UTF8PROC_DECOMPOSE, &s->next);
        step_done(s);
        strip_accents(s->text.text, s->text.length, &s->next);
        step_done(s);
    }
    if (n->lowercase) {
        lower(s->text.text, s->text.length, &s->next);
        step_done(s);
    }
}

static bool apply(const Normalizer *n, Steps *s, Error *e)
{
    const char *text = s->text.text;
    size_t bytes = s->text.length;
    bool good = true;
    switch (n->kind) {
    case NORMALIZER_BERT:
        bert(n, s);
        return true;
    case NORMALIZER_FORM:
        to_form(text, bytes, n->form, &s->next);
        break;
    case NORMALIZER_LOWERCASE:
        lower(text, bytes, &s->next);
        break;
    case NORMALIZER_STRIP_ACCENTS:
        strip_accents(text, bytes, &s->next);
        break;
    case NORMALIZER_PREPEND:
        if (bytes)
            str_add_bytes(&s->next, n->text, strlen(n->text));
        str_add_bytes(&s->next, text, bytes);
        break;
    case NORMALIZER_REPLACE:
        good = replace(n, text, bytes, &s->next, e);
        break;
    }
    step_done(s);
    return good;
}

bool subword_normalize(const Subword *subword, const char *text, size_t bytes, Str *out, Error *e)
{
    Steps s = {0};
    bool good = true;
    str_add_bytes(&s.text, text, bytes);
    for (size_t i = 0; good && i < subword->normalizers.count; i++)
        good = apply(&subword->normalizers.items[i], &s, e);
    str_add_bytes(out, s.text.text, s.text.length);
    str_free(&s.text);
    str_free(&s.next);
    return good;
}
