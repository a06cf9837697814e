/* What data sets of text share with `text`. */
#pragma once
#include "common/data/corpus.h"

/* Adds a file, or all files under a folder one after the other, to a corpus of text files (text_files.h): the last tenth of
 * all bytes is held out, and is both the validation and the test part. */
bool text_add_with_tenth(Corpus *c, const char *path, Error *e);
