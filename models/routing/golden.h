/* The entries that ./eval routing --golden FILE knows. */
#pragma once
#include "common/run/golden.h"
#include "models/routing/official.h"

extern const GoldenEntry routing_golden[];

/* Variant A: golden_official.c. */
bool golden_tf_text(Golden *g, Error *e);
bool golden_tf_image(Golden *g, Error *e);
bool golden_learning_rate(Golden *g, Error *e);
bool golden_adafactor(Golden *g, Error *e);

/* `filter_logits` is an entry of each variant: its keys, and what it does once they are bound. */
extern const ConfigTable official_filter_table;
bool golden_filter_official(Golden *g, const OfficialConfig *c, Error *e);
