#include "models/routing/official.h"

#include "common/nn/sampling.h"
#include "models/routing/official_attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_NORMS = 4, MOST_CHANNELS = 16 }; /* of one sequence of letters; of an image */

/* "dan": dropout, add, norm, in that order. The scope's name is counted by the caller. */
typedef struct Sequence {
    const char *letters;
    LayerNorm norms[MOST_NORMS];
    float dropout;
    uint32_t site;
} Sequence;

typedef struct FeedForward {
    Linear weight1, weight2, weight3; /* text: GEGLU; images: two layers with relu, weight2 the second */
    float dropout;
    uint32_t site;
} FeedForward;

typedef struct Layer {
    Sequence before[2], after[2]; /* of attention, of the feed-forward */
    OfficialAttention attention;
    FeedForward ffn;
} Layer;

struct Official {
    OfficialConfig config;
    Tensor *embedding;    /* [V,E]; images: [C V,D] */
    Tensor *positions[2]; /* images: rows [1,L,1,C D], columns [1,1,L,C D] */
    Linear emb_dense, final1, final2;
    Layer *layers;
    Sequence last;
    uint32_t input_site, embedding_site, target_site;
};

/* ---- Parameters */

static Sequence sequence_new(Params *p, const char *name, const char *letters, const OfficialConfig *c)
{
    Sequence s = {.letters = strcmp(letters, "none") ? letters : "", .dropout = (float)c->layer_prepostprocess_dropout};
    int count = 0;
    params_enter(p, "%s", name);
    s.site = random_site(params_name(p, "dropout"));
    for (const char *letter = s.letters; *letter; letter++) {
        if (*letter != 'n')
            continue;
        contract(count < MOST_NORMS, "%d norms in %s", count + 1, letters);
        char norm[32] = "layer_norm";
        if (count)
            snprintf(norm, sizeof norm, "layer_norm_%d", count);
        params_enter(p, "%s", norm);
        s.norms[count++] = (LayerNorm){.weight = params_add(p, "layer_norm_scale", SHAPE(c->hidden_size), INIT_ONES),
                                       .bias = params_add(p, "layer_norm_bias", SHAPE(c->hidden_size), INIT_ZEROS),
                                       .eps = 1e-6f};
        params_leave(p);
    }
    params_leave(p);
    return s;
}

static FeedForward ffn_new(Params *p, const OfficialConfig *c)
{
    int64_t wide = c->hidden_size, hidden = c->filter_size;
    params_enter(p, "ffn");
    FeedForward f = {.dropout = (float)c->relu_dropout, .site = random_site(params_name(p, "dropout"))};
    f.weight1 = official_dense(p, c->image ? "conv1" : "weight1", wide, hidden, c->image);
    if (c->image) {
        f.weight2 = official_dense(p, "conv2", hidden, wide, true);
    } else {
        f.weight2 = official_dense(p, "weight2", wide, hidden, false);
        f.weight3 = official_dense(p, "weight3", hidden, wide, false);
    }
    params_leave(p);
    return f;
}

static void layer_new(Params *p, Layer *l, const OfficialConfig *c, int index)
{
    params_enter(p, "decoder_layer_%d/self_attention", index);
    l->before[0] = sequence_new(p, "layer_prepostprocess", c->layer_preprocess_sequence, c);
    l->attention = official_attention_new(p, "self_attention", c, index);
    l->after[0] = sequence_new(p, "layer_postprocess", c->layer_postprocess_sequence, c);
    l->before[1] = sequence_new(p, "layer_prepostprocess_1", c->layer_preprocess_sequence, c);
    l->ffn = ffn_new(p, c);
    l->after[1] = sequence_new(p, "layer_postprocess_1", c->layer_postprocess_sequence, c);
    params_leave(p);
}

static void new_text(Params *p, Official *m)
{
    const OfficialConfig *c = &m->config;
    int64_t narrow_width = c->embedding_dims, wide = c->hidden_size, words = c->vocab_size;
    m->embedding =
        params_add(p, "embeddings/embedding", SHAPE(words, narrow_width), official_init(words, narrow_width));
    m->emb_dense = official_dense(p, "emb_dense", narrow_width, wide, true);
    m->embedding_site = random_site(params_name(p, "embeddings/dropout"));
    m->target_site = random_site(params_name(p, "target_dropout"));
}

static void new_image(Params *p, Official *m)
{
    const OfficialConfig *c = &m->config;
    int64_t values = (int64_t)c->vocab_size * c->num_channels, wide = c->hidden_size, depth = wide * c->num_channels;
    int64_t side = MAX(MAX(c->frame_height, c->frame_width), c->num_channels);
    Init init = {INIT_NORMAL, pow((double)depth, -0.5)};
    m->embedding = params_add(p, "rgb_target_emb_channel", SHAPE(values, wide), official_init(values, wide));
    m->positions[0] = params_add(p, "pos_emb_0", SHAPE(1, side, 1, depth), init);
    m->positions[1] = params_add(p, "pos_emb_1", SHAPE(1, 1, side, depth), init);
}

static void new_output(Params *p, Official *m)
{
    const OfficialConfig *c = &m->config;
    int64_t width = c->hidden_size;
    if (!c->image && c->embedding_dims != c->hidden_size) {
        m->final1 = official_dense(p, "final_dense_1", width, c->embedding_dims, true);
        width = c->embedding_dims;
    }
    m->final2 = official_dense(p, c->image ? "final_dense" : "final_dense_2", width, c->vocab_size, true);
}

Official *official_new(const OfficialConfig *config, Params *params)
{
    Official *m = mem_new(sizeof *m);
    m->config = *config;
    m->layers = mem_new((size_t)config->num_decoder_layers * sizeof *m->layers);
    params_separator(params, "/");
    params_enter(params, config->image ? "sparse_imagetransformer/body" : "sparse_transformer/body");
    m->input_site = random_site(params_name(params, "dropout"));
    (config->image ? new_image : new_text)(params, m);
    for (int i = 0; i < config->num_decoder_layers; i++)
        layer_new(params, &m->layers[i], &m->config, i);
    m->last = sequence_new(params, "layer_prepostprocess", config->layer_preprocess_sequence, config);
    new_output(params, m);
    params_leave(params);
    return m;
}

void official_free(Official *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->config.num_decoder_layers; i++)
        official_attention_free(&m->layers[i].attention);
    mem_free(m->layers);
    mem_free(m);
}

const OfficialConfig *official_settings(const Official *m)
{
    return &m->config;
}

/* ---- Forward */

/* The letters in turn; `a` adds `input`. */
static Tensor *sequence(Tape *t, const Sequence *s, Tensor *x, Tensor *input)
{
    int norm = 0;
    for (const char *letter = s->letters; *letter; letter++) {
        if (*letter == 'd')
            x = dropout(t, x, s->dropout, s->site);
        else if (*letter == 'a')
            x = add(t, x, input);
        else
            x = layer_norm(t, &s->norms[norm++], x);
    }
    return x;
}

/* Text: W3 (gelu(W1 x) * W2 x) (Shazeer 2020, GEGLU); images: W2 relu(W1 x + b1) + b2. */
static Tensor *feed(Tape *t, const FeedForward *f, Tensor *x)
{
    bool gated = f->weight3.weight != NULL;
    Tensor *h = linear(t, &f->weight1, x);
    h = gated ? multiply(t, gelu_tanh(t, h), linear(t, &f->weight2, x)) : relu(t, h);
    return linear(t, gated ? &f->weight3 : &f->weight2, dropout(t, h, f->dropout, f->site));
}

static Tensor *layer(Tape *t, const Layer *l, Tensor *x, int64_t known, Cache *past, Tensor **loss)
{
    Scope s = scope_open(t);
    Tensor *y = official_attention(t, &l->attention, sequence(t, &l->before[0], x, NULL), known, past, loss);
    x = sequence(t, &l->after[0], y, x);
    y = feed(t, &l->ffn, sequence(t, &l->before[1], x, NULL));
    x = sequence(t, &l->after[1], y, x);
    Tensor *kept[] = {x, *loss};
    scope_close_n(t, s, kept, 2);
    return x;
}

Tensor *official_shift(Tape *t, Tensor *targets)
{
    return shift(t, targets, targets->shape.rank - 1, 1);
}

/* Some tokens become 0 in training. */
static Tensor *drop_targets(Tape *t, const Official *m, Tensor *tokens)
{
    double rate = m->config.target_dropout;
    if (!tape_training(t) || rate <= 0)
        return tokens;
    int64_t *ids = mem_new((size_t)tensor_count(tokens) * sizeof *ids);
    tensor_read(t, tokens, ids);
    Random r = {.draw = tape_draw(t, m->target_site)};
    for (int64_t i = 0; i < tensor_count(tokens); i++) {
        r.next = (uint64_t)tape_element(t, tokens->shape, i);
        ids[i] = random_uniform(&r) < rate ? 0 : ids[i];
    }
    Tensor *dropped = tensor_from(t, I64, tokens->shape, ids);
    mem_free(ids);
    return dropped;
}

static Tensor *embed_text(Tape *t, const Official *m, Tensor *tokens)
{
    Tensor *x = embedding(t, m->embedding, drop_targets(t, m, tokens)); /* [B,S,E] */
    return linear(t, &m->emb_dense, dropout(t, x, (float)m->config.dropout, m->embedding_site));
}

/* Rows of a position table, one for each pixel: index pixel / divisor mod modulus -> [H W,C D]. */
static Tensor *pixel_positions(Tape *t, Tensor *table, int64_t pixels, int64_t divisor, int64_t modulus)
{
    int64_t depth = tensor_dim(table, -1), *ids = mem_new((size_t)pixels * sizeof *ids);
    for (int64_t i = 0; i < pixels; i++)
        ids[i] = i / divisor % modulus;
    Tensor *rows = embedding(t, reshape(t, table, SHAPE(tensor_count(table) / depth, depth)),
                             tensor_from(t, I64, SHAPE(pixels), ids));
    mem_free(ids);
    return rows;
}

/* A table for each channel's values, times sqrt(D); and learned rows and columns, times sqrt(C D). */
static Tensor *embed_image(Tape *t, const Official *m, Tensor *tokens)
{
    const OfficialConfig *c = &m->config;
    int64_t channels = c->num_channels, high = c->frame_height, wide = c->frame_width, width = c->hidden_size;
    int64_t batch = tokens->shape.dim[0], pixels = high * wide;
    Tensor *values = reshape(t, tokens, SHAPE(batch * pixels, channels)), *parts[MOST_CHANNELS];
    for (int64_t i = 0; i < channels; i++)
        parts[i] =
            embedding(t, narrow(t, m->embedding, 0, i * c->vocab_size, c->vocab_size), narrow(t, values, 1, i, 1));
    Tensor *x = reshape(t, concat(t, 1, (int)channels, parts), SHAPE(batch, pixels * channels, width)); /* [B,S,D] */
    x = scale(t, x, sqrtf((float)width));
    Tensor *positions = add(t, pixel_positions(t, m->positions[0], pixels, wide, high),
                            pixel_positions(t, m->positions[1], pixels, 1, wide)); /* [H W,C D] */
    positions = scale(t, positions, sqrtf((float)(channels * width)));
    return add_rows(t, x, reshape(t, positions, SHAPE(1, pixels * channels, width)));
}

/* Through all layers; past: a cache each, or NULL. */
static Tensor *decode(Tape *t, const Official *m, Tensor *shifted, int64_t known, Cache *past, Tensor **loss)
{
    const OfficialConfig *c = &m->config;
    Tensor *x = (c->image ? embed_image : embed_text)(t, m, shifted); /* [B,S,D] */
    x = dropout(t, x, (float)c->layer_prepostprocess_dropout, m->input_site);
    for (int i = 0; i < c->num_decoder_layers; i++)
        x = layer(t, &m->layers[i], tape_show(t, x, "layer%d.in", i), known, past ? &past[i] : NULL, loss);
    return sequence(t, &m->last, x, NULL);
}

static Tensor *predict(Tape *t, const Official *m, Tensor *x)
{
    return linear(t, &m->final2, m->final1.weight ? linear(t, &m->final1, x) : x);
}

Tensor *official_forward(Tape *t, Official *m, Tensor *shifted, int64_t known, Tensor **aux)
{
    Tensor *loss = NULL;
    Scope s = scope_open(t);
    Tensor *logits = predict(t, m, decode(t, m, shifted, known, NULL, &loss));
    if (!loss)
        loss = constant(t, (Shape){0}, 0);
    Tensor *kept[] = {logits, loss};
    scope_close_n(t, s, kept, 2);
    if (aux)
        *aux = loss;
    return logits;
}

Caches *official_caches(Tape *t, const Official *m, int64_t rows)
{
    int count = m->config.num_decoder_layers;
    for (int i = 0; i < count; i++)
        if (m->config.image || m->layers[i].attention.routing)
            return NULL;
    Caches *past = caches_new(count);
    for (int i = 0; i < count; i++)
        past->layers[i] = official_attention_past(&m->layers[i].attention, past->owner, rows);
    states_allocate_on(past->owner, t);
    return past;
}

Tensor *official_extend(Tape *t, const Official *m, Caches *past, Tensor *ids)
{
    Tensor *loss = NULL;
    Scope s = scope_open(t);
    bool first = cache_seen(&past->layers[0], "keys") == 0;
    Tensor *shifted = first ? pad(t, ids, 1, 1, 0) : ids; /* what the first token follows is 0 */
    int64_t rows = shifted->shape.dim[0], n = shifted->shape.dim[1];
    Tensor *x = narrow(t, decode(t, m, shifted, n, past->layers, &loss), 1, n - 1, 1);
    return scope_close(t, s, reshape(t, predict(t, m, x), SHAPE(rows, m->config.vocab_size)));
}

void official_update_clusters(Tape *t, Official *m)
{
    for (int i = 0; i < m->config.num_decoder_layers; i++)
        if (m->layers[i].attention.clusters)
            clusters_update(t, m->layers[i].attention.clusters);
}

/* ---- Beside the model */

bool official_decays(const Param *param)
{
    return param->value.shape.rank != 1 || !str_ends(param->name, "bias");
}

Tensor *official_weight_loss(Tape *t, const Official *m, Params *params)
{
    Region before = region_open(t, EVAL, NO_GRAD);
    Scope s = scope_open(t);
    Tensor *sum = NULL;
    for (int i = 0; i < params_count(params); i++) {
        Param *param = params_at(params, i);
        if (!param->state.trainable || !official_decays(param))
            continue;
        Tensor *squares = sum_all(t, square(t, &param->value));
        sum = sum ? add(t, sum, squares) : squares;
    }
    sum = scope_close(t, s, scale(t, sum, (float)(m->config.weight_decay / 2)));
    region_close(t, before);
    return sum;
}

/* All logits up to the smallest of the k largest of any row, that one too, become -1e9: the authors take one threshold for
 * the whole batch, and <=. */
static void keep_top(float *logits, int64_t rows, int64_t n, int64_t k)
{
    float threshold = INFINITY;
    for (int64_t r = 0; r < rows; r++)
        threshold = fminf(threshold, sampling_kth_largest(logits + r * n, n, k));
    sampling_lower(logits, rows * n, threshold, -1e9f);
}

void official_filter(const OfficialConfig *c, float *logits, int64_t rows, int64_t n)
{
    if (c->sampling_keep_top_k > 0)
        keep_top(logits, rows, n, c->sampling_keep_top_k);
    for (int64_t r = 0; r < rows; r++) {
        sampling_top_p(logits + r * n, n, c->nucleus_sampling);
        sampling_softmax(logits + r * n, n, c->sampling_temp);
    }
}
