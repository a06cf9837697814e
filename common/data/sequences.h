/* Sequences of token ids, all of one length: what a language model trains on and is measured on. They are cut out of a
 * stream of tokens, are documents of it (the bytes of images), or are generated. */
#pragma once
#include "common/data/tokens.h"
#include "common/tensor/random.h"

/* What an id is to a model that predicts it. */
typedef enum Mark {
    MARK_NONE,   /* not counted: it was counted before, or stands there as context only */
    MARK_TOKEN,  /* one of those that are predicted */
    MARK_ANSWER, /* likewise, and the answer to what was asked: accuracy is a share of these */
} Mark;

typedef struct Sequences Sequences;
struct Sequences {
    int64_t count;      /* of a pass; of what is drawn anew every time, a round number */
    int64_t length;     /* ids of each */
    int64_t vocabulary; /* every id is below */
    bool fresh;         /* drawn anew for each place of each epoch, by `random`; else sequence i is always the same */
    bool answers;       /* some are marked as answers */
    /* Sequence i: ids [length] and marks [length]. Any thread at any time. */
    void (*read)(const Sequences *s, int64_t i, Random *random, int64_t *ids, uint8_t *marks);
    void (*close)(Sequences *s); /* gives back `own`; the rest is sequences_close's */
    void *own;
};

void sequences_close(Sequences *s); /* NULL is fine */

/* A range of a stream, which stays the caller's. */
typedef struct TokenRange {
    const Tokens *tokens;
    int64_t first, count;
} TokenRange;

/* Crops that begin anywhere in the range; as many a pass as would cover it once. NULL with a line if the range is shorter
 * than one. */
Sequences *sequences_crops(TokenRange range, int64_t length, Error *e);

/* Where in the stream the crop begins that `random` draws. */
int64_t sequences_crop(const Sequences *crops, Random *random);

/* Windows in order, each `stride` tokens after the one before, the last one shifted back to end with the range. Every token
 * counts once, in the first window that predicts it; `ahead` of them, at the start of a window, are not predicted. */
Sequences *sequences_windows(TokenRange range, int64_t length, int64_t stride, int ahead, Error *e);

/* Documents first .. first + count - 1 of a stream, all of one length. */
Sequences *sequences_documents(const Tokens *tokens, int64_t first, int64_t count, Error *e);
