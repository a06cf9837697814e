/* A data set of labelled images: so many samples, each read by its index. What a format needs to know stays in its file
 * under datasets/; everything else sees this interface. */
#pragma once
#include "common/data/image.h"

/* One sample, and the memory that reading it needs: a thread keeps one and reads into it again and again. */
typedef struct Sample {
    Image image;
    int64_t label;    /* 0 .. classes - 1 */
    uint8_t *encoded; /* a file's bytes before they are decoded */
    size_t encoded_capacity;
    void *jpeg_decoder; /* TurboJPEG's, made when the first JPEG is read */
} Sample;

void sample_free(Sample *sample);

typedef struct Dataset Dataset;
struct Dataset {
    int64_t count;
    int classes;
    char **class_names; /* [classes] */
    int channels;       /* of every image: 1 or 3 */
    int width, height;  /* of every image; 0 where they differ */
    /* Any thread may read any sample at any time, each into a Sample of its own. */
    bool (*read)(const Dataset *d, int64_t i, Sample *sample, Error *e);
    void (*close)(Dataset *d); /* gives back `own`; the rest is dataset_close's */
    void *own;                 /* the format's own data */
    int references;
};

/* A data set with one reference and nothing set but its class names, which are copied (NULL: "0", "1", ...). */
Dataset *dataset_new(int classes, const char *const *class_names);
Dataset *dataset_share(Dataset *d); /* one more reference */
void dataset_close(Dataset *d);     /* one fewer; the last one gives everything back. NULL is fine. */

/* Reads sample i; on failure the line names the file. */
bool dataset_read(const Dataset *d, int64_t i, Sample *sample, Error *e);

/* The samples `indices` [count] of another data set, in that order. The indices are copied, the data set is shared. */
Dataset *dataset_subset(Dataset *whole, const int64_t *indices, int64_t count);

/* Splits by seed: `held` gets `hold_out` samples drawn without replacement (a fraction of them all if below 1, else a
 * count), `rest` the others; both in the order of the whole. The whole is shared by both: close all three. */
bool dataset_hold_out(Dataset *whole, double hold_out, uint32_t seed, Dataset **rest, Dataset **held, Error *e);

/* Samples that lie in memory one after the other: pixels [count, height, width, channels] and labels [count], taken
 * over (mem_free frees both). The labels have been checked by the caller. */
Dataset *dataset_in_memory(int64_t count, int width, int height, int channels, uint8_t *pixels, uint8_t *labels,
                           int classes, const char *const *class_names);
