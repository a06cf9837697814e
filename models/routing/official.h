/* Variant A: the authors' models (google-research/routing_transformer, TensorFlow 1), for text and for images, and how they are
 * trained.
 *
 *     x_n = W_e E[token n] + b_e      (images: E[channel, value] sqrt(D) + row + column)
 *     x   = norm(x + attention(x));  x = norm(x + ffn(x))      each layer
 *     logits = W_2 (W_1 x + b_1) + b_2
 *
 * Of the heads of a layer some look at blocks before the token, the others route: see official_attention.h. Letters: B batch,
 * S tokens, D model width, V tokens of the vocabulary; an image is the sequence of its H W C values. */
#pragma once
#include "common/attention/cache.h"
#include "common/nn/layers.h"
#include "common/nn/optimizer.h"
#include "common/run/config/config.h"

/* The hparams of the released configs, under their names. */
typedef struct OfficialConfig {
    bool image;
    int vocab_size; /* text: vocab_size; images: targets_vocab_size */
    int num_channels, frame_height, frame_width;
    int hidden_size, embedding_dims, filter_size, num_decoder_layers;
    int sparsity_skip_first; /* so many layers have local heads alone */
    int local_num_heads, sparsity_cluster_num_heads;
    int sparsity_cluster_size, sparsity_cluster_attention_window;
    int query_shape[1], memory_flange[1];
    int max_relative_position;
    bool local_relative, sparsity_cluster_relative;
    bool share_qk, ema, hash_items, random_routing;
    double beta, decay;
    int max_target_length;
    double layer_prepostprocess_dropout, attention_dropout, relu_dropout, dropout, target_dropout;
    char *layer_preprocess_sequence, *layer_postprocess_sequence; /* of "a", "d", "n"; or "none" */
    double weight_decay;
    int sampling_keep_top_k;
    double nucleus_sampling, sampling_temp;
    double learning_rate_constant;
    int64_t learning_rate_warmup_steps;
} OfficialConfig;

/* The keys of a text model, of an image model, and both behind the key `modality`. */
extern const ConfigTable official_text_table, official_image_table;

enum { MODALITY_TEXT, MODALITY_IMAGE };

typedef struct OfficialModality {
    int modality;
    OfficialConfig text, image;
} OfficialModality;

extern const ConfigTable official_config_table;

const OfficialConfig *official_config(const OfficialModality *m);

/* ---- The model */

typedef struct Official Official;

Official *official_new(const OfficialConfig *config, Params *params);
void official_free(Official *m);

/* Tokens [B,S] I64, already shifted: row n is what predicts token n -> logits [B,S,V] and *aux (NULL: not wanted), the sum of
 * the routing layers' losses, a scalar. S is a multiple of the block. Rows from `known` on are blank (S: none are): while a text
 * is being written they join a cluster only where no other is left. In the TRAIN phase the clusters remember what they were
 * assigned. */
Tensor *official_forward(Tape *t, Official *m, Tensor *shifted, int64_t known, Tensor **aux);

/* targets[B,S] moved one to the right, 0 in front: what official_forward reads. */
Tensor *official_shift(Tape *t, Tensor *targets);

const OfficialConfig *official_settings(const Official *m);

/* Targets [B,S] -> logits [B,S,V] that predict them. */
Tensor *official_language(Tape *t, Official *m, Tensor *targets, Tensor **aux);

/* Logits [B,V] of the token that follows ids [B,n], n >= 0, of which the last that fit are seen. */
Tensor *official_next(Tape *t, Official *m, Tensor *ids);

/* The same for a text that grows: the ids [B,n] behind those that `past` has seen (n = 0: nothing is there yet) -> logits [B,V].
 * Without such caches, NULL, are images, and models that route: who is in a cluster changes with every token. */
Caches *official_caches(Tape *t, const Official *m, int64_t rows);
Tensor *official_extend(Tape *t, const Official *m, Caches *past, Tensor *ids);

/* After a training step: the clusters move to what the forwards since the last call assigned to them. */
void official_update_clusters(Tape *t, Official *m);

/* weight_decay * sum of v^2 / 2 over all trainable variables but vectors named ...bias (T2T; the means are one of them). A
 * scalar without gradient; in training the optimizer adds it (official_decays; train.weight_decay). */
Tensor *official_weight_loss(Tape *t, const Official *m, Params *params);
bool official_decays(const Param *param);

/* The probabilities that the authors sample the next token from: logits [rows,n] in place. */
void official_filter(const OfficialConfig *c, float *logits, int64_t rows, int64_t n);
