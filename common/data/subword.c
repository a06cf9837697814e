#include "common/data/subword.h"
#include "common/data/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t subword_byte_character(uint8_t byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    /* The other 68 in their order: 0 to 32, 127 to 160, 173. */
    return byte <= ' ' ? 256u + byte : byte <= 0xa0 ? 256u + 33 + (byte - 127u) : 256u + 67;
}

int subword_character_byte(uint32_t c)
{
    if (c < 256)
        return subword_byte_character((uint8_t)c) == c ? (int)c : -1;
    c -= 256;
    return c < 33 ? (int)c : c < 67 ? (int)(c - 33 + 127) : c == 67 ? 173 : -1;
}

/* The pieces of words. */

static int32_t find(const Tokenizer *t, const char *text, size_t size)
{
    return vocabulary_find(t->tokens, text, size);
}

/* A byte-level word as the vocabulary writes it. */
static void write_printable(const char *word, size_t bytes, Str *out)
{
    for (size_t i = 0; i < bytes; i++)
        utf8_add(out, subword_byte_character((uint8_t)word[i]));
}

static void add_unknown(const Subword *s, TokenIds *ids, size_t first)
{
    bool repeated = s->fuse_unknown && ids->count > first && ids->items[ids->count - 1] == s->unknown;
    if (s->unknown >= 0 && !repeated)
        *array_add(ids) = s->unknown;
}

/* A character of a word as the tokens of its bytes; false if one is missing. */
static bool add_as_bytes(const Tokenizer *t, const char *character, size_t size, TokenIds *ids)
{
    int32_t bytes[4];
    for (size_t i = 0; i < size; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (uint8_t)character[i]);
        if ((bytes[i] = find(t, name, strlen(name))) < 0)
            return false;
    }
    for (size_t i = 0; i < size; i++)
        *array_add(ids) = bytes[i];
    return true;
}

/* A word's characters as symbols, with the prefix or suffix of their place. */
static void add_characters(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids)
{
    const Subword *s = t->own;
    size_t first = ids->count;
    Str symbol = {0};
    for (size_t at = 0, start; at < bytes;) {
        start = at;
        utf8_next(word, bytes, &at);
        str_clear(&symbol);
        str_add(&symbol, "%s", start ? s->prefix : "");
        str_add_bytes(&symbol, word + start, at - start);
        str_add(&symbol, "%s", at == bytes ? s->suffix : "");
        int32_t id = find(t, symbol.text, symbol.length);
        if (id >= 0)
            *array_add(ids) = id;
        else if (!s->byte_fallback || !add_as_bytes(t, word + start, at - start, ids))
            add_unknown(s, ids, first);
    }
    str_free(&symbol);
}

/* Byte-level symbols, without a detour over strings where a word has no suffix. */
static void add_bytes(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids)
{
    const Subword *s = t->own;
    size_t first = ids->count;
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = s->byte_ids[(uint8_t)word[i]];
        if (id >= 0)
            *array_add(ids) = id;
        else
            add_unknown(s, ids, first);
    }
}

static void encode_bpe(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids)
{
    const Subword *s = t->own;
    size_t first = ids->count;
    bool by_bytes = s->byte_level && !s->prefix[0] && !s->suffix[0] && !s->ignore_merges;
    Str printable = {0};
    if (by_bytes) {
        add_bytes(t, word, bytes, ids);
    } else if (s->byte_level) {
        write_printable(word, bytes, &printable);
        word = printable.text;
        bytes = printable.length;
    }
    int32_t whole = s->ignore_merges ? find(t, word, bytes) : -1;
    if (whole >= 0) {
        *array_add(ids) = whole;
    } else {
        if (!by_bytes)
            add_characters(t, word, bytes, ids);
        bpe_merge(s->bpe, ids, first);
    }
    str_free(&printable);
}

/* The longest piece of the vocabulary that begins a word's rest; its size, or 0. */
static size_t longest_piece(const Tokenizer *t, const char *word, size_t start, size_t bytes, Str *piece, int32_t *id)
{
    const Subword *s = t->own;
    for (size_t end = bytes; end > start; end--) {
        if (end < bytes && (word[end] & 0xc0) == 0x80)
            continue;
        str_clear(piece);
        str_add(piece, "%s", start ? s->prefix : "");
        str_add_bytes(piece, word + start, end - start);
        if ((*id = find(t, piece->text, piece->length)) >= 0)
            return end - start;
    }
    return 0;
}

/* Greedy, the longest piece first; a word with a rest that is no piece is unknown as a whole (Devlin et al. 2019). */
static void encode_wordpiece(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids)
{
    const Subword *s = t->own;
    size_t first = ids->count, characters = 0;
    Str piece = {0};
    for (size_t i = 0; i < bytes; i++)
        characters += (word[i] & 0xc0) != 0x80;
    bool known = (int64_t)characters <= s->most_characters;
    for (size_t start = 0, size; known && start < bytes; start += size) {
        int32_t id;
        size = longest_piece(t, word, start, bytes, &piece, &id);
        known = size > 0;
        if (known)
            *array_add(ids) = id;
    }
    if (!known) {
        ids->count = first;
        add_unknown(s, ids, first);
    }
    str_free(&piece);
}

void subword_encode_word(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids)
{
    const Subword *s = t->own;
    int32_t id;
    switch (s->model) {
    case SUBWORD_BPE:
        encode_bpe(t, word, bytes, ids);
        break;
    case SUBWORD_WORDPIECE:
        encode_wordpiece(t, word, bytes, ids);
        break;
    case SUBWORD_WORDS:
        id = find(t, word, bytes);
        if (id >= 0)
            *array_add(ids) = id;
        else
            add_unknown(s, ids, ids->count);
        break;
    }
}

/* Texts. */

static bool encode_words(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    const Subword *s = t->own;
    Str own = {0};
    Spans words = {0};
    str_add_bytes(&own, text, bytes);
    bool good = subword_split(s, &own, &words, e);
    for (size_t i = 0; good && i < words.count; i++)
        subword_encode_word(t, own.text + words.items[i].start, words.items[i].size, ids);
    array_free(&words);
    str_free(&own);
    return good;
}

typedef bool EncodeRest(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e);

/* The added tokens of a text, and what lies between them by `rest`. */
static bool encode_around(const Tokenizer *t, bool normalized, const char *text, size_t bytes, EncodeRest *rest,
                          TokenIds *ids, Error *e)
{
    Span found = {0};
    bool good = true;
    for (size_t at = 0; good && at < bytes; at = found.start + found.size) {
        const AddedToken *token = subword_find_added(t->own, normalized, text, bytes, at, &found);
        size_t end = token ? found.start : bytes;
        good = end == at || rest(t, text + at, end - at, ids, e);
        if (!token)
            return good;
        *array_add(ids) = token->id;
    }
    return good;
}

static bool encode_normalized(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    Str normal = {0};
    bool good = subword_normalize(t->own, text, bytes, &normal, e) &&
                encode_around(t, true, normal.text, normal.length, encode_words, ids, e);
    str_free(&normal);
    return good;
}

static bool subword_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    return encode_around(t, false, text, bytes, encode_normalized, ids, e);
}

static bool is_added(const Subword *s, int64_t id)
{
    for (size_t i = 0; i < s->added.count; i++)
        if (s->added.items[i].id == id)
            return true;
    return false;
}

/* A token of a byte-level vocabulary as its bytes; a character that stands for none stays. */
static void add_printable(const char *token, size_t size, Str *text)
{
    for (size_t at = 0, start; at < size;) {
        start = at;
        int byte = subword_character_byte(utf8_next(token, size, &at));
        if (byte >= 0)
            str_add_bytes(text, &(char){(char)byte}, 1);
        else
            str_add_bytes(text, token + start, at - start);
    }
}

static const char space_mark[] = "\xe2\x96\x81"; /* U+2581 */

/* A token of SentencePiece's making: U+2581 is a space, <0xNN> a byte. */
static void add_marked(const char *token, size_t size, Str *text)
{
    unsigned byte;
    int end = 0;
    if (size == 6 && sscanf(token, "<0x%2X>%n", &byte, &end) == 1 && end == 6) {
        str_add_bytes(text, &(char){(char)byte}, 1);
        return;
    }
    for (size_t at = 0; at < size; at++) {
        bool space = size - at >= 3 && memcmp(token + at, space_mark, 3) == 0;
        str_add_bytes(text, space ? " " : token + at, 1);
        at += space ? 2 : 0;
    }
}

static void decode_bpe_token(const Subword *s, const char *token, size_t size, Str *text)
{
    size_t suffix = strlen(s->suffix);
    bool ends_word = suffix && size >= suffix && memcmp(token + size - suffix, s->suffix, suffix) == 0;
    size -= ends_word ? suffix : 0;
    if (s->byte_level)
        add_printable(token, size, text);
    else if (s->byte_fallback)
        add_marked(token, size, text);
    else
        str_add_bytes(text, token, size);
    if (ends_word)
        str_add(text, " ");
}

static void subword_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    const Subword *s = t->own;
    for (int64_t i = 0; i < count; i++) {
        size_t size, prefix = strlen(s->prefix);
        const char *token = vocabulary_text(t->tokens, (int32_t)ids[i], &size);
        if (s->model == SUBWORD_BPE && !is_added(s, ids[i])) {
            size_t mark = i == 0 && s->byte_fallback && str_starts(token, space_mark) ? strlen(space_mark) : 0;
            decode_bpe_token(s, token + mark, size - mark, text); /* without the space that was put in front */
        } else if (s->model == SUBWORD_BPE) {
            str_add_bytes(text, token, size);
        } else {
            bool goes_on = i > 0 && prefix && size > prefix && memcmp(token, s->prefix, prefix) == 0;
            if (i > 0 && !goes_on)
                str_add(text, " ");
            str_add_bytes(text, token + (goes_on ? prefix : 0), size - (goes_on ? prefix : 0));
        }
    }
}

static void subword_close(Tokenizer *t)
{
    subword_free(t->own);
}

void subword_free(Subword *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->added.count; i++)
        mem_free(s->added.items[i].content);
    for (size_t i = 0; i < s->normalizers.count; i++) {
        mem_free(s->normalizers.items[i].text);
        regex_free(s->normalizers.items[i].pattern);
    }
    for (size_t i = 0; i < s->splitters.count; i++)
        regex_free(s->splitters.items[i].pattern);
    array_free(&s->added);
    array_free(&s->normalizers);
    array_free(&s->splitters);
    bpe_free(s->bpe);
    mem_free(s->prefix);
    mem_free(s->suffix);
    mem_free(s);
}

void subword_set_byte_level(Subword *s, const Vocabulary *tokens)
{
    s->byte_level = true;
    Str character = {0};
    for (int byte = 0; byte < COUNT_OF(s->byte_ids); byte++) {
        str_clear(&character);
        utf8_add(&character, subword_byte_character((uint8_t)byte));
        s->byte_ids[byte] = vocabulary_find(tokens, character.text, character.length);
    }
    str_free(&character);
}

static int compare_sizes(const void *a, const void *b)
{
    const AddedToken *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

static void subword_add(Tokenizer *t, const char *token, int32_t id)
{
    Subword *s = t->own;
    if (is_added(s, id))
        return;
    *array_add(&s->added) = (AddedToken){.content = str_copy(token), .size = strlen(token), .id = id};
    qsort(s->added.items, s->added.count, sizeof *s->added.items, compare_sizes);
}

static const TokenizerKind subword_kind = {
    .name = "subword",
    .encode = subword_encode,
    .decode = subword_decode,
    .add = subword_add,
    .close = subword_close,
};

Tokenizer *subword_new(Subword *s, Vocabulary *tokens)
{
    if (s->added.count)
        qsort(s->added.items, s->added.count, sizeof *s->added.items, compare_sizes);
    Tokenizer *t = tokenizer_new(&subword_kind, s);
    t->tokens = tokens;
    return t;
}
