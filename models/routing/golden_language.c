/* Golden files of whole models of variant B: forward, loss, generated text, encoder and decoder. */
#include "models/routing/golden.h"

#include "common/base/memory.h"
#include "models/routing/lucidrains.h"

#include <string.h>

/* ---- Inputs */

/* input/NAME [B,N], every one a token of the vocabulary. */
static Tensor *tokens_input(Golden *g, const char *name, int64_t vocabulary, Error *e)
{
    Shape shape;
    const int64_t *values = golden_values(g, name, I64, &shape, e);
    if (!values)
        return NULL;
    if (shape.rank != 2 || shape.dim[0] < 1 || shape.dim[1] < 1)
        return error_null(e, "input/%s is not [batch, length]", name);
    for (int64_t i = 0; i < shape_count(shape); i++)
        if (values[i] < 0 || values[i] >= vocabulary)
            return error_null(e, "input/%s: %lld is not one of %lld tokens", name, (long long)values[i],
                              (long long)vocabulary);
    return tensor_from(golden_tape(g), I64, shape, values);
}

static bool read_input(Golden *g, const char *tokens, const char *mask, const LucidrainsConfig *c, LucidrainsInput *in,
                       Error *e)
{
    *in = (LucidrainsInput){.tokens = tokens_input(g, tokens, c->num_tokens, e)};
    return in->tokens && golden_mask(g, mask, tensor_dim(in->tokens, 0), tensor_dim(in->tokens, 1), &in->mask, e);
}

/* Of a model by itself, which may receive a context: [B,S,C], with its mask. */
static bool read_input_with_context(Golden *g, const char *tokens, const LucidrainsConfig *c, LucidrainsInput *in,
                                    Error *e)
{
    if (!read_input(g, tokens, "input_mask", c, in, e))
        return false;
    if (!c->receives_context)
        return true;
    in->context = golden_input(g, "context", e);
    if (!in->context)
        return false;
    const Shape shape = in->context->shape;
    if (shape.rank != 3 || shape.dim[0] != in->tokens->shape.dim[0] || shape.dim[2] != c->dim)
        return error_set(e, "input/context is not [batch, length, dim]");
    return golden_mask(g, "context_mask", shape.dim[0], shape.dim[1], &in->context_mask, e);
}

/* So many tokens can be read at once, padding to whole windows included. */
static bool fits(const Lucidrains *m, int64_t length, const char *name, Error *e)
{
    int64_t multiple = lucidrains_multiple(m), padded = (length + multiple - 1) / multiple * multiple;
    return padded <= lucidrains_longest(m) ||
           error_set(e, "input/%s: %lld tokens are more than max_seq_len", name, (long long)padded);
}

/* ---- One model */

/* A model with the file's parameters. */
typedef struct Loaded {
    Params *params;
    Lucidrains *model;
} Loaded;

static bool load(Golden *g, const LucidrainsConfig *c, Loaded *l, Error *e)
{
    if (c->receives_context && !golden_has_input(g, "context"))
        return error_set(e, "receives_context: there is no input/context");
    l->params = params_new();
    l->model = lucidrains_new(c, l->params);
    params_allocate(l->params, true, 0, golden_backend(g));
    return golden_params(g, l->params, e);
}

static void loaded_free(Loaded *l)
{
    lucidrains_free(l->model);
    if (l->params)
        params_free(l->params);
}

typedef struct ModelConfig {
    LucidrainsConfig model;
} ModelConfig;

static const ConfigField model_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_REST("", ModelConfig, model, &lucidrains_config_table)},
};
static const ConfigTable model_table = {CONFIG_STRUCT(ModelConfig), CONFIG_ROWS(model_rows)};

/* ---- forward */

static bool run_forward(Golden *g, const LucidrainsConfig *c, Loaded *l, Error *e)
{
    LucidrainsInput in;
    Tensor *aux;
    if (!read_input_with_context(g, "x", c, &in, e) || !fits(l->model, tensor_dim(in.tokens, 1), "x", e))
        return false;
    if (tensor_dim(in.tokens, 1) % lucidrains_multiple(l->model))
        return error_set(e, "input/x is not a number of whole local windows");
    Tensor *logits = lucidrains_forward(golden_tape(g), l->model, &in, &aux);
    golden_output(g, "logits", logits);
    golden_output(g, "aux", aux);
    if (!aux->needs_gradient)
        tensor_needs_gradient(aux); /* no routing heads: a zero that depends on nothing */
    golden_backward(g, 2, (const char *const[]){"logits", "aux"}, (Tensor *[]){logits, aux}, l->params);
    return true;
}

static bool run_loss(Golden *g, const LucidrainsConfig *c, Loaded *l, Error *e)
{
    LucidrainsInput in;
    Tape *t = golden_tape(g);
    if (!read_input_with_context(g, "x", c, &in, e) || !fits(l->model, tensor_dim(in.tokens, 1) - 1, "x", e))
        return false;
    if (tensor_dim(in.tokens, 1) < 2)
        return error_set(e, "input/x: nothing follows its only token");
    LucidrainsLoss loss = lucidrains_loss(t, l->model, &in, c->ignore_index);
    golden_output(g, "logits", loss.logits);
    golden_loss(g, "total", tensor_scalar(t, loss.total));
    golden_loss(g, "aux", tensor_scalar(t, loss.aux));
    golden_backward(g, 1, (const char *const[]){"total"}, &loss.total, l->params);
    if (golden_training(g)) {
        lucidrains_update_means(t, l->model);
        golden_updated(g, l->params);
    }
    return true;
}

static bool run_model(Golden *g, bool (*run)(Golden *, const LucidrainsConfig *, Loaded *, Error *), Error *e)
{
    ModelConfig c;
    Loaded l = {0};
    if (!golden_config(g, &model_table, &c))
        return true;
    bool good = load(g, &c.model, &l, e) && run(g, &c.model, &l, e);
    loaded_free(&l);
    config_free(&model_table, &c);
    return good;
}

bool golden_forward(Golden *g, Error *e)
{
    return run_model(g, run_forward, e);
}

bool golden_model_loss(Golden *g, Error *e)
{
    return run_model(g, run_loss, e);
}

/* ---- generate and filter_logits */

#define FILTER_ROWS                                                                                                    \
    {CONFIG_ENUM("filter_logits_fn", SpeechConfig, filter, CONFIG_WORDS("top_k", "top_p"), .value = "top_k")},         \
        {CONFIG_NUMBER("filter_thres", SpeechConfig, threshold, .value = "0.9", .range = "[0, 1]")},                   \
    {                                                                                                                  \
        CONFIG_NUMBER("temperature", SpeechConfig, temperature, .value = "1", .range = "(0, inf)")                     \
    }

static const ConfigField speech_rows[] = {
    {CONFIG_INT("seq_len", SpeechConfig, steps, .range = "[1, 65536]")},
    FILTER_ROWS,
    {CONFIG_INT("eos_token", SpeechConfig, eos, CONFIG_OR_NULL(SpeechConfig, has_eos), .value = "null")},
    {CONFIG_BOOL("sampling", SpeechConfig, sampling, .value = "false")},
};
static const ConfigTable speech_table = {CONFIG_STRUCT(SpeechConfig), CONFIG_ROWS(speech_rows)};

/* What is generated, on the host. */
typedef struct Speech {
    LucidrainsGeneration how;
    int64_t rows, vocabulary, *tokens;
    float *logits;
} Speech;

static bool speech_begin(Golden *g, const SpeechConfig *c, int64_t rows, int64_t vocabulary, Speech *s, Error *e)
{
    *s = (Speech){.how = {.steps = c->steps,
                          .filter = c->filter,
                          .threshold = c->threshold,
                          .temperature = c->temperature,
                          .eos = c->eos,
                          .has_eos = c->has_eos},
                  .rows = rows,
                  .vocabulary = vocabulary};
    if (c->filter == FILTER_TOP_K && lucidrains_top_k(c->threshold, vocabulary) < 1)
        return error_set(e, "filter_thres: top_k keeps none of %lld tokens", (long long)vocabulary);
    Shape shape;
    if (c->sampling && !(s->how.uniform = golden_values(g, "uniform", F32, &shape, e)))
        return false;
    if (c->sampling && !shape_equal(shape, SHAPE(c->steps, rows)))
        return error_set(e, "input/uniform is not [seq_len, batch]");
    s->tokens = mem_new((size_t)(rows * c->steps) * sizeof *s->tokens);
    s->logits = mem_new((size_t)(rows * c->steps * vocabulary) * sizeof *s->logits);
    return true;
}

/* The most tokens that a step will read. */
static int64_t longest_text(const Lucidrains *m, const LucidrainsInput *in, const SpeechConfig *c)
{
    return MIN(tensor_dim(in->tokens, 1) + c->steps - 1, lucidrains_longest(m));
}

/* The rows of tokens end where the generation did. */
static void speech_compare(Golden *g, Speech *s, int steps)
{
    Tape *t = golden_tape(g);
    for (int64_t b = 0; b < s->rows; b++)
        memmove(s->tokens + b * steps, s->tokens + b * s->how.steps, (size_t)steps * sizeof *s->tokens);
    golden_output_values(g, "tokens", I64, SHAPE(s->rows, steps), s->tokens);
    tape_show(t, tensor_from(t, F32, SHAPE(steps, s->rows, s->vocabulary), s->logits), "logits");
}

static void speech_free(Speech *s)
{
    mem_free(s->tokens);
    mem_free(s->logits);
}

typedef struct GenerateConfig {
    LucidrainsConfig model;
    SpeechConfig speech;
} GenerateConfig;

static const ConfigField generate_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_REST("", GenerateConfig, speech, &speech_table)},
    {CONFIG_REST("", GenerateConfig, model, &lucidrains_config_table)},
};
static const ConfigTable generate_table = {CONFIG_STRUCT(GenerateConfig), CONFIG_ROWS(generate_rows)};

static bool run_generate(Golden *g, const GenerateConfig *c, Loaded *l, Error *e)
{
    LucidrainsInput in;
    Speech s = {0};
    bool good = read_input_with_context(g, "start_tokens", &c->model, &in, e) &&
                fits(l->model, longest_text(l->model, &in, &c->speech), "start_tokens", e) &&
                speech_begin(g, &c->speech, in.tokens->shape.dim[0], c->model.num_tokens, &s, e);
    if (good)
        speech_compare(g, &s, lucidrains_generate(golden_tape(g), l->model, &in, &s.how, s.tokens, s.logits));
    speech_free(&s);
    return good;
}

bool golden_generate(Golden *g, Error *e)
{
    GenerateConfig c;
    Loaded l = {0};
    if (!golden_config(g, &generate_table, &c))
        return true;
    bool good = load(g, &c.model, &l, e) && run_generate(g, &c, &l, e);
    loaded_free(&l);
    config_free(&generate_table, &c);
    return good;
}

static const ConfigField filter_rows[] = {FILTER_ROWS};
const ConfigTable lucidrains_filter_table = {CONFIG_STRUCT(SpeechConfig), CONFIG_ROWS(filter_rows)};

bool golden_filter_lucidrains(Golden *g, const SpeechConfig *c, Error *e)
{
    Shape shape;
    const float *logits = golden_values(g, "logits", F32, &shape, e);
    if (!logits)
        return false;
    if (shape.rank != 2)
        return error_set(e, "input/logits is not [batch, tokens]");
    if (c->filter == FILTER_TOP_K && lucidrains_top_k(c->threshold, shape.dim[1]) < 1)
        return error_set(e, "filter_thres: top_k keeps none of %lld tokens", (long long)shape.dim[1]);
    Tape *t = golden_tape(g);
    LucidrainsGeneration how = {.filter = c->filter, .threshold = c->threshold};
    float *filtered = mem_copy(logits, (size_t)shape_count(shape) * sizeof *logits);
    for (int64_t b = 0; b < shape.dim[0]; b++)
        lucidrains_filter(&how, filtered + b * shape.dim[1], shape.dim[1]);
    Tensor *x = scale(t, tensor_from(t, F32, shape, filtered), (float)(1 / c->temperature));
    golden_output(g, "probabilities", softmax(t, x));
    mem_free(filtered);
    return true;
}

/* ---- Encoder and decoder */

typedef struct PairConfig {
    LucidrainsPairConfig model;
    SpeechConfig speech;
} PairConfig;

static const ConfigField pair_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_REST("", PairConfig, model, &lucidrains_pair_config_table)},
};
static const ConfigTable pair_table = {CONFIG_STRUCT(PairConfig), CONFIG_ROWS(pair_rows)};

static const ConfigField pair_generate_rows[] = {
    {CONFIG_FIXED("variant", "lucidrains")},
    {CONFIG_REST("", PairConfig, speech, &speech_table)},
    {CONFIG_REST("", PairConfig, model, &lucidrains_pair_config_table)},
};
static const ConfigTable pair_generate_table = {CONFIG_STRUCT(PairConfig), CONFIG_ROWS(pair_generate_rows)};

/* The source, which the authors do not pad. */
static bool read_source(Golden *g, const LucidrainsPairConfig *c, const LucidrainsPair *m, LucidrainsInput *source,
                        Error *e)
{
    if (!read_input(g, "src", "enc_input_mask", &c->encoder, source, e))
        return false;
    int64_t length = tensor_dim(source->tokens, 1);
    if (length % lucidrains_multiple(m->encoder))
        return error_set(e, "input/src is not a number of whole local windows");
    return fits(m->encoder, length, "src", e);
}

static bool run_pair_loss(Golden *g, const PairConfig *c, LucidrainsPair *m, Params *p, Error *e)
{
    LucidrainsInput source, target;
    Tape *t = golden_tape(g);
    if (!read_source(g, &c->model, m, &source, e) ||
        !read_input(g, "tgt", "dec_input_mask", &c->model.decoder, &target, e) ||
        !fits(m->decoder, tensor_dim(target.tokens, 1) - 1, "tgt", e))
        return false;
    if (tensor_dim(target.tokens, 1) < 2 || tensor_dim(target.tokens, 0) != tensor_dim(source.tokens, 0))
        return error_set(e, "input/tgt: as many rows as input/src are expected, of two tokens or more");
    Tensor *encoder_aux;
    LucidrainsLoss loss =
        lucidrains_pair_loss(t, m, source.tokens, source.mask, &target, c->model.ignore_index, &encoder_aux);
    golden_output(g, "logits", loss.logits);
    golden_loss(g, "total", tensor_scalar(t, loss.total));
    golden_loss(g, "enc_aux", tensor_scalar(t, encoder_aux));
    golden_loss(g, "dec_aux", tensor_scalar(t, loss.aux));
    golden_backward(g, 1, (const char *const[]){"total"}, &loss.total, p);
    if (golden_training(g)) {
        lucidrains_pair_update_means(t, m);
        golden_updated(g, p);
    }
    return true;
}

static bool run_pair_generate(Golden *g, const PairConfig *c, LucidrainsPair *m, Params *p, Error *e)
{
    (void)p;
    LucidrainsInput source, start;
    Speech s = {0};
    bool good = read_source(g, &c->model, m, &source, e) &&
                read_input(g, "start_tokens", "dec_input_mask", &c->model.decoder, &start, e) &&
                fits(m->decoder, longest_text(m->decoder, &start, &c->speech), "start_tokens", e) &&
                speech_begin(g, &c->speech, start.tokens->shape.dim[0], c->model.decoder.num_tokens, &s, e);
    if (good && tensor_dim(start.tokens, 0) != tensor_dim(source.tokens, 0))
        good = error_set(e, "input/start_tokens: as many rows as input/src are expected");
    if (good)
        speech_compare(g, &s,
                       lucidrains_pair_generate(golden_tape(g), m, source.tokens, source.mask, &start, &s.how, s.tokens,
                                                s.logits));
    speech_free(&s);
    return good;
}

static bool run_pair(Golden *g, const ConfigTable *table,
                     bool (*run)(Golden *, const PairConfig *, LucidrainsPair *, Params *, Error *), Error *e)
{
    PairConfig c;
    if (!golden_config(g, table, &c))
        return true;
    Params *p = params_new();
    LucidrainsPair *m = lucidrains_pair_new(&c.model, p);
    params_allocate(p, true, 0, golden_backend(g));
    bool good = golden_params(g, p, e) && run(g, &c, m, p, e);
    lucidrains_pair_free(m);
    params_free(p);
    config_free(table, &c);
    return good;
}

bool golden_encdec_loss(Golden *g, Error *e)
{
    return run_pair(g, &pair_table, run_pair_loss, e);
}

bool golden_encdec_generate(Golden *g, Error *e)
{
    return run_pair(g, &pair_generate_table, run_pair_generate, e);
}
