/* Tokenizers of pieces of words: added tokens are cut out of the text, what lies between is normalised and cut into words,
 * and every word into pieces of a vocabulary. The steps are those of Hugging Face's tokenizer.json, under its names; a
 * vocab.txt or vocab.json is such a tokenizer with the steps that its model has always had. */
#pragma once
#include "common/data/bpe.h"
#include "common/data/regex.h"
#include "common/data/tokenizer_kind.h"

/* A token that is found in the text by its content, before everything else. */
typedef struct AddedToken {
    char *content;
    size_t size;
    int32_t id;
    bool single_word;    /* not beside a letter, digit or underscore */
    bool lstrip, rstrip; /* takes the white space on its left, right, too */
    bool normalized;     /* sought in the normalised text, else in the raw one */
} AddedToken;

typedef enum NormalizerKind {
    NORMALIZER_BERT,
    NORMALIZER_FORM, /* NFC, NFD, NFKC, NFKD */
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_PREPEND,
    NORMALIZER_REPLACE
} NormalizerKind;

typedef struct Normalizer {
    NormalizerKind kind;
    bool clean_text, handle_chinese_chars, strip_accents, lowercase; /* of BERT */
    int form;                                                        /* utf8proc's options */
    char *text;                                                      /* prepended, or what a match is replaced by */
    Regex *pattern;
} Normalizer;

typedef enum SplitterKind {
    SPLITTER_BERT,             /* at white space, which goes, and around each punctuation character */
    SPLITTER_WHITESPACE,       /* \w+ and [^\w\s]+ are the words */
    SPLITTER_WHITESPACE_SPLIT, /* at white space */
    SPLITTER_PREFIX_SPACE,     /* no splitting: a space in front of a text that has none */
    SPLITTER_PATTERN
} SplitterKind;

typedef struct Splitter {
    SplitterKind kind;
    Regex *pattern;
    bool removed; /* a match separates words and goes, else it is a word */
    bool invert;  /* what is between the matches counts as matches, the matches as what is between */
} Splitter;

typedef enum SubwordModel { SUBWORD_BPE, SUBWORD_WORDPIECE, SUBWORD_WORDS } SubwordModel;

typedef struct Subword {
    ARRAY(AddedToken) added; /* the longest first */
    ARRAY(Normalizer) normalizers;
    ARRAY(Splitter) splitters;
    SubwordModel model;
    Bpe *bpe;
    bool byte_level;         /* the vocabulary writes each byte as a printable character */
    int32_t byte_ids[256];   /* then: of the token of each byte alone, or -1 */
    bool byte_fallback;      /* a character that is no token becomes its bytes, <0xNN> */
    bool fuse_unknown;       /* unknown characters in a row are one token */
    bool ignore_merges;      /* a whole word that is a token is not cut */
    int32_t unknown;         /* -1: what is not in the vocabulary goes lost */
    char *prefix, *suffix;   /* of every piece but a word's first; of its last. "" for none */
    int64_t most_characters; /* of a word of WordPiece: a longer one is unknown */
} Subword;

/* A span of bytes of a text. */
typedef struct Span {
    size_t start, size;
} Span;

typedef ARRAY(Span) Spans;

/* The tokens [ids], by now complete, and all that the fields above say; takes both over. */
Tokenizer *subword_new(Subword *subword, Vocabulary *tokens);
void subword_free(Subword *subword); /* NULL is fine */

/* Sets byte_level, and finds the bytes' tokens. */
void subword_set_byte_level(Subword *s, const Vocabulary *tokens);

/* The first added token from `at` on that is sought in this kind of text; `whole` is what it takes of the text. */
const AddedToken *subword_find_added(const Subword *s, bool normalized, const char *text, size_t bytes, size_t at,
                                     Span *whole);

/* The text after all normalizers, added to `out`. */
bool subword_normalize(const Subword *s, const char *text, size_t bytes, Str *out, Error *e);

/* The words of a text. `text` may change: a splitter can add a space in front. */
bool subword_split(const Subword *s, Str *text, Spans *words, Error *e);

/* Adds a splitter with a pattern; GPT-2's own (Radford et al. 2019). */
bool subword_add_pattern(Subword *s, Splitter splitter, const char *pattern, Error *e);
bool subword_add_gpt2_splitter(Subword *s, Error *e);

/* A vocabulary out of an object of token -> id and a list of added tokens (NULL: none); together they have every id once. */
Vocabulary *subword_read_vocabulary(const json_t *vocab, const json_t *added, Error *e);

/* The next merge in rank; of a line "left right". */
bool subword_add_merge(Subword *s, const Vocabulary *tokens, const char *left, size_t left_size, const char *right,
                       size_t right_size, Error *e);
bool subword_add_merge_line(Subword *s, const Vocabulary *tokens, const char *line, size_t size, Error *e);

/* The pieces of one word. */
void subword_encode_word(const Tokenizer *t, const char *word, size_t bytes, TokenIds *ids);

/* The printable character that stands for a byte in a byte-level vocabulary (Radford et al. 2019), and back: -1 if the
 * character stands for none. */
uint32_t subword_byte_character(uint8_t byte);
int subword_character_byte(uint32_t character);

/* Tokenizers out of their files. */
Tokenizer *subword_from_json(const json_t *root, Error *e); /* tokenizer.json */
Tokenizer *subword_from_vocab_and_merges(const json_t *vocab, const char *merges,
                                         Error *e);                           /* vocab.json, merges.txt */
Tokenizer *subword_from_vocab_text(const char *text, size_t bytes, Error *e); /* vocab.txt */
