/* A part of a corpus as a stream of token ids, document after document, in a memory-mapped file. It is tokenised once,
 * into ${XDG_CACHE_HOME:-~/.cache}/attention-zoo/<set>-<hash>/<part>.tokens (safe to delete); the hash covers path, size,
 * time and format of the source and the tokenizer, and a file that is damaged or cut off is made anew. */
#pragma once
#include "common/data/corpus.h"
#include "common/data/tokenizer.h"

typedef struct Tokens {
    int64_t count;      /* tokens */
    int64_t vocabulary; /* every id is below */
    int64_t bytes;      /* that the tokens stand for: nats / ln 2 / bytes = bits per byte; of images: bits per dim */
    int64_t words;      /* as published perplexities of this corpus count them: exp(nats / words) */
    int64_t documents;
    const int64_t *starts; /* [documents + 1]: the first token of each, and count */
    int token_bytes;       /* of an id in the map: 1, 2 or 4, the least that holds the vocabulary */
    const void *ids;       /* [count] */
    FileMap map;
} Tokens;

/* The tokenizer has its vocabulary. NULL with a line; also for a part without tokens. */
Tokens *tokens_open(const Corpus *corpus, CorpusPart part, const Tokenizer *tokenizer, Error *e);
void tokens_close(Tokens *tokens); /* NULL is fine */

/* The ids first .. first + count - 1 into `ids`; any thread at any time. */
void tokens_read(const Tokens *tokens, int64_t first, int64_t count, int64_t *ids);
