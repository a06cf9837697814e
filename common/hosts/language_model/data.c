#include "common/hosts/language_model/data.h"

#include "common/base/file.h"
#include "datasets/registry.h"

#include <math.h>
#include <string.h>

/* What the parts are opened with. */
typedef struct Opening {
    LanguageData *data;
    const Job *job;
    const LanguageDataConfig *config;
    const LanguageEvalConfig *eval;
    LanguageShape shape;
    Log *log;  /* NULL: nobody listens */
    int ahead; /* ids at the start of a sequence that are not predicted */
} Opening;

/* ---- Does it fit the model? */

static bool vocabulary_fits(const Opening *o, int64_t vocabulary, Error *e)
{
    return vocabulary <= o->shape.vocabulary ||
           error_set(e, "model.%s is %lld, but the ids of data.set %s (tokenizer %s) go up to %lld",
                     o->shape.vocabulary_key, (long long)o->shape.vocabulary, o->config->set, o->config->tokenizer,
                     (long long)vocabulary - 1);
}

bool language_length_fits(const Job *job, int64_t length, Error *e)
{
    const LanguageDataConfig *c = job->settings->data;
    LanguageShape shape = language_shape_of(job);
    int64_t block = MAX(shape.block, (int64_t)1);
    if (length < 1)
        return error_set(e, "sequences of data.set %s have nothing to predict", c->set);
    if (length > shape.window)
        return error_set(e, "sequences of %lld tokens (data.length), but model.%s is %lld", (long long)length,
                         shape.window_key, (long long)shape.window);
    if (length <= shape.given)
        return error_set(e, "sequences of %lld tokens (data.length), but the model reads %lld before it predicts one",
                         (long long)length, (long long)shape.given);
    if (length % block)
        return error_set(e, "sequences of %lld tokens (data.length), expected a multiple of the model's block of %lld",
                         (long long)length, (long long)block);
    return true;
}

/* ---- Text */

static int64_t limited(int64_t count, int64_t limit)
{
    return limit > 0 ? MIN(count, limit) : count;
}

/* The last ones of the training part, a share or a number. */
static int64_t held_out(const Opening *o, int64_t count)
{
    double hold = o->config->hold_out;
    return MIN(hold < 1 ? llround(hold * (double)count) : llround(hold), count);
}

static Sequences *open_windows(const Opening *o, TokenRange range, const char *part, Error *e)
{
    int64_t length = o->data->length, stride = o->eval->stride ? MIN(o->eval->stride, length) : length;
    Sequences *s = sequences_windows(range, length + o->ahead, stride, o->ahead, e);
    if (!s)
        error_prefix(e, "the %s part of data.set %s", part, o->config->set);
    return s;
}

static TokenRatio ratio_of(const Tokens *tokens)
{
    return (TokenRatio){(double)tokens->bytes / (double)tokens->count, (double)tokens->words / (double)tokens->count};
}

static TokenRange range_of(const Tokens *tokens, int64_t limit)
{
    return (TokenRange){tokens, 0, limited(tokens->count, limit)};
}

static bool open_text(const Opening *o, bool train, Error *e)
{
    LanguageData *d = o->data;
    const LanguageDataConfig *c = o->config;
    const Tokens *test = d->tokens[CORPUS_TEST];
    d->length = c->length ? c->length : o->shape.window;
    if (!language_length_fits(o->job, d->length, e))
        return false;
    d->test_ratio = ratio_of(test);
    d->test_range = range_of(test, c->limit_test);
    if (!(d->test = open_windows(o, d->test_range, "test", e)) || !train)
        return d->test != NULL;
    const Tokens *tokens = d->tokens[CORPUS_TRAIN];
    int64_t held = held_out(o, tokens->count), kept = tokens->count - held;
    TokenRange valid = {tokens, kept, limited(held, c->limit_valid)};
    if (!held)
        valid = range_of(d->tokens[CORPUS_VALID] ? d->tokens[CORPUS_VALID] : test, c->limit_valid);
    d->train_ratio = ratio_of(tokens);
    d->valid_ratio = ratio_of(valid.tokens);
    d->train_range = (TokenRange){tokens, 0, limited(kept, c->limit_train)};
    d->train = sequences_crops(d->train_range, d->length + o->ahead, e);
    if (!d->train)
        return error_prefix(e, "the training part of data.set %s", c->set);
    return (d->valid = open_windows(o, valid, "validation", e)) != NULL;
}

/* ---- Images: every document is one */

static bool open_images(const Opening *o, bool train, Error *e)
{
    LanguageData *d = o->data;
    const LanguageDataConfig *c = o->config;
    const Tokens *test = d->tokens[CORPUS_TEST], *tokens = d->tokens[CORPUS_TRAIN], *valid = d->tokens[CORPUS_VALID];
    d->length = (int64_t)d->corpus->width * d->corpus->height * d->corpus->channels - o->ahead;
    if (!language_length_fits(o->job, d->length, e) ||
        !(d->test = sequences_documents(test, 0, limited(test->documents, c->limit_test), e)))
        return false;
    if (!train)
        return true;
    int64_t held = held_out(o, tokens->documents), kept = tokens->documents - held;
    d->train = sequences_documents(tokens, 0, limited(kept, c->limit_train), e);
    if (held)
        d->valid = sequences_documents(tokens, kept, limited(held, c->limit_valid), e);
    else
        d->valid =
            sequences_documents(valid ? valid : test, 0, limited((valid ? valid : test)->documents, c->limit_valid), e);
    return d->train && d->valid;
}

/* ---- */

static void say(void *log, const char *line)
{
    log_line(log, "%s", line);
}

/* Learns the ids, and keeps them if a run is being trained. */
static bool learn(Tokenizer *t, const Corpus *corpus, const char *keep, Error *e)
{
    return tokenizer_learn(t, corpus, e) && (!keep || tokenizer_write(t, keep, e));
}

Tokenizer *language_tokenizer(const Job *job, const Corpus *corpus, Error *e)
{
    const LanguageDataConfig *c = job->settings->data;
    const char *run = job->run ? job->run : job->from;
    char *kept = run ? path_join(run, "vocabulary.json") : NULL;
    Tokenizer *t = tokenizer_open(kept && file_exists(kept) ? kept : c->tokenizer, e);
    if (t && !tokenizer_vocabulary(t)) {
        Corpus *own = corpus ? NULL : dataset_corpus(c->set, c->path, e);
        bool keeps = job->run && comm_rank(tape_comm(job->tape)) == 0;
        bool good = (corpus || own) && learn(t, corpus ? corpus : own, keeps ? kept : NULL, e);
        corpus_close(own);
        if (!good) {
            tokenizer_close(t);
            t = NULL;
        }
    }
    mem_free(kept);
    return t;
}

static bool open_corpus(const Opening *o, bool train, Error *e)
{
    LanguageData *d = o->data;
    const LanguageDataConfig *c = o->config;
    d->corpus = dataset_corpus(c->set, c->path, e);
    if (d->corpus && o->log) {
        d->corpus->notice = say;
        d->corpus->notice_user = o->log;
    }
    d->tokenizer = d->corpus ? language_tokenizer(o->job, d->corpus, e) : NULL;
    if (!d->tokenizer || !vocabulary_fits(o, tokenizer_vocabulary(d->tokenizer), e))
        return false;
    for (CorpusPart part = train ? CORPUS_TRAIN : CORPUS_TEST; part < CORPUS_PARTS; part++) {
        bool needed = part == CORPUS_TEST || part == CORPUS_TRAIN || c->hold_out == 0;
        if (!needed || (part == CORPUS_VALID && !d->corpus->documents[part]))
            continue;
        d->tokens[part] = tokens_open(d->corpus, part, d->tokenizer, e);
        if (!d->tokens[part])
            return false;
    }
    d->kind = d->corpus->width ? DATA_OF_IMAGES : DATA_OF_TEXT;
    d->bytes = d->kind == DATA_OF_TEXT && strcmp(c->tokenizer, "bytes") == 0;
    return d->kind == DATA_OF_IMAGES ? open_images(o, train, e) : open_text(o, train, e);
}

static bool open_generated(const Opening *o, const DatasetFormat *format, bool train, Error *e)
{
    LanguageData *d = o->data;
    const LanguageDataConfig *c = o->config;
    d->kind = DATA_GENERATED;
    d->length = c->length ? c->length : o->shape.window;
    SequenceOptions options = {.length = d->length + o->ahead, .pairs = c->pairs};
    Sequences **parts[CORPUS_PARTS] = {&d->train, &d->valid, &d->test};
    if (!language_length_fits(o->job, d->length, e))
        return false;
    for (CorpusPart part = train ? CORPUS_TRAIN : CORPUS_TEST; part < CORPUS_PARTS; part++)
        if (!(*parts[part] = format->open_sequences(part, &options, e)))
            return false;
    return vocabulary_fits(o, d->test->vocabulary, e);
}

bool language_data_open(LanguageData *d, const Job *job, bool train, Error *e)
{
    const Settings *s = job->settings;
    Opening o = {
        .data = d, .job = job, .config = s->data, .eval = s->eval, .log = job->log, .shape = language_shape_of(job)};
    *d = (LanguageData){0};
    o.ahead = o.shape.shifts ? 0 : 1;
    const DatasetFormat *format = dataset_format(o.config->set, e);
    bool good = format && (format->open_sequences ? open_generated(&o, format, train, e) : open_corpus(&o, train, e));
    if (!good)
        language_data_close(d);
    return good;
}

void language_data_close(LanguageData *d)
{
    sequences_close(d->train);
    sequences_close(d->valid);
    sequences_close(d->test);
    for (CorpusPart part = 0; part < CORPUS_PARTS; part++)
        tokens_close(d->tokens[part]);
    tokenizer_close(d->tokenizer);
    corpus_close(d->corpus);
    *d = (LanguageData){0};
}
