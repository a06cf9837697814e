/* A corpus of text files: each document a file, or a span of one. Files are plain, gzip, or members of a zip. */
#pragma once
#include "common/data/corpus.h"

typedef struct TextFile {
    const char *path, *member; /* member: its name in the zip at path; NULL: the file at path itself */
} TextFile;

/* Of a file's text the bytes from .. to - 1. */
typedef struct TextSpan {
    size_t from, to;
} TextSpan;

/* How many bytes of text a file holds: of a packed one what it says of itself, which reading then holds it to. */
bool text_file_size(TextFile file, size_t *size, Error *e);

/* `head` (NULL: none) says of a file's text how many bytes at its beginning are no text: they are left out of the first
 * span. */
Corpus *text_files_new(const char *name, size_t (*head)(const char *text, size_t size));

/* Adds a document. `whole_lines`: both ends of the span move back to the start of their line (or character, where no line
 * end lies in the 64 kB before), so that two spans that meet still meet. */
bool text_files_add(Corpus *c, CorpusPart part, TextFile file, TextSpan span, bool whole_lines, Error *e);

/* Adds a whole file. */
bool text_files_add_whole(Corpus *c, CorpusPart part, TextFile file, Error *e);
