#include "common/hosts/language_model/generate.h"

#include "common/autograd/ops.h"
#include "common/data/utf8.h"
#include "common/hosts/language_model/data.h"
#include "common/nn/sampling.h"
#include "datasets/registry.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- Tokens */

/* What is written so far, and how the model reads it. */
typedef struct Generation {
    Job *job;
    const LanguageModel *model;
    LanguageShape shape;
    int64_t *ids, count; /* all of them, the prompt's too; room for one more */
    Caches *past;        /* NULL: the model has none, or the window is full */
    int64_t cached;      /* ids that it has seen */
    float *logits;       /* [V] */
} Generation;

/* The tokens that the model still sees: where it shifts, one place of its window is the token that it is asked for. */
static int64_t sight(const Generation *g)
{
    return g->shape.window - (g->shape.shifts ? 1 : 0);
}

/* The last row of forward. Where the model shifts, that of a last id which it does not look at. */
static Tensor *last_of_forward(Tape *t, const Generation *g, const int64_t *ids, int64_t count)
{
    int64_t length = count + (g->shape.shifts ? 1 : 0);
    Tensor *auxiliary = NULL, *in = tensor_from(t, I64, SHAPE(1, length), ids);
    Tensor *logits = g->model->forward(t, g->job->network, in, &auxiliary);
    return narrow(t, logits, 1, length - 1, 1);
}

static Tensor *next_logits(Generation *g, Tape *t)
{
    int64_t count = MIN(g->count, sight(g));
    const int64_t *seen = g->ids + g->count - count;
    if (g->past && g->count <= sight(g)) {
        Tensor *fresh = tensor_from(t, I64, SHAPE(1, g->count - g->cached), g->ids + g->cached);
        g->cached = g->count;
        return g->model->cache_extend(t, g->job->network, g->past, fresh);
    }
    Tensor *logits = NULL;
    if (g->model->next)
        logits = g->model->next(t, g->job->network, tensor_from(t, I64, SHAPE(1, count), seen));
    return logits ? logits : last_of_forward(t, g, seen, count);
}

static int64_t draw(Generation *g, const LanguageSampling *how, double u)
{
    Tape *t = g->job->tape;
    tensor_read(t, next_logits(g, t), g->logits);
    tape_reset(t);
    if (g->shape.pads)
        g->logits[0] = -INFINITY;
    for (int64_t i = how->vocabulary; how->vocabulary && i < g->shape.vocabulary; i++)
        g->logits[i] = -INFINITY;
    sampling_top_k(g->logits, g->shape.vocabulary, how->top_k);
    sampling_top_p(g->logits, g->shape.vocabulary, how->top_p);
    return sampling_draw(g->logits, g->shape.vocabulary, how->temperature, u);
}

void language_generate(Job *job, const LanguageSampling *how, const int64_t *ids, int64_t count, int64_t length,
                       LanguageListener *listener, void *user)
{
    Generation g = {.job = job, .model = language_model_of(job), .shape = language_shape_of(job), .count = count};
    contract(count > 0 || g.shape.shifts, "language_generate: nothing to begin with");
    g.ids = mem_new((size_t)(count + length + 1) * sizeof *g.ids);
    if (count)
        memcpy(g.ids, ids, (size_t)count * sizeof *ids);
    g.logits = mem_new((size_t)g.shape.vocabulary * sizeof *g.logits);
    if (g.model->cache_open && !how->recompute)
        g.past = g.model->cache_open(job->tape, job->network, 1);
    Random random = random_at(how->seed, STREAM_SAMPLE, random_site("generate"), 0);
    Region before = region_open(job->tape, EVAL, NO_GRAD);
    for (int64_t i = 0; i < length; i++) {
        int64_t token = draw(&g, how, random_uniform(&random));
        g.ids[g.count++] = token;
        listener(user, token);
    }
    region_close(job->tape, before);
    caches_free(g.past);
    mem_free(g.logits);
    mem_free(g.ids);
}

/* ---- Text */

/* Tokens on their way to text. */
typedef struct Writing {
    const Tokenizer *tokenizer;
    ARRAY(int64_t) ids; /* the prompt's, too */
    size_t written;     /* bytes of their text that have been written */
    Str *text;
    FILE *stream;
} Writing;

/* How many bytes at the end begin a character that is not whole yet. */
static size_t unfinished(const char *text, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        unsigned char c = (unsigned char)text[bytes - back];
        size_t needs = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if (c < 0x80 || c >= 0xc0)
            return needs > back ? back : 0;
    }
    return 0;
}

static void write_out(Writing *w, bool last)
{
    Str all = {0}, fresh = {0};
    tokenizer_decode(w->tokenizer, w->ids.items, (int64_t)w->ids.count, &all);
    size_t before = w->written;
    size_t ready = all.length - (last ? 0 : unfinished(all.text, all.length));
    w->written = MAX(before, ready);
    utf8_add_repaired(&fresh, all.text + before, w->written - before);
    for (size_t i = 0; i < fresh.length; i++)
        if (iscntrl((unsigned char)fresh.text[i]) && fresh.text[i] != '\n' && fresh.text[i] != '\t')
            fresh.text[i] = ' '; /* nothing that a terminal would obey */
    if (w->stream && fresh.length) {
        fwrite(fresh.text, 1, fresh.length, w->stream);
        fflush(w->stream);
    }
    if (w->text && fresh.length)
        str_add_bytes(w->text, fresh.text, fresh.length);
    str_free(&all);
    str_free(&fresh);
}

static void hear(void *user, int64_t token)
{
    Writing *w = user;
    *array_add(&w->ids) = token;
    if (w->stream)
        write_out(w, false);
}

bool language_prompt(const Job *job, const Tokenizer *tokenizer, const char *prompt, TokenIds *ids, Error *e)
{
    LanguageShape shape = language_shape_of(job);
    if (!tokenizer_encode(tokenizer, prompt, strlen(prompt), ids, e))
        return false;
    for (size_t i = 0; i < ids->count; i++)
        if (ids->items[i] >= shape.vocabulary)
            return error_set(e, "the prompt holds id %d, but model.%s is %lld", ids->items[i], shape.vocabulary_key,
                             (long long)shape.vocabulary);
    if (shape.given && (int64_t)ids->count <= shape.given)
        return error_set(e, "the prompt has %zu tokens, but the model reads %lld before it goes on with the next",
                         ids->count, (long long)shape.given);
    return ids->count || shape.shifts ||
           error_set(e, "the prompt is empty, and the model needs something to go on with");
}

bool language_generate_text(Job *job, const Tokenizer *tokenizer, const LanguageSampling *how, const char *prompt,
                            int64_t length, Str *text, FILE *stream, Error *e)
{
    TokenIds encoded = {0};
    Writing w = {.tokenizer = tokenizer, .text = text, .stream = stream};
    bool good = language_prompt(job, tokenizer, prompt, &encoded, e);
    if (good) {
        int64_t count = (int64_t)encoded.count, *ids = mem_new((encoded.count + 1) * sizeof *ids);
        LanguageSampling within = *how;
        within.vocabulary = tokenizer_vocabulary(tokenizer);
        for (int64_t i = 0; i < count; i++)
            *array_add(&w.ids) = ids[i] = encoded.items[i];
        write_out(&w, false);
        language_generate(job, &within, ids, count, length, hear, &w);
        write_out(&w, true);
        mem_free(ids);
    }
    array_free(&encoded);
    array_free(&w.ids);
    return good;
}

/* ---- The command */

LanguageSampling language_sampling(const Job *job)
{
    const LanguageEvalConfig *c = job->settings->eval;
    return (LanguageSampling){.temperature = c->temperature,
                              .top_p = c->top_p,
                              .top_k = c->top_k,
                              .seed = (uint32_t)c->seed,
                              .recompute = !c->cache};
}

bool language_generate_view(Job *job, const char *prompt, Error *e)
{
    const char *set = ((const LanguageDataConfig *)job->settings->data)->set;
    const DatasetFormat *format = dataset_format(set, e);
    if (format && !format->open_corpus)
        return error_set(e, "data set %s is no text: there is nothing to write", set);
    LanguageSampling how = language_sampling(job);
    Tokenizer *tokenizer = format ? language_tokenizer(job, NULL, e) : NULL;
    if (!tokenizer)
        return false;
    int64_t length = ((const LanguageEvalConfig *)job->settings->eval)->length;
    bool good = language_generate_text(job, tokenizer, &how, prompt, length, NULL, stdout, e);
    if (good)
        fputs("\n", stdout);
    tokenizer_close(tokenizer);
    return good;
}
