/* What a language model gives: the test text, the end of a run, and losses as a file. */
#pragma once
#include "common/hosts/language_model/baseline.h"
#include "common/hosts/language_model/measure.h"

/* Draws a sample of text as train.sample_length asks for it, says it and keeps it as <run>/samples/<step>.txt. Nothing where
 * the data is no text. */
bool language_sample(Job *job, const LanguageData *d, int64_t step, Error *e);

/* Measures the test part after a run of `steps` steps, says and fills the figures, writes the report. */
bool language_finish(Job *job, const LanguageData *d, int64_t steps, Result *result, Error *e);

bool language_evaluate(Job *job, Error *e);

/* Writes losses [N,S] (nats; NaN where a token is not counted) and labels [N,S] (-1 there) of the test part's sequences. */
bool language_features(Job *job, const char *path, Error *e);

/* <run>/report.html. baseline NULL: none. The tally has its positions. */
bool language_report(Job *job, const LanguageData *d, const LanguageTally *tally, const LanguageBaseline *baseline,
                     Error *e);
