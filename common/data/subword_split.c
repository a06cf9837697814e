#include "common/data/subword.h"
#include "common/data/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* BERT's: what is no letter, digit, space or control character in ASCII, and Unicode's P categories. */
static bool is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* Words between white space; with `punctuation` each such character is a word, too. */
static void split_at_spaces(const char *text, Span span, bool punctuation, Spans *words)
{
    size_t end = span.start + span.size, word = span.start;
    for (size_t at = span.start, before; at < end;) {
        before = at;
        uint32_t c = utf8_next(text, end, &at);
        bool space = utf8_is_white_space(c), alone = punctuation && is_punctuation(c);
        if (!space && !alone)
            continue;
        if (word < before)
            *array_add(words) = (Span){word, before - word};
        if (alone)
            *array_add(words) = (Span){before, at - before};
        word = at;
    }
    if (word < end)
        *array_add(words) = (Span){word, end - word};
}

static void add_word(Spans *words, size_t start, size_t end, bool wanted)
{
    if (wanted && start < end)
        *array_add(words) = (Span){start, end - start};
}

static bool split_by_pattern(const Splitter *s, const char *text, Span span, Spans *words, Error *e)
{
    const char *from = text + span.start; /* a word is all the text that its pattern sees */
    bool matches = !(s->removed && !s->invert), rest = !(s->removed && s->invert);
    size_t last = 0, start, size;
    for (size_t at = 0; at <= span.size;) {
        RegexResult result = regex_find(s->pattern, from, span.size, at, &start, &size, e);
        if (result == REGEX_FAILED)
            return false;
        if (result == REGEX_NONE)
            break;
        if (!size) { /* an empty match cuts nothing; on by one character */
            at = start;
            if (at == span.size)
                break;
            utf8_next(from, span.size, &at);
            continue;
        }
        add_word(words, span.start + last, span.start + start, rest);
        add_word(words, span.start + start, span.start + start + size, matches);
        last = at = start + size;
    }
    add_word(words, span.start + last, span.start + span.size, rest);
    return true;
}

static bool split_one(const Splitter *s, const char *text, Span span, Spans *words, Error *e)
{
    switch (s->kind) {
    case SPLITTER_BERT:
    case SPLITTER_WHITESPACE_SPLIT:
        split_at_spaces(text, span, s->kind == SPLITTER_BERT, words);
        return true;
    case SPLITTER_WHITESPACE:
    case SPLITTER_PATTERN:
        return split_by_pattern(s, text, span, words, e);
    case SPLITTER_PREFIX_SPACE:
        *array_add(words) = span;
        return true;
    }
    return true;
}

/* A space in front of every word that has none: into a text of its own. */
static void prefix_spaces(Str *text, Spans *words)
{
    Str prefixed = {0};
    for (size_t i = 0; i < words->count; i++) {
        Span *word = &words->items[i];
        size_t start = prefixed.length;
        if (text->text[word->start] != ' ')
            str_add(&prefixed, " ");
        str_add_bytes(&prefixed, text->text + word->start, word->size);
        *word = (Span){start, prefixed.length - start};
    }
    str_free(text);
    *text = prefixed;
}

bool subword_split(const Subword *subword, Str *text, Spans *words, Error *e)
{
    Spans next = {0};
    bool good = true;
    words->count = 0;
    add_word(words, 0, text->length, true);
    for (size_t i = 0; good && i < subword->splitters.count; i++) {
        const Splitter *s = &subword->splitters.items[i];
        if (s->kind == SPLITTER_PREFIX_SPACE) {
            prefix_spaces(text, words);
            continue;
        }
        next.count = 0;
        for (size_t j = 0; good && j < words->count; j++)
            good = split_one(s, text->text, words->items[j], &next, e);
        Spans old = *words;
        *words = next;
        next = old;
    }
    array_free(&next);
    return good;
}

bool subword_add_pattern(Subword *s, Splitter splitter, const char *pattern, Error *e)
{
    splitter.pattern = regex_new(pattern, e);
    if (splitter.pattern)
        *array_add(&s->splitters) = splitter;
    return splitter.pattern != NULL;
}

/* Contractions, and letters, digits or others with the space before them. */
bool subword_add_gpt2_splitter(Subword *s, Error *e)
{
    static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    return subword_add_pattern(s, (Splitter){.kind = SPLITTER_PATTERN}, pattern, e);
}
