/* The Collaborative International Dictionary of English, as the dict protocol's server stores it: all entries in one gzip
 * file. Its package depends on that server; tools/setup unpacks it without. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "datasets/formats.h"
#include "datasets/text.h"
#include "datasets/text_files.h"

#include <string.h>

/* Before the first headword lie entries about the data base and its conversion. A headword's line begins with it and goes
 * on with its pronunciation, "Acorn \A"corn\, n."; the lines before have no backslash. */
static size_t gcide_head(const char *text, size_t size)
{
    const char *first = memchr(text, '\\', size);
    const char *line_end = first ? memrchr(text, '\n', (size_t)(first - text)) : NULL;
    return line_end ? (size_t)(line_end + 1 - text) : 0;
}

static Corpus *gcide_open(const char *path, Error *e)
{
    Corpus *c = text_files_new("gcide", gcide_head);
    char *file = folder_exists(path) ? path_join(path, "gcide.dict.dz") : str_copy(path);
    bool good = text_add_with_tenth(c, file, e);
    mem_free(file);
    if (good)
        return c;
    corpus_close(c);
    return NULL;
}

const DatasetFormat gcide_format = {
    .name = "gcide",
    .source = "the Debian package dict-gcide (GNU's dictionary of English)",
    .licence = "GPL 2 or later",
    .layout = "gcide.dict.dz, or a folder with it",
    .package = "dict-gcide",
    .package_path = "/usr/share/dictd/gcide.dict.dz",
    .setup = "routing",
    .open_corpus = gcide_open,
};
