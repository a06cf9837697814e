/* What a model of bytes is compared with: n-gram models counted on the bytes that it trained on, and on all there are. */
#pragma once
#include "common/hosts/language_model/data.h"

typedef struct LanguageBaseline {
    int order;
    int64_t seen_bytes, all_bytes;
    double seen, all; /* bits per byte of the test text; NaN: the tables would have outgrown a quarter of the memory */
} LanguageBaseline;

/* For a run of `steps` steps of `batch` crops; d holds text as bytes. */
LanguageBaseline language_baseline(const LanguageData *d, int order, uint32_t seed, int64_t steps, int64_t batch);
