/* Any text: a file, or a folder of files. */
#include "datasets/text.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "datasets/formats.h"
#include "datasets/text_files.h"

#include <string.h>

typedef struct Found {
    char *path;
    size_t size;
} Found;

typedef struct FoundFiles {
    Found *items;
    size_t count, capacity;
    size_t bytes; /* of all */
} FoundFiles;

static void found_free(FoundFiles *found)
{
    for (size_t i = 0; i < found->count; i++)
        mem_free(found->items[i].path);
    array_free(found);
}

/* All files under a path, or the path itself, in the order of their names; hidden ones are left out. */
static bool find_files(const char *path, int depth, FoundFiles *found, Error *e)
{
    enum { DEEPEST = 64 };
    if (!folder_exists(path)) {
        Found file = {.path = str_copy(path)};
        bool good = text_file_size((TextFile){.path = path}, &file.size, e);
        *array_add(found) = file;
        found->bytes += file.size;
        return good;
    }
    char **names;
    int count;
    if (depth == DEEPEST)
        return error_set(e, "%s: nested too deep", path);
    if (!folder_list(path, &names, &count, e))
        return false;
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        char *entry = path_join(path, names[i]);
        good = names[i][0] == '.' || find_files(entry, depth + 1, found, e);
        mem_free(entry);
    }
    names_free(names, count);
    return good;
}

static bool add_all(Corpus *c, CorpusPart part, const char *path, Error *e)
{
    FoundFiles found = {0};
    bool good = find_files(path, 0, &found, e);
    for (size_t i = 0; i < found.count && good; i++)
        good = text_files_add_whole(c, part, (TextFile){.path = found.items[i].path}, e);
    found_free(&found);
    return good;
}

bool text_add_with_tenth(Corpus *c, const char *path, Error *e)
{
    enum { FEWEST_BYTES = 10 };
    FoundFiles found = {0};
    bool good = find_files(path, 0, &found, e);
    if (good && !found.bytes)
        good = error_set(e, "%s: holds no text", path);
    else if (good && found.bytes < FEWEST_BYTES)
        good = error_set(e, "%s: %zu bytes of text, too few to hold a tenth out", path, found.bytes);
    size_t cut = found.bytes - found.bytes / 10, before = 0;
    for (size_t i = 0; i < found.count && good; i++) {
        size_t size = found.items[i].size, kept = MIN(size, cut - MIN(cut, before));
        TextFile file = {.path = found.items[i].path};
        if (kept)
            good = text_files_add(c, CORPUS_TRAIN, file, (TextSpan){0, kept}, true, e);
        for (CorpusPart part = CORPUS_VALID; good && kept < size && part <= CORPUS_TEST; part++)
            good = text_files_add(c, part, file, (TextSpan){kept, size}, true, e);
        before += size;
    }
    found_free(&found);
    return good;
}

/* The file or folder of a part: folder/train, folder/train.txt, folder/train.txt.gz; NULL if there is none. */
static char *part_place(const char *folder, CorpusPart part)
{
    static const char *const names[CORPUS_PARTS][4] = {{"train"}, {"valid", "validation", "val", "dev"}, {"test"}};
    static const char *const endings[] = {"", ".txt", ".txt.gz"};
    for (int i = 0; i < COUNT_OF(names[0]) && names[part][i]; i++)
        for (int j = 0; j < COUNT_OF(endings); j++) {
            char *path = str_format("%s/%s%s", folder, names[part][i], endings[j]);
            if (file_exists(path) || folder_exists(path))
                return path;
            mem_free(path);
        }
    return NULL;
}

static Corpus *text_open(const char *path, Error *e)
{
    char *places[CORPUS_PARTS];
    for (CorpusPart part = 0; part < CORPUS_PARTS; part++)
        places[part] = part_place(path, part);
    char *const valid = places[CORPUS_VALID], *const test = places[CORPUS_TEST];
    Corpus *c = text_files_new("text", NULL);
    bool good = places[CORPUS_TRAIN] && (valid || test) ? add_all(c, CORPUS_TRAIN, places[CORPUS_TRAIN], e) &&
                                                              add_all(c, CORPUS_VALID, valid ? valid : test, e) &&
                                                              add_all(c, CORPUS_TEST, test ? test : valid, e)
                                                        : text_add_with_tenth(c, path, e);
    for (CorpusPart part = 0; part < CORPUS_PARTS; part++)
        mem_free(places[part]);
    if (good)
        return c;
    corpus_close(c);
    return NULL;
}

const DatasetFormat text_format = {
    .name = "text",
    .source = "your own text",
    .licence = "that of the text",
    .layout =
        "a file of text, plain or .gz, or a folder of such files, where train and valid or test (folders, or files "
        "ending in .txt) are its parts; without them the last tenth is held out",
    .open_corpus = text_open,
};
