/* PG-19 (Rae et al. 2019): a book a file, and a table of their titles. */
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/data/vocabulary.h"
#include "datasets/csv.h"
#include "datasets/formats.h"
#include "datasets/text_files.h"

#include <string.h>

/* The books' numbers: (book_id, short_book_title, publication_date, link), one a row, without a heading. */
static Vocabulary *read_metadata(const char *path, Error *e)
{
    size_t size;
    char *text = file_read(path, &size, e);
    if (!text)
        return NULL;
    CsvReader csv = {.text = text, .size = size};
    Vocabulary *books = vocabulary_new();
    bool damaged, good = true;
    while (good && csv_next(&csv, &damaged, e)) {
        const char *book = csv_field(&csv, 0);
        if (csv_count(&csv) < 3)
            good =
                error_set(e, "row %lld: %d fields, expected number, title, date", (long long)csv.row, csv_count(&csv));
        else
            vocabulary_add(books, book, strlen(book));
    }
    if (!good || damaged) {
        error_prefix(e, "%s", path);
        vocabulary_free(books);
        books = NULL;
    }
    csv_free(&csv);
    mem_free(text);
    return books;
}

/* The books of a part, in the order of their files' names. What the table does not know is no book. */
static bool add_books(Corpus *c, CorpusPart part, const char *folder, const Vocabulary *books, Error *e)
{
    char **names;
    int count;
    if (!folder_list(folder, &names, &count, e))
        return false;
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        if (names[i][0] == '.' || !str_ends(names[i], ".txt"))
            continue;
        size_t number = strlen(names[i]) - strlen(".txt");
        char *path = path_join(folder, names[i]);
        good = vocabulary_find(books, names[i], number) >= 0
                   ? text_files_add_whole(c, part, (TextFile){.path = path}, e)
                   : error_set(e, "%s: metadata.csv has no book %.*s", path, (int)number, names[i]);
        mem_free(path);
    }
    names_free(names, count);
    return good && (c->documents[part] || error_set(e, "%s: no book there (NUMBER.txt)", folder));
}

static Corpus *pg19_open(const char *path, Error *e)
{
    static const char *const folders[CORPUS_PARTS] = {"train", "validation", "test"};
    char *table = path_join(path, "metadata.csv");
    Vocabulary *books = read_metadata(table, e);
    Corpus *c = text_files_new("pg19", NULL);
    bool good = books != NULL;
    for (CorpusPart part = 0; good && part < CORPUS_PARTS; part++) {
        char *folder = path_join(path, folders[part]);
        good = add_books(c, part, folder, books, e);
        mem_free(folder);
    }
    vocabulary_free(books);
    mem_free(table);
    if (good)
        return c;
    corpus_close(c);
    return NULL;
}

const DatasetFormat pg19_format = {
    .name = "pg19",
    .source = "https://github.com/google-deepmind/pg19",
    .licence = "Apache 2.0",
    .layout = "a folder with metadata.csv and the books, {train,validation,test}/NUMBER.txt",
    .open_corpus = pg19_open,
};
