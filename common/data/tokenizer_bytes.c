#include "common/data/tokenizer_kind.h"

enum { BYTE_VALUES = 256 };

static bool bytes_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    (void)t, (void)e;
    for (size_t i = 0; i < bytes; i++)
        *array_add(ids) = (unsigned char)text[i];
    return true;
}

static const TokenizerKind bytes_kind = {
    .name = "bytes",
    .by_line = true,
    .takes_any_bytes = true,
    .encode = bytes_encode,
    .decode = tokenizer_join,
};

Tokenizer *tokenizer_bytes(void)
{
    Tokenizer *t = tokenizer_new(&bytes_kind, NULL);
    t->tokens = vocabulary_new();
    for (int i = 0; i < BYTE_VALUES; i++)
        vocabulary_add(t->tokens, &(char){(char)i}, 1);
    return t;
}
