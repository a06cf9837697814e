/* What the kinds of tokenizers share: the inside of common/data/tokenizer.h. */
#pragma once
#include "common/data/tokenizer.h"

typedef struct TokenizerKind {
    const char *name;
    /* The ids of a text are those of its lines, one after the other (a line with its '\n'): large texts go in pieces. */
    bool by_line;
    bool takes_any_bytes; /* else `encode` gets valid UTF-8 */
    bool (*encode)(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e);
    void (*decode)(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text);
    int64_t (*id)(const Tokenizer *t, const char *token);
    bool (*learn)(Tokenizer *t, const Corpus *corpus, Error *e); /* NULL: comes with its vocabulary */
    void (*close)(Tokenizer *t);                                 /* gives back `own`; NULL: there is none */
} TokenizerKind;

struct Tokenizer {
    const TokenizerKind *kind;
    int64_t vocabulary;
    uint64_t stamp;
    void *own;
};

/* A tokenizer with nothing set but the stamp of its kind's name. */
Tokenizer *tokenizer_new(const TokenizerKind *kind, void *own);

Tokenizer *tokenizer_bytes(void);
