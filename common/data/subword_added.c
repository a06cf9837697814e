#include "common/data/subword.h"
#include "common/data/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* A letter, digit, mark, connecting punctuation or joiner: \w of regular expressions. */
static bool is_word_character(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ME) || category == UTF8PROC_CATEGORY_ND ||
           category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d;
}

/* The start of the character that ends at `at` > 0. */
static size_t character_before(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && (text[at] & 0xc0) == 0x80);
    return at;
}

static bool stands_alone(const char *text, size_t bytes, Span span)
{
    size_t end = span.start + span.size, before = span.start ? character_before(text, span.start) : 0;
    return !(span.start && is_word_character(utf8_next(text, bytes, &before))) &&
           !(end < bytes && is_word_character(utf8_next(text, bytes, &end)));
}

/* With the white space that the token takes; nothing before `from`, where the last one ended. */
static Span with_spaces(const AddedToken *token, const char *text, size_t bytes, Span span, size_t from)
{
    size_t start = span.start, end = span.start + span.size;
    while (token->lstrip && start > from) {
        size_t before = character_before(text, start), next = before;
        if (!utf8_is_white_space(utf8_next(text, bytes, &next)))
            break;
        start = before;
    }
    for (size_t next = end; token->rstrip && next < bytes && utf8_is_white_space(utf8_next(text, bytes, &next));)
        end = next;
    return (Span){start, end - start};
}

const AddedToken *subword_find_added(const Subword *s, bool normalized, const char *text, size_t bytes, size_t at,
                                     Span *whole)
{
    bool begins[256] = {false}, any = false;
    for (size_t i = 0; i < s->added.count; i++)
        if (s->added.items[i].normalized == normalized)
            any = begins[(uint8_t)s->added.items[i].content[0]] = true;
    for (size_t place = at; any && place < bytes; place++) {
        for (size_t i = 0; begins[(uint8_t)text[place]] && i < s->added.count; i++) {
            const AddedToken *token = &s->added.items[i];
            Span span = {place, token->size};
            if (token->normalized != normalized || token->size > bytes - place ||
                memcmp(text + place, token->content, token->size) != 0)
                continue;
            if (token->single_word && !stands_alone(text, bytes, span))
                break; /* the longest decides */
            *whole = with_spaces(token, text, bytes, span, at);
            return token;
        }
    }
    return NULL;
}
