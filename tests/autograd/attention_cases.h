/* Every op of common/attention/attention.h. */
#pragma once
#include "support/op_case.h"
#include "support/references.h"

static Tensor *attend_so(Tape *t, AttentionMask mask, Tensor *const *in)
{
    return attend(t, &(AttentionSpec){.mask = mask}, in[0], in[1], in[2]);
}

static void attended(const Values *in, AttentionOf a, double *y)
{
    a.q = in[0].shape, a.k = in[1].shape, a.v = in[2].shape;
    attention_of(&a, in[0].x, in[1].x, in[2].x, y, NULL);
}

static Tensor *run_attend(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){0}, in);
}

static void attend_values(const Values *in, double *y)
{
    attended(in, (AttentionOf){0}, y);
}

/* q, k and v as windows of one fused projection [B,N,3HD]. */
static Tensor *run_attend_fused(Tape *t, Tensor *const *in)
{
    Tensor *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = reshape(t, narrow(t, in[0], 2, i * 6, 6), SHAPE(2, 5, 2, 3));
    return attend_so(t, (AttentionMask){0}, part);
}

static void attend_fused(const Values *in, double *y)
{
    double part[3][2 * 5 * 6];
    for (int i = 0; i < 3; i++)
        for (int n = 0; n < 10; n++)
            memcpy(part[i] + n * 6, in->x + n * 18 + i * 6, 6 * sizeof(double));
    Shape s = SHAPE(2, 5, 2, 3);
    attended((const Values[]){{part[0], s}, {part[1], s}, {part[2], s}}, (AttentionOf){0}, y);
}

/* One tensor is query, key and value. */
static Tensor *run_attend_itself(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){0}, (Tensor *[]){in[0], in[0], in[0]});
}

static void attend_itself(const Values *in, double *y)
{
    attended((const Values[]){in[0], in[0], in[0]}, (AttentionOf){0}, y);
}

static Tensor *run_attend_scaled(Tape *t, Tensor *const *in)
{
    return attend(t, &(AttentionSpec){.scale = 1.5f}, in[0], in[1], in[2]);
}

static void attend_scaled(const Values *in, double *y)
{
    attended(in, (AttentionOf){.scale = 1.5}, y);
}

static Tensor *run_attend_causal(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){.causal = true, .causal_offset = 2}, in);
}

static bool later(int64_t b, int64_t h, int64_t i, int64_t j)
{
    (void)b, (void)h;
    return j > i + 2;
}

static void attend_causal(const Values *in, double *y)
{
    attended(in, (AttentionOf){.blocked = later}, y);
}

static Tensor *run_attend_window(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){.window = true, .left = 1, .right = 2}, in);
}

static bool outside(int64_t b, int64_t h, int64_t i, int64_t j)
{
    (void)b, (void)h;
    return j < i - 1 || j > i + 2;
}

static void attend_window(const Values *in, double *y)
{
    attended(in, (AttentionOf){.blocked = outside}, y);
}

/* Sample 1 has no key at all: its rows are zeros, or the mean of all values. */
static const int32_t lengths[] = {4, 0, 7};

static bool padding(int64_t b, int64_t h, int64_t i, int64_t j)
{
    (void)h, (void)i;
    return j >= lengths[b];
}

static Tensor *run_attend_lengths(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){.key_lengths = tensor_from(t, I32, SHAPE(3), lengths)}, in);
}

static void attend_lengths(const Values *in, double *y)
{
    attended(in, (AttentionOf){.blocked = padding}, y);
}

static Tensor *run_attend_uniform(Tape *t, Tensor *const *in)
{
    AttentionMask mask = {.key_lengths = tensor_from(t, I32, SHAPE(3), lengths), .empty_row = EMPTY_UNIFORM};
    return attend_so(t, mask, in);
}

static void attend_uniform(const Values *in, double *y)
{
    attended(in, (AttentionOf){.blocked = padding, .uniform_rows = true}, y);
}

/* keep [n=1, heads=2, Q, K]: a pattern that differs by head. */
static bool unkept(int64_t b, int64_t h, int64_t i, int64_t j)
{
    (void)b;
    return (h / 2 + i + 2 * j) % 3 == 0;
}

static Tensor *run_attend_keep(Tape *t, Tensor *const *in)
{
    uint8_t keep[2 * 5 * 7];
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < 7; j++)
                keep[(h * 5 + i) * 7 + j] = !unkept(0, 2 * h, i, j);
    AttentionMask mask = {.keep = tensor_from(t, U8, SHAPE(1, 2, 5, 7), keep), .blocked = BLOCKED_1E9};
    return attend_so(t, mask, in);
}

static void attend_keep(const Values *in, double *y)
{
    attended(in, (AttentionOf){.blocked = unkept, .blocked_score = -1e9}, y);
}

static Tensor *run_attend_bias(Tape *t, Tensor *const *in)
{
    return attend_so(t, (AttentionMask){.bias = in[3]}, in);
}

static void attend_bias(const Values *in, double *y)
{
    attended(in, (AttentionOf){.bias = in[3].x, .bias_shape = in[3].shape}, y);
}

/* The result and the log-sum-exp side by side. */
static Tensor *run_attend_with_lse(Tape *t, Tensor *const *in)
{
    Tensor *lse, *o = attend_with_lse(t, &(AttentionSpec){0}, in[0], in[1], in[2], &lse);
    return concat2(t, 0, reshape(t, o, SHAPE(tensor_count(o))), reshape(t, lse, SHAPE(tensor_count(lse))));
}

static void attend_with_lse_values(const Values *in, double *y)
{
    AttentionOf a = {.q = in[0].shape, .k = in[1].shape, .v = in[2].shape};
    const int64_t *n = a.q.dim;
    attention_of(&a, in[0].x, in[1].x, in[2].x, y, y + n[0] * n[1] * n[2] * a.v.dim[3]);
}

/* Nothing but the log-sum-exp is used. */
static Tensor *run_lse_alone(Tape *t, Tensor *const *in)
{
    Tensor *lse;
    attend_with_lse(t, &(AttentionSpec){0}, in[0], in[1], in[1], &lse);
    return lse;
}

static void lse_alone(const Values *in, double *y)
{
    double o[3 * 5 * 4 * 3];
    AttentionOf a = {.q = in[0].shape, .k = in[1].shape, .v = in[1].shape};
    attention_of(&a, in[0].x, in[1].x, in[1].x, o, y);
}

static Tensor *run_attend_dropout(Tape *t, Tensor *const *in)
{
    return attend(t, &(AttentionSpec){.dropout = 0.3f, .site = 5}, in[0], in[1], in[2]);
}

/* Padding, causal and a bias; sample 1 sees no key. */
static AttentionMask several_masks(Tape *t, Tensor *bias)
{
    return (AttentionMask){.causal = true,
                           .causal_offset = 2,
                           .key_lengths = tensor_from(t, I32, SHAPE(3), lengths),
                           .bias = bias,
                           .empty_row = EMPTY_UNIFORM};
}

static bool hidden(int64_t b, int64_t h, int64_t i, int64_t j)
{
    return padding(b, h, i, j) || later(b, h, i, j);
}

static Tensor *run_attend_dropout_masked(Tape *t, Tensor *const *in)
{
    const AttentionSpec spec = {.dropout = 0.3f, .site = 5, .mask = several_masks(t, in[3])};
    return attend(t, &spec, in[0], in[1], in[2]);
}

/* ---- The three parts */

static Tensor *run_scores(Tape *t, Tensor *const *in)
{
    return attention_scores(t, &(AttentionSpec){.scale = 0.7f}, in[0], in[1]);
}

static void scores(const Values *in, double *y)
{
    AttentionOf a = {.q = in[0].shape, .k = in[1].shape, .scale = (double)0.7f};
    int64_t batch = MAX(a.q.dim[0], a.k.dim[0]);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < a.q.dim[2]; h++)
            for (int64_t i = 0; i < a.q.dim[1]; i++)
                for (int64_t j = 0; j < a.k.dim[1]; j++)
                    *y++ = score_of(&a, in[0].x, in[1].x, b, h, i, j);
}

static Tensor *run_attention_softmax(Tape *t, Tensor *const *in)
{
    return attention_softmax(t, &(AttentionSpec){.mask.bias = in[1]}, in[0]);
}

static void softmaxed_scores(const Values *in, bool (*blocked)(int64_t, int64_t, int64_t, int64_t), double *y)
{
    /* No width: the scores are a bias, to which the other one is added. */
    const int64_t *n = in[0].shape.dim, *m = in[1].shape.dim;
    double *sum = mem_new((size_t)shape_count(in[0].shape) * sizeof *sum + 8), *to = sum;
    for (int64_t b = 0; b < n[0]; b++)
        for (int64_t h = 0; h < n[1]; h++)
            for (int64_t i = 0; i < n[2]; i++)
                for (int64_t j = 0; j < n[3]; j++, to++)
                    *to = in[0].x[to - sum] +
                          in[1].x[((b % m[0] * m[1] + h / (n[1] / m[1])) * m[2] + i % m[2]) * m[3] + j % m[3]];
    AttentionOf a = {.q = SHAPE(n[0], n[2], n[1], 0),
                     .k = SHAPE(n[0], n[3], n[1], 0),
                     .scale = 1,
                     .bias = sum,
                     .bias_shape = in[0].shape,
                     .blocked = blocked,
                     .uniform_rows = true};
    for (int64_t row = 0; row < n[0] * n[1] * n[2]; row++)
        probabilities_of(&a, NULL, NULL, row / n[2] / n[1], row / n[2] % n[1], row % n[2], y + row * n[3]);
    mem_free(sum);
}

static void attention_softmaxed(const Values *in, double *y)
{
    softmaxed_scores(in, NULL, y);
}

static Tensor *run_attention_softmax_masked(Tape *t, Tensor *const *in)
{
    return attention_softmax(t, &(AttentionSpec){.mask = several_masks(t, in[1])}, in[0]);
}

static void attention_softmaxed_masked(const Values *in, double *y)
{
    softmaxed_scores(in, hidden, y);
}

static Tensor *run_apply(Tape *t, Tensor *const *in)
{
    return attention_apply(t, in[0], in[1]);
}

static void applied(const Values *in, double *y)
{
    const int64_t *p = in[0].shape.dim, *v = in[1].shape.dim;
    for (int64_t b = 0; b < p[0]; b++)
        for (int64_t i = 0; i < p[2]; i++)
            for (int64_t h = 0; h < p[1]; h++)
                for (int64_t c = 0; c < v[3]; c++, y++) {
                    *y = 0;
                    for (int64_t j = 0; j < p[3]; j++)
                        *y += in[0].x[((b * p[1] + h) * p[2] + i) * p[3] + j] *
                              in[1].x[(((v[0] == 1 ? 0 : b) * v[1] + j) * v[2] + h / (p[1] / v[2])) * v[3] + c];
                }
}

/* Fused and in parts, one and the same: what attend says of itself. */
static Tensor *run_parts(Tape *t, Tensor *const *in)
{
    const AttentionSpec spec = {0};
    return attention_apply(t, attention_softmax(t, &spec, attention_scores(t, &spec, in[0], in[1])), in[2]);
}

#define HEADS(...)                                                                                                     \
    {                                                                                                                  \
        .shape = SHAPE(__VA_ARGS__), .samples = true                                                                   \
    }
#define SHARED(...)                                                                                                    \
    {                                                                                                                  \
        .shape = SHAPE(__VA_ARGS__)                                                                                    \
    }
#define Q HEADS(3, 5, 4, 3)
#define K HEADS(3, 7, 2, 3)
#define V HEADS(3, 7, 1, 6)

static const OpCase attention_cases[] = {
    {.op = "attend",
     .in = {HEADS(2, 5, 2, 3), HEADS(2, 5, 2, 3), HEADS(2, 5, 2, 3)},
     .run = run_attend,
     .reference = attend_values},
    {.op = "attend", .variant = "shared heads", .in = {Q, K, V}, .run = run_attend, .reference = attend_values},
    {.op = "attend",
     .variant = "keys shared by the batch",
     .in = {Q, SHARED(1, 7, 2, 3), SHARED(1, 7, 2, 6)},
     .run = run_attend,
     .reference = attend_values},
    {.op = "attend",
     .variant = "queries shared by the batch",
     .in = {SHARED(1, 5, 4, 3), HEADS(3, 7, 2, 3), HEADS(3, 7, 4, 6)},
     .run = run_attend,
     .reference = attend_values},
    {.op = "attend",
     .variant = "one query",
     .in = {HEADS(3, 1, 2, 5), HEADS(3, 19, 2, 5), HEADS(3, 19, 2, 5)},
     .run = run_attend,
     .reference = attend_values},
    {.op = "attend",
     .variant = "fused projection",
     .in = {SHARED(2, 5, 18)},
     .run = run_attend_fused,
     .reference = attend_fused},
    {.op = "attend",
     .variant = "itself",
     .in = {HEADS(2, 5, 2, 3)},
     .run = run_attend_itself,
     .reference = attend_itself},
    {.op = "attend", .variant = "scale", .in = {Q, K, V}, .run = run_attend_scaled, .reference = attend_scaled},
    {.op = "attend", .variant = "causal", .in = {Q, K, V}, .run = run_attend_causal, .reference = attend_causal},
    {.op = "attend", .variant = "window", .in = {Q, K, V}, .run = run_attend_window, .reference = attend_window},
    {.op = "attend",
     .variant = "key lengths",
     .in = {SHARED(3, 5, 4, 3), SHARED(3, 7, 2, 3), SHARED(3, 7, 1, 6)},
     .run = run_attend_lengths,
     .reference = attend_lengths},
    {.op = "attend",
     .variant = "uniform rows",
     .in = {SHARED(3, 5, 4, 3), SHARED(3, 7, 2, 3), SHARED(3, 7, 1, 6)},
     .run = run_attend_uniform,
     .reference = attend_uniform},
    {.op = "attend", .variant = "keep", .in = {Q, K, V}, .run = run_attend_keep, .reference = attend_keep},
    {.op = "attend",
     .variant = "bias",
     .in = {SHARED(3, 5, 4, 3), SHARED(3, 7, 2, 3), SHARED(3, 7, 1, 6), SHARED(3, 4, 5, 7)},
     .run = run_attend_bias,
     .reference = attend_bias},
    {.op = "attend",
     .variant = "bias of the heads",
     .in = {Q, K, V, SHARED(1, 2, 5, 7)},
     .run = run_attend_bias,
     .reference = attend_bias},
    {.op = "attend",
     .variant = "bias of the keys",
     .in = {SHARED(3, 5, 4, 3), SHARED(3, 7, 2, 3), SHARED(3, 7, 1, 6), SHARED(3, 1, 1, 7)},
     .run = run_attend_bias,
     .reference = attend_bias},
    {.op = "attend", .variant = "dropout", .in = {Q, K, V}, .run = run_attend_dropout},
    {.op = "attend",
     .variant = "dropout, masked",
     .in = {SHARED(3, 5, 4, 3), SHARED(3, 7, 2, 3), SHARED(3, 7, 1, 6), SHARED(1, 2, 1, 7)},
     .run = run_attend_dropout_masked},
    {.op = "attend",
     .variant = "dropout, one map for all samples",
     .in = {SHARED(1, 5, 4, 3), SHARED(1, 7, 2, 3), HEADS(3, 7, 1, 6)},
     .run = run_attend_dropout},
    {.op = "attend_with_lse", .in = {Q, K, V}, .run = run_attend_with_lse, .reference = attend_with_lse_values},
    {.op = "attend_with_lse", .variant = "alone", .in = {Q, K}, .run = run_lse_alone, .reference = lse_alone},
    {.op = "attention_scores", .in = {Q, K}, .run = run_scores, .reference = scores},
    {.op = "attention_scores",
     .variant = "shared keys",
     .in = {Q, SHARED(1, 7, 1, 3)},
     .run = run_scores,
     .reference = scores},
    {.op = "attention_softmax",
     .in = {HEADS(3, 4, 5, 7), HEADS(3, 4, 5, 7)},
     .run = run_attention_softmax,
     .reference = attention_softmaxed},
    {.op = "attention_softmax",
     .variant = "masked",
     .in = {SHARED(3, 4, 5, 7), SHARED(3, 2, 5, 7)},
     .run = run_attention_softmax_masked,
     .reference = attention_softmaxed_masked},
    {.op = "attention_softmax",
     .variant = "bias of the keys",
     .in = {SHARED(3, 4, 5, 7), SHARED(1, 1, 1, 7)},
     .run = run_attention_softmax_masked,
     .reference = attention_softmaxed_masked},
    {.op = "attention_apply", .in = {HEADS(3, 4, 5, 7), HEADS(3, 7, 2, 3)}, .run = run_apply, .reference = applied},
    {.op = "attention_apply",
     .variant = "shared values",
     .in = {HEADS(3, 4, 5, 7), SHARED(1, 7, 4, 3)},
     .run = run_apply,
     .reference = applied},
    {.op = "attention_apply",
     .variant = "all three parts",
     .in = {Q, K, V},
     .run = run_parts,
     .reference = attend_values},
};
#undef Q
#undef K
#undef V
