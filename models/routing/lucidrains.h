/* Variant B: the language model of lucidrains/routing-transformer 1.6.1 (PyTorch), an encoder-decoder made of two, and how
 * they are trained and asked for text.
 *
 *     x_n = E[token n]                                      (project_in, if the embedding is narrower than the model)
 *     x   = x + attention(norm(x));  x = x + W_2 gelu(W_1 norm(x))            each layer
 *     logits = W LayerNorm(x) + b
 *
 * Of the heads of a layer some look at a window around the token (local_attn_radius_blocks), the others route: see
 * lucidrains_attention.h. Letters: B batch; N tokens; C model width; V tokens of the vocabulary. */
#pragma once
#include "common/attention/cache.h"
#include "common/nn/layers.h"
#include "common/run/config/config.h"

/* The arguments of RoutingTransformerLM and of its AutoregressiveWrapper. */
typedef struct LucidrainsConfig {
    int num_tokens, dim, depth, max_seq_len;
    int heads, dim_head, window_size;
    int local_attn_window_size, local_attn_radius_blocks;
    bool has_local_attn_window_size;
    int *n_local_attn_heads; /* one a layer, or one for all */
    int n_local_attn_heads_count;
    bool causal, shared_qk, has_shared_qk;
    int emb_dim, num_mem_kv;
    bool has_emb_dim;
    bool weight_tie, tie_embedding, reversible;
    int ff_chunks;
    bool ff_glu, use_rezero, use_scale_norm, shift_tokens;
    double kmeans_ema_decay;
    bool receives_context, context_shared_qk, return_embeddings;
    double attn_dropout, ff_dropout, attn_layer_dropout, layer_dropout;
    int64_t ignore_index, pad_value; /* of the wrapper */
    bool has_ignore_index;
} LucidrainsConfig;

/* The same keys; the second for a model that predicts the next token, which has to be causal. */
extern const ConfigTable lucidrains_config_table, lucidrains_language_table;

/* RoutingTransformerEncDec: both sides are dim wide; the decoder is causal and reads the encoder. */
typedef struct LucidrainsPairConfig {
    int dim;
    LucidrainsConfig encoder, decoder; /* keys enc_... and dec_... */
    int64_t ignore_index, pad_value;
    bool has_ignore_index;
} LucidrainsPairConfig;

/* The same keys; the second for a pair that is trained on sequences of one vocabulary. */
extern const ConfigTable lucidrains_pair_config_table, lucidrains_translator_table;

/* ---- The model */

typedef struct Lucidrains Lucidrains;

Lucidrains *lucidrains_new(const LucidrainsConfig *config, Params *params);
void lucidrains_free(Lucidrains *m);

/* What a forward reads; all but the tokens may be NULL. Masks are uint8, 1 = a token, 0 = padding. */
typedef struct LucidrainsInput {
    Tensor *tokens;       /* [B,N] I64 */
    Tensor *mask;         /* [B,N] */
    Tensor *context;      /* [B,S,C]: receives_context */
    Tensor *context_mask; /* [B,S] */
    Caches *past;         /* the tokens go on with a text that these have seen; any N, no mask */
} LucidrainsInput;

/* -> logits [B,N,V] (return_embeddings: [B,N,C]) and *aux, the sum of the layers' commitment losses, a scalar. With local heads
 * N is a multiple of their window. In training mode every k-means remembers where its means should go. */
Tensor *lucidrains_forward(Tape *t, const Lucidrains *m, const LucidrainsInput *in, Tensor **aux);

/* Caches for a text that grows, or NULL: only causal local heads have them (and no shifted tokens). */
Caches *lucidrains_caches(Tape *t, const Lucidrains *m, int64_t rows);

/* Files of the authors list a module wherever it stands. Parameters `first` and later have the names, too, that follow from
 * taking `cut` characters off their names and putting each of the places before. */
void lucidrains_repeat_names(Params *params, int first, size_t cut, int count, const char *const *places);

/* The tokens of a local window, 1 without local heads: an input has a multiple of so many. */
int64_t lucidrains_block(const LucidrainsConfig *config);

int64_t lucidrains_vocabulary(const Lucidrains *m); /* V */
int64_t lucidrains_longest(const Lucidrains *m);    /* max_seq_len */
int64_t lucidrains_multiple(const Lucidrains *m);   /* lucidrains_block of its config */

/* After a backward pass: the means of every k-means take a step to where the forwards since the last call wanted them. */
void lucidrains_update_means(Tape *t, const Lucidrains *m);

/* ---- As the wrapper uses it (lucidrains_language.c) */

/* The same for any N: tokens are padded to whole windows, and the rows of the padding cut off. */
Tensor *lucidrains_padded(Tape *t, const Lucidrains *m, const LucidrainsInput *in, Tensor **aux);

typedef struct LucidrainsLoss {
    Tensor *total, *aux; /* scalars: cross-entropy + aux, and aux alone */
    Tensor *logits;      /* [B,N-1,V] */
} LucidrainsLoss;

/* Every token but the last predicts the next one; labels equal to `ignore` do not count. */
LucidrainsLoss lucidrains_loss(Tape *t, const Lucidrains *m, const LucidrainsInput *in, int64_t ignore);

typedef enum LogitsFilter { FILTER_TOP_K, FILTER_TOP_P } LogitsFilter;

typedef struct LucidrainsGeneration {
    int steps;
    LogitsFilter filter;
    double threshold; /* the share of tokens (top_k) or of probability (top_p) that is thrown away */
    double temperature;
    int64_t eos; /* ends when every row drew it in one step */
    bool has_eos;
    const float *uniform; /* [steps,B] numbers to draw with; NULL: the most probable token */
} LucidrainsGeneration;

/* How many tokens top_k keeps: 0.9 of a vocabulary of 50 keeps 4, as (1 - 0.9) * 50 is a little less than 5 in doubles. */
int64_t lucidrains_top_k(double threshold, int64_t vocabulary);

/* Filters the logits [n] of one row: what is thrown away becomes -inf. */
void lucidrains_filter(const LucidrainsGeneration *how, float *logits, int64_t n);

/* Goes on after in->tokens; a step reads the last max_seq_len tokens. tokens [B,steps], and how many steps there were; logits
 * (NULL: not wanted) [steps,B,V] of each step's last row. */
int lucidrains_generate(Tape *t, const Lucidrains *m, const LucidrainsInput *in, const LucidrainsGeneration *how,
                        int64_t *tokens, float *logits);

/* ---- Encoder and decoder (lucidrains_pair.c) */

typedef struct LucidrainsPair {
    Lucidrains *encoder, *decoder;
} LucidrainsPair;

LucidrainsPair *lucidrains_pair_new(const LucidrainsPairConfig *config, Params *params);
void lucidrains_pair_free(LucidrainsPair *m);

/* source [B,S] with its mask (or NULL) -> [B,S,C] and *aux: what the decoder receives as context. */
Tensor *lucidrains_encode(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *mask, Tensor **aux);

/* target->context and context_mask are set by the call. encoder_aux: the encoder's part of the total. */
LucidrainsLoss lucidrains_pair_loss(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *source_mask,
                                    const LucidrainsInput *target, int64_t ignore, Tensor **encoder_aux);

int lucidrains_pair_generate(Tape *t, const LucidrainsPair *m, Tensor *source, Tensor *source_mask,
                             const LucidrainsInput *start, const LucidrainsGeneration *how, int64_t *tokens,
                             float *logits);

/* Sequences [B,S] as a workload of common/hosts/language_model has them: the encoder reads the first enc_max_seq_len ids, the
 * decoder goes on behind them -> logits [B,S,V], zeros where the encoder reads, and *aux, the sum of both. */
Tensor *lucidrains_pair_language(Tape *t, const LucidrainsPair *m, Tensor *ids, Tensor **aux);

void lucidrains_pair_update_means(Tape *t, const LucidrainsPair *m);
