#include "common/data/tokenizer_kind.h"

#include <string.h>

Tokenizer *tokenizer_new(const TokenizerKind *kind, void *own)
{
    Tokenizer *t = mem_new(sizeof *t);
    *t = (Tokenizer){.kind = kind, .stamp = str_hash(kind->name), .own = own};
    return t;
}

Tokenizer *tokenizer_open(const char *name, Error *e)
{
    if (strcmp(name, "bytes") == 0)
        return tokenizer_bytes();
    return error_null(e, "unknown tokenizer '%s', expected: bytes", name);
}

void tokenizer_close(Tokenizer *t)
{
    if (!t)
        return;
    if (t->kind->close)
        t->kind->close(t);
    mem_free(t);
}

bool tokenizer_learn(Tokenizer *t, const Corpus *corpus, Error *e)
{
    return !t->kind->learn || t->vocabulary || t->kind->learn(t, corpus, e);
}

int64_t tokenizer_vocabulary(const Tokenizer *t)
{
    return t->vocabulary;
}

uint64_t tokenizer_stamp(const Tokenizer *t)
{
    return t->stamp;
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    contract(t->vocabulary > 0, "tokenizer_encode: the vocabulary was not learned");
    return t->kind->encode(t, text, bytes, ids, e);
}

void tokenizer_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    for (int64_t i = 0; i < count; i++)
        contract(ids[i] >= 0 && ids[i] < t->vocabulary, "tokenizer_decode: id %lld of a vocabulary of %lld",
                 (long long)ids[i], (long long)t->vocabulary);
    t->kind->decode(t, ids, count, text);
}

int64_t tokenizer_id(const Tokenizer *t, const char *token)
{
    return t->kind->id(t, token);
}
