/* SentencePiece's own .model files (Kudo and Richardson 2018), through its library. */
#include "common/data/sentencepiece_shim.h"
#include "common/data/tokenizer_kind.h"

#include <string.h>

static bool pieces_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    const int *found;
    int64_t count = sentence_pieces_encode(t->own, text, bytes, &found);
    if (count < 0)
        return error_set(e, "sentencepiece cannot encode the text");
    for (int64_t i = 0; i < count; i++)
        *array_add(ids) = found[i];
    return true;
}

static void pieces_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text)
{
    int *narrow = mem_new((size_t)count * sizeof *narrow);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = (int)ids[i];
    const char *decoded;
    int64_t size = sentence_pieces_decode(t->own, narrow, (size_t)count, &decoded);
    contract(size >= 0, "sentencepiece cannot decode %lld ids", (long long)count);
    str_add_bytes(text, decoded, (size_t)size);
    mem_free(narrow);
}

static void pieces_close(Tokenizer *t)
{
    sentence_pieces_free(t->own);
}

static const TokenizerKind pieces_kind = {
    .name = "sentencepiece",
    .encode = pieces_encode,
    .decode = pieces_decode,
    .close = pieces_close,
};

/* The model's pieces as a vocabulary: each there once. */
static Vocabulary *list_pieces(const SentencePieces *pieces, Error *e)
{
    Vocabulary *tokens = vocabulary_new();
    for (int id = 0; id < sentence_pieces_count(pieces); id++) {
        size_t size;
        const char *text = sentence_pieces_text(pieces, id, &size);
        if (vocabulary_add(tokens, text, size) != id) {
            error_set(e, "piece %d is there twice", id);
            vocabulary_free(tokens);
            return NULL;
        }
    }
    return tokens;
}

Tokenizer *tokenizer_sentencepiece(const char *path, Error *e)
{
    size_t size;
    char why[256] = "no model", *model = file_read(path, &size, e);
    if (!model)
        return NULL;
    SentencePieces *pieces = sentence_pieces_new(model, size, why, sizeof why);
    if (!pieces)
        error_set(e, "%s: not a SentencePiece model: %s", path, why);
    Vocabulary *tokens = pieces ? list_pieces(pieces, e) : NULL;
    Tokenizer *t = NULL;
    if (tokens) {
        t = tokenizer_new(&pieces_kind, pieces);
        t->tokens = tokens;
        t->stamp = bytes_hash(0, model, size);
    } else if (pieces) {
        error_prefix(e, "%s", path);
        sentence_pieces_free(pieces);
    }
    mem_free(model);
    return t;
}
