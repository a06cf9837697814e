/* Text that a language model goes on with, token by token. */
#pragma once
#include "common/hosts/language_model/language_model.h"

/* What is drawn how (keys eval.temperature, top_k, top_p, seed, cache). */
typedef struct LanguageSampling {
    double temperature, top_p;
    int64_t top_k;
    int64_t
        vocabulary; /* ids from here on are never drawn (a tokenizer may have fewer than the model); 0: all may be */
    uint32_t seed;
    bool recompute; /* no caches */
} LanguageSampling;

typedef void LanguageListener(void *user, int64_t token);

/* Draws `length` tokens behind ids [count], which are below the vocabulary; the model sees the last of them that fit its
 * window, and padding is never drawn. Token n takes number n of the draws of `seed`, whatever was generated before. */
void language_generate(Job *job, const LanguageSampling *how, const int64_t *ids, int64_t count, int64_t length,
                       LanguageListener *listener, void *user);

/* The ids of a prompt, added to `ids`. False with a line if it cannot be encoded, or the model cannot go on with it. */
bool language_prompt(const Job *job, const Tokenizer *tokenizer, const char *prompt, TokenIds *ids, Error *e);

/* The same with text, in the tokens of `tokenizer`: adds the prompt and what follows it to `text` (NULL: not wanted) and
 * writes it to `stream` (NULL: not wanted) as it grows, whole characters at a time. False as language_prompt. */
bool language_generate_text(Job *job, const Tokenizer *tokenizer, const LanguageSampling *how, const char *prompt,
                            int64_t length, Str *text, FILE *stream, Error *e);

/* ./eval MODEL RUN --generate TEXT */
bool language_generate_view(Job *job, const char *prompt, Error *e);

LanguageSampling language_sampling(const Job *job); /* what the config says */
