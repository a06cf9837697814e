/* What the three parts of golden.h share: golden.c runs an entry, golden_read.c is what entries read, golden_compare.c what they
 * compare. */
#pragma once
#include "common/run/golden.h"

struct Golden {
    TensorFile *file;
    Tape *tape;
    const Backend *backend;
    bool *seen; /* [tensors of the file] read or compared */
    bool training;
    int failures, compared;
    ARRAY(void *) values;
    struct {
        const char *name;
        Tensor *tensor;
    } inputs[32];
    int input_count;
    RandomReplay replay;
    const Node *config;
};

/* SECTION/NAME of the file, or NULL. */
const FileTensor *golden_find(const Golden *g, const char *section, const char *name);
void golden_mark(Golden *g, const FileTensor *x); /* as read or compared */
Shape golden_shape(const FileTensor *x);

/* A Watcher: what the model shows beside trace/NAME. It decides nothing. */
void golden_trace(void *golden, Tape *t, const char *name, Tensor *x);
