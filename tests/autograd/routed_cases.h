/* routed.h and kmeans.h of common/attention. */
#pragma once
#include "autograd/mechanism_cases.h"
#include "common/attention/kmeans.h"
#include "common/attention/routed.h"

/* Two samples, two heads, two clusters of four queries among nine tokens and of three keys among eight: some tokens are
 * members of both clusters, some of none. */
enum { SAMPLES = 2, ROUTES = 2, CLUSTERS = 2, ROUTED_TOKENS = 9, MEMBERS = 4, SOURCES = 8, SOURCE_MEMBERS = 3 };

static int64_t query_member(int64_t b, int64_t c, int64_t rank, int64_t h)
{
    return rank + (rank >= 2) * ((b + h + c) % 3) + c;
}

static int64_t source_member(int64_t b, int64_t c, int64_t rank, int64_t h)
{
    return 2 * rank + (b + h) % 2 + c;
}

typedef int64_t Member(int64_t b, int64_t c, int64_t rank, int64_t h);

static Tensor *members_of(Tape *t, Member *member, int64_t size)
{
    int32_t index[SAMPLES * CLUSTERS * MEMBERS * ROUTES], *to = index;
    for (int64_t b = 0; b < SAMPLES; b++)
        for (int64_t c = 0; c < CLUSTERS; c++)
            for (int64_t rank = 0; rank < size; rank++)
                for (int64_t h = 0; h < ROUTES; h++)
                    *to++ = (int32_t)member(b, c, rank, h);
    return tensor_from(t, I32, SHAPE(SAMPLES, CLUSTERS * size, ROUTES), index);
}

static const uint8_t real_queries[SAMPLES * ROUTED_TOKENS] = {1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0};
static const uint8_t real_sources[SAMPLES * SOURCES] = {0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1};

/* One routing of q, k, v, and the tables or the memory behind them, as the papers write it. */
typedef struct RoutedOf {
    Routed how;
    bool apart; /* the keys have sets of their own */
    const uint8_t *query_real, *key_real;
    Values key_table, value_table, memory_keys, memory_values;
} RoutedOf;

static double routed_score(const RoutedOf *r, const Values *in, int64_t b, int64_t c, int64_t h, int64_t i, int64_t j)
{
    const double blocked[] = {-INFINITY, -(double)FLT_MAX, -1e9};
    const int64_t d = in[0].shape.dim[3], keys = in[1].shape.dim[1], u = r->apart ? SOURCE_MEMBERS : MEMBERS;
    const double scale = r->how.scale != 0 ? (double)r->how.scale : 1 / sqrt((double)d);
    int64_t at = query_member(b, c, i, h), memory = r->memory_keys.x ? r->memory_keys.shape.dim[2] : 0;
    const double *query = in[0].x + ((b * ROUTED_TOKENS + at) * ROUTES + h) * d;
    if (j < memory)
        return scale * dot_of(d, query, r->memory_keys.x + ((h * CLUSTERS + c) * memory + j) * d);
    int64_t rank = j - memory, source = (r->apart ? source_member : query_member)(b, c, rank, h);
    double score = scale * dot_of(d, query, in[1].x + ((b * keys + source) * ROUTES + h) * d);
    if (r->key_table.x)
        score += scale * dot_of(d, query, r->key_table.x + table_row(r->key_table.shape, MEMBERS, u, i, rank) * d);
    bool zeros = true;
    for (int64_t n = 0, e = in[2].shape.dim[3]; n < e; n++)
        zeros = zeros && in[2].x[((b * keys + source) * ROUTES + h) * e + n] == 0;
    bool seen =
        (!r->query_real || r->query_real[b * ROUTED_TOKENS + at]) && (!r->key_real || r->key_real[b * keys + source]);
    seen = seen && !(r->how.causal == SEES_LOWER_RANKS && rank > i) &&
           !(r->how.causal == SEES_LOWER_INDICES && source > at) && !(r->how.hide_zeros && zeros);
    score = seen ? score : blocked[r->how.blocked];
    return r->how.own != 0 && source == at ? (double)r->how.own : score;
}

/* What query i of a cluster has from it, added to out [e]. */
static void routed_query(const RoutedOf *r, const Values *in, int64_t b, int64_t c, int64_t h, int64_t i, double *out)
{
    const int64_t e = in[2].shape.dim[3], keys = in[1].shape.dim[1], u = r->apart ? SOURCE_MEMBERS : MEMBERS;
    int64_t memory = r->memory_keys.x ? r->memory_keys.shape.dim[2] : 0;
    double p[16];
    for (int64_t j = 0; j < memory + u; j++)
        p[j] = routed_score(r, in, b, c, h, i, j);
    softmax_of(memory + u, p);
    for (int64_t j = 0; j < memory + u; j++)
        for (int64_t n = 0; n < e; n++) {
            int64_t rank = j - memory, source = rank < 0 ? 0 : (r->apart ? source_member : query_member)(b, c, rank, h);
            double value = rank < 0 ? r->memory_values.x[((h * CLUSTERS + c) * memory + j) * e + n]
                                    : in[2].x[((b * keys + source) * ROUTES + h) * e + n];
            if (r->value_table.x)
                value += r->value_table.x[table_row(r->value_table.shape, MEMBERS, u, i, rank) * e + n];
            out[n] += p[j] * value;
        }
}

static void routed_of(const RoutedOf *r, const Values *in, double *y)
{
    const int64_t e = in[2].shape.dim[3];
    double counts[SAMPLES * ROUTED_TOKENS * ROUTES] = {0};
    memset(y, 0, SAMPLES * ROUTED_TOKENS * ROUTES * (size_t)e * sizeof *y);
    for (int64_t b = 0; b < SAMPLES; b++)
        for (int64_t c = 0; c < CLUSTERS; c++)
            for (int64_t h = 0; h < ROUTES; h++)
                for (int64_t i = 0; i < MEMBERS; i++) {
                    int64_t row = (b * ROUTED_TOKENS + query_member(b, c, i, h)) * ROUTES + h;
                    routed_query(r, in, b, c, h, i, y + row * e);
                    counts[row]++;
                }
    for (int64_t n = 0; n < SAMPLES * ROUTED_TOKENS * ROUTES * e; n++)
        y[n] /= counts[n / e] + (double)r->how.eps;
}

static Tensor *run_routed_of(Tape *t, const RoutedOf *r, Tensor *q, Tensor *k, Tensor *v)
{
    Routed how = r->how;
    how.clusters = CLUSTERS;
    if (r->query_real)
        how.query_real = tensor_from(t, U8, SHAPE(SAMPLES, ROUTED_TOKENS), r->query_real);
    if (r->key_real)
        how.key_real = tensor_from(t, U8, SHAPE(SAMPLES, k->shape.dim[1]), r->key_real);
    Tensor *queries = members_of(t, query_member, MEMBERS);
    Tensor *keys = r->apart ? members_of(t, source_member, SOURCE_MEMBERS) : queries;
    return routed_attention(t, &how, q, k, v, queries, keys);
}

static const RoutedOf together = {.how = {.eps = 0.1f}};

static Tensor *run_routed(Tape *t, Tensor *const *in)
{
    return run_routed_of(t, &together, in[0], in[1], in[2]);
}

static void routed_values(const Values *in, double *y)
{
    routed_of(&together, in, y);
}

/* One tensor is query and key, as where the two share their projection. */
static Tensor *run_routed_itself(Tape *t, Tensor *const *in)
{
    return run_routed_of(t, &together, in[0], in[0], in[1]);
}

static void routed_itself(const Values *in, double *y)
{
    routed_of(&together, (const Values[]){in[0], in[0], in[1]}, y);
}

/* Roy et al.'s code: the order within a cluster, tables of ranks, values of zeros are padding: here those of token 2. */
static const RoutedOf by_rank = {
    .how = {.eps = 1e-2f, .causal = SEES_LOWER_RANKS, .hide_zeros = true, .scale = 1, .blocked = BLOCKED_1E9}};

static float not_token_2(int64_t n)
{
    return n / (ROUTES * 5) % ROUTED_TOKENS != 2;
}

static Tensor *run_by_rank(Tape *t, Tensor *const *in)
{
    float marks[SAMPLES * ROUTED_TOKENS * ROUTES * 5];
    for (int n = 0; n < COUNT_OF(marks); n++)
        marks[n] = not_token_2(n);
    RoutedOf r = by_rank;
    r.how.relative = (RelativeTables){in[3], in[4]};
    Tensor *v = multiply(t, in[2], tensor_from(t, F32, SHAPE(SAMPLES, ROUTED_TOKENS, ROUTES, 5), marks));
    return run_routed_of(t, &r, in[0], in[1], v);
}

static void by_rank_values(const Values *in, double *y)
{
    double v[SAMPLES * ROUTED_TOKENS * ROUTES * 5];
    for (int n = 0; n < COUNT_OF(v); n++)
        v[n] = in[2].x[n] * (double)not_token_2(n);
    RoutedOf r = by_rank;
    r.key_table = in[3], r.value_table = in[4];
    routed_of(&r, (const Values[]){in[0], in[1], {v, in[2].shape}}, y);
}

/* lucidrains' code, one set of queries and keys: a token sees itself only where it sees nothing else. */
static const RoutedOf own_last = {
    .how = {.eps = 1e-5f, .causal = SEES_LOWER_INDICES, .own = -5e4f, .blocked = BLOCKED_FINITE_MIN}};

static Tensor *run_own_last(Tape *t, Tensor *const *in)
{
    return run_routed_of(t, &own_last, in[0], in[1], in[2]);
}

static void own_last_values(const Values *in, double *y)
{
    routed_of(&own_last, in, y);
}

static RoutedOf padded_own_last(void)
{
    RoutedOf r = own_last;
    r.query_real = r.key_real = real_queries;
    return r;
}

static Tensor *run_padded_own_last(Tape *t, Tensor *const *in)
{
    RoutedOf r = padded_own_last();
    return run_routed_of(t, &r, in[0], in[1], in[2]);
}

static void padded_own_last_values(const Values *in, double *y)
{
    RoutedOf r = padded_own_last();
    routed_of(&r, in, y);
}

/* The same, sets apart, with a memory; the keys are another sequence. */
static const RoutedOf remembering = {.how = {.eps = 1e-5f, .causal = SEES_LOWER_INDICES, .blocked = BLOCKED_FINITE_MIN},
                                     .apart = true};

static Tensor *run_remembering(Tape *t, Tensor *const *in)
{
    RoutedOf r = remembering;
    r.how.memory_keys = in[3], r.how.memory_values = in[4];
    return run_routed_of(t, &r, in[0], in[1], in[2]);
}

static void remembering_values(const Values *in, double *y)
{
    RoutedOf r = remembering;
    r.memory_keys = in[3], r.memory_values = in[4];
    routed_of(&r, in, y);
}

/* No memory: some queries see nothing, and take the mean of all keys of their cluster. */
static const RoutedOf of_a_context = {.how = {.eps = 1e-5f, .blocked = BLOCKED_FINITE_MIN},
                                      .apart = true,
                                      .query_real = real_queries,
                                      .key_real = real_sources};

static Tensor *run_of_a_context(Tape *t, Tensor *const *in)
{
    return run_routed_of(t, &of_a_context, in[0], in[1], in[2]);
}

static void of_a_context_values(const Values *in, double *y)
{
    routed_of(&of_a_context, in, y);
}

static RoutedOf context_own_last(void)
{
    RoutedOf r = of_a_context;
    r.how.own = -5e4f;
    return r;
}

static Tensor *run_context_own_last(Tape *t, Tensor *const *in)
{
    RoutedOf r = context_own_last();
    return run_routed_of(t, &r, in[0], in[1], in[2]);
}

static void context_own_last_values(const Values *in, double *y)
{
    RoutedOf r = context_own_last();
    routed_of(&r, in, y);
}

static Tensor *run_routed_dropout(Tape *t, Tensor *const *in)
{
    RoutedOf r = by_rank;
    r.how.dropout = 0.3f;
    return run_routed_of(t, &r, in[0], in[1], in[2]);
}

/* ---- k-means */

static const int32_t nearest_centres[SAMPLES * ROUTES * 5] = {0, 2, 1, 1, 0, 2, 2, 0, 1, 0,
                                                              1, 1, 1, 0, 2, 0, 0, 0, 2, 1};

static Tensor *run_kmeans_loss(Tape *t, Tensor *const *in)
{
    return kmeans_loss(t, in[0], in[1], tensor_from(t, I32, SHAPE(SAMPLES, ROUTES, 5), nearest_centres));
}

static void kmeans_loss_of(const Values *in, double *y)
{
    const int64_t *n = in[0].shape.dim, *m = in[1].shape.dim, count = shape_count(in[0].shape);
    *y = 0;
    for (int64_t at = 0; at < count; at++) {
        int64_t c = at % n[3], h = at / n[3] % n[2], token = at / n[3] / n[2] % n[1], b = at / n[3] / n[2] / n[1];
        int64_t centre = nearest_centres[(b * n[2] + h) * n[1] + token];
        double off = in[0].x[at] - in[1].x[(h * m[1] + centre) * n[3] + c];
        *y += off * off / (double)count;
    }
}

#define QUERIES SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 3)
#define SOURCE(width) SHARED(SAMPLES, SOURCES, ROUTES, width)

static const OpCase routed_cases[] = {
    {.op = "routed_attention",
     .in = {QUERIES, QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5)},
     .run = run_routed,
     .reference = routed_values},
    {.op = "routed_attention",
     .variant = "queries are keys",
     .in = {QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5)},
     .run = run_routed_itself,
     .reference = routed_itself},
    {.op = "routed_attention",
     .variant = "by rank, with tables",
     .in = {QUERIES, QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5), SHARED(5, 3), SHARED(9, 5)},
     .run = run_by_rank,
     .reference = by_rank_values,
     .released_elsewhere = true},
    {.op = "routed_attention",
     .variant = "its own key last",
     .in = {QUERIES, QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5)},
     .run = run_own_last,
     .reference = own_last_values},
    {.op = "routed_attention",
     .variant = "its own key last, padding",
     .in = {QUERIES, QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5)},
     .run = run_padded_own_last,
     .reference = padded_own_last_values},
    {.op = "routed_attention",
     .variant = "sets apart, a memory",
     .in = {QUERIES, SOURCE(3), SOURCE(5), SHARED(ROUTES, CLUSTERS, 2, 3), SHARED(ROUTES, CLUSTERS, 2, 5)},
     .run = run_remembering,
     .reference = remembering_values},
    {.op = "routed_attention",
     .variant = "a context with padding",
     .in = {QUERIES, SOURCE(3), SOURCE(5)},
     .run = run_of_a_context,
     .reference = of_a_context_values},
    {.op = "routed_attention",
     .variant = "a context, the key of its own index last",
     .in = {QUERIES, SOURCE(3), SOURCE(5)},
     .run = run_context_own_last,
     .reference = context_own_last_values},
    {.op = "routed_attention",
     .variant = "dropout",
     .in = {QUERIES, QUERIES, SHARED(SAMPLES, ROUTED_TOKENS, ROUTES, 5)},
     .run = run_routed_dropout},
    {.op = "kmeans_loss",
     .in = {SHARED(SAMPLES, 5, ROUTES, 3), {.shape = {3, {ROUTES, 3, 3}}, .fixed = true}},
     .run = run_kmeans_loss,
     .reference = kmeans_loss_of},
};
