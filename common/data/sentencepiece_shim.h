/* Google's sentencepiece library, which is C++, as seen from C. Everything about that library is behind these functions. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct SentencePieces SentencePieces;

/* A .model in memory, which is copied. NULL with the library's words in `why`. */
SentencePieces *sentence_pieces_new(const char *model, size_t bytes, char *why, size_t why_size);
void sentence_pieces_free(SentencePieces *pieces);

int sentence_pieces_count(const SentencePieces *pieces);

/* The string of an id, valid as long as the model; its size. */
const char *sentence_pieces_text(const SentencePieces *pieces, int id, size_t *size);

/* The ids of a text: how many, and where they lie until the next call; -1 if the library fails. */
int64_t sentence_pieces_encode(SentencePieces *pieces, const char *text, size_t bytes, const int **ids);

/* The text of ids: its size, and where it lies until the next call; -1 if the library fails. */
int64_t sentence_pieces_decode(SentencePieces *pieces, const int *ids, size_t count, const char **text);

#ifdef __cplusplus
}
#endif
