/* Byte pair encoding (Sennrich et al. 2016): a word is a row of symbols, and of all neighbours that the table of merges
 * knows the pair of lowest rank becomes one symbol, again and again, the leftmost first. */
#pragma once
#include "common/data/tokenizer.h"

typedef struct Bpe Bpe;

Bpe *bpe_new(void);
void bpe_free(Bpe *bpe); /* NULL is fine */

/* The next merge in rank: left and right give `merged`. A pair that is there already keeps its rank. */
void bpe_add(Bpe *bpe, int32_t left, int32_t right, int32_t merged);

/* Merges the symbols from ids->items[first] on, in place. */
void bpe_merge(Bpe *bpe, TokenIds *ids, size_t first);
