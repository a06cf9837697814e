/* Choosing the next token from logits [n] on the host. A filter sets what it removes to -INFINITY, and any number of them
 * may follow each other; ties are won by the lower index. */
#pragma once
#include <stdint.h>

/* Where the largest is. */
int64_t sampling_largest(const float *logits, int64_t n);

/* Keeps the k largest (Fan et al. 2018); k < 1 or k >= n keeps all. */
void sampling_top_k(float *logits, int64_t n, int64_t k);

/* Nucleus sampling (Holtzman et al. 2020): from the most probable down, a token stays while the sum of softmax(logits)
 * before it is at most p. The first always stays; p >= 1 keeps all. */
void sampling_top_p(float *logits, int64_t n, double p);

/* The k-th largest logit, the smallest where k > n. */
float sampling_kth_largest(const float *logits, int64_t n, int64_t k);

/* Logits up to the threshold, and that too, become `low`. */
void sampling_lower(float *logits, int64_t n, float threshold, float low);

/* softmax(logits / temperature), in place. */
void sampling_softmax(float *logits, int64_t n, double temperature);

/* The token that u in [0, 1) draws from softmax(logits / temperature): the first whose cumulated probability exceeds u.
 * Temperature 0: the largest logit. */
int64_t sampling_draw(const float *logits, int64_t n, double temperature, double u);
