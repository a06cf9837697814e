#include "common/data/tokenizer_kind.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

bool tokenizer_write(const Tokenizer *t, const char *path, Error *e)
{
    json_t *root = json_object(), *tokens = json_array();
    for (int32_t id = 0; id < vocabulary_count(t->tokens); id++) {
        size_t size;
        const char *text = vocabulary_text(t->tokens, id, &size);
        json_array_append_new(tokens, json_stringn(text, size));
    }
    char stamp[17];
    snprintf(stamp, sizeof stamp, "%016" PRIx64, vocabulary_hash(t->tokens, 0));
    json_object_set_new(root, "tokenizer", json_string(t->kind->name));
    json_object_set_new(root, "stamp", json_string(stamp));
    json_object_set_new(root, "tokens", tokens);
    char *text = json_dumps(root, JSON_INDENT(0));
    bool good = file_write(path, text, strlen(text), e);
    free(text);
    json_decref(root);
    return good;
}

/* The tokens of a list of different strings. */
static Vocabulary *read_tokens(const json_t *list, Error *e)
{
    if (!json_is_array(list))
        return error_null(e, "'tokens' is no list");
    Vocabulary *tokens = vocabulary_new();
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        bool text = json_is_string(item);
        if (!text || vocabulary_add(tokens, json_string_value(item), json_string_length(item)) != (int32_t)i) {
            vocabulary_free(tokens);
            return error_null(e, "tokens[%zu] is %s", i, text ? "there twice" : "no string");
        }
    }
    return tokens;
}

bool tokenizer_adopt_json(Tokenizer *t, const json_t *root, Error *e)
{
    const char *stamp = json_string_value(json_object_get(root, "stamp"));
    Vocabulary *tokens = read_tokens(json_object_get(root, "tokens"), e);
    if (!tokens)
        return false;
    char expected[17];
    snprintf(expected, sizeof expected, "%016" PRIx64, vocabulary_hash(tokens, 0));
    bool good = (stamp && strcmp(stamp, expected) == 0) || error_set(e, "the tokens are not those of the stamp");
    good = good && (vocabulary_count(tokens) || error_set(e, "no tokens"));
    if (good && tokenizer_adopt(t, tokens, e))
        return true;
    vocabulary_free(tokens);
    return false;
}
