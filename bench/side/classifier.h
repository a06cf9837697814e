/* Our side for classifiers of images, as they are trained and used: a whole training step (forward, loss, backward,
 * optimizer; mode=train), or a forward (mode=infer), of a named config, batch and precision. */
#pragma once
#include "bench/side/side.h"
#include "common/hosts/classification/classification.h"
#include "common/nn/optimizer.h"

typedef struct ClassifierSide {
    const Model *model;
    const char *config;    /* the one that is meant where no word says it */
    const char *noise_key; /* the key that is set to 0, because a peer draws other numbers: "model.dropout" */
    int (*image_side)(const void *config);
    OptimizerOptions optimizer;
} ClassifierSide;

/* The main of such a side. Returns the exit code. */
int classifier_side(const ClassifierSide *of);
