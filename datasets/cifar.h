/* CIFAR's two official forms, each parsed out of memory: records of bytes (.bin), and Python pickles. */
#pragma once
#include "common/base/error.h"
#include <stddef.h>
#include <stdint.h>

enum { CIFAR_SIDE = 32, CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE };

/* Samples gathered from the files of one part. */
typedef struct CifarSamples {
    int64_t count;
    uint8_t *pixels; /* [count, 32, 32, 3] */
    uint8_t *labels; /* [count] */
} CifarSamples;

void cifar_samples_free(CifarSamples *samples);

/* Records of `label_bytes` labels (the last one counts: CIFAR-100 has coarse, fine) and 3072 bytes, planes R, G, B. */
bool cifar_add_bin(CifarSamples *samples, const uint8_t *bytes, size_t size, int label_bytes, int classes, Error *e);

/* A pickled dictionary with `data`, a uint8 array [n, 3072], and a list of n labels under `label_key`. Nothing of the
 * pickle is run. */
bool cifar_add_pickle(CifarSamples *samples, const uint8_t *bytes, size_t size, const char *label_key, int classes,
                      Error *e);
