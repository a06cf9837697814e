/* Tokenizers: text to token ids and back. Text is UTF-8; a byte that is none counts as U+FFFD, except for `bytes`, which
 * takes any. Ids run from 0 to vocabulary - 1. */
#pragma once
#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/corpus.h"

#include <stdint.h>

typedef ARRAY(int32_t) TokenIds;

typedef struct Tokenizer Tokenizer;

/* By name: `bytes` (256 ids), `characters` (every character of the corpus, in order of code points), `words` (between
 * spaces, the most frequent in the training part first; id 0 is <eos>, the end of a line, and what is rare or unseen is
 * <unk>) or `words:N` (the N most frequent ids alone); the vocabulary of these comes from tokenizer_learn. Or by path, a
 * file or a folder with one:
 *   tokenizer.json           Hugging Face's: BPE, WordPiece and WordLevel models with their normalizers and pre-tokenizers
 *   vocab.json, merges.txt   byte-level BPE of GPT-2 and RoBERTa, whose special tokens are found by their names
 *   vocab.txt                WordPiece of BERT; lower-cased and without accents unless a token has a capital letter
 *   *.model                  SentencePiece's
 *   vocabulary.json          what tokenizer_write wrote
 * Tokens that a template puts around a text ([CLS], </s>) are the caller's to add: tokenizer_id finds them. */
Tokenizer *tokenizer_open(const char *name, Error *e);
void tokenizer_close(Tokenizer *t); /* NULL is fine */

/* Counts the vocabulary out of a corpus; a tokenizer that already has one stays as it is. */
bool tokenizer_learn(Tokenizer *t, const Corpus *corpus, Error *e);

/* A learned vocabulary as a file, for a run that must not depend on the corpus any more. */
bool tokenizer_write(const Tokenizer *t, const char *path, Error *e);

int64_t tokenizer_vocabulary(const Tokenizer *t); /* how many ids; 0 before it was learned */
uint64_t tokenizer_stamp(const Tokenizer *t);     /* equal for tokenizers that give the same ids */

/* Adds the ids of a text to `ids` (array_free gives them back). False with a line if the text holds what the vocabulary
 * does not, and it has no <unk>. */
bool tokenizer_encode(const Tokenizer *t, const char *text, size_t bytes, TokenIds *ids, Error *e);

/* Adds the text of ids [count], each below tokenizer_vocabulary. The text of a longer row of ids begins with that of a
 * shorter one (except that a character may be cut), so that generated text can be shown as it grows. */
void tokenizer_decode(const Tokenizer *t, const int64_t *ids, int64_t count, Str *text);

/* A new token behind the last id, found in a text by its content before everything else, as special tokens are ("<new1>",
 * "[CVD]"): its id, or that of the token that has this name already. Of tokenizers out of tokenizer.json, vocab.json and
 * vocab.txt; -1 with a line for the others. */
int64_t tokenizer_add(Tokenizer *t, const char *token, Error *e);

/* The id of a token by its name in the vocabulary ("<eos>", "[CLS]"), or -1. */
int64_t tokenizer_id(const Tokenizer *t, const char *token);
