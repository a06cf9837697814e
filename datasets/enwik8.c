/* The first 10^8 bytes of the English Wikipedia of 2006: enwik8 as it is, text8 as 26 letters and the space (Mahoney). The
 * first 90 million bytes train, five validate, five test. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "datasets/formats.h"
#include "datasets/text_files.h"

#include <string.h>

static const size_t total_bytes = 100000000, valid_from = 90000000, test_from = 95000000;

/* path itself, or in the folder path NAME, NAME.zip or NAME.gz; NULL with a line. */
static char *find_file(const char *path, const char *name, Error *e)
{
    static const char *const endings[] = {"", ".zip", ".gz"};
    if (file_exists(path))
        return str_copy(path);
    for (int i = 0; i < COUNT_OF(endings); i++) {
        char *file = str_format("%s/%s%s", path, name, endings[i]);
        if (file_exists(file))
            return file;
        mem_free(file);
    }
    return error_null(e, "%s: has neither %s nor %s.zip nor %s.gz", path, name, name, name);
}

static Corpus *open_parts(const char *path, const char *name, Error *e)
{
    static const TextSpan spans[CORPUS_PARTS] = {{0, valid_from}, {valid_from, test_from}, {test_from, total_bytes}};
    char *found = find_file(path, name, e);
    if (!found)
        return NULL;
    TextFile file = {found, str_ends(found, ".zip") ? name : NULL};
    Corpus *c = text_files_new(name, NULL);
    size_t size;
    bool good = text_file_size(file, &size, e);
    if (good && size != total_bytes)
        good =
            error_set(e, "%s: %zu bytes of text, %s has %zu; data set text takes any", found, size, name, total_bytes);
    for (CorpusPart part = 0; good && part < CORPUS_PARTS; part++)
        good = text_files_add(c, part, file, spans[part], false, e);
    mem_free(found);
    if (good)
        return c;
    corpus_close(c);
    return NULL;
}

static Corpus *enwik8_open(const char *path, Error *e)
{
    return open_parts(path, "enwik8", e);
}

static Corpus *text8_open(const char *path, Error *e)
{
    return open_parts(path, "text8", e);
}

const DatasetFormat enwik8_format = {
    .name = "enwik8",
    .source = "http://mattmahoney.net/dc/enwik8.zip",
    .licence = "CC BY-SA 3.0 and GFDL, as Wikipedia",
    .layout = "enwik8, enwik8.zip or enwik8.gz, or a folder with one of them",
    .open_corpus = enwik8_open,
};

const DatasetFormat text8_format = {
    .name = "text8",
    .source = "http://mattmahoney.net/dc/text8.zip",
    .licence = "CC BY-SA 3.0 and GFDL, as Wikipedia",
    .layout = "text8, text8.zip or text8.gz, or a folder with one of them",
    .open_corpus = text8_open,
};
