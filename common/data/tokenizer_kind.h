/* What the kinds of tokenizers share: the inside of common/data/tokenizer.h. */
#pragma once
#include "common/data/tokenizer.h"
#include "common/data/vocabulary.h"

#include <jansson.h>

typedef struct TokenizerKind {
    const char *name;
    /* The ids of a text are those of its lines, one after the other (a line with its '\n'): large texts go in pieces. */
    bool by_line;
    bool takes_any_bytes; /* else `encode` gets valid UTF-8 */
    bool (*encode)(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e);
    void (*decode)(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text);

    /* Of those that count their vocabulary (NULL for the others): `learn` counts, `adopt` takes a vocabulary over that was
     * learned now or earlier, or refuses what cannot be one. */
    Vocabulary *(*learn)(const Tokenizer *t, const Corpus *corpus, Error *e);
    bool (*adopt)(Tokenizer *t, Vocabulary *tokens, Error *e);

    /* A token of the vocabulary is from now on found by its content; NULL: this kind cannot. */
    void (*add)(Tokenizer *t, const char *token, int32_t id);

    void (*close)(Tokenizer *t); /* gives back `own`; NULL: there is none */
} TokenizerKind;

struct Tokenizer {
    const TokenizerKind *kind;
    Vocabulary *tokens; /* NULL before it was learned */
    uint64_t stamp;
    void *own;
};

/* A tokenizer with nothing set but the stamp of its kind's name. */
Tokenizer *tokenizer_new(const TokenizerKind *kind, void *own);

/* Pixels are no text: only a tokenizer that takes any bytes reads a corpus of images. */
bool tokenizer_takes(const Tokenizer *t, const Corpus *corpus, Error *e);

/* A `decode`: the tokens' texts, one after the other. */
void tokenizer_join(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text);

Tokenizer *tokenizer_bytes(void);
Tokenizer *tokenizer_characters(void);
Tokenizer *tokenizer_words(int64_t most);     /* ids; 0: as many as there are words */
Tokenizer *tokenizer_named(const char *name); /* one of these three; NULL: another name */

/* Out of a file, or a folder with one. */
Tokenizer *tokenizer_open_path(const char *path, Error *e);

Tokenizer *tokenizer_sentencepiece(const char *path, Error *e);

/* A JSON file; its bytes' hash goes into *stamp (NULL: not wanted). */
json_t *tokenizer_read_json(const char *path, uint64_t *stamp, Error *e);

/* Takes over a vocabulary; the stamp becomes that of kind and tokens. */
bool tokenizer_adopt(Tokenizer *t, Vocabulary *tokens, Error *e);

/* The same out of what tokenizer_write wrote: {"tokenizer": "words", "stamp": "...", "tokens": [...]}. */
bool tokenizer_adopt_json(Tokenizer *t, const json_t *root, Error *e);
