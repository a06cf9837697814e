/* The baseline that a language model of bytes has to beat: an n-gram model, interpolated Witten-Bell (Witten and Bell, 1991;
 * Chen and Goodman, 1998, eq. 14-16):
 *
 *     p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),     p(w | no history at all) = 1/256 below it,
 *
 * where c counts, T(h) is how many different bytes followed h, and h' is h without its first byte. A history that was never
 * seen leaves the shorter one's prediction as it is. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NGRAM_HIGHEST = 5 };

typedef struct Ngram Ngram;

/* order: 1 .. NGRAM_HIGHEST, the bytes of the longest gram counted. The tables never take more than `most_bytes`. */
Ngram *ngram_new(int order, size_t most_bytes);
void ngram_free(Ngram *n); /* NULL is fine */

/* Counts a piece of text by itself: grams do not reach into the pieces before. False: the tables would outgrow most_bytes,
 * and the model is of no more use. */
bool ngram_count(Ngram *n, const uint8_t *text, int64_t bytes);

/* p(byte | the last of the `known` bytes before it); history + known is where the byte would stand. */
double ngram_probability(const Ngram *n, const uint8_t *history, int64_t known, uint8_t byte);

size_t ngram_bytes(const Ngram *n); /* that the tables take */
