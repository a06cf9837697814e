/* Images as sequences of bytes: a document an image, its pixels row by row, the channels of a pixel one after the other. */
#pragma once
#include "datasets/registry.h"

/* A data set of labelled images, of one size, read with its `open`; its test part is both validation and test. */
Corpus *image_corpus_open(const DatasetFormat *format, const char *path, Error *e);
