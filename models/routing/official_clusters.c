#include "models/routing/official_clusters.h"

#include "common/attention/kmeans.h"

#include <math.h>
#include <string.h>

enum { SIDES = 2 };

/* Rows of normal draws, each with mean 0 and variance 1: LN0(N(0,1)). */
static void fill_standardized(Random *r, Shape shape, float *x)
{
    int64_t width = shape.dim[shape.rank - 1], count = shape_count(shape);
    for (int64_t at = 0; at < count; at += width) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < width; i++)
            mean += (double)(x[at + i] = (float)random_normal(r)) / (double)width;
        for (int64_t i = 0; i < width; i++)
            variance += ((double)x[at + i] - mean) * ((double)x[at + i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++)
            x[at + i] = (float)(((double)x[at + i] - mean) / sqrt(variance + 1e-6));
    }
}

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
    params_init_function(p, c->means, fill_standardized);
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

/* Gram-Schmidt over vectors of `length` values that lie `step` apart, `count` vectors `next` apart. */
static void orthonormalize(float *x, int64_t count, int64_t next, int64_t length, int64_t step)
{
    for (int64_t v = 0; v < count; v++) {
        float *vector = x + v * next;
        for (int64_t before = 0; before <= v; before++) {
            float *other = x + before * next;
            double dot = 0;
            for (int64_t i = 0; i < length; i++)
                dot += (double)vector[i * step] * (double)other[i * step];
            for (int64_t i = 0; i < length; i++)
                vector[i * step] = (float)(before < v ? (double)vector[i * step] - dot * (double)other[i * step]
                                                      : (double)vector[i * step] / sqrt(dot));
        }
    }
}

/* All rows of [h,bits,d] orthonormal, or where they are too many the columns. */
static void fill_orthogonal(Random *r, Shape shape, float *x)
{
    int64_t count = shape_count(shape), cols = shape.dim[shape.rank - 1], rows = cols ? count / cols : 0;
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)random_normal(r);
    if (rows <= cols)
        orthonormalize(x, rows, cols, cols, 1);
    else
        orthonormalize(x, cols, 1, rows, cols);
}

Hashing hashing_new(Params *p, int64_t heads, int64_t count, int64_t width)
{
    int64_t bits = 0;
    while ((int64_t)2 << bits <= count)
        bits++;
    Hashing hash = {.directions = params_add_buffer(p, "projection_tensors", SHAPE(heads, bits, width), INIT_ZEROS)};
    params_init_function(p, hash.directions, fill_orthogonal);
    return hash;
}
