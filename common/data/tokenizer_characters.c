/* Every character is a token; the vocabulary is what occurs anywhere in the corpus, in the order of code points. */
#include "common/data/tokenizer_kind.h"
#include "common/data/utf8.h"

#include <string.h>

enum { CODE_POINTS = 0x110000 };

typedef struct Characters {
    int32_t *ids; /* of every code point, -1: none; NULL before there is a vocabulary */
} Characters;

static bool characters_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e)
{
    const Characters *own = t->own;
    for (size_t at = 0, start; at < bytes;) {
        start = at;
        int32_t id = own->ids[utf8_next(text, bytes, &at)];
        if (id < 0)
            return error_set(e, "the character '%.*s' is not in the vocabulary", (int)(at - start), text + start);
        *array_add(ids) = id;
    }
    return true;
}

static bool characters_adopt(Tokenizer *t, Vocabulary *v, Error *e)
{
    Characters *own = t->own;
    mem_free(own->ids);
    own->ids = mem_new(CODE_POINTS * sizeof *own->ids);
    memset(own->ids, 0xff, CODE_POINTS * sizeof *own->ids);
    for (int32_t id = 0; id < vocabulary_count(v); id++) {
        size_t size, at = 0;
        const char *text = vocabulary_text(v, id, &size);
        uint32_t character = size ? utf8_next(text, size, &at) : 0;
        if (!size || at != size)
            return error_set(e, "token %d is not one character", id);
        own->ids[character] = id;
    }
    return true;
}

static bool mark_part(const Corpus *corpus, CorpusPart part, bool *seen, Error *e)
{
    for (int64_t i = 0; i < corpus->documents[part]; i++) {
        Document d;
        bool good = corpus_read(corpus, part, i, &d, e);
        for (size_t at = 0; good && at < d.size;)
            seen[utf8_next(d.text, d.size, &at)] = true;
        document_free(&d);
        if (!good)
            return false;
    }
    return true;
}

static Vocabulary *characters_learn(const Tokenizer *t, const Corpus *corpus, Error *e)
{
    (void)t;
    bool *seen = mem_new(CODE_POINTS), good = true;
    for (CorpusPart part = 0; good && part < CORPUS_PARTS; part++)
        good = mark_part(corpus, part, seen, e);
    Vocabulary *v = good ? vocabulary_new() : NULL;
    Str text = {0};
    for (uint32_t character = 0; v && character < CODE_POINTS; character++)
        if (seen[character]) {
            str_clear(&text);
            utf8_add(&text, character);
            vocabulary_add(v, text.text, text.length);
        }
    str_free(&text);
    mem_free(seen);
    return v;
}

static void characters_close(Tokenizer *t)
{
    Characters *own = t->own;
    mem_free(own->ids);
    mem_free(own);
}

static const TokenizerKind characters_kind = {
    .name = "characters",
    .by_line = true,
    .encode = characters_encode,
    .decode = tokenizer_join,
    .learn = characters_learn,
    .adopt = characters_adopt,
    .close = characters_close,
};

Tokenizer *tokenizer_characters(void)
{
    return tokenizer_new(&characters_kind, mem_new(sizeof(Characters)));
}
