/* Sets of pictures that are drawn here instead of read: sample i is a function of i alone, so every machine has the same bytes. */
#pragma once
#include "common/data/dataset.h"
#include "common/tensor/random.h"
#include "datasets/registry.h"

typedef struct GeneratedImages {
    int side, classes; /* RGB; the label of sample i is i mod classes */
    int train_count, test_count;
    uint32_t seed;
    const char *const *names;                                 /* [classes] */
    void (*draw)(int label, Random *random, uint8_t *pixels); /* [side, side, 3] */
} GeneratedImages;

/* The test part's samples follow those of the training part. */
Dataset *generated_open(const GeneratedImages *set, DatasetPart part);

/* value + an integer of -spread .. spread, within 0 .. 255. */
uint8_t generated_noise(int value, int spread, Random *random);
