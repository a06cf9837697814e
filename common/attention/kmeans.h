/* Online k-means, the router of routed attention: every head has K centres of its own, which follow the tokens as the
 * training goes (Roy et al. 2020, Routing Transformer, section 4.1). No centre ever has a gradient.
 *
 * Letters: B batch, N tokens, H heads, K clusters, d width. x [B,N,H,d], means [H,K,d].
 *
 *     scores  = cluster_scores(t, x, means);            // their top_rows are the members, their nearest the assignment
 *     loss    = kmeans_loss(t, x, means, nearest(t, scores));
 *     batch   = kmeans_sums(t, x, nearest(t, scores), K);
 *
 * and once a step, outside the gradient, one of the two rules that papers have: kmeans_smooth or kmeans_centres with
 * kmeans_follow. */
#pragma once
#include "common/autograd/tape.h"

/* x . mean of every token and centre: [B,H,N,K], without gradient. */
Tensor *cluster_scores(Tape *t, Tensor *x, Tensor *means);

/* In place of centres fixed directions [H,bits,d], 2^bits <= K (locality-sensitive hashing): 1 in a token's bucket, the number
 * whose bit i says whether it points along direction i, else 0: [B,H,N,K], without gradient. */
Tensor *hash_scores(Tape *t, Tensor *x, Tensor *directions, int64_t clusters);

/* The mean over all B N H d of (x - means[nearest])^2; the gradient is x's alone. nearest int32 [B,H,N]. */
Tensor *kmeans_loss(Tape *t, Tensor *x, Tensor *means, Tensor *nearest);

/* What a batch has for each cluster, on all ranks together. Without gradient. */
typedef struct KmeansSums {
    Tensor *sums;   /* [H,K,d]: of its tokens */
    Tensor *counts; /* [H,K]: how many these are, without those that are all zeros (padding) */
} KmeansSums;

KmeansSums kmeans_sums(Tape *t, Tensor *x, Tensor *nearest, int64_t clusters);

/* The counts as Roy et al.'s code has them: a reshape deals the tokens of all heads out by their place, so that the heads
 * share their counts: token n of head h of sample b counts for head ((b H + h) N + n) mod H. -> [H,K] */
Tensor *kmeans_mixed_counts(Tape *t, Tensor *x, Tensor *nearest, int64_t clusters);

/* ---- How the centres move: buffers of a model, written in place. */

/* Moving averages of sums and counts, smoothed (Laplace, eps 1e-5), and the means from them (van den Oord et al. 2017,
 * Neural Discrete Representation Learning, appendix A.1; Roy et al.'s official code):
 * count = decay count + (1 - decay) counts; sum likewise; n = sum over K of count;
 * means = sum / ((count + eps) / (n + K eps) n). sum [H,K,d], count [H,K]. */
void kmeans_smooth(Tape *t, const KmeansSums *batch, float decay, Tensor *sum, Tensor *count, Tensor *means);

/* The centres of a batch: sums / |sums|; an empty cluster keeps its mean. -> [H,K,d] */
Tensor *kmeans_centres(Tape *t, const KmeansSums *batch, const Tensor *means);

/* to = decay to + (1 - decay) x: a mean that follows. Of one shape. */
void kmeans_follow(Tape *t, float decay, const Tensor *x, Tensor *to);
