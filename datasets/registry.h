/* The data sets that this project knows: by name, where their files lie, how to get them. */
#pragma once
#include "common/data/corpus.h"
#include "common/data/dataset.h"
#include "common/data/sequences.h"

typedef enum DatasetPart { PART_TRAIN, PART_TEST } DatasetPart;

/* What generated sequences are asked for. */
typedef struct SequenceOptions {
    int64_t length; /* ids of a sequence */
    int64_t pairs;  /* recall: pairs to remember */
} SequenceOptions;

/* One data set, of labelled images (`open`) or of bytes (`open_corpus`), read out of a folder or file that exists, or of
 * sequences that are generated (`open_sequences`). */
typedef struct DatasetFormat {
    const char *name;
    const char *source; /* where the files come from */
    const char *licence;
    const char *layout;       /* what must lie at data.path */
    const char *package;      /* the Debian package, or NULL */
    const char *package_path; /* where that puts it */
    const char *setup;        /* the model whose `tools/setup MODEL` unpacks the package for the user, or NULL */
    Dataset *(*open)(const char *path, DatasetPart part, Error *e);
    Corpus *(*open_corpus)(const char *path, Error *e);
    Sequences *(*open_sequences)(CorpusPart part, const SequenceOptions *options, Error *e);
    bool generated; /* needs no files */
} DatasetFormat;

extern const DatasetFormat *const dataset_formats[]; /* ends with NULL */

/* NULL with a line that names the nearest, if there is none of that name. */
const DatasetFormat *dataset_format(const char *name, Error *e);

/* Where the data lies: `path` if given, else $ZOO_DATA/<name>, else the Debian package's place, as it was installed or as
 * tools/setup unpacked it (a marker in packages.txt) for a package that would bring a daemon. A fresh string; NULL with
 * one line (source, licence, layout) if nothing is there. */
char *dataset_place(const DatasetFormat *format, const char *path, Error *e);

/* Says which data set it is and where it lies; false with a line if it is not there. */
bool dataset_find(const char *name, const char *path, Str *description, Error *e);

/* Finds and opens a part of a data set of images. `path` may be NULL. */
Dataset *dataset_open(const char *name, const char *path, DatasetPart part, Error *e);

/* Finds and opens a data set as bytes: text, or images of one size (image_corpus.h). `path` may be NULL. */
Corpus *dataset_corpus(const char *name, const char *path, Error *e);
