#include "common/attention/kmeans.h"

#include "common/attention/attention.h"
#include "common/autograd/op.h"
#include "common/autograd/ops.h"
#include "common/autograd/ranks.h"

Tensor *cluster_scores(Tape *t, Tensor *x, Tensor *means)
{
    char text[128];
    contract(means->shape.rank == 3 && x->shape.rank == 4 && means->shape.dim[0] == x->shape.dim[2],
             "cluster_scores: means %s, which are not [H,K,d]", shape_text(means->shape, text));
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    const int64_t *n = means->shape.dim;
    Tensor *keys = reshape(t, permute(t, means, (const int[]){1, 0, 2}), SHAPE(1, n[1], n[0], n[2]));
    Tensor *scores = attention_scores(t, &(AttentionSpec){.scale = 1}, convert(t, x, F32), keys);
    region_close(t, before);
    return scope_close(t, s, scores);
}

Tensor *hash_scores(Tape *t, Tensor *x, Tensor *directions, int64_t clusters)
{
    Scope s = scope_open(t);
    int64_t bits = tensor_dim(directions, 1);
    Tensor *along = bits > 0 ? cluster_scores(t, x, directions) : NULL; /* [B,H,N,bits] */
    OP_BEGIN(t, "hash_scores", x, directions);
    const int64_t *n = x->shape.dim;
    Tensor *hot = tensor_make(t, F32, SHAPE(n[0], n[2], n[1], clusters));
    KERNEL(t, kmeans, buckets, n[0] * n[2] * n[1], bits, clusters, op_floats(along), hot->data);
    return scope_close(t, s, hot);
}

/* The centre of every token, [B,N,H,d]. */
static Tensor *centres_of(Tape *t, const Tensor *x, Tensor *means, Tensor *nearest)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    const int64_t *n = x->shape.dim, *m = means->shape.dim;
    Tensor *rows = reshape(t, permute(t, means, (const int[]){1, 0, 2}), SHAPE(1, m[1], m[0], m[2]));
    Tensor *index = reshape(t, permute(t, nearest, (const int[]){0, 2, 1}), SHAPE(1, n[0] * n[1], n[2]));
    Tensor *centres = reshape(t, gather_rows(t, rows, index), x->shape);
    region_close(t, before);
    return scope_close(t, s, centres);
}

Tensor *kmeans_loss(Tape *t, Tensor *x, Tensor *means, Tensor *nearest)
{
    Scope s = scope_open(t);
    return scope_close(t, s, mean_all(t, square(t, subtract(t, x, centres_of(t, x, means, nearest)))));
}

static KmeansShape kmeans_shape(const Tensor *x, const Tensor *nearest, int64_t clusters)
{
    char a[128], b[128];
    const int64_t *n = x->shape.dim, *m = nearest->shape.dim;
    contract(x->shape.rank == 4 && x->type == F32 && nearest->shape.rank == 3 && nearest->type == I32 && m[0] == n[0] &&
                 m[1] == n[2] && m[2] == n[1],
             "k-means: nearest %s of x %s", shape_text(nearest->shape, b), shape_text(x->shape, a));
    return (KmeansShape){.batch = n[0], .tokens = n[1], .heads = n[2], .clusters = clusters, .width = n[3]};
}

KmeansSums kmeans_sums(Tape *t, Tensor *x, Tensor *nearest, int64_t clusters)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    x = op_heads(t, x);
    OP_BEGIN(t, "kmeans_sums", x, nearest);
    KmeansShape s = kmeans_shape(x, nearest, clusters);
    KmeansSums batch = {tensor_make(t, F32, SHAPE(s.heads, clusters, s.width)),
                        tensor_make(t, F32, SHAPE(s.heads, clusters))};
    KERNEL(t, kmeans, sums, &s, op_as_heads(x), nearest->data, batch.sums->data, batch.counts->data);
    batch = (KmeansSums){comm_sum(t, batch.sums), comm_sum(t, batch.counts)};
    region_close(t, before);
    return batch;
}

Tensor *kmeans_mixed_counts(Tape *t, Tensor *x, Tensor *nearest, int64_t clusters)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    x = op_heads(t, x);
    OP_BEGIN(t, "kmeans_mixed_counts", x, nearest);
    KmeansShape s = kmeans_shape(x, nearest, clusters);
    Tensor *counts = tensor_make(t, F32, SHAPE(s.heads, clusters));
    KERNEL(t, kmeans, mixed_counts, &s, op_as_heads(x), nearest->data, counts->data);
    counts = comm_sum(t, counts);
    region_close(t, before);
    return counts;
}

/* ---- Buffers */

static void written(Tensor *buffer)
{
    if (buffer->param)
        buffer->param->version++;
}

/* H, K and d alone. */
static KmeansShape shape_of_means(const KmeansSums *batch, const Tensor *means)
{
    char text[128];
    const int64_t *n = means->shape.dim;
    contract(means->shape.rank == 3 && shape_equal(batch->sums->shape, means->shape) &&
                 tensor_count(batch->counts) == n[0] * n[1],
             "k-means: sums for means %s", shape_text(means->shape, text));
    return (KmeansShape){.heads = n[0], .clusters = n[1], .width = n[2]};
}

void kmeans_smooth(Tape *t, const KmeansSums *batch, float decay, Tensor *sum, Tensor *count, Tensor *means)
{
    static const float eps = 1e-5f;
    OP_BEGIN(t, "kmeans_smooth", batch->sums, batch->counts, sum, count, means);
    KmeansShape s = shape_of_means(batch, means);
    contract(tensor_count(sum) == tensor_count(means) && tensor_count(count) == tensor_count(batch->counts),
             "kmeans_smooth: %lld sums, %lld counts", (long long)tensor_count(sum), (long long)tensor_count(count));
    KERNEL(t, kmeans, smooth, &s, decay, eps, batch->sums->data, batch->counts->data, sum->data, count->data,
           means->data);
    written(sum);
    written(count);
    written(means);
}

Tensor *kmeans_centres(Tape *t, const KmeansSums *batch, const Tensor *means)
{
    OP_BEGIN(t, "kmeans_centres", batch->sums, batch->counts, (Tensor *)means);
    KmeansShape s = shape_of_means(batch, means);
    Tensor *centres = tensor_make(t, F32, means->shape);
    KERNEL(t, kmeans, normalize, &s, batch->sums->data, batch->counts->data, means->data, centres->data);
    return centres;
}

void kmeans_follow(Tape *t, float decay, const Tensor *x, Tensor *to)
{
    OP_BEGIN(t, "kmeans_follow", (Tensor *)x, to);
    int64_t count = tensor_count(to);
    contract(shape_equal(x->shape, to->shape), "kmeans_follow: %lld values follow %lld", (long long)count,
             (long long)tensor_count(x));
    Rows from = {x->data, count, F32}, rows = {to->data, count, F32};
    KERNEL(t, elementwise, scale, 1, count, decay, rows, false, rows);
    KERNEL(t, elementwise, scale, 1, count, 1 - decay, from, true, rows);
    written(to);
}
