#include "common/data/tokenizer_kind.h"

#include "common/base/place.h"
#include "common/data/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Tokenizer *tokenizer_new(const TokenizerKind *kind, void *own)
{
    Tokenizer *t = mem_new(sizeof *t);
    *t = (Tokenizer){.kind = kind, .stamp = str_hash(kind->name), .own = own};
    return t;
}

/* words:N */
static Tokenizer *open_limited_words(const char *name, Error *e)
{
    char *end;
    long most = strtol(name + strlen("words:"), &end, 10);
    if (*end || most < 2 || most > INT32_MAX)
        return error_null(e, "tokenizer '%s': expected a number of at least 2 after 'words:'", name);
    return tokenizer_words(most);
}

Tokenizer *tokenizer_named(const char *name)
{
    if (strcmp(name, "bytes") == 0)
        return tokenizer_bytes();
    if (strcmp(name, "characters") == 0)
        return tokenizer_characters();
    if (strcmp(name, "words") == 0)
        return tokenizer_words(0);
    return NULL;
}

Tokenizer *tokenizer_open(const char *name, Error *e)
{
    Tokenizer *t = tokenizer_named(name);
    if (t)
        return t;
    if (str_starts(name, "words:"))
        return open_limited_words(name, e);
    if (file_exists(name) || folder_exists(name))
        return tokenizer_open_path(name, e);
    return error_null(e, "no tokenizer '%s': expected bytes, characters, words, words:N, a file or a folder", name);
}

bool tokenizer_takes(const Tokenizer *t, const Corpus *corpus, Error *e)
{
    return !corpus->width || t->kind->takes_any_bytes ||
           error_set(e, "data set %s holds images, which only the tokenizer 'bytes' reads", corpus->name);
}

void tokenizer_close(Tokenizer *t)
{
    if (!t)
        return;
    if (t->kind->close)
        t->kind->close(t);
    vocabulary_free(t->tokens);
    mem_free(t);
}

bool tokenizer_adopt(Tokenizer *t, Vocabulary *tokens, Error *e)
{
    if (!t->kind->adopt(t, tokens, e))
        return false;
    t->tokens = tokens;
    t->stamp = vocabulary_hash(tokens, str_hash(t->kind->name));
    return true;
}

static bool learn_now(Tokenizer *t, const Corpus *corpus, Error *e)
{
    Vocabulary *tokens = t->kind->learn(t, corpus, e);
    if (tokens && !vocabulary_count(tokens))
        error_set(e, "data set %s has no text", corpus->name);
    else if (tokens && tokenizer_adopt(t, tokens, e))
        return true;
    vocabulary_free(tokens);
    return false;
}

static bool read_learned(Tokenizer *t, const char *path)
{
    json_t *root = file_exists(path) ? tokenizer_read_json(path, NULL, NULL) : NULL;
    bool good = root && tokenizer_adopt_json(t, root, NULL);
    json_decref(root);
    return good;
}

/* A vocabulary is counted once and kept beside the token streams. */
bool tokenizer_learn(Tokenizer *t, const Corpus *corpus, Error *e)
{
    if (!tokenizer_takes(t, corpus, e))
        return false;
    if (t->tokens)
        return true;
    uint64_t stamps[2] = {corpus->stamp, t->stamp};
    char *name = str_format("%s-%016llx", corpus->name, (unsigned long long)bytes_hash(0, stamps, sizeof stamps));
    char *folder = place_cache(name, e), *path = folder ? path_join(folder, "vocabulary.json") : NULL;
    bool good = path && read_learned(t, path);
    int lock = good || !path ? -1 : place_lock(folder, e);
    if (lock >= 0) {
        good = read_learned(t, path) || (learn_now(t, corpus, e) && tokenizer_write(t, path, e));
        close(lock);
    }
    mem_free(name);
    mem_free(folder);
    mem_free(path);
    return good;
}

int64_t tokenizer_vocabulary(const Tokenizer *t)
{
    return t->tokens ? vocabulary_count(t->tokens) : 0;
}

uint64_t tokenizer_stamp(const Tokenizer *t)
{
    return t->stamp;
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    contract(t->tokens, "tokenizer_encode: the vocabulary was not learned");
    if (t->kind->takes_any_bytes || utf8_valid(text, bytes))
        return t->kind->encode(t, text, bytes, ids, e);
    Str repaired = {0};
    utf8_add_repaired(&repaired, text, bytes);
    bool good = t->kind->encode(t, repaired.text, repaired.length, ids, e);
    str_free(&repaired);
    return good;
}

void tokenizer_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    for (int64_t i = 0; i < count; i++)
        contract(ids[i] >= 0 && ids[i] < tokenizer_vocabulary(t), "tokenizer_decode: id %lld of a vocabulary of %lld",
                 (long long)ids[i], (long long)tokenizer_vocabulary(t));
    str_add_bytes(text, "", 0); /* no ids: an empty text, not none */
    t->kind->decode(t, ids, count, text);
}

void tokenizer_join(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    for (int64_t i = 0; i < count; i++) {
        size_t size;
        const char *token = vocabulary_text(t->tokens, (int32_t)ids[i], &size);
        str_add_bytes(text, token, size);
    }
}

int64_t tokenizer_id(const Tokenizer *t, const char *token)
{
    return t->tokens ? vocabulary_find(t->tokens, token, strlen(token)) : -1;
}

int64_t tokenizer_add(Tokenizer *t, const char *token, Error *e)
{
    contract(token[0], "tokenizer_add: an empty token");
    if (!t->kind->add) {
        error_set(e, "a tokenizer of %s takes no new tokens", t->kind->name);
        return -1;
    }
    int32_t id = vocabulary_add(t->tokens, token, strlen(token));
    t->kind->add(t, token, id);
    t->stamp = bytes_hash(t->stamp, token, strlen(token));
    return id;
}
