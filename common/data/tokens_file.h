/* The file of a token stream, written front to back: ids [count], zeros up to a multiple of 8, starts [documents + 1],
 * and this. Numbers are the machine's own: a cache does not travel. */
#pragma once
#include "common/data/tokens.h"

typedef struct TokensEnd {
    char magic[8];
    uint64_t corpus, tokenizer; /* their stamps */
    int64_t vocabulary, count, bytes, words, documents;
    uint32_t token_bytes;
    uint32_t checksum; /* CRC-32 of all that precedes this number */
} TokensEnd;

extern const char tokens_magic[8];

int tokens_width(int64_t vocabulary); /* bytes of an id: 1, 2 or 4 */

/* Tokenises a part into the file. */
bool tokens_write(const char *path, const Corpus *corpus, CorpusPart part, const Tokenizer *tokenizer, Error *e);
