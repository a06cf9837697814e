/* The clusters of a layer's routing heads (Roy et al. 2020, section 4; variant A's constants): K means a head, to which the
 * tokens are assigned by the largest dot product, and which follow them as moving averages.
 *
 * Letters: B batch, S tokens, h routing heads, d head width, K clusters. */
#pragma once
#include "common/attention/kmeans.h"
#include "models/routing/official.h"

/* What training forwards assigned since the last update: states. */
typedef struct Assigned {
    KmeansSums sum;
    bool any;
} Assigned;

/* The means are a parameter, as they are in TensorFlow; with moving averages they never get a gradient, and so no optimizer
 * steps them. */
typedef struct Clusters {
    Tensor *means;                 /* [h,K,d] */
    Tensor *ema_means, *ema_count; /* [h,K,d], [h,K]; NULL: the means are learned by gradient */
    int64_t heads, count, width;   /* h, K, d */
    float beta, decay;
    Assigned assigned[2]; /* of the queries, of the keys */
} Clusters;

enum { QUERIES, KEYS };

Clusters *clusters_new(Params *p, const OfficialConfig *c, int64_t heads, int64_t width);
void clusters_free(Clusters *c);

/* Of x [B,S,h,d] and its scores [B,h,S,K]: beta * mean (x - means[nearest])^2, whose gradient goes to x; without moving averages also the mean whose gradient goes to the
 * means. In the TRAIN phase remembers the assignment for side QUERIES or KEYS. A scalar. */
Tensor *cluster_loss(Tape *t, Clusters *c, Tensor *x, Tensor *scores, int side);

/* The means move to what was assigned since the last update: by the queries first, then by the keys. */
void clusters_update(Tape *t, Clusters *c);

/* ---- In place of clusters */

/* Fixed directions instead of means: floor(log2 K) of them a head, orthogonal. */
typedef struct Hashing {
    Tensor *directions; /* [h,bits,d] */
} Hashing;

Hashing hashing_new(Params *p, int64_t heads, int64_t count, int64_t width);
