/* Attention alone: one mechanism of common/attention at one shape, forward or forward and backward, full or causal.
 * A new mechanism adds one line to the list. */
#include "bench/side/side.h"

#include "common/attention/kmeans.h"
#include "common/attention/routed.h"
#include "common/attention/windowed.h"
#include "common/autograd/ops.h"
#include "common/base/memory.h"
#include "common/nn/params.h"

#include <string.h>

typedef struct Shapes {
    int64_t batch, tokens, heads, width;
    int64_t block, clusters; /* of windows; of routing */
    bool causal;
    Tensor *table, *means; /* [2 window - 1,d] for keys and values; [H,K,d] */
} Shapes;

typedef struct Mechanism {
    const char *name;
    Tensor *(*forward)(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v); /* all [B,N,H,d] */
    double (*flop)(const Shapes *s); /* useful ones of a forward, a multiply-add counts two */
} Mechanism;

/* Of q k^T and p v: pairs of a query and a key that it sees, of one sample and head. */
static double flop_of_pairs(const Shapes *s, double pairs)
{
    return 4.0 * (double)(s->batch * s->heads * s->width) * pairs;
}

static Tensor *dense(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v)
{
    const AttentionSpec spec = {.mask = {.causal = s->causal}};
    return attend(t, &spec, q, k, v);
}

static double dense_flop(const Shapes *s)
{
    double n = (double)s->tokens;
    return flop_of_pairs(s, s->causal ? n * (n + 1) / 2 : n * n);
}

/* Local windows: a block and the one before it, and without `causal` the one behind it. */
static Windowed windows_of(const Shapes *s)
{
    return (Windowed){.block = s->block, .back = 1, .forward = s->causal ? 0 : 1, .causal = s->causal};
}

static Tensor *windowed(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v)
{
    Windowed w = windows_of(s);
    return windowed_attention(t, &w, q, k, v);
}

static Tensor *windowed_relative(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v)
{
    Windowed w = windows_of(s);
    w.relative = (RelativeTables){s->table, s->table};
    return windowed_attention(t, &w, q, k, v);
}

static double windowed_flop(const Shapes *s)
{
    double b = (double)s->block, blocks = (double)(s->tokens / s->block), beside = (blocks - 1) * b * b;
    return flop_of_pairs(s, s->causal ? blocks * b * (b + 1) / 2 + beside : blocks * b * b + 2 * beside);
}

/* Routing as Roy et al. have it: one set of members for queries and keys, by the queries. */
static Tensor *routed_by_queries(Tape *t, const Shapes *s, RelativeTables tables, Tensor *q, Tensor *k, Tensor *v)
{
    Routed r = {
        .clusters = s->clusters, .eps = 1e-2f, .causal = s->causal ? SEES_LOWER_RANKS : SEES_ALL, .relative = tables};
    Tensor *members = top_rows(t, cluster_scores(t, q, s->means), s->tokens / s->clusters);
    return routed_attention(t, &r, q, k, v, members, members);
}

static Tensor *routed(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v)
{
    return routed_by_queries(t, s, (RelativeTables){0}, q, k, v);
}

static Tensor *routed_relative(Tape *t, const Shapes *s, Tensor *q, Tensor *k, Tensor *v)
{
    return routed_by_queries(t, s, (RelativeTables){s->table, s->table}, q, k, v);
}

/* The search for members is overhead. */
static double routed_flop(const Shapes *s)
{
    double w = (double)(s->tokens / s->clusters);
    return flop_of_pairs(s, (double)s->clusters * (s->causal ? w * (w + 1) / 2 : w * w));
}

static const Mechanism mechanisms[] = {
    {"dense", dense, dense_flop},
    {"windowed", windowed, windowed_flop},
    {"windowed-relative", windowed_relative, windowed_flop},
    {"routed", routed, routed_flop},
    {"routed-relative", routed_relative, routed_flop},
};

/* Five products of the forward's two kinds: the scores again, dv, dp, dq, dk. */
static const double BACKWARD_TO_FORWARD = 2.5;

typedef struct Attention {
    const Mechanism *mechanism;
    Shapes shapes;
    bool backward;
    Params *params; /* q, k, v and the table as parameters: they outlive the steps and get gradients */
    Tensor *q, *k, *v, *d_o;
    Tape *tape;
} Attention;

/* The result, valid until the scope around it closes. No tape_reset between operations: the cotangent is on the tape. */
static Tensor *run(Attention *a)
{
    Region before = region_open(a->tape, EVAL, a->backward ? GRAD : NO_GRAD);
    params_zero_gradients(a->params);
    Tensor *o = a->mechanism->forward(a->tape, &a->shapes, a->q, a->k, a->v);
    if (a->backward)
        tape_backward(a->tape, &o, &a->d_o, 1);
    region_close(a->tape, before);
    return o;
}

static void operation(void *own)
{
    Attention *a = own;
    Scope s = scope_open(a->tape);
    run(a);
    scope_close_n(a->tape, s, NULL, 0);
}

static bool check(void *own, const char *path, Error *e)
{
    Attention *a = own;
    Scope s = scope_open(a->tape);
    Tensor *o = run(a);
    TensorToWrite results[4] = {side_to_write("o", o)};
    if (a->backward) {
        results[1] = side_to_write("grad/q", tensor_gradient(a->q));
        results[2] = side_to_write("grad/k", tensor_gradient(a->k));
        results[3] = side_to_write("grad/v", tensor_gradient(a->v));
    }
    bool good = safetensors_write(path, results, a->backward ? 4 : 1, NULL, 0, e);
    scope_close_n(a->tape, s, NULL, 0);
    return good;
}

static void close_attention(void *own)
{
    Attention *a = own;
    params_free(a->params);
    tape_free(a->tape);
    mem_free(a);
}

static bool write_inputs(const Attention *a, const char *path, Error *e)
{
    const TensorToWrite inputs[] = {side_to_write("q", a->q), side_to_write("k", a->k), side_to_write("v", a->v),
                                    side_to_write("d_o", a->d_o)};
    return safetensors_write(path, inputs, COUNT_OF(inputs), NULL, 0, e);
}

/* In bf16 they and their gradients take half of the places that parameters have: activations, which they stand for, are
 * bf16 both ways. */
static void make_inputs(Attention *a, DType type, const Backend *backend)
{
    Shapes *s = &a->shapes;
    Shape shape = SHAPE(s->batch, s->tokens, s->heads, s->width);
    a->params = params_new();
    a->q = params_add(a->params, "q", shape, INIT_ZEROS);
    a->k = params_add(a->params, "k", shape, INIT_ZEROS);
    a->v = params_add(a->params, "v", shape, INIT_ZEROS);
    s->table = params_add(a->params, "table", SHAPE(4 * s->block - 1, s->width), INIT_ZEROS);
    s->means = params_add_buffer(a->params, "means", SHAPE(s->heads, s->clusters, s->width), INIT_ZEROS);
    params_allocate(a->params, true, 0, backend);
    for (int i = 0; i < params_count(a->params); i++) {
        Param *p = params_at(a->params, i);
        bool activation = &p->value == a->q || &p->value == a->k || &p->value == a->v;
        p->value.type = p->gradient.type = activation ? type : F32;
        side_fill(p->name, tensor_count(&p->value), 1.5f, p->value.type, p->value.data);
    }
    a->d_o = tensor_make(a->tape, F32,
                         shape); /* the tape takes no other cotangents; in bf16 it rounds this one, and we pay */
    side_fill("d_o", tensor_count(a->d_o), 1.5f, F32, a->d_o->data);
}

static const Mechanism *mechanism_named(const char *name)
{
    for (int i = 0; i < COUNT_OF(mechanisms); i++)
        if (strcmp(name, mechanisms[i].name) == 0)
            return &mechanisms[i];
    return NULL;
}

/* A power of two near the root of the tokens that divides them. */
static int64_t usual_clusters(int64_t tokens)
{
    int64_t clusters = 1;
    while (4 * clusters * clusters <= tokens && tokens % (2 * clusters) == 0)
        clusters *= 2;
    return clusters;
}

/* 256, or all tokens where that does not divide them. */
static int64_t usual_block(int64_t tokens)
{
    return tokens % 256 ? tokens : 256;
}

static bool prepare(Case *c, Words *words, const char *inputs, Error *e)
{
    const Mechanism *mechanism = mechanism_named(words_text(words, "mechanism", "dense"));
    Shapes s = {.batch = words_int(words, "batch", 1),
                .tokens = words_int(words, "tokens", 0),
                .heads = words_int(words, "heads", 1),
                .width = words_int(words, "width", 64),
                .block = words_int(words, "block", 0),
                .clusters = words_int(words, "clusters", 0),
                .causal = words_flag(words, "causal")};
    int threads = (int)words_int(words, "threads", 2);
    bool backward = words_flag(words, "backward");
    const Backend *backend = cpu_backend(e);
    DType type;
    if (!backend || !words_precision(words, backend, &type, e))
        return false;
    if (!mechanism || s.batch < 1 || s.tokens < 1 || s.heads < 1 || s.width < 1 || threads < 1)
        return error_set(e, "expected a known mechanism, and batch, tokens, heads, width, threads above 0");
    s.block = s.block ? s.block : usual_block(s.tokens);
    s.clusters = s.clusters ? s.clusters : usual_clusters(s.tokens);
    if (s.block < 1 || s.tokens % s.block || s.clusters < 1 || s.tokens % s.clusters)
        return error_set(e, "block and clusters divide the tokens");
    Attention *a = mem_new(sizeof *a);
    *a = (Attention){.mechanism = mechanism, .shapes = s, .backward = backward};
    a->tape = tape_new(&(TapeOptions){.backend = backend, .threads = threads});
    make_inputs(a, type, backend);
    *c = (Case){.own = a,
                .flop = mechanism->flop(&s) * (backward ? 1 + BACKWARD_TO_FORWARD : 1),
                .items = s.batch * s.tokens,
                .threads = threads,
                .tape = a->tape,
                .operation = operation,
                .check = check,
                .close = close_attention};
    bool good = write_inputs(a, inputs, e);
    if (!good)
        close_attention(a);
    return good;
}

int main(void)
{
    return side_main(prepare);
}
