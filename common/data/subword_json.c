/* tokenizer.json of the tokenizers library. What is not known here is refused by name, because a step left out would give
 * other ids without a word. */
#include "common/data/subword.h"

#include <string.h>
#include <utf8proc.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* A boolean; what it is where it is missing or null. */
static bool flag_of(const json_t *object, const char *key, bool missing)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_boolean_value(value) : missing;
}

/* The steps of a section: none, one, or the list of a Sequence. */
typedef bool AddStep(Subword *s, const json_t *step, Error *e);

static bool add_steps(Subword *s, const json_t *section, const char *list, AddStep *add, Error *e)
{
    if (!section || json_is_null(section))
        return true;
    if (strcmp(text_of(section, "type"), "Sequence") != 0)
        return add(s, section, e);
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(section, list), i, step)
    {
        if (!add(s, step, e))
            return false;
    }
    return true;
}

/* {"String": "..."} or {"Regex": "..."} */
static Regex *pattern_of(const json_t *step, Error *e)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const char *expression = json_string_value(json_object_get(pattern, "Regex")),
               *literal = text_of(pattern, "String");
    if (expression)
        return regex_new(expression, e);
    if (!literal[0] || strstr(literal, "\\E"))
        return error_null(e, "a pattern that is no string and no regular expression");
    char *quoted = str_format("\\Q%s\\E", literal);
    Regex *regex = regex_new(quoted, e);
    mem_free(quoted);
    return regex;
}

static int form_of(const char *type)
{
    return strcmp(type, "NFC") == 0    ? UTF8PROC_COMPOSE
           : strcmp(type, "NFD") == 0  ? UTF8PROC_DECOMPOSE
           : strcmp(type, "NFKC") == 0 ? UTF8PROC_COMPOSE | UTF8PROC_COMPAT
           : strcmp(type, "NFKD") == 0 ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT
                                       : 0;
}

static bool add_normalizer(Subword *s, const json_t *step, Error *e)
{
    const char *type = text_of(step, "type");
    Normalizer n = {.form = form_of(type)};
    if (n.form) {
        n.kind = NORMALIZER_FORM;
    } else if (strcmp(type, "BertNormalizer") == 0) {
        n.kind = NORMALIZER_BERT;
        n.clean_text = flag_of(step, "clean_text", true);
        n.handle_chinese_chars = flag_of(step, "handle_chinese_chars", true);
        n.lowercase = flag_of(step, "lowercase", true);
        n.strip_accents = flag_of(step, "strip_accents", n.lowercase);
    } else if (strcmp(type, "Lowercase") == 0) {
        n.kind = NORMALIZER_LOWERCASE;
    } else if (strcmp(type, "StripAccents") == 0) {
        n.kind = NORMALIZER_STRIP_ACCENTS;
    } else if (strcmp(type, "Prepend") == 0) {
        n.kind = NORMALIZER_PREPEND;
        n.text = str_copy(text_of(step, "prepend"));
    } else if (strcmp(type, "Replace") == 0) {
        n.kind = NORMALIZER_REPLACE;
        if (!(n.pattern = pattern_of(step, e)))
            return false;
        n.text = str_copy(text_of(step, "content"));
    } else {
        return error_set(e, "normalizer '%s' is not known here", type);
    }
    *array_add(&s->normalizers) = n;
    return true;
}

static bool add_byte_level(Subword *s, const json_t *step, Error *e)
{
    s->byte_level = true;
    if (flag_of(step, "add_prefix_space", true))
        *array_add(&s->splitters) = (Splitter){.kind = SPLITTER_PREFIX_SPACE};
    return !flag_of(step, "use_regex", true) || subword_add_gpt2_splitter(s, e);
}

static bool add_split(Subword *s, const json_t *step, Error *e)
{
    const char *behavior = text_of(step, "behavior");
    bool removed = strcmp(behavior, "Removed") == 0;
    if (!removed && strcmp(behavior, "Isolated") != 0)
        return error_set(e, "pre-tokenizer 'Split' with behavior '%s' is not known here", behavior);
    Regex *pattern = pattern_of(step, e);
    if (pattern)
        *array_add(&s->splitters) = (Splitter){SPLITTER_PATTERN, pattern, removed, flag_of(step, "invert", false)};
    return pattern != NULL;
}

/* \w of Unicode's regular expressions (UTS 18), inside a class. */
#define WORD_CHARACTERS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"

static bool add_splitter(Subword *s, const json_t *step, Error *e)
{
    const char *type = text_of(step, "type");
    if (strcmp(type, "ByteLevel") == 0)
        return add_byte_level(s, step, e);
    if (strcmp(type, "Split") == 0)
        return add_split(s, step, e);
    if (strcmp(type, "Digits") == 0)
        return subword_add_pattern(s, (Splitter){.kind = SPLITTER_PATTERN},
                                   flag_of(step, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", e);
    if (strcmp(type, "Whitespace") == 0)
        return subword_add_pattern(s, (Splitter){.kind = SPLITTER_WHITESPACE, .removed = true, .invert = true},
                                   "[" WORD_CHARACTERS "]+|[^" WORD_CHARACTERS "\\s]+", e);
    bool bert = strcmp(type, "BertPreTokenizer") == 0;
    if (!bert && strcmp(type, "WhitespaceSplit") != 0)
        return error_set(e, "pre-tokenizer '%s' is not known here", type);
    *array_add(&s->splitters) = (Splitter){.kind = bert ? SPLITTER_BERT : SPLITTER_WHITESPACE_SPLIT};
    return true;
}

static bool read_added(Subword *s, const json_t *added, Error *e)
{
    size_t i;
    json_t *token;
    json_array_foreach(added, i, token)
    {
        const json_t *content = json_object_get(token, "content");
        AddedToken a = {.size = json_string_length(content),
                        .id = (int32_t)json_integer_value(json_object_get(token, "id")),
                        .single_word = flag_of(token, "single_word", false),
                        .lstrip = flag_of(token, "lstrip", false),
                        .rstrip = flag_of(token, "rstrip", false),
                        .normalized = flag_of(token, "normalized", true)};
        if (!a.size)
            return error_set(e, "added_tokens[%zu] is empty", i);
        a.content = mem_new(a.size + 1);
        memcpy(a.content, json_string_value(content), a.size);
        *array_add(&s->added) = a;
        if (!a.normalized)
            continue;
        Str normal = {0}; /* it is sought in normalised text */
        bool good = subword_normalize(s, a.content, a.size, &normal, e);
        AddedToken *last = &s->added.items[s->added.count - 1];
        mem_free(last->content);
        last->content = normal.text;
        last->size = normal.length;
        if (!good || !last->size)
            return good && error_set(e, "added_tokens[%zu] is empty once it is normalised", i);
    }
    return true;
}

static bool read_merges(Subword *s, const Vocabulary *tokens, const json_t *merges, Error *e)
{
    size_t i;
    json_t *merge;
    s->bpe = bpe_new();
    json_array_foreach(merges, i, merge)
    {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        bool good = json_is_string(merge)
                        ? subword_add_merge_line(s, tokens, json_string_value(merge), json_string_length(merge), e)
                        : (json_is_string(left) && json_is_string(right) && json_array_size(merge) == 2) ||
                              error_set(e, "merges[%zu] is no pair", i);
        if (good && !json_is_string(merge))
            good = subword_add_merge(s, tokens, json_string_value(left), json_string_length(left),
                                     json_string_value(right), json_string_length(right), e);
        if (!good)
            return false;
    }
    return true;
}

static bool read_model(Subword *s, const Vocabulary *tokens, const json_t *model, Error *e)
{
    const char *type = text_of(model, "type"), *unknown = text_of(model, "unk_token");
    bool wordpiece = strcmp(type, "WordPiece") == 0, words = strcmp(type, "WordLevel") == 0;
    /* Older files name no type: only BPE has merges. */
    bool bpe = strcmp(type, "BPE") == 0 || (!type[0] && json_object_get(model, "merges"));
    if (!bpe && !wordpiece && !words)
        return error_set(e, "model '%s' is not known here (of Unigram, give the SentencePiece .model)", type);
    s->model = wordpiece ? SUBWORD_WORDPIECE : words ? SUBWORD_WORDS : SUBWORD_BPE;
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    s->most_characters = json_is_integer(most) ? json_integer_value(most) : 100;
    s->prefix = str_copy(wordpiece && !json_object_get(model, "continuing_subword_prefix")
                             ? "##"
                             : text_of(model, "continuing_subword_prefix"));
    s->suffix = str_copy(text_of(model, "end_of_word_suffix"));
    s->fuse_unknown = flag_of(model, "fuse_unk", false);
    s->byte_fallback = flag_of(model, "byte_fallback", false);
    s->ignore_merges = flag_of(model, "ignore_merges", false);
    s->unknown = unknown[0] ? vocabulary_find(tokens, unknown, strlen(unknown)) : -1;
    if (unknown[0] && s->unknown < 0)
        return error_set(e, "unk_token '%s' is not of the vocabulary", unknown);
    if (s->byte_level)
        subword_set_byte_level(s, tokens);
    return !bpe || read_merges(s, tokens, json_object_get(model, "merges"), e);
}

Tokenizer *subword_from_json(const json_t *root, Error *e)
{
    Subword *s = mem_new(sizeof *s);
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    Vocabulary *tokens = subword_read_vocabulary(json_object_get(model, "vocab"), added, e);
    if (tokens && add_steps(s, json_object_get(root, "normalizer"), "normalizers", add_normalizer, e) &&
        add_steps(s, json_object_get(root, "pre_tokenizer"), "pretokenizers", add_splitter, e) &&
        read_model(s, tokens, model, e) && read_added(s, added, e))
        return subword_new(s, tokens);
    subword_free(s);
    vocabulary_free(tokens);
    return NULL;
}
