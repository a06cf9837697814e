/* How well a language model predicts: one pass over sequences, and the figures that papers print of it. */
#pragma once
#include "common/hosts/language_model/data.h"

/* Sums of one pass. */
typedef struct LanguageTally {
    int64_t tokens;                          /* labels that were counted */
    double nats;                             /* sum of -log p(token) */
    int64_t answers, right;                  /* right: the most probable token is it */
    double *position_nats, *position_tokens; /* [S] by place in the sequence, NULL: not wanted */
    float *losses;                           /* [sequences, S], NaN where none is counted, NULL: not wanted */
    int64_t *ids; /* [sequences, S], the labels, -1 where none is counted, NULL: not wanted */
} LanguageTally;

bool language_measure(Job *job, const Sequences *sequences, LanguageTally *tally, Error *e);

enum { LANGUAGE_FIGURES = 5 };

typedef struct LanguageFigure {
    const char *name; /* "bits_per_byte" */
    double value;
    bool share; /* of 1, shown in % */
} LanguageFigure;

/* The first is the loss in nats a token; then what fits the data: bits per byte (nats / ln 2 / bytes), token perplexity
 * exp(nats / tokens) where a token is no byte, word perplexity exp(nats / words); bits per dim (nats / ln 2 / tokens) of
 * images; accuracy of the answers. Returns how many. */
int language_figures(const LanguageTally *tally, LanguageKind kind, TokenRatio ratio,
                     LanguageFigure out[LANGUAGE_FIGURES]);
