/* What the two halves of the tape share: tape.c (lifetimes, recording) and gradient.c (the way back). Ops use op.h. */
#pragma once
#include "common/autograd/op.h"
#include "common/base/memory.h"

/* Small structs of one step, given back all at once. */
typedef struct Arena {
    ARRAY(char *) blocks;
    size_t block, used;
} Arena;

typedef struct SiteCalls {
    uint32_t site, calls;
} SiteCalls;

struct TapeLists {
    ARRAY(Tensor *) visible; /* in the order they were made; a scope is a mark in it */
    ARRAY(Tensor *) kept;
    ARRAY(Tensor *) spare;
    ARRAY(Tensor *) retired; /* debug builds: gone, and not used again before the step ends, so that use is noticed */
    ARRAY(Storage *) spare_storage;
    ARRAY(Node *) nodes;
    ARRAY(SiteCalls) calls;
    Arena arena;
};

/* A tensor's struct lives while refs > 0, its storage while holders > 0. */
Tensor *tensor_struct(Tape *t);                          /* zeroed, known to nobody */
Tensor *tensor_unheld(Tape *t, DType type, Shape shape); /* with storage, but nothing holds it yet */
void tensor_hold(Tensor *x);
void tensor_drop(Tape *t, Tensor *x);  /* one holder fewer */
void tensor_unref(Tape *t, Tensor *x); /* one that knows it fewer */
void node_release(Tape *t, Node *n);
