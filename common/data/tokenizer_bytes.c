#include "common/data/tokenizer_kind.h"

enum { BYTE_VALUES = 256 };

static bool bytes_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    (void)t, (void)e;
    for (size_t i = 0; i < bytes; i++)
        *array_add(ids) = (unsigned char)text[i];
    return true;
}

static void bytes_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    (void)t;
    for (int64_t i = 0; i < count; i++)
        str_add_bytes(text, &(char){(char)ids[i]}, 1);
}

static int64_t bytes_id(const Tokenizer *t, const char *token)
{
    (void)t;
    return token[0] && !token[1] ? (unsigned char)token[0] : -1;
}

static const TokenizerKind bytes_kind = {
    .name = "bytes",
    .by_line = true,
    .takes_any_bytes = true,
    .encode = bytes_encode,
    .decode = bytes_decode,
    .id = bytes_id,
};

Tokenizer *tokenizer_bytes(void)
{
    Tokenizer *t = tokenizer_new(&bytes_kind, NULL);
    t->vocabulary = BYTE_VALUES;
    return t;
}
