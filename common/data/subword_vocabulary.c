/* The vocabularies and merges of vocab.json, merges.txt, vocab.txt, and of tokenizer.json, which holds the same. */
#include "common/data/subword.h"
#include "common/data/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Notes the token of an id. */
static bool collect(const char **texts, size_t *sizes, size_t capacity, const char *text, size_t size, const json_t *id,
                    Error *e)
{
    json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
    if (number < 0 || (size_t)number >= capacity)
        return error_set(e, "token '%.100s' has an id that is none of %zu", text, capacity);
    if (texts[number] && (sizes[number] != size || memcmp(texts[number], text, size) != 0))
        return error_set(e, "tokens '%.100s' and '%.100s' have the same id %lld", texts[number], text,
                         (long long)number);
    texts[number] = text;
    sizes[number] = size;
    return true;
}

Vocabulary *subword_read_vocabulary(const json_t *vocab, const json_t *added, Error *e)
{
    size_t capacity = json_object_size(vocab) + json_array_size(added), *sizes = mem_new(capacity * sizeof *sizes), i,
           length;
    const char **texts = mem_new(capacity * sizeof *texts), *text;
    json_t *id, *token;
    bool good = capacity > 0 || error_set(e, "no vocabulary");
    json_object_keylen_foreach((json_t *)vocab, text, length, id)
    {
        good = good && collect(texts, sizes, capacity, text, length, id, e);
    }
    json_array_foreach(added, i, token)
    {
        const json_t *content = json_object_get(token, "content");
        good = good && (json_is_string(content) || error_set(e, "added_tokens[%zu] has no content", i)) &&
               collect(texts, sizes, capacity, json_string_value(content), json_string_length(content),
                       json_object_get(token, "id"), e);
    }
    Vocabulary *v = vocabulary_new();
    size_t count = capacity;
    while (count && !texts[count - 1])
        count--;
    for (i = 0; good && i < count; i++)
        good = (texts[i] || error_set(e, "no token has id %zu", i)) &&
               (vocabulary_add(v, texts[i], sizes[i]) == (int32_t)i ||
                error_set(e, "token '%.100s' has two ids, %zu and another", texts[i], i));
    mem_free(texts);
    mem_free(sizes);
    if (good)
        return v;
    vocabulary_free(v);
    return NULL;
}

bool subword_add_merge(Subword *s, const Vocabulary *tokens, const char *left, size_t left_size, const char *right,
                       size_t right_size, Error *e)
{
    Str merged = {0};
    size_t prefix = s->prefix[0] && right_size >= strlen(s->prefix) ? strlen(s->prefix) : 0;
    str_add_bytes(&merged, left, left_size);
    str_add_bytes(&merged, right + prefix, right_size - prefix);
    int32_t ids[3] = {vocabulary_find(tokens, left, left_size), vocabulary_find(tokens, right, right_size),
                      vocabulary_find(tokens, merged.text, merged.length)};
    str_free(&merged);
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return error_set(e, "merge '%.*s %.*s' is not of the vocabulary", (int)MIN(left_size, (size_t)100), left,
                         (int)MIN(right_size, (size_t)100), right);
    bpe_add(s->bpe, ids[0], ids[1], ids[2]);
    return true;
}

bool subword_add_merge_line(Subword *s, const Vocabulary *tokens, const char *line, size_t size, Error *e)
{
    const char *space = memchr(line, ' ', size);
    if (!space || memchr(space + 1, ' ', size - (size_t)(space + 1 - line)))
        return error_set(e, "merge '%.*s' is no pair", (int)MIN(size, (size_t)100), line);
    return subword_add_merge(s, tokens, line, (size_t)(space - line), space + 1, size - (size_t)(space + 1 - line), e);
}

/* The tokens that the models of these files find in a text, where the vocabulary has them. */
static void add_specials(Subword *s, const Vocabulary *tokens, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        int32_t id = vocabulary_find(tokens, names[i], strlen(names[i]));
        if (id >= 0)
            *array_add(&s->added) = (AddedToken){.content = str_copy(names[i]),
                                                 .size = strlen(names[i]),
                                                 .id = id,
                                                 .lstrip = strcmp(names[i], "<mask>") == 0};
    }
}

/* The lines of merges.txt; the first may be a comment on its version. */
static bool read_merges(Subword *s, const Vocabulary *tokens, const char *text, Error *e)
{
    s->bpe = bpe_new();
    for (int number = 1; *text; number++) {
        size_t size = strcspn(text, "\n"), kept = size && text[size - 1] == '\r' ? size - 1 : size;
        if (kept && !str_starts(text, "#version") && !subword_add_merge_line(s, tokens, text, kept, e))
            return error_prefix(e, "merges.txt:%d", number);
        text += size + (text[size] == '\n');
    }
    return true;
}

Tokenizer *subword_from_vocab_and_merges(const json_t *vocab, const char *merges, Error *e)
{
    static const char *const specials[] = {"<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>"};
    Subword *s = mem_new(sizeof *s);
    *s = (Subword){.model = SUBWORD_BPE, .prefix = str_copy(""), .suffix = str_copy(""), .unknown = -1};
    Vocabulary *tokens = subword_read_vocabulary(vocab, NULL, e);
    if (tokens && subword_add_gpt2_splitter(s, e) && read_merges(s, tokens, merges, e)) {
        subword_set_byte_level(s, tokens);
        add_specials(s, tokens, specials, COUNT_OF(specials));
        return subword_new(s, tokens);
    }
    subword_free(s);
    vocabulary_free(tokens);
    return NULL;
}

/* A letter that lower-casing would change. */
static bool has_capital(const char *token, size_t size)
{
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t c = (utf8proc_int32_t)utf8_next(token, size, &at);
        if (utf8proc_tolower(c) != c)
            return true;
    }
    return false;
}

/* A token a line. `cased`: a token, not in brackets, has a capital letter. */
static Vocabulary *read_lines(const char *text, size_t bytes, bool *cased, Error *e)
{
    Vocabulary *tokens = vocabulary_new();
    *cased = false;
    for (size_t at = 0, size; at < bytes; at += size + 1) {
        const char *line = text + at, *end = memchr(line, '\n', bytes - at);
        size = end ? (size_t)(end - line) : bytes - at;
        size_t kept = size && line[size - 1] == '\r' ? size - 1 : size;
        int32_t id = vocabulary_count(tokens);
        if (vocabulary_add(tokens, line, kept) != id) {
            vocabulary_free(tokens);
            return error_null(e, "line %d: the token '%.*s' is there twice", id + 1, (int)MIN(kept, (size_t)100), line);
        }
        *cased = *cased || (line[0] != '[' && has_capital(line, kept));
    }
    return tokens;
}

Tokenizer *subword_from_vocab_text(const char *text, size_t bytes, Error *e)
{
    static const char *const specials[] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    enum { MOST_CHARACTERS = 100 };
    bool cased;
    Vocabulary *tokens = read_lines(text, bytes, &cased, e);
    int32_t unknown = tokens ? vocabulary_find(tokens, specials[0], strlen(specials[0])) : -1;
    if (tokens && unknown < 0)
        error_set(e, "no line is [UNK]: not a vocabulary of WordPiece");
    if (unknown < 0) {
        vocabulary_free(tokens);
        return NULL;
    }
    Subword *s = mem_new(sizeof *s);
    *s = (Subword){.model = SUBWORD_WORDPIECE,
                   .prefix = str_copy("##"),
                   .suffix = str_copy(""),
                   .unknown = unknown,
                   .most_characters = MOST_CHARACTERS};
    *array_add(&s->normalizers) = (Normalizer){.kind = NORMALIZER_BERT,
                                               .clean_text = true,
                                               .handle_chinese_chars = true,
                                               .strip_accents = !cased,
                                               .lowercase = !cased};
    *array_add(&s->splitters) = (Splitter){.kind = SPLITTER_BERT};
    add_specials(s, tokens, specials, COUNT_OF(specials));
    return subword_new(s, tokens);
}
