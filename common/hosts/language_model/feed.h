/* From a batch of sequences to the tensors that a model takes and is measured by, and from its logits to losses. */
#pragma once
#include "common/hosts/language_model/language_model.h"

/* The rows `first` .. `first + rows - 1` of a batch. */
typedef struct BatchPart {
    const SequenceBatch *batch;
    int first, rows;
} BatchPart;

typedef struct LanguageFeed LanguageFeed;

/* For sequences that predict `length` tokens each, at most `rows` at once. */
LanguageFeed *language_feed_new(const Job *job, int64_t length, int rows);
void language_feed_free(LanguageFeed *f); /* NULL is fine */

/* Labels that are counted: those with a mark, or with train.loss: answers the answers alone; never padding. */
int64_t language_feed_counted(const LanguageFeed *f, BatchPart part);

/* ids I64 [rows,S], labels I64 [rows*S], -1 where one is not counted. */
void language_feed_put(LanguageFeed *f, Tape *t, BatchPart part, Tensor **ids, Tensor **labels);

/* Draws are those of the part's rows in the whole of it, from here on; returns what was, for tape_map_rows. */
RowMap language_feed_rows(Tape *t, BatchPart part);

/* Losses [rows*S] of logits [rows,S,V]; 0 where a label is -1. */
Tensor *language_losses(Tape *t, Tensor *logits, Tensor *labels);

/* Of the part's answers, how many are the token with the largest logit; *answers: how many there are. */
int64_t language_feed_right(LanguageFeed *f, Tape *t, BatchPart part, Tensor *logits, int64_t *answers);
