/* The entries that ./eval routing --golden FILE knows. */
#pragma once
#include "common/run/golden.h"
#include "models/routing/lucidrains.h"
#include "models/routing/official.h"

extern const GoldenEntry routing_golden[];

/* Variant A: golden_official.c. */
bool golden_tf_text(Golden *g, Error *e);
bool golden_tf_image(Golden *g, Error *e);
bool golden_learning_rate(Golden *g, Error *e);
bool golden_adafactor(Golden *g, Error *e);

/* Variant B: golden_lucidrains.c has its parts, golden_language.c whole models. */
bool golden_kmeans_attention(Golden *g, Error *e);
bool golden_kmeans_update(Golden *g, Error *e);
bool golden_kmeans_init(Golden *g, Error *e);
bool golden_local_attention(Golden *g, Error *e);
bool golden_self_attention(Golden *g, Error *e);
bool golden_forward(Golden *g, Error *e);
bool golden_model_loss(Golden *g, Error *e);
bool golden_generate(Golden *g, Error *e);
bool golden_encdec_loss(Golden *g, Error *e);
bool golden_encdec_generate(Golden *g, Error *e);

/* input/NAME [rows,n] of marks, uint8; *mask is NULL where the file has none. */
bool golden_mask(Golden *g, const char *name, int64_t rows, int64_t n, Tensor **mask, Error *e);

/* The arguments of the wrapper's generate; of `filter_logits` the filter and the temperature. */
typedef struct SpeechConfig {
    int steps;
    LogitsFilter filter;
    double threshold, temperature;
    int64_t eos;
    bool has_eos, sampling;
} SpeechConfig;

/* `filter_logits` is an entry of each variant: its keys, and what it does once they are bound. */
extern const ConfigTable official_filter_table;
bool golden_filter_official(Golden *g, const OfficialConfig *c, Error *e);
extern const ConfigTable lucidrains_filter_table;
bool golden_filter_lucidrains(Golden *g, const SpeechConfig *c, Error *e);
