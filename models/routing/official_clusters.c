#include "models/routing/official_clusters.h"

#include "common/nn/init.h"

enum { SIDES = 2 };

Clusters *clusters_new(Params *p, const OfficialConfig *config, int64_t heads, int64_t width)
{
    Clusters *c = mem_new(sizeof *c);
    *c = (Clusters){.heads = heads,
                    .count = config->sparsity_cluster_size,
                    .width = width,
                    .beta = (float)config->beta,
                    .decay = (float)config->decay};
    Shape shape = SHAPE(heads, c->count, width);
    c->means = params_add(p, "means", shape, INIT_ZEROS);
    params_init_function(p, c->means, init_standardized);
    if (!config->ema)
        return c;
    c->ema_count = params_add_buffer(p, "ema_count", SHAPE(heads, c->count), INIT_ZEROS);
    c->ema_means = params_add_buffer(p, "ema_means", shape, INIT_ZEROS);
    params_init_from(p, c->ema_means, c->means);
    for (int side = 0; side < SIDES; side++)
        c->assigned[side].sum = (KmeansSums){.sums = state_new(params_states(p), shape, F32),
                                             .counts = state_new(params_states(p), c->ema_count->shape, F32)};
    return c;
}

void clusters_free(Clusters *c)
{
    mem_free(c);
}

/* Adds what tokens were assigned to their clusters. */
static void remember(Tape *t, const Clusters *c, Tensor *x, Tensor *assignment, Assigned *to)
{
    Scope s = scope_open(t);
    state_add(t, to->sum.sums, kmeans_sums(t, x, assignment, c->count).sums);
    state_add(t, to->sum.counts, kmeans_mixed_counts(t, x, assignment, c->count));
    to->any = true;
    scope_close_n(t, s, NULL, 0);
}

/* The mean of squares between tokens, as constants, and the means that they are nearest to: a loss for the means. */
static Tensor *codebook_loss(Tape *t, const Clusters *c, Tensor *x, Tensor *assignment)
{
    int64_t batch = x->shape.dim[0], tokens = x->shape.dim[1];
    Region before = region_open(t, tape_training(t) ? TRAIN : EVAL, NO_GRAD);
    Tensor *fixed = scale(t, x, 1), *index = permute(t, assignment, (const int[]){0, 2, 1}); /* [B,S,h] */
    region_close(t, before);
    Tensor *means = permute(t, c->means, (const int[]){1, 0, 2}); /* [K,h,d] */
    means = gather_rows(t, reshape(t, means, SHAPE(1, c->count, c->heads, c->width)),
                        reshape(t, index, SHAPE(1, batch * tokens, c->heads)));
    return mean_all(t, square(t, subtract(t, fixed, reshape(t, means, x->shape))));
}

Tensor *cluster_loss(Tape *t, Clusters *c, Tensor *x, Tensor *scores, int side)
{
    Scope s = scope_open(t);
    Tensor *assignment = nearest(t, scores); /* [B,h,S] */
    if (c->ema_count && tape_training(t))
        remember(t, c, x, assignment, &c->assigned[side]);
    Tensor *loss = scale(t, kmeans_loss(t, x, c->means, assignment), c->beta);
    if (!c->ema_count)
        loss = add(t, loss, codebook_loss(t, c, x, assignment));
    return scope_close(t, s, loss);
}

void clusters_update(Tape *t, Clusters *c)
{
    for (int side = 0; side < SIDES; side++) {
        Assigned *a = &c->assigned[side];
        if (!a->any)
            continue;
        kmeans_smooth(t, &a->sum, c->decay, c->ema_means, c->ema_count, c->means);
        state_clear(t, a->sum.sums);
        state_clear(t, a->sum.counts);
        a->any = false;
    }
}

/* ---- In place of clusters */

Hashing hashing_new(Params *p, int64_t heads, int64_t count, int64_t width)
{
    int64_t bits = 0;
    while ((int64_t)2 << bits <= count)
        bits++;
    Hashing hash = {.directions = params_add_buffer(p, "projection_tensors", SHAPE(heads, bits, width), INIT_ZEROS)};
    params_init_function(p, hash.directions, init_orthogonal);
    return hash;
}
