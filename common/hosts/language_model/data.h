/* The data of a language model as its config asks for it: sequences to train on, to validate on and to test on. */
#pragma once
#include "common/hosts/language_model/language_model.h"

typedef enum LanguageKind { DATA_OF_TEXT, DATA_OF_IMAGES, DATA_GENERATED } LanguageKind;

/* What a token of a part stands for, on average. 0: it is no text. */
typedef struct TokenRatio {
    double bytes, words;
} TokenRatio;

typedef struct LanguageData {
    LanguageKind kind;
    Corpus *corpus; /* NULL: generated */
    Tokenizer *tokenizer;
    Tokens *tokens[CORPUS_PARTS];
    TokenRange train_range, test_range; /* of text */
    int64_t length;                     /* S: tokens that a sequence predicts */
    Sequences *train, *valid, *test;
    TokenRatio train_ratio, valid_ratio, test_ratio;
    bool bytes; /* a token is a byte of text */
} LanguageData;

/* Checks that the data fits the model, too. `train` false: the test part alone. Zeroes and false with a line. */
bool language_data_open(LanguageData *d, const Job *job, bool train, Error *e);
/* The tokenizer that the config names; one that learns its ids from the data has learned them. They are learned once a run,
 * from `corpus` (NULL: it is opened for that), and kept as <run>/vocabulary.json: other texts, later, get the same ids. */
Tokenizer *language_tokenizer(const Job *job, const Corpus *corpus, Error *e);

/* Whether the model takes sequences of so many tokens; false with a line. */
bool language_length_fits(const Job *job, int64_t length, Error *e);

void language_data_close(LanguageData *d);
