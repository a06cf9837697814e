/* A language model as small as one can be: embeddings, one dense causal attention, a linear layer; as a whole program, so that
 * the workload's commands can be run on it in a folder of their own. */
#pragma once
#include "run_floor/scratch.h"

#include "common/hosts/language_model/language_model.h"
#include "common/nn/layers.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

typedef struct TinyConfig {
    int64_t vocabulary, width, window, block, given;
    int heads;
    bool shifts, pads;
    double dropout;
} TinyConfig;

static const ConfigField tiny_rows[] = {
    {CONFIG_INT("vocabulary", TinyConfig, vocabulary, .value = "256")},
    {CONFIG_INT("width", TinyConfig, width, .value = "16")},
    {CONFIG_INT("window", TinyConfig, window, .value = "32")},
    {CONFIG_INT("block", TinyConfig, block, .value = "1")},
    {CONFIG_INT("given", TinyConfig, given, .value = "0")},
    {CONFIG_INT("heads", TinyConfig, heads, .value = "2")},
    {CONFIG_BOOL("shifts", TinyConfig, shifts, .value = "no")},
    {CONFIG_BOOL("pads", TinyConfig, pads, .value = "no")},
    {CONFIG_NUMBER("dropout", TinyConfig, dropout, .value = "0")},
};
static const ConfigTable tiny_table = {CONFIG_STRUCT(TinyConfig), CONFIG_ROWS(tiny_rows)};

typedef struct Tiny {
    TinyConfig config;
    Tensor *tokens, *positions, *start; /* [V,C], [1,W,C], [1,1,C] */
    Linear q, k, v, head;
    Tensor *steps; /* a buffer that post_step counts in */
} Tiny;

static void *tiny_create(const void *config, Params *p)
{
    Tiny *m = mem_new(sizeof *m);
    m->config = *(const TinyConfig *)config;
    int64_t width = m->config.width;
    const Init init = {INIT_NORMAL, 0.2};
    m->tokens = params_add(p, "tokens", SHAPE(m->config.vocabulary, width), init);
    m->positions = params_add(p, "positions", SHAPE(1, m->config.window, width), init);
    m->start = params_add(p, "start", SHAPE(1, 1, width), init);
    m->q = linear_new(p, "q", width, width, false, init);
    m->k = linear_new(p, "k", width, width, false, init);
    m->v = linear_new(p, "v", width, width, false, init);
    m->head = linear_new(p, "head", width, m->config.vocabulary, true, init);
    m->steps = params_add_buffer(p, "steps", SHAPE(1), INIT_ZEROS);
    return m;
}

/* One place to the right; what comes first is the start. */
static Tensor *tiny_shift(Tape *t, const Tiny *m, Tensor *x)
{
    const int64_t *n = x->shape.dim;
    Tensor *first = expand(t, m->start, n[0]);
    return n[1] == 1 ? first : concat2(t, 1, first, narrow(t, x, 1, 0, n[1] - 1));
}

static Tensor *tiny_embed(Tape *t, const Tiny *m, Tensor *ids, int64_t first)
{
    Tensor *x = embedding(t, m->tokens, ids); /* [B,S,C] */
    if (m->config.shifts)
        x = tiny_shift(t, m, x);
    return add_rows(t, x, contiguous(t, narrow(t, m->positions, 1, first, tensor_dim(ids, 1))));
}

static Tensor *tiny_forward(Tape *t, const void *network, Tensor *ids, Tensor **auxiliary)
{
    const Tiny *m = network;
    AttentionSpec causal = {.mask = {.causal = true}};
    Scope s = scope_open(t);
    Tensor *x = tiny_embed(t, m, ids, 0);
    x = dropout(t, x, (float)m->config.dropout, random_site("tiny"));
    Tensor *q = split_heads(t, linear(t, &m->q, x), m->config.heads);
    Tensor *k = split_heads(t, linear(t, &m->k, x), m->config.heads);
    Tensor *v = split_heads(t, linear(t, &m->v, x), m->config.heads);
    x = add(t, x, join_heads(t, attend(t, &causal, q, k, v)));
    if (tape_training(t))
        *auxiliary = scale(t, mean_all(t, square(t, x)), 1e-4f);
    Tensor *keep[] = {linear(t, &m->head, x), *auxiliary};
    scope_close_n(t, s, keep, 2);
    return keep[0];
}

/* ---- The same as a text grows */

static int tiny_extended;

static Caches *tiny_cache_open(Tape *t, const void *network, int64_t rows)
{
    const TinyConfig *c = &((const Tiny *)network)->config;
    int64_t width = c->width / c->heads;
    Caches *past = caches_new(1);
    past->layers[0] = cache_new(past->owner, CACHE_APPEND, rows, c->window, 2,
                                (CacheStream[]){{.name = "keys", .heads = c->heads, .width = width},
                                                {.name = "values", .heads = c->heads, .width = width}});
    states_allocate_on(past->owner, t);
    return past;
}

static Tensor *tiny_cache_extend(Tape *t, const void *network, Caches *past, Tensor *ids)
{
    const Tiny *m = network;
    Cache *seen = &past->layers[0];
    Scope s = scope_open(t);
    int64_t before = cache_seen(seen, "keys");
    Tensor *x = embedding(t, m->tokens, ids); /* [1,n,C] */
    if (m->config.shifts && before == 0)
        x = concat2(t, 1, m->start, x);
    int64_t n = tensor_dim(x, 1), all = before + n;
    x = add_rows(t, x, contiguous(t, narrow(t, m->positions, 1, before, n)));
    cache_append(t, seen, "keys", split_heads(t, linear(t, &m->k, x), m->config.heads));
    cache_append(t, seen, "values", split_heads(t, linear(t, &m->v, x), m->config.heads));
    AttentionSpec causal = {.mask = {.causal = true, .causal_offset = before}};
    Tensor *o = attend(t, &causal, split_heads(t, linear(t, &m->q, x), m->config.heads),
                       cache_last(t, seen, "keys", all), cache_last(t, seen, "values", all));
    x = add(t, x, join_heads(t, o));
    tiny_extended += (int)tensor_dim(ids, 1);
    return scope_close(t, s, linear(t, &m->head, narrow(t, x, 1, n - 1, 1)));
}

/* ---- */

static LanguageShape tiny_shape(const void *config)
{
    const TinyConfig *c = config;
    return (LanguageShape){c->vocabulary, c->window, c->block, c->shifts, c->pads, "vocabulary", "window", c->given};
}

static void tiny_before_training(Tape *t, void *network, Tensor *ids)
{
    Tiny *m = network;
    contract(tape_training(t) && ids->type == I64, "before_training");
    ((float *)m->steps->data)[0] = (float)tensor_dim(ids, 0);
}

static void tiny_post_step(Tape *t, void *network)
{
    Tiny *m = network;
    (void)t;
    ((float *)m->steps->data)[0]++;
}

static void tiny_trace(Tape *t, const void *network, const void *config)
{
    const TinyConfig *c = config;
    Tensor *auxiliary = NULL;
    tiny_forward(t, network, tensor_from(t, I64, SHAPE(1, c->window), NULL), &auxiliary);
    tape_reset(t);
}

static const LanguageModel tiny_hooks = {
    .shape = tiny_shape, .forward = tiny_forward, .before_training = tiny_before_training, .post_step = tiny_post_step};

static const LanguageModel tiny_cached_hooks = {
    .shape = tiny_shape, .forward = tiny_forward, .cache_open = tiny_cache_open, .cache_extend = tiny_cache_extend};

static const Model tiny_model = {.name = "tiny",
                                 .title = "Tiny",
                                 .config = &tiny_table,
                                 .create = tiny_create,
                                 .destroy = mem_free,
                                 .trace = tiny_trace,
                                 .workload = &language_model_workload,
                                 .workload_hooks = &tiny_hooks};

/* ---- Jobs in memory */

typedef struct TinyJob {
    Job job;
    Settings *settings;
} TinyJob;

/* A network with random weights and the config in flow YAML, "{model: {shifts: yes}}". */
static inline TinyJob tiny_job(const Model *model, const char *yaml)
{
    Error e;
    SettingsTables tables = {&tiny_table, model->workload->data, model->workload->train, model->workload->eval};
    Node *tree = node_from_flow_yaml(yaml, "test", &e);
    Settings *s = tree ? settings_bind(&tables, tree, "test", NULL, -1, &e) : NULL;
    if (!s)
        fail_msg("%s", e.text);
    TinyJob j = {.settings = s, .job = {.model = model, .settings = s, .params = params_new()}};
    j.job.network = tiny_create(s->model, j.job.params);
    const Backend *backend = cpu_backend(&e);
    assert_non_null(backend);
    params_allocate(j.job.params, true, 1, backend);
    j.job.tape = tape_new(&(TapeOptions){.backend = backend, .threads = 1, .seed = 7});
    return j;
}

static inline void tiny_job_free(TinyJob *j)
{
    tape_free(j->job.tape);
    mem_free(j->job.network);
    params_free(j->job.params);
    settings_free(j->settings);
}
