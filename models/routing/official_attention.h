/* Attention of variant A: routing heads first, then local heads; all go through one more matrix [d,d] that they share.
 *
 * Letters: B batch, S tokens, D model width, H heads, h of them routing, d head width, K clusters of w tokens. */
#pragma once
#include "common/attention/windowed.h"
#include "models/routing/official_clusters.h"

typedef struct OfficialAttention {
    Linear q, k, v, dense, output; /* D -> D, dense d -> d; none has a bias */
    int64_t routing, local, width; /* h, H - h, d */
    RelativeTables local_tables, routing_tables;
    Clusters *clusters; /* NULL: hashed, drawn, or no routing heads */
    Hashing hashing;
    const OfficialConfig *config;
    uint32_t local_site, routing_site, random_site;
} OfficialAttention;

/* A linear layer under TensorFlow's names, `kernel` [in,out] in files and `bias`. */
Linear official_dense(Params *p, const char *name, int64_t in, int64_t out, bool bias);

/* Tensor2Tensor's "uniform_unit_scaling" with gain 0.2. */
Init official_init(int64_t in, int64_t out);

OfficialAttention official_attention_new(Params *p, const char *name, const OfficialConfig *c, int layer);
void official_attention_free(OfficialAttention *a);

/* [B,S,D] -> [B,S,D], rows from `known` on blank; adds to *loss what the clusters ask for (*loss NULL: nothing yet). `past`: what
 * local heads, all there are, saw of the rows before x; NULL: x is a whole text, of whole blocks. */
Tensor *official_attention(Tape *t, const OfficialAttention *a, Tensor *x, int64_t known, Cache *past, Tensor **loss);

/* Such a past; only where no head routes: who is in a cluster is decided anew with every token. */
Cache official_attention_past(const OfficialAttention *a, States *owner, int64_t rows);
