/* WikiText-2 and WikiText-103 (Merity et al. 2016): token form, where rare words are <unk>, and raw form. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/tensor/zip_archive.h"
#include "datasets/formats.h"
#include "datasets/text_files.h"

#include <string.h>

typedef struct Variant {
    const char *name;    /* of the data set */
    const char *archive; /* the official zip, and the folder in it */
    const char *folder;
    const char *ending; /* of its files: wiki.train.ENDING */
} Variant;

static const Variant wikitext2 = {"wikitext2", "wikitext-2-v1.zip", "wikitext-2", "tokens"},
                     wikitext2_raw = {"wikitext2-raw", "wikitext-2-raw-v1.zip", "wikitext-2-raw", "raw"},
                     wikitext103 = {"wikitext103", "wikitext-103-v1.zip", "wikitext-103", "tokens"},
                     wikitext103_raw = {"wikitext103-raw", "wikitext-103-raw-v1.zip", "wikitext-103-raw", "raw"};

/* path/wiki.PART.tokens, path/wikitext-2/wiki.PART.tokens or path/PART.txt; NULL with a line. */
static char *part_in_folder(const Variant *v, const char *path, CorpusPart part, Error *e)
{
    const char *name = corpus_part_name(part);
    char *const places[] = {str_format("%s/wiki.%s.%s", path, name, v->ending),
                            str_format("%s/%s/wiki.%s.%s", path, v->folder, name, v->ending),
                            str_format("%s/%s.txt", path, name)};
    char *found = NULL;
    for (int i = 0; i < COUNT_OF(places); i++)
        if (!found && file_exists(places[i]))
            found = places[i];
        else
            mem_free(places[i]);
    return found
               ? found
               : error_null(e, "%s: has neither %s nor wiki.%s.%s nor %s.txt", path, v->archive, name, v->ending, name);
}

static bool add_folder(Corpus *c, const Variant *v, const char *path, Error *e)
{
    bool good = true;
    for (CorpusPart part = 0; good && part < CORPUS_PARTS; part++) {
        char *file = part_in_folder(v, path, part, e);
        good = file && text_files_add_whole(c, part, (TextFile){.path = file}, e);
        mem_free(file);
    }
    return good;
}

static bool add_archive(Corpus *c, const Variant *v, const char *path, Error *e)
{
    bool good = true;
    for (CorpusPart part = 0; good && part < CORPUS_PARTS; part++) {
        char *member = str_format("%s/wiki.%s.%s", v->folder, corpus_part_name(part), v->ending);
        good = text_files_add_whole(c, part, (TextFile){path, member}, e);
        mem_free(member);
    }
    return good;
}

static Corpus *wikitext_open(const Variant *v, const char *path, Error *e)
{
    Corpus *c = text_files_new(v->name, NULL);
    char *archive = path_join(path, v->archive);
    c->line_ends_count = true;
    bool good = file_exists(path)      ? add_archive(c, v, path, e)
                : file_exists(archive) ? add_archive(c, v, archive, e)
                                       : add_folder(c, v, path, e);
    mem_free(archive);
    if (good)
        return c;
    corpus_close(c);
    return NULL;
}

static Corpus *open2(const char *path, Error *e)
{
    return wikitext_open(&wikitext2, path, e);
}

static Corpus *open2_raw(const char *path, Error *e)
{
    return wikitext_open(&wikitext2_raw, path, e);
}

static Corpus *open103(const char *path, Error *e)
{
    return wikitext_open(&wikitext103, path, e);
}

static Corpus *open103_raw(const char *path, Error *e)
{
    return wikitext_open(&wikitext103_raw, path, e);
}

#define WIKITEXT_FORMAT(set, form, number, opens)                                                                      \
    {                                                                                                                  \
        .name = set,                                                                                                   \
        .source = "https://huggingface.co/datasets/Salesforce/wikitext (wikitext-" number form "-v1.zip)",             \
        .licence = "CC BY-SA 3.0",                                                                                     \
        .layout =                                                                                                      \
            "wikitext-" number form "-v1.zip, or a folder with it, with its wiki.{train,valid,test} files, or with "   \
            "{train,valid,test}.txt",                                                                                  \
        .open_corpus = opens                                                                                           \
    }

const DatasetFormat wikitext2_format = WIKITEXT_FORMAT("wikitext2", "", "2", open2);
const DatasetFormat wikitext2_raw_format = WIKITEXT_FORMAT("wikitext2-raw", "-raw", "2", open2_raw);
const DatasetFormat wikitext103_format = WIKITEXT_FORMAT("wikitext103", "", "103", open103);
const DatasetFormat wikitext103_raw_format = WIKITEXT_FORMAT("wikitext103-raw", "-raw", "103", open103_raw);
