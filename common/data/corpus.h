/* A corpus: documents of bytes, in three parts. A document is a book, a file, or an image's pixels; the formats under
 * datasets/ make corpora, tokens.h makes token streams of them. */
#pragma once
#include "common/base/file.h"

#include <stdint.h>

typedef enum CorpusPart { CORPUS_TRAIN, CORPUS_VALID, CORPUS_TEST, CORPUS_PARTS } CorpusPart;

/* The bytes of one document, in a map, in memory of its own, or (images) in the corpus's until the next read. */
typedef struct Document {
    const char *text;
    size_t size;
    FileMap map;
    void *memory;
} Document;

void document_free(Document *document);

typedef struct Corpus Corpus;
struct Corpus {
    char *name;                      /* of the data set */
    int64_t documents[CORPUS_PARTS]; /* a part that the corpus lacks has none */
    bool line_ends_count;            /* published word perplexities of this corpus count the end of a line as a word */
    int width, height, channels;     /* images of 0..255, rows of pixels of channels; text has no width */
    uint64_t stamp;                  /* of path, size, time and format of every file: a cache is checked against it */
    bool (*read)(const Corpus *c, CorpusPart part, int64_t i, Document *document, Error *e); /* one thread at a time */
    /* Gets a line every few seconds while something is made of the whole corpus, once (a vocabulary, a token stream); NULL:
     * nobody listens. */
    void (*notice)(void *user, const char *line);
    void *notice_user;
    void (*close)(Corpus *c); /* gives back `own`; the rest is corpus_close's */
    void *own;                /* the format's own data */
};

/* A corpus with nothing set but its name and the stamp of it. */
Corpus *corpus_new(const char *name);
void corpus_close(Corpus *c); /* NULL is fine */

/* Adds path, size and time of a file to the stamp. */
bool corpus_stamp(Corpus *c, const char *path, Error *e);

/* Reads document i of a part; free it with document_free, also after a failure. The line names the file. */
bool corpus_read(const Corpus *c, CorpusPart part, int64_t i, Document *document, Error *e);

/* How far a pass over a part is: begin with `doing` ("tokenizing"), then tell after every piece how many bytes are done. */
typedef struct CorpusPass {
    const Corpus *corpus;
    CorpusPart part;
    const char *doing;
    double told; /* when the last line went out */
} CorpusPass;

CorpusPass corpus_pass(const Corpus *c, CorpusPart part, const char *doing);
void corpus_pass_tell(CorpusPass *pass, int64_t bytes);

const char *corpus_part_name(CorpusPart part); /* train, valid, test */
