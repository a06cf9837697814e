#include "common/data/corpus.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void document_free(Document *document)
{
    file_unmap(&document->map);
    mem_free(document->memory);
    *document = (Document){0};
}

Corpus *corpus_new(const char *name)
{
    Corpus *c = mem_new(sizeof *c);
    c->name = str_copy(name);
    c->stamp = str_hash(name);
    return c;
}

void corpus_close(Corpus *c)
{
    if (!c)
        return;
    if (c->close)
        c->close(c);
    mem_free(c->name);
    mem_free(c);
}

bool corpus_stamp(Corpus *c, const char *path, Error *e)
{
    struct stat st;
    char *whole = realpath(path, NULL);
    if (!whole || stat(whole, &st) < 0) {
        free(whole);
        return error_set(e, "%s: %s", path, strerror(errno));
    }
    int64_t facts[3] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    c->stamp = bytes_hash(c->stamp, whole, strlen(whole) + 1);
    c->stamp = bytes_hash(c->stamp, facts, sizeof facts);
    free(whole);
    return true;
}

bool corpus_read(const Corpus *c, CorpusPart part, int64_t i, Document *document, Error *e)
{
    contract(i >= 0 && i < c->documents[part], "corpus_read: document %lld of %lld", (long long)i,
             (long long)c->documents[part]);
    *document = (Document){0};
    return c->read(c, part, i, document, e);
}

CorpusPass corpus_pass(const Corpus *c, CorpusPart part, const char *doing)
{
    return (CorpusPass){c, part, doing, clock_seconds()};
}

void corpus_pass_tell(CorpusPass *pass, int64_t bytes)
{
    enum { SILENCE = 5 }; /* seconds */
    const Corpus *c = pass->corpus;
    double now = clock_seconds();
    if (!c->notice || now < pass->told + SILENCE)
        return;
    char *line = str_format("%s %s, %s: %lld MB done", pass->doing, c->name, corpus_part_name(pass->part),
                            (long long)(bytes / 1000000));
    c->notice(c->notice_user, line);
    mem_free(line);
    pass->told = now;
}

const char *corpus_part_name(CorpusPart part)
{
    static const char *const names[CORPUS_PARTS] = {"train", "valid", "test"};
    return names[part];
}
